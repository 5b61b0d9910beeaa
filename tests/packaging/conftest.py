"""What the packaging check installs, a copy of the sources, and into what, an environment with rl_zoo3."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["sb3_softac", "startup", "hyperparams", "setup.cfg", "setup.py", "pyproject.toml"]
SOURCES += ["constraints.txt", "README.md", "LICENSE"]
TIMEOUT_S = 600  # of one command


class Installation:
    """A virtual environment that holds all that rl_zoo3 needs, and sb3_softac when a test wants it there.

    :param folder: where to make it
    :param source: copy of the checkout to install from
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self.source = source
        self.python = folder / "venv" / "bin" / "python"
        self.work = folder / "work"
        self.work.mkdir()
        self.environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONWARNINGS": "error::RuntimeWarning:_sb3_softac_zoo",
            "PYTHONDONTWRITEBYTECODE": "",
            "SDL_VIDEODRIVER": "dummy",
        }
        self.environment.pop("PYTHONPATH", None)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        # As a user installs it, dependencies from the constraints file; the package itself goes out again.
        self.pip("install", "-c", "constraints.txt", ".[zoo,plots,export]", "build", "setuptools")
        self.pip("uninstall", "-y", "sb3_softac")
        self.site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())

    def run(self, *arguments: str | Path, fails: bool = False, **variables: str) -> str:
        """Run this environment's Python away from the checkout.

        :param fails: whether the command must fail, instead of succeed
        :param variables: additions to the environment
        :return: what it printed, both streams together
        """
        return self._run([self.python, *arguments], self.work, fails, variables)

    def script(self, name: str, *arguments: str | Path) -> str:
        """Run a console script of this environment."""
        return self._run([self.python.parent / name, *arguments], self.work, False, {})

    def pip(self, *arguments: str) -> str:
        return self._run([self.python, "-m", "pip", "-q", *arguments], self.source, False, {})

    def _run(self, command: list, cwd: Path, fails: bool, variables: dict[str, str]) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        if (done.returncode != 0) is not fails:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    def train(self, *options: str | Path, algo: str = "softac", steps: int = 600) -> str:
        """Run the literal command for a moment; what it writes goes to `logs`."""
        options = ("--env", "Pendulum-v1", "-n", str(steps), "-f", "logs", "--device", "cpu", *options)
        return self.run("-m", "rl_zoo3.train", "--algo", algo, *options)

    @contextmanager
    def installed(self, kind: str) -> Iterator[None]:
        """sb3_softac, installed while the context lasts.

        :param kind: "wheel", "editable", "strict editable" or "sdist"
        """
        for leftover in ("build", "dist", "sb3_softac.egg-info"):
            shutil.rmtree(self.source / leftover, ignore_errors=True)
        if kind == "wheel":
            self.pip("wheel", "--no-deps", "--no-build-isolation", "-w", "dist", ".")
            self._install_built()
        elif kind == "sdist":
            # A wheel from an sdist from the checkout, each in an isolated build environment.
            self._run([self.python, "-m", "build", "-o", "dist"], self.source, False, {})
            self._install_built()
        else:
            mode = ["--config-settings", "editable_mode=strict"] if kind == "strict editable" else []
            self.pip("install", "--no-deps", "--no-build-isolation", *mode, "-e", ".")
        try:
            yield
        finally:
            self.pip("uninstall", "-y", "sb3_softac")

    def _install_built(self) -> None:
        (wheel,) = (self.source / "dist").glob("*.whl")
        self.pip("install", "--no-deps", str(wheel))

    def snapshot(self) -> dict[str, str]:
        """Digest of every file in site-packages, less .pyc: whoever imports first writes those."""
        files = (path for path in sorted(self.site.rglob("*")) if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(self.site)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="session")
def installation(tmp_path_factory) -> Installation:
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    return Installation(tmp_path_factory.mktemp("environment"), source)


@pytest.fixture(scope="module")
def wheel(installation) -> Iterator[Installation]:
    """The environment with the wheel in it, and a trained agent under `logs`."""
    shutil.rmtree(installation.work / "logs", ignore_errors=True)
    with installation.installed("wheel"):
        installation.train("--eval-freq", "75", "--eval-episodes", "1")
        yield installation
