"""Learning of agents: train algorithms on environments over seeds, then compare them.

``python -m benchmarks.learning run``            trains and evaluates; a finished run is not repeated
``python -m benchmarks.learning report``         makes tables and plots from the stored runs
``python -m benchmarks.learning suite``          does both for the suite: environments, algorithms, seeds, targets
``python -m benchmarks.learning ablation NAME``  does both for a question; both are in ``experiments.yml``
``python -m benchmarks.learning pack``           moves runs that lie alone into the files that git keeps

Everything else is in ``benchmarks/_learning``; heavy packages are imported where they are needed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

if __package__ in (None, ""):  # started as a file: its folder is on the path, the package's is not
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._algorithms import ALGORITHMS
from benchmarks._learning import experiments
from benchmarks._learning.hyperparams import SOURCES, parse_overrides
from benchmarks._learning.plans import Experiment, Series, parse_seeds, plan
from benchmarks._learning.settings import RunSettings
from benchmarks._learning.store import RESULTS, Store

SUITE, LEARNING = RESULTS / "suite", RESULTS / "learning"


def run(options: argparse.Namespace) -> int:
    """Make the runs of the command line."""
    return make(planned(options), Store(options.results), options)


def planned(options: argparse.Namespace) -> list[RunSettings]:
    """The runs that ``run`` asks for."""
    series = tuple(Series(algo, options.label, parse_overrides(options.set, algo)) for algo in options.algos)
    asked = [
        Experiment(
            env,
            series,
            parse_seeds(options.seeds),
            parse_steps(options.steps, env),
            options.hyperparams,
            options.eval_every,
            options.eval_episodes,
            options.final_episodes,
        )
        for env in options.envs
    ]
    return plan(asked, options.threads, options.device)


def parse_steps(items: list[str], env: str) -> int | None:
    """The budget of an environment from ``N`` (for all) and ``ENV=N`` (for one); None: the zoo's."""
    budgets = {}
    for item in items:
        owner, _, number = item.rpartition("=")
        try:
            budgets[owner] = int(float(number))
        except ValueError:
            raise ValueError(f"--steps takes a number or ENV=number, got {item!r}.") from None
    return budgets.get(env, budgets.get(""))


def make(runs: list[RunSettings], store: Store, options: argparse.Namespace) -> int:
    """Make the runs that are not there yet; the exit code says whether all of them are there now."""
    from benchmarks._learning.pool import run_all

    outcome = run_all(runs, store, options.workers, options.force, options.quiet, options.ray, options.retries)
    print(f"{outcome.done} runs made, {outcome.skipped} were there already, {len(outcome.failed)} failed.")
    for name, error in outcome.failed.items():
        print(f"\n{name}: {error}", file=sys.stderr)
    return 1 if outcome.failed else 0


def report(options: argparse.Namespace) -> int:
    """Make tables and plots."""
    from benchmarks._learning.data import load
    from benchmarks._learning.report import ReportOptions, write_report

    levels = experiments.thresholds(experiments.suite()) | dict(map(_threshold, options.threshold))
    split = (item.partition(":") for item in options.algos or ())
    series = {name: parse_seeds(seeds.split(",")) if seeds else None for name, _, seeds in split}
    out = options.out or options.results / "report"
    asked = ReportOptions(out, options.reference, levels, options.milestones, options.gradients, options.repetitions)
    _say(write_report(load(Store(options.results), options.envs, series, options.clock), asked))
    return 0


def suite(options: argparse.Namespace) -> int:
    """Make what is missing of the suite, then its report."""
    seeds = parse_seeds(options.seeds) if options.seeds else None
    known = experiments.suite(options.file)
    asked = experiments.select(known, options.group, options.envs, options.algos, seeds)
    runs, store = plan(asked, options.threads, options.device), Store(options.results)
    if options.list:
        return _list_runs(runs, store)
    code = 0 if options.report_only else make(runs, store, options)

    from benchmarks._learning.data import load_planned
    from benchmarks._learning.report import ReportOptions, write_suite_report

    out = ReportOptions(options.out or options.results / "report", options.reference, repetitions=options.repetitions)
    _say(write_suite_report(asked, load_planned(runs, store, options.clock), out))
    return code


def ablation(options: argparse.Namespace) -> int:
    """Make what is missing of each ablation asked for, then its report."""
    known = experiments.ablations(options.file)
    if not options.names:
        print("\n".join(f"{name}: {one.question}" for name, one in known.items()))
        return 0
    codes = []
    for name in experiments.chosen("ablation", None if options.names == ["all"] else options.names, known):
        print(f"{name}:")
        try:
            codes.append(_ablate(known[name], options))
        except ValueError as error:  # what one of them lacks does not stop the others
            print(f"benchmarks.learning: {error}", file=sys.stderr)
            codes.append(2)
    return max(codes)


def _ablate(one: Experiment, options: argparse.Namespace) -> int:
    runs, store = plan([one], options.threads, options.device), Store(options.results / one.store)
    if options.list:
        return _list_runs(runs, store)
    if not options.report_only:
        one.check_packages()
    code = 0 if options.report_only else make(runs, store, options)

    from benchmarks._learning.data import load_planned
    from benchmarks._learning.report import ReportOptions, write_ablation_report

    asked = ReportOptions(
        (options.out or options.results / "ablations") / one.name,
        thresholds=experiments.thresholds(experiments.suite()),
        gradients=options.results / one.gradients if one.gradients else None,
        repetitions=options.repetitions,
    )
    _say(write_ablation_report(one, load_planned(runs, store, options.clock), asked))
    return code


def pack(options: argparse.Namespace) -> int:
    """Pack the stores asked for."""
    for name in options.stores or sorted(path.parent.name for path in options.results.glob("*/runs")):
        print(f"{name}: {Store(options.results / name).pack()} runs packed.")
    return 0


