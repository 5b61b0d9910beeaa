"""The zoo's start-up file: what does it cost every start of an interpreter?

    python -m benchmarks.decisions.startup

Answer (AMD EPYC, Python 3.11, 300 starts of each): `python -c pass` takes 7.417 ms of CPU time without the file and
7.804 ms with it, 0.387 ms more (95 % interval: 0.348 to 0.441); 0.324 ms more (0.285 to 0.372) where the file is there
and `SB3_SOFTAC_ZOO_HOOK=0` opts out. The import of its module takes 0.218 ms (quartiles 0.214 and 0.226).

Two virtual environments are alike but for the three files of ``startup/``. Their starts come in random order, so that
a busy moment of the machine hits all; user plus system time of the child, so that waiting for a core does not count.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import venv
from pathlib import Path

from benchmarks import _machine
from benchmarks._output import grid

ROOT = Path(__file__).resolve().parents[2]
STARTUP_FILES = ("_sb3_softac_zoo.py", "sb3_softac_zoo.pth", "sb3_softac_zoo.start")
WARM_UP = 5  # runs, the first of which writes the .pyc
RESAMPLES = 2000
# Without the caller's PYTHON... variables: PYTHONDONTWRITEBYTECODE would compile the module at every start.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="of each variant (default: %(default)s)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        none = make_environment(Path(folder, "none"), files=())
        ours = make_environment(Path(folder, "ours"), files=STARTUP_FILES)
        times = measure(none, ours, runs)
    baseline = times["no start-up file"]
    print(f"Microseconds of CPU time of `python -c pass`, {runs} runs each, {_machine.machine()['cpu']}\n")
    rows = ([name, f"{statistics.median(sample):.0f}", extra(sample, baseline)] for name, sample in times.items())
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


def measure(none: Path, ours: Path, runs: int) -> dict[str, list[float]]:
    """CPU times of every variant, in microseconds."""
    variants = {
        "no start-up file": (none, ENVIRONMENT),
        "start-up file": (ours, ENVIRONMENT),
        "start-up file, opted out": (ours, ENVIRONMENT | {"SB3_SOFTAC_ZOO_HOOK": "0"}),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    generator = random.Random(0)
    for run in range(WARM_UP + runs):
        # In random order, else one variant would always start with the caches of the same predecessor.
        for name in generator.sample(list(variants), len(variants)):
            taken = cpu_time_us(*variants[name])
            if run >= WARM_UP:
                times[name].append(taken)
    return times


def cpu_time_us(python: Path, environment: dict[str, str]) -> float:
    """User plus system time of one start, without the children of other runs."""
    arguments = [str(python), "-c", "pass"]
    _, status, usage = os.wait4(os.posix_spawn(python, arguments, environment), 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1e6


def extra(sample: list[float], baseline: list[float]) -> str:
    """Difference of the medians, with a 95 % bootstrap interval."""
    if sample is baseline:
        return "-"
    generator = random.Random(0)
    differences = sorted(
        statistics.median(generator.choices(sample, k=len(sample)))
        - statistics.median(generator.choices(baseline, k=len(baseline)))
        for _ in range(RESAMPLES)
    )
    low, high = differences[int(RESAMPLES * 0.025)], differences[int(RESAMPLES * 0.975)]
    return f"{statistics.median(sample) - statistics.median(baseline):.0f} [{low:.0f}, {high:.0f}]"


if __name__ == "__main__":
    main()
