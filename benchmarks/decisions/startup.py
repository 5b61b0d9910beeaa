"""The zoo's start-up file: what does it cost every start of an interpreter?

    python -m benchmarks.decisions.startup

Answer (`results/startup.json`; AMD EPYC, Python 3.11, 300 starts of each): `python -c pass` takes 7.417 ms of CPU time
without the file and 7.804 ms with it, 0.387 ms more (95 % interval: 0.348 to 0.441); 0.324 ms more (0.285 to 0.372)
where the file is there and `SB3_SOFTAC_ZOO_HOOK=0` opts out. The import of its module takes 0.218 ms (quartiles 0.214
and 0.226).

Two virtual environments are alike but for the three files of ``startup/``. Their starts come in random order, so that
a busy moment of the machine hits all; user plus system time of the child, so that waiting for a core does not count.
"""

import os
import random
import shutil
import subprocess
import tempfile
import venv
from pathlib import Path

import numpy as np

from benchmarks import _machine
from benchmarks._output import grid

ROOT = Path(__file__).resolve().parents[2]
STARTUP_FILES = ("_sb3_softac_zoo.py", "sb3_softac_zoo.pth", "sb3_softac_zoo.start")
RUNS, WARM_UP = 300, 5  # the first run writes the .pyc
# Without the caller's PYTHON... variables: PYTHONDONTWRITEBYTECODE would compile the module at every start.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def main() -> None:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        none = make_environment(Path(folder, "none"), files=())
        ours = make_environment(Path(folder, "ours"), files=STARTUP_FILES)
        variants = {
            "no start-up file": (none, ENVIRONMENT),
            "start-up file": (ours, ENVIRONMENT),
            "start-up file, opted out": (ours, ENVIRONMENT | {"SB3_SOFTAC_ZOO_HOOK": "0"}),
        }
        times: dict[str, list[float]] = {name: [] for name in variants}
        generator = random.Random(0)
        for _ in range(WARM_UP + RUNS):
            # In random order, else one variant would always start with the caches of the same predecessor.
            for name in generator.sample(list(variants), len(variants)):
                times[name].append(cpu_time_us(*variants[name]))
    samples = {name: np.array(each[WARM_UP:]) for name, each in times.items()}
    baseline = samples["no start-up file"]
    print(f"Microseconds of CPU time of `python -c pass`, {RUNS} runs each, {_machine.machine()['cpu']}\n")
    rows = ([name, f"{np.median(each):.0f}", extra(each, baseline)] for name, each in samples.items())
    print(grid(("", "median", "more than without [95% interval]"), rows))


def make_environment(folder: Path, files: tuple[str, ...]) -> Path:
    """Make a bare virtual environment with these start-up files, and return its interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    for name in files:
        shutil.copy(ROOT / "startup" / name, site)
    return python


def cpu_time_us(python: Path, environment: dict[str, str]) -> float:
    """User plus system time of one start, without the children of other runs."""
    arguments = [str(python), "-c", "pass"]
    _, status, usage = os.wait4(os.posix_spawn(python, arguments, environment), 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1e6


def extra(sample: np.ndarray, baseline: np.ndarray) -> str:
    """Difference of the medians, with a bootstrap interval."""
    if sample is baseline:
        return "-"
    random = np.random.default_rng(0)
    ours, theirs = (np.median(random.choice(each, (2000, len(each))), axis=1) for each in (sample, baseline))
    low, high = np.percentile(ours - theirs, (2.5, 97.5))
    return f"{np.median(sample) - np.median(baseline):.0f} [{low:.0f}, {high:.0f}]"


if __name__ == "__main__":
    main()
