"""What agents learn: train algorithms on environments over seeds, then compare them.

``python -m benchmarks.learning run``            trains and evaluates; a finished run is not repeated
``python -m benchmarks.learning report``         makes tables and plots from the stored runs
``python -m benchmarks.learning suite``          does both for ``suite.yml``: environments, algorithms, seeds, targets
``python -m benchmarks.learning ablation NAME``  does both for a question of ``ablations.yml``

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
from benchmarks._learning.ablations import ABLATIONS, Ablation, read_ablations
from benchmarks._learning.hyperparams import SOURCES, parse_overrides
from benchmarks._learning.plans import Experiment, Series, chosen, parse_seeds, plan
from benchmarks._learning.settings import RunSettings, is_finished
from benchmarks._learning.suite import SUITE, read_suite, select, thresholds

RESULTS = Path(__file__).resolve().parent / "results"


def parse_steps(items: list[str], env: str) -> int | None:
    """The budget of an environment from ``N`` (for all) and ``ENV=N`` (for one); None: the zoo's."""
    budget = None
    for item in items:
        owner, _, number = item.rpartition("=")
        try:
            steps = int(float(number))
        except ValueError:
            raise ValueError(f"--steps takes a number or ENV=number, got {item!r}.") from None
        if owner == env or (not owner and budget is None):
            budget = steps
    return budget


def planned(options: argparse.Namespace) -> list[RunSettings]:
    """The runs that ``run`` asks for."""
    series = tuple(Series(algo, options.label, parse_overrides(options.set, algo)) for algo in options.algos)
    experiments = [
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
    return plan(experiments, options.threads, options.device)


def make(runs: list[RunSettings], results: Path, options: argparse.Namespace) -> int:
    """Make the runs that are not there yet; the exit code says whether all of them are there now."""
    from benchmarks._learning.pool import run_all

    outcome = run_all(runs, results, options.workers, options.force, options.quiet)
    print(f"{outcome.done} runs made, {outcome.skipped} were there already, {len(outcome.failed)} failed.")
    for name, error in outcome.failed.items():
        print(f"\n{name}: {error}", file=sys.stderr)
    return 1 if outcome.failed else 0


def run(options: argparse.Namespace) -> int:
    """Make the runs of the command line."""
    return make(planned(options), options.results, options)


def report(options: argparse.Namespace) -> int:
    """Make tables and plots."""
    from benchmarks._learning.data import load
    from benchmarks._learning.report import ReportOptions, write_report

    runs = load(options.results, options.envs, options.algos, options.clock)
    levels = {**thresholds(read_suite()), **dict(map(_threshold, options.threshold))}
    out = options.out or options.results / "report"
    asked = ReportOptions(out, options.reference, levels, options.milestones, options.gradients, options.repetitions)
    _say_paths(write_report(runs, asked))
    return 0


def suite(options: argparse.Namespace) -> int:
    """Make what is missing of the suite, then its report."""
    seeds = parse_seeds(options.seeds) if options.seeds else None
    tasks = select(read_suite(options.file), options.group, options.envs, options.algos, seeds)
    runs = plan((task.experiment for task in tasks), options.threads, options.device)
    if options.list:
        return _list_runs(runs, options.results)
    code = 0 if options.report_only else make(runs, options.results, options)

    from benchmarks._learning.data import load_planned
    from benchmarks._learning.report import ReportOptions
    from benchmarks._learning.suite_report import write_suite_report

    asked = ReportOptions(options.out or options.results / "report", options.reference, repetitions=options.repetitions)
    _say_paths(write_suite_report(tasks, load_planned(runs, options.results, options.clock), asked))
    return code


def ablation(options: argparse.Namespace) -> int:
    """Make what is missing of each ablation asked for, then its report."""
    known = read_ablations(options.file)
    if not options.names:
        print("\n".join(f"{name}: {one.question}" for name, one in known.items()))
        return 0
    names = chosen("ablation", None if options.names == ["all"] else options.names, known)
    codes = []
    for name in names:
        print(f"{name}:")
        try:
            codes.append(_ablate(known[name], options))
        except ValueError as error:  # what one of them lacks does not stop the others
            print(f"benchmarks.learning: {error}", file=sys.stderr)
            codes.append(2)
    return max(codes)


def _ablate(one: Ablation, options: argparse.Namespace) -> int:
    results = options.results / one.runs
    runs = plan([one.experiment], options.threads, options.device)
    if options.list:
        return _list_runs(runs, results)
    if not options.report_only:
        one.check_packages()
    code = 0 if options.report_only else make(runs, results, options)

    from benchmarks._learning.ablation_report import write_ablation_report
    from benchmarks._learning.data import load_planned
    from benchmarks._learning.report import ReportOptions

    asked = ReportOptions(
        (options.out or options.results / "ablations") / one.name,
        thresholds=thresholds(read_suite()),
        gradients=options.results / one.gradients if one.gradients else None,
        repetitions=options.repetitions,
    )
    _say_paths(write_ablation_report(one, load_planned(runs, results, options.clock), asked))
    return code


def _list_runs(runs: list[RunSettings], results: Path) -> int:
    """How many runs of each series there are, and how many there should be."""
    asked = Counter((run.env, run.series) for run in runs)
    done = Counter((run.env, run.series) for run in runs if is_finished(run, results))
    for (env, series), count in asked.items():
        print(f"{env} {series}: {done[env, series]} of {count}")
    return 0


def _say_paths(written: list[Path]) -> None:
    print("\n".join(str(path) for path in written))


def _threshold(item: str) -> tuple[str, float]:
    env, _, value = item.partition("=")
    try:
        return env, float(value)
    except ValueError:
        raise ValueError(f"--threshold takes ENV=return, got {item!r}.") from None


def _pool_options() -> argparse.ArgumentParser:
    """How runs are made; a parser of its own each time, for the parsers that share it would share its defaults."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--workers", type=int, default=2, help="runs side by side")
    shared.add_argument("--threads", type=int, default=1, help="torch threads of each run")
    shared.add_argument("--device", default="auto", help="torch device")
    shared.add_argument("--force", action="store_true", help="make finished runs again")
    shared.add_argument("--quiet", action="store_true", help="no progress bar")
    return shared


def _report_options(out: str) -> argparse.ArgumentParser:
    """How a report is made."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--out", type=Path, help=f"where to write; without it, <results>/{out}")
    shared.add_argument("--clock", choices=("wall-clock", "CPU"), default="wall-clock", help="what the seconds are")
    shared.add_argument("--repetitions", type=int, default=2000, help="bootstrap samples")
    return shared


