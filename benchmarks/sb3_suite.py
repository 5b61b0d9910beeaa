"""Run Stable-Baselines3's own tests of SAC with SoftAC in SAC's place.

    python -m benchmarks.sb3_suite path/to/a/checkout/of/stable-baselines3

The suite itself is not part of this repository. A test counts as one of SAC's if it is parameterised with SAC, or
names SAC and is parameterised with no other algorithm. Reasons for the tests that fail are in
`docs/stable-baselines3.md`; what they test is covered by `tests/contract/` and `tests/` in our own words.
"""

import argparse
import inspect
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_softac import SoftAC

RESULTS = Path(__file__).parent / "results" / "sb3_suite.json"
OTHER_ALGORITHMS = {"a2c", "ddpg", "dqn", "ppo", "td3"}


class SoftACInPlaceOfSAC:
    """A pytest plugin: substitutes the class, keeps the tests of SAC, collects their outcomes."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}

    def pytest_configure(self) -> None:
        stable_baselines3.SAC = SoftAC

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        dropped = [item for item in items if not is_test_of_sac(item)]
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
            self.outcomes[report.outcome].append(report.nodeid)


def is_test_of_sac(item: Any) -> bool:
    """Whether a collected test exercises SAC, and no other algorithm."""
    parameters = list(getattr(getattr(item, "callspec", None), "params", {}).values())
    if any(value is SoftAC or value == "sac" for value in parameters if isinstance(value, (str, type))):
        return True
    for value in parameters:
        is_class = isinstance(value, type) and issubclass(value, BaseAlgorithm)
        if is_class or (isinstance(value, str) and value in OTHER_ALGORITHMS):
            return False
    return "SAC" in inspect.getsource(item.function)


def main() -> int:
    """Run, print pytest's report, and write the outcomes as JSON; 0 if the suite could be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of stable-baselines3, with its tests/")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tests = arguments.checkout / "tests"
    if not tests.is_dir():
        parser.error(f"{tests} is no folder; give a checkout of stable-baselines3")
    files = sorted(str(path) for path in tests.glob("test_*.py") if "SAC" in path.read_text())
    plugin = SoftACInPlaceOfSAC()
    code = pytest.main(
        ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={arguments.checkout}", *files], plugins=[plugin]
    )
    suite = (arguments.checkout / "stable_baselines3" / "version.txt").read_text().strip()
    packages = ("stable_baselines3", "torch", "gymnasium", "numpy")
    result = {
        "suite": f"stable-baselines3 {suite}",
        "versions": {name: version(name) for name in packages} | {"python": sys.version.split()[0]},
        "counts": {outcome: len(names) for outcome, names in plugin.outcomes.items()},
        "failed": sorted(plugin.outcomes["failed"]),
        "skipped": sorted(plugin.outcomes["skipped"]),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Outcomes: {result['counts']}, written to {arguments.output}")
    return 0 if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else int(code)


if __name__ == "__main__":
    sys.exit(main())
