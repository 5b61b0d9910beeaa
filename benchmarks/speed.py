"""How fast an agent learns per second: SoftAC, and others, against SB3's SAC.

Without a further word: every contender, updates and steps a second, memory, first update. ``--sweep``: how that
changes with the sizes. ``--cases``: what SB3's SAC cannot do, against the same thing in SoftAC's plain path.
Each writes a JSON and a table.

Needs torch, numpy, stable-baselines3 and gymnasium with what these need; SBX needs ``sbx-rl`` (``--sbx-python`` names
the interpreter of an environment that has it).
``--contenders sac`` measures SAC against itself: the ratios' spread is then what the machine adds.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file: its folder is on the path, the package's is not
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _machine
from benchmarks._learning.hyperparams import parse_overrides
from benchmarks._output import write_atomically
from benchmarks._speed import contenders, markdown, store
from benchmarks._speed.case import CASES, Case, named_case
from benchmarks._speed.child import ChildAgent
from benchmarks._speed.pairs import QUICK, SWEEP, Plan, Worker
from benchmarks._speed.points import AXES, Point, sweep

RESULTS = Path(__file__).resolve().parent / "results" / "speed"
QUICK_RESULTS = Path("logs") / "speed"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; bad input is one line and exit code 2, not a traceback."""
    options = parser().parse_args(arguments)
    try:
        for path in measure(options):
            print(path)
    except ValueError as error:
        print(f"benchmarks.speed: {error}", file=sys.stderr)
        return 2
    return 0


def measure(options: argparse.Namespace) -> list[Path]:
    """Everything that the command line asks for; the files that were written."""
    plan, points = check(options)
    out = options.out or (QUICK_RESULTS if options.quick else RESULTS)
    name, title = kind(options)
    data, table = out / f"{name}.json", out / f"{name}.md"
    content = store.run(points, plan, starter(options), data, options.force)
    write_atomically(table, markdown.ratios(content, title))
    return [data, table]


def kind(options: argparse.Namespace) -> tuple[str, str]:
    """Name of the files, and heading of the table."""
    if options.sweep is not None:
        return "sweep", "sizes"
    if options.cases is not None:
        return "cases", "each case against the plain path"
    return "speed", f"against {options.reference or 'sac'}"


def check(options: argparse.Namespace) -> tuple[Plan, list[Point]]:
    """Refuse bad input before minutes are spent on it; what is to be measured."""
    if options.sweep is not None and options.cases is not None:
        raise ValueError("--sweep and --cases are one at a time.")
    plan = QUICK if options.quick else Plan() if options.sweep is None and options.cases is None else SWEEP
    given = {name: getattr(options, name) for name in Plan._fields if getattr(options, name) is not None}
    plan = plan._replace(**given)
    for name in ("pairs", "transitions", "block_seconds"):
        if getattr(plan, name) <= 0:
            raise ValueError(f"{name} must be above 0, got {getattr(plan, name)}.")
    if min(options.threads) < 1:
        raise ValueError(f"threads must be at least 1, got {options.threads}.")
    return plan, points(options)


def points(options: argparse.Namespace) -> list[Point]:
    """The points that the command line asks for."""
    extra = parse_overrides(options.set, "softac")
    names = options.contenders or default_contenders(options)
    chosen = tuple(contenders.named(name, extra) for name in names)
    reference = options.reference or ("sac" if options.cases is None else "softac-eager")
    case = Case(
        options.env, options.batch_size, options.width, options.critics, options.n_envs, options.device, options.seed
    )
    possible = [n for n in options.threads if n <= _machine.usable_cores()] or options.threads[:1]
    base = Point("threads", max(possible), case, max(possible), chosen, contenders.named(reference))
    if options.sweep is not None:
        return sweep(options.sweep or list(AXES), base, options.quick)
    if options.cases is not None:
        named = {name: named_case(name, options.device, options.seed) for name in options.cases or CASES}
        return [replace(base, axis="case", value=name, case=case) for name, case in named.items()]
    return [replace(base, value=n, threads=n) for n in ([max(possible)] if options.quick else options.threads)]


def default_contenders(options: argparse.Namespace) -> list[str]:
    """Who takes part unless the command line says."""
    if options.cases is not None:
        return ["softac"]
    names = contenders.default_names(options.device)
    if options.sweep is None:
        return names
    return ["softac"] if options.quick else [name for name in names if name != "softac-eager"]


def starter(options: argparse.Namespace) -> Any:
    """A function that starts a contender: in a process of its own, SBX perhaps by an interpreter of its own."""

    def start(contender: contenders.Contender, case: Case, transitions: int, threads: int) -> Worker:
        python = options.sbx_python if contender.algo == "sbx" else None
        return ChildAgent(contender, case, transitions, threads, python)

    return start


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="benchmarks.speed",
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    what = root.add_argument_group("what is measured")
    what.add_argument("--sweep", nargs="*", metavar="AXIS", help=f"over sizes: {', '.join(AXES)}; none: all")
    what.add_argument("--cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; none: all")
    what.add_argument("--quick", action="store_true", help="a look in less than two minutes, into logs/speed")
    what.add_argument("--force", action="store_true", help="measure again what is stored already")
    what.add_argument("--out", type=Path, help="folder of the results")
    who = root.add_argument_group("who takes part")
    who.add_argument("--contenders", nargs="+", metavar="NAME", help="whose speed is in question")
    who.add_argument("--reference", help="what they are compared with; sac, for --cases softac-eager")
    who.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="arguments of the SoftAC contenders")
    who.add_argument("--sbx-python", metavar="PATH", help="interpreter that has sbx-rl, if not this one")
    sizes = root.add_argument_group("sizes")
    sizes.add_argument("--env", default="synthetic", help="a synthetic one (17 observations, 6 actions), or an id")
    sizes.add_argument("--batch-size", type=int, default=256, help="of all")
    sizes.add_argument("--width", type=int, default=256, help="of both hidden layers, of all")
    sizes.add_argument("--critics", type=int, default=2, help="of all")
    sizes.add_argument("--n-envs", type=int, default=1, help="above 1: a gradient step for each transition")
    sizes.add_argument("--device", default="cpu", help="torch device")
    sizes.add_argument("--seed", type=int, default=0, help="of all")
    sizes.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="threads of each agent")
    plan = root.add_argument_group("how much is measured (defaults depend on what)")
    plan.add_argument("--pairs", type=int, help="pairs of blocks for each contender")
    plan.add_argument("--warmup-pairs", type=int, help="pairs that do not count")
    plan.add_argument("--block-seconds", type=float, help="length of the reference's blocks")
    plan.add_argument("--transitions", type=int, help="in the buffer before the first update")
    plan.add_argument("--repeats", type=int, help="starts of each agent, for memory and first update")
    plan.add_argument("--seconds", type=float, help="at most, for one measurement of a point")
    return root


if __name__ == "__main__":
    sys.exit(main())
