"""Sessions of ``make compatibility``: what setup.cfg claims, and the environments of other packages.

    nox                                               # all; a Python that is not installed is skipped
    nox -s "tests-3.11(oldest)"                       # the oldest dependencies, on one Python
    nox -s environments                               # every package of ENVIRONMENTS
    nox -s "environments(minigrid)" -- torch==2.13.0  # what follows `--` is installed too: it may fix a version

uv makes the environments: quickly, and it knows how to install the oldest versions that requirements allow. Each
session writes its row of ``docs/results/compatibility.csv``, which the manual shows.
"""

import csv
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"

RESULTS = Path(__file__).parent / "docs" / "results" / "compatibility.csv"
CORE = ("stable-baselines3", "gymnasium", "torch", "numpy")
#: What other versions could break: updates of SB3's SAC, interface, files, reading of arguments. The rest of the tests
#: hangs on our own code, and runs with the versions of constraints.txt.
TESTS = ("tests/test_parity.py", "tests/test_spaces.py", "tests/contract", "tests/saving", "tests/settings")
#: uv's word for it
RESOLUTION = {"oldest": "lowest-direct", "newest": "highest"}
STEPS = 2000
VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({"Python": platform.python_version()} | {name: version(name) for name in sys.argv[1:]}))
"""


@contextmanager
def row(session: nox.Session, subject: str, packages: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Write the row of a session, also where it fails.

    :param session: that runs
    :param subject: first column, the key of the row
    :param packages: whose versions it names
    :return: of the context, a dictionary that takes ``result``
    """
    found, start = {"result": "failed"}, time.monotonic()
    try:
        yield found
    finally:
        installed = json.loads(session.run("python", "-c", VERSIONS, *packages, silent=True))
        write_row(
            {
                "subject": subject,
                "versions": ", ".join(" ".join(pair) for pair in installed.items()),
                "result": found["result"],
                "seconds": f"{time.monotonic() - start:.0f}",
                "date": date.today().isoformat(),
            }
        )


def write_row(new: dict[str, str]) -> None:
    """Put a row into the table in place of an older one with its key.

    :param new: all columns of the row
    """
    rows = {}
    if RESULTS.exists():
        with RESULTS.open(newline="", encoding="utf-8") as file:
            rows = {old["subject"]: old for old in csv.DictReader(file)}
    rows[new["subject"]] = new
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, new, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[subject] for subject in sorted(rows))


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
@nox.parametrize("dependencies", [nox.param(name, id=name) for name in RESOLUTION])
def tests(session: nox.Session, dependencies: str) -> None:
    """Run TESTS with the oldest or newest dependencies."""
    # Old versions of numpy have no wheel for a new Python: then the oldest that has one.
    options = ("--resolution", RESOLUTION[dependencies], "--only-binary", "numpy")
    session.install(*options, "-e", ".[tests]", *session.posargs)
    with row(session, f"tests, Python {session.python}, {dependencies}", CORE) as found:
        # Other versions warn of other things, which is no error here.
        command = ("python", "-m", "pytest", *TESTS, "-q", "-n", "1", "-W", "default", "--disable-warnings")
        output = session.run(*command, env={"OMP_NUM_THREADS": "1"}, silent=True)
        found["result"] = output.strip().splitlines()[-1]


#: Distribution: further requirements, module for --gym-packages, environments with further options. The robots
#: of gymnasium-robotics 1.4.2 fail with newer versions of MuJoCo, dm-control 1.0.50 with MuJoCo 4.0.
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], str, dict[str, tuple[str, ...]]]] = {
    "gymnasium-robotics": (("mujoco<3.11",), "gymnasium_robotics", {"FetchReach-v4": ()}),
    "highway-env": ((), "highway_env", {"parking-v0": (), "highway-fast-v0": ()}),
    "panda-gym": ((), "panda_gym", {"PandaReach-v3": ()}),
    "minatar": ((), "examples.minatar_environments", {"MinAtar/Breakout-v1": ("-params", "train_freq:4")}),
    "pybullet-envs-gymnasium": ((), "pybullet_envs_gymnasium", {"HopperBulletEnv-v0": ()}),
    "dm-control": (("shimmy[dm-control]", "mujoco<4"), "shimmy", {"dm_control/cartpole-balance-v0": ()}),
    "minigrid": (
        (),
        "minigrid",
        # Its observation has a text, which Stable-Baselines3 knows not; the wrapper leaves the image.
        {"MiniGrid-Empty-5x5-v0": ("-params", "train_freq:4", "env_wrapper:'minigrid.wrappers.ImgObsWrapper'")},
    ),
}


@nox.session
@nox.parametrize("package", [nox.param(name, id=name) for name in ENVIRONMENTS])
def environments(session: nox.Session, package: str) -> None:
    """Train on environments of another package by the zoo's command, as a user does."""
    requirements, module, names = ENVIRONMENTS[package]
    session.install(".[zoo]", package, *requirements, *session.posargs)
    logs = session.create_tmp()
    for environment, options in names.items():
        with row(session, environment, (package, *CORE)) as found:
            command = ("python", "-m", "rl_zoo3.train", "--algo", "softac", "--env", environment, "-n", str(STEPS))
            session.run(
                *(*command, "--gym-packages", module, "--eval-freq", "-1", "--num-threads", "1", "-f", logs, *options),
                env={"OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy", "MUJOCO_GL": "disable"},
            )
            found["result"] = f"trained {STEPS} steps"