def _list_runs(runs: list[RunSettings], store: Store) -> int:
    """How many runs of each series there are, and how many there should be."""
    done = Counter((run.settings.env, run.settings.series) for run in store.find(runs))
    for (env, series), count in Counter((run.env, run.series) for run in runs).items():
        print(f"{env} {series}: {done[env, series]} of {count}")
    return 0


def _say(written: list[Path]) -> None:
    print("\n".join(str(path) for path in written))


def _threshold(item: str) -> tuple[str, float]:
    env, _, value = item.partition("=")
    try:
        return env, float(value)
    except ValueError:
        raise ValueError(f"--threshold takes ENV=return, got {item!r}.") from None


def _add_making(to: argparse.ArgumentParser) -> None:
    """How runs are made."""
    to.add_argument("--workers", type=int, default=2, help="runs side by side; 0: in this process")
    to.add_argument("--threads", type=int, default=1, help="torch threads of each run")
    to.add_argument("--device", default="auto", help="torch device")
    to.add_argument("--force", action="store_true", help="make finished runs again")
    to.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="on a cluster of Ray; without an address, on this one",
    )
    to.add_argument("--retries", type=int, default=0, help="how often a run that fails is tried again")
    to.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_reporting(to: argparse.ArgumentParser, out: str, clock: str = "CPU") -> None:
    """How a report is made; runs of a suite or an ablation share the machine, which wall-clock time does not bear."""
    to.add_argument("--out", type=Path, help=f"where to write; without it, <results>/{out}")
    to.add_argument("--clock", choices=("wall-clock", "CPU"), default=clock, help="what the seconds are")
    to.add_argument("--repetitions", type=int, default=2000, help="bootstrap samples")


def _add_file(to: argparse.ArgumentParser) -> None:
    """Options of the commands that read a file."""
    to.add_argument("--file", type=Path, default=experiments.FILE, help="what to run")
    to.add_argument("--list", action="store_true", help="say which runs there are, and make none")
    to.add_argument("--report-only", action="store_true", help="make no runs, report those that there are")


def _add_plan(to: argparse.ArgumentParser) -> None:
    """Options of the runs."""
    to.add_argument("--envs", nargs="+", required=True, metavar="ID", help="Gymnasium ids")
    to.add_argument("--algos", nargs="+", default=["softac", "sac"], metavar="NAME", help=", ".join(ALGORITHMS))
    to.add_argument("--seeds", nargs="+", default=["0-4"], metavar="N", help="numbers, or ranges such as 0-4")
    to.add_argument("--steps", nargs="+", default=[], metavar="N", help="N or ENV=N; without it, the zoo's budget")
    to.add_argument("--hyperparams", choices=SOURCES, default="zoo", help="tuned entries or constructor defaults")
    to.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override; algo:key=value for one")
    to.add_argument("--label", default="", help="names a configuration that differs from the algorithm's plain one")
    to.add_argument("--eval-every", type=int, help="steps between evaluations; without it, a 20th of the budget")
    to.add_argument("--eval-episodes", type=int, default=10, help="episodes of each evaluation")
    to.add_argument("--final-episodes", type=int, default=100, help="episodes for the finished agent")


def _add_choice(to: argparse.ArgumentParser) -> None:
    """Options of which runs are reported."""
    to.add_argument("--envs", nargs="+", metavar="ID", help="only these")
    to.add_argument("--algos", nargs="+", metavar="SERIES", help="only these: algo or algo-label; report: sac:0-4 too")
    to.add_argument("--reference", default="softac", help="the series that the others are compared with")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="benchmarks.learning", description=__doc__.splitlines()[0])
    commands = root.add_subparsers(required=True, metavar="{run,report,suite,ablation,pack}")

    def command(function: object, help: str, results: Path) -> argparse.ArgumentParser:
        style = argparse.ArgumentDefaultsHelpFormatter
        one = commands.add_parser(function.__name__, help=help, formatter_class=style)
        one.add_argument("--results", type=Path, default=results, help="folder of the results")
        one.set_defaults(command=function)
        return one

    own = command(run, "train and evaluate", LEARNING)
    _add_plan(own)
    _add_making(own)
    tell = command(report, "tables and plots", LEARNING)
    _add_choice(tell)
    _add_reporting(tell, "report", "wall-clock")
    tell.add_argument("--threshold", nargs="+", default=[], metavar="ENV=RETURN", help="return that counts as learned")
    tell.add_argument("--milestones", nargs="+", type=int, default=[], metavar="N", help="steps to tell returns at")
    tell.add_argument(
        "--gradients", type=Path, metavar="JSON", help="of benchmarks.gradients, for a table of variances"
    )
    whole = command(suite, "the suite: runs and report", SUITE)
    for add in (_add_choice, _add_file, _add_making):
        add(whole)
    _add_reporting(whole, "report")
    whole.add_argument("--group", nargs="+", metavar="NAME", help="only these groups")
    whole.add_argument("--seeds", nargs="+", metavar="N", help="only these of the file's seeds")
    ask = command(ablation, "the papers' ablations: runs and report", RESULTS)
    ask.add_argument("names", nargs="*", metavar="NAME", help="of the file, or all; without it, they are listed")
    for add in (_add_file, _add_making):
        add(ask)
    _add_reporting(ask, "ablations")
    put = command(pack, "move runs that lie alone into the files that git keeps", RESULTS)
    put.add_argument("stores", nargs="*", metavar="STORE", help="folders of the results; without it, all")
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; bad input is one line and exit code 2, not a traceback."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
    except ValueError as error:
        print(f"benchmarks.learning: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