def _results_options(default: Path) -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--results", type=Path, default=default, help="folder of the results")
    return shared


def _file_options(default: Path) -> argparse.ArgumentParser:
    """What the commands that read a file have in common."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--file", type=Path, default=default, help="what to run")
    shared.add_argument("--list", action="store_true", help="say which runs there are, and make none")
    shared.add_argument("--report-only", action="store_true", help="make no runs, report those that there are")
    return shared


def _run_options() -> argparse.ArgumentParser:
    """What is run, told on the command line."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--envs", nargs="+", required=True, metavar="ID", help="Gymnasium ids")
    own.add_argument("--algos", nargs="+", default=["softac", "sac"], metavar="NAME", help=", ".join(ALGORITHMS))
    own.add_argument("--seeds", nargs="+", default=["0-4"], metavar="N", help="numbers, or ranges such as 0-4")
    own.add_argument("--steps", nargs="+", default=[], metavar="N", help="N or ENV=N; without it, the zoo's budget")
    own.add_argument("--hyperparams", choices=SOURCES, default="zoo", help="tuned entries or constructor defaults")
    own.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override; algo:key=value for one")
    own.add_argument("--label", default="", help="names a configuration that differs from the algorithm's plain one")
    own.add_argument("--eval-every", type=int, help="steps between evaluations; without it, a 20th of the budget")
    own.add_argument("--eval-episodes", type=int, default=10, help="episodes of each evaluation")
    own.add_argument("--final-episodes", type=int, default=100, help="episodes for the finished agent")
    return own


def _choice_options() -> argparse.ArgumentParser:
    """What is reported of the stored runs."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--envs", nargs="+", metavar="ID", help="only these")
    own.add_argument("--algos", nargs="+", metavar="SERIES", help="only these; algo or algo-label")
    own.add_argument("--reference", default="softac", help="the series that the others are compared with")
    return own


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="benchmarks.learning", description=__doc__.splitlines()[0])
    commands = root.add_subparsers(required=True, metavar="{run,report,suite,ablation}")

    def command(name: str, function: object, help: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        style = argparse.ArgumentDefaultsHelpFormatter
        one = commands.add_parser(name, help=help, formatter_class=style, parents=parents)
        one.set_defaults(command=function)
        return one

    learning = _results_options(RESULTS / "learning")
    command("run", run, "train and evaluate", _run_options(), _pool_options(), learning)
    tell = command("report", report, "tables and plots", _choice_options(), _report_options("report"), learning)
    tell.add_argument("--threshold", nargs="+", default=[], metavar="ENV=RETURN", help="return that counts as learned")
    tell.add_argument("--milestones", nargs="+", type=int, default=[], metavar="N", help="steps to tell returns at")
    tell.add_argument(
        "--gradients", type=Path, metavar="JSON", help="of benchmarks.gradients, for a table of variances"
    )
    parents = _choice_options(), _file_options(SUITE), _pool_options(), _report_options("report")
    whole = command("suite", suite, "the suite: runs and report", *parents, _results_options(RESULTS / "suite"))
    whole.add_argument("--group", nargs="+", metavar="NAME", help="only these groups")
    whole.add_argument("--seeds", nargs="+", metavar="N", help="only these of the file's seeds")
    parents = _file_options(ABLATIONS), _pool_options(), _report_options("ablations"), _results_options(RESULTS)
    ask = command("ablation", ablation, "the papers' ablations: runs and report", *parents)
    ask.add_argument("names", nargs="*", metavar="NAME", help="of the file, or all; without it, they are listed")
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
