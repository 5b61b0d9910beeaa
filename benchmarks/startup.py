"""What the zoo's start-up file costs every start of an interpreter: CPU time of ``python -c pass``, with and
without.

Two virtual environments, alike but for the three files of ``startup/``; runs in turns, so that a busy moment
of the machine hits both; user plus system time of the child, so that waiting for a core does not count. The
import itself is timed by ``-X importtime`` too. Usage::

    python benchmarks/startup.py [--runs 200]
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from benchmarks import _machine  # noqa: E402

STARTUP_FILES = ("_sb3_softac_zoo.py", "sb3_softac_zoo.pth", "sb3_softac_zoo.start")
RESULTS = Path(__file__).resolve().parent / "results" / "startup.json"
WARM_UP = 5  # runs, the first of which writes the .pyc
RESAMPLES = 2000
# Without the caller's PYTHON... variables: PYTHONDONTWRITEBYTECODE would compile the module at every start.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def main() -> None:
    """Measure, print a table, write ``results/startup.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="of each environment (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.runs < 2:
        parser.error(f"--runs must be at least 2, got {arguments.runs}")

    with tempfile.TemporaryDirectory() as folder:
        none = make_environment(Path(folder, "none"), files=())
        ours = make_environment(Path(folder, "ours"), files=STARTUP_FILES)
        results = measure(none, ours, arguments.runs)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


def make_environment(folder: Path, files: tuple[str, ...]) -> Path:
    """Make a bare virtual environment with these start-up files, and return its interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    for name in files:
        shutil.copy(ROOT / "startup" / name, site)
    return python


def measure(none: Path, ours: Path, runs: int) -> dict:
    """Run both in turns; microseconds throughout."""
    variants: dict[str, Callable[[], float]] = {
        "no start-up file": lambda: cpu_time_us(none, ENVIRONMENT),
        "start-up file": lambda: cpu_time_us(ours, ENVIRONMENT),
        "start-up file, opted out": lambda: cpu_time_us(ours, ENVIRONMENT | {"SB3_SOFTAC_ZOO_HOOK": "0"}),
    }
    load_at_start = _machine.load_average()
    times: dict[str, list[float]] = {name: [] for name in variants}
    generator = random.Random(0)
    for run in range(WARM_UP + runs):
        # In random order, else one variant would always start with the caches of the same predecessor.
        for name in generator.sample(list(variants), len(variants)):
            time = variants[name]()
            if run >= WARM_UP:
                times[name].append(time)

    baseline = times["no start-up file"]
    return {
        "what": "user + system CPU time of `python -c pass` in a bare virtual environment, microseconds",
        "runs": runs,
        "python": platform.python_version(),
        "machine": _machine.machine(),
        "load_average": {"start": load_at_start, "end": _machine.load_average()},
        "variants": {name: summary(sample, baseline) for name, sample in times.items()},
        "importtime_us": import_time(ours, max(10, runs // 10)),
    }


def cpu_time_us(python: Path, environment: dict[str, str]) -> float:
    """User plus system time of one start, without the children of other runs."""
    arguments = [str(python), "-c", "pass"]
    pid = os.posix_spawn(python, arguments, environment)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1e6


def summary(sample: list[float], baseline: list[float]) -> dict[str, float | list[float]]:
    """Median, quartiles, and the difference of medians to the baseline with a 95 % bootstrap interval."""
    low, median, high = statistics.quantiles(sample, n=4)
    generator = random.Random(0)
    differences = sorted(
        statistics.median(generator.choices(sample, k=len(sample)))
        - statistics.median(generator.choices(baseline, k=len(baseline)))
        for _ in range(RESAMPLES)
    )
    interval = [differences[int(RESAMPLES * 0.025)], differences[int(RESAMPLES * 0.975)]]
    return {
        "median": round(median),
        "quartiles": [round(low), round(high)],
        "extra": round(median - statistics.median(baseline)),
        "extra_95": [0, 0] if sample is baseline else [round(bound) for bound in interval],
    }


def import_time(python: Path, runs: int) -> dict[str, float]:
    """What ``-X importtime`` says of the one module that the start-up file imports."""
    times = []
    for _ in range(runs):
        command = [python, "-X", "importtime", "-c", "pass"]
        report = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stderr
        (line,) = [line for line in report.splitlines() if line.endswith(" _sb3_softac_zoo")]
        times.append(int(line.split("|")[1]))  # cumulative
    low, median, high = statistics.quantiles(times, n=4)
    return {"runs": runs, "median": median, "lower_quartile": low, "upper_quartile": high}


def print_table(results: dict) -> None:
    """Print the results for people."""
    print(f"Python {results['python']}, {results['machine']['cpu']}, {results['runs']} runs each")
    print(f"{'':26}{'median us':>10}{'quartiles us':>16}{'extra us':>10}{'95 % interval':>16}")
    for name, row in results["variants"].items():
        quartiles, interval = ("{} - {}".format(*row[key]) for key in ("quartiles", "extra_95"))
        print(f"{name:26}{row['median']:>10}{quartiles:>16}{row['extra']:>10}{interval:>16}")
    print(f"-X importtime of the module: {results['importtime_us']['median']:.0f} us (median)")


if __name__ == "__main__":
    main()
