"""What agents learn: train algorithms on environments over seeds, then compare them.

``python -m benchmarks.learning run``     trains and evaluates; a finished run is not repeated
``python -m benchmarks.learning report``  makes tables and plots from the stored runs

Everything else is in ``benchmarks/_learning``; heavy packages are imported where they are needed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: its folder is on the path, the package's is not
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._algorithms import ALGORITHMS, check_algorithm
from benchmarks._learning.hyperparams import SOURCES, resolve
from benchmarks._learning.settings import RunSettings

RESULTS = Path(__file__).resolve().parent / "results" / "learning"


def parse_seeds(items: list[str]) -> list[int]:
    """Seeds from ``0 1 2`` or ``0-4`` or a mixture, in order and without repeats."""
    seeds: dict[int, None] = {}
    for item in items:
        first, dash, last = item.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise ValueError(f"--seeds takes numbers or ranges such as 0-4, got {item!r}.")
        seeds.update(dict.fromkeys(range(int(first), int(last if dash else first) + 1)))
    return list(seeds)


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


def plan(options: argparse.Namespace) -> list[RunSettings]:
    """All runs asked for, the seeds outermost, so that an early stop leaves whole comparisons."""
    runs = []
    seeds = parse_seeds(options.seeds)
    for algo in options.algos:
        check_algorithm(algo)
    for seed in seeds:
        for env in options.envs:
            for algo in options.algos:
                entry, origin = resolve(options.hyperparams, algo, env, options.set)
                tuned_steps = entry.pop("n_timesteps", None)
                steps = parse_steps(options.steps, env) or int(float(tuned_steps or 0))
                if not steps:
                    raise ValueError(f"No budget for {env}: give --steps (only the zoo's entries have one).")
                runs.append(
                    RunSettings(
                        env,
                        algo,
                        seed,
                        steps,
                        entry,
                        origin,
                        options.eval_every or max(1, steps // 20),
                        options.eval_episodes,
                        options.final_episodes,
                        options.threads,
                        options.device,
                        options.label,
                    )
                )
    return runs


def run(options: argparse.Namespace) -> int:
    """Make the runs; the exit code says whether all of them are there now."""
    from benchmarks._learning.pool import run_all

    runs = plan(options)
    outcome = run_all(runs, options.results, options.workers, options.force, options.quiet)
    print(f"{outcome.done} runs made, {outcome.skipped} were there already, {len(outcome.failed)} failed.")
    for name, error in outcome.failed.items():
        print(f"\n{name}: {error}", file=sys.stderr)
    return 1 if outcome.failed else 0


def report(options: argparse.Namespace) -> int:
    """Make tables and plots."""
    from benchmarks._learning.report import ReportOptions, write_report

    written = write_report(
        ReportOptions(
            options.results,
            options.out or options.results / "report",
            options.reference,
            dict(map(_threshold, options.threshold)),
            options.envs,
            options.algos,
            options.milestones,
            options.gradients,
            options.repetitions,
            options.clock,
        )
    )
    print("\n".join(str(path) for path in written))
    return 0


def _threshold(item: str) -> tuple[str, float]:
    env, _, value = item.partition("=")
    try:
        return env, float(value)
    except ValueError:
        raise ValueError(f"--threshold takes ENV=return, got {item!r}.") from None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="benchmarks.learning", description=__doc__.splitlines()[0])
    commands = root.add_subparsers(required=True, metavar="{run,report}")

    make = commands.add_parser("run", help="train and evaluate", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    make.set_defaults(command=run)
    make.add_argument("--envs", nargs="+", required=True, metavar="ID", help="Gymnasium ids")
    make.add_argument("--algos", nargs="+", default=["softac", "sac"], metavar="NAME", help=", ".join(ALGORITHMS))
    make.add_argument("--seeds", nargs="+", default=["0-4"], metavar="N", help="numbers, or ranges such as 0-4")
    make.add_argument("--steps", nargs="+", default=[], metavar="N", help="N or ENV=N; without it, the zoo's budget")
    make.add_argument("--hyperparams", choices=SOURCES, default="zoo", help="tuned entries or constructor defaults")
    make.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override; algo:key=value for one")
    make.add_argument("--label", default="", help="names a configuration that differs from the algorithm's plain one")
    make.add_argument("--eval-every", type=int, help="steps between evaluations; without it, a 20th of the budget")
    make.add_argument("--eval-episodes", type=int, default=10, help="episodes of each evaluation")
    make.add_argument("--final-episodes", type=int, default=100, help="episodes for the finished agent")
    make.add_argument("--workers", type=int, default=2, help="runs side by side")
    make.add_argument("--threads", type=int, default=1, help="torch threads of each run")
    make.add_argument("--device", default="auto", help="torch device")
    make.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    make.add_argument("--force", action="store_true", help="make finished runs again")
    make.add_argument("--quiet", action="store_true", help="no progress bar")

    tell = commands.add_parser(
        "report", help="tables and plots", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    tell.set_defaults(command=report)
    tell.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    tell.add_argument("--out", type=Path, help="where to write; without it, <results>/report")
    tell.add_argument("--envs", nargs="+", metavar="ID", help="only these")
    tell.add_argument("--algos", nargs="+", metavar="SERIES", help="only these; algo or algo-label")
    tell.add_argument("--reference", default="softac", help="the series that the others are compared with")
    tell.add_argument("--threshold", nargs="+", default=[], metavar="ENV=RETURN", help="return that counts as learned")
    tell.add_argument("--milestones", nargs="+", type=int, default=[], metavar="N", help="steps to tell returns at")
    tell.add_argument(
        "--gradients", type=Path, metavar="JSON", help="of benchmarks.gradients, for a table of variances"
    )
    tell.add_argument("--clock", choices=("wall-clock", "CPU"), default="wall-clock", help="what the seconds are")
    tell.add_argument("--repetitions", type=int, default=2000, help="bootstrap samples")
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
