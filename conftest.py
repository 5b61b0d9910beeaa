"""The code of README.md and of the manual runs as it stands: Python blocks, and command lines in ``bash`` blocks.

``make test-docs`` runs it. Each page has a folder of its own, with a run of the zoo in ``logs``. Trainings are cut
short: a page is to be right, not to learn.
"""

import atexit
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parent
#: what makes a command short, by a pattern that finds it
SHORTER = {
    r"--n-trials \d+": "--n-trials 2",
    r"(rl_zoo3|zoo)[. ]train (?!.*-n )([^&;|\n]*)": r"\g<0> -n 300 --eval-episodes 1",
    r"--eval-freq \d+": "--eval-freq 150",
    r" -n 1000\b": " -n 600",  # half a thousand random steps, and some that learn
}
STEPS = 150  # of a training in Python: 100 random ones, and some that learn
SHORTENED = ("learn", "learn_offline")


@functools.cache
def folder_with_a_run() -> Path:
    """A folder in which somebody has trained: ``logs/softac/Pendulum-v1_1``."""
    folder = Path(tempfile.mkdtemp(prefix="softac_docs_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run_commands("python -m rl_zoo3.train --algo softac --env Pendulum-v1 --eval-freq 150 -n 300", folder)
    return folder


def run_commands(commands: str, folder: Path) -> None:
    """Run shell commands.

    :param commands: one or more lines
    :param folder: to run them in
    :raises AssertionError: a command failed
    """
    for pattern, shorter in SHORTER.items():
        commands = re.sub(pattern, shorter, commands)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy", "MPLBACKEND": "agg"}
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def evaluate_commands(example: Example) -> None:
    """Run a block of commands in the folder of the page.

    :param example: the block
    """
    run_commands(str(example.parsed), Path.cwd())


def set_up(namespace: dict[str, Any]) -> None:
    """Give a page its folder, and cut its trainings short.

    :param namespace: of the page's Python blocks
    """
    from stable_baselines3 import SAC

    from sb3_softac import SoftAC

    namespace["_where"] = Path.cwd()
    namespace["_originals"] = {name: getattr(SoftAC, name) for name in SHORTENED}
    folder = Path(tempfile.mkdtemp(prefix="softac_page_"))
    shutil.copytree(folder_with_a_run() / "logs", folder / "logs")
    os.chdir(folder)
    namespace["_minari"] = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    SAC("MlpPolicy", "Pendulum-v1", buffer_size=10).save("sac.zip")  # a reader has one
    for name, original in namespace["_originals"].items():
        setattr(SoftAC, name, _shortly(original))


def _shortly(learn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(learn)
    def shortly(self: Any, total_timesteps: float, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that so short a run shows little
            return learn(self, min(total_timesteps, STEPS), *args, **kwargs)

    return shortly


def tear_down(namespace: dict[str, Any]) -> None:
    """Undo :func:`set_up`.

    :param namespace: of the page's Python blocks
    """
    from sb3_softac import SoftAC

    for name, original in namespace["_originals"].items():
        setattr(SoftAC, name, original)
    del os.environ["MINARI_DATASETS_PATH"]
    if namespace["_minari"] is not None:
        os.environ["MINARI_DATASETS_PATH"] = namespace["_minari"]
    shutil.rmtree(Path.cwd())
    os.chdir(namespace["_where"])


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser(language="bash", evaluator=evaluate_commands), SkipParser()],
    patterns=["README.md", "docs/**/*.md"],
    setup=set_up,
    teardown=tear_down,
).pytest()
