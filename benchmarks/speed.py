"""How fast an agent learns per second: SoftAC against SB3's SAC, in turn, in one process.

``python -m benchmarks.speed`` writes ``speed.json``, ``speed.md`` and ``speed.png``. It needs torch, numpy,
stable-baselines3 and gymnasium with what these need; the plot needs matplotlib and is left out without it.
``--contender sac`` measures SAC against itself: the ratios' spread is then what the machine adds.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

if __package__ in (None, ""):  # started as a file: its folder is on the path, the package's is not
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _machine
from benchmarks._algorithms import check_algorithm, parse_value
from benchmarks._speed.child import measure_alone

RESULTS = Path(__file__).resolve().parent / "results" / "speed"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; bad input is one line and exit code 2, not a traceback."""
    options = parser().parse_args(arguments)
    try:
        result = measure(options)
    except ValueError as error:
        print(f"benchmarks.speed: {error}", file=sys.stderr)
        return 2
    for path in write(result, options.out):
        print(path)
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the command line asks for, as the content of ``speed.json``."""
    check(options)
    from benchmarks._speed.case import Case
    from benchmarks._speed.pairs import Plan

    case = Case(options.env, options.batch_size, options.width, options.device, options.seed)
    plan = Plan(
        options.pairs,
        options.warmup_pairs,
        options.updates_per_block,
        options.steps_per_block,
        options.transitions,
        options.seconds,
    )
    extra = parse_arguments(options.set)
    load_at_start = _machine.load_average()
    result = {
        "names": {"contender": options.contender, "reference": options.reference},
        "contender_arguments": extra,
        "settings": asdict(case),
        "plan": plan._asdict(),
        "alone": [alone(options, case, threads, extra) for threads in possible(options.threads) if options.repeats],
        "rounds": [in_turn(options, case, plan, threads, extra) for threads in options.threads],
    }
    described = {"versions": _machine.versions(), "machine": _machine.machine()}
    return {**result, **described, "load_average": {"start": load_at_start, "end": _machine.load_average()}}


def possible(threads: list[int]) -> list[int]:
    """The numbers of threads that this process has the cores for."""
    return [number for number in threads if number <= _machine.usable_cores()]


def in_turn(options: argparse.Namespace, case: Any, plan: Any, threads: int, extra: dict[str, Any]) -> dict[str, Any]:
    """One round of pairs; a number of threads above the number of cores is named and left out."""
    if threads not in possible([threads]):
        reason = f"not measured: {threads} threads on {_machine.usable_cores()} usable core(s)"
        print(reason, flush=True)
        return {"threads": threads, "skipped": reason}
    from benchmarks._speed import pairs

    measured = pairs.measure(case, options.contender, options.reference, plan, threads, extra)
    for key in ("updates", "learn"):
        ratio = measured[key]["ratio"]
        print(
            f"{threads} thread(s), {key}: {ratio['median']:.2f} [{ratio['q1']:.2f}, {ratio['q3']:.2f}]",
            flush=True,
        )
    return measured


def alone(options: argparse.Namespace, case: Any, threads: int, extra: dict[str, Any]) -> dict[str, Any]:
    """Peak memory and first update: median over processes, the two algorithms in turn."""
    job = {"case": asdict(case), "threads": threads, "steps": options.alone_steps}
    roles = {"contender": (options.contender, extra), "reference": (options.reference, {})}
    found: dict[str, list[dict[str, float]]] = {role: [] for role in roles}
    for _ in range(options.repeats):
        for role, (algo, arguments) in roles.items():
            found[role].append(measure_alone({**job, "algo": algo, "arguments": arguments}))
    medians = {
        role: {key: round(median(row[key] for row in rows), 3) for key in rows[0]} for role, rows in found.items()
    }
    print(
        f"{threads} thread(s), peak MiB: " + ", ".join(f"{m['peak_mib']:.0f}" for m in medians.values()),
        flush=True,
    )
    return {"threads": threads, "steps": options.alone_steps, "repeats": options.repeats, **medians}


def write(result: dict[str, Any], out: Path) -> list[Path]:
    """The JSON, the table, and the plot where that is possible."""
    from benchmarks._speed.output import markdown, plot

    out.mkdir(parents=True, exist_ok=True)
    written = [out / "speed.json", out / "speed.md"]
    written[0].write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    written[1].write_text(markdown(result), encoding="utf-8")
    if plot(result, out / "speed.png"):
        written.append(out / "speed.png")
    else:
        print("matplotlib is not installed: no plot.")
    return written


def parse_arguments(items: list[str]) -> dict[str, Any]:
    """Constructor arguments from ``key=value``."""
    parsed = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator or not key.isidentifier():
            raise ValueError(f"--set takes key=value, got {item!r}.")
        parsed[key] = parse_value(value)
    return parsed


def check(options: argparse.Namespace) -> None:
    """Refuse bad input before minutes are spent on it."""
    for name in (options.contender, options.reference):
        check_algorithm(name)
        if name == "ppo":
            raise ValueError("ppo has no gradient steps on a replay buffer: not comparable here.")
    for name in ("pairs", "updates_per_block", "steps_per_block", "transitions", "alone_steps"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}.")
    if min(options.threads) < 1:
        raise ValueError(f"threads must be at least 1, got {options.threads}.")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="benchmarks.speed",
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    root.add_argument("--contender", default="softac", help="the algorithm whose speed is in question")
    root.add_argument("--reference", default="sac", help="the algorithm it is compared with, as its defaults are")
    root.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="arguments of the contender only")
    root.add_argument("--env", default="synthetic", help="'synthetic' (17 observations, 6 actions) or a Gymnasium id")
    root.add_argument("--batch-size", type=int, default=256, help="of both")
    root.add_argument("--width", type=int, default=256, help="of both hidden layers, of both")
    root.add_argument("--device", default="cpu", help="torch device")
    root.add_argument("--seed", type=int, default=0, help="of both")
    root.add_argument(
        "--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="torch threads, one round each"
    )
    root.add_argument("--pairs", type=int, default=40, help="pairs of blocks in each round")
    root.add_argument("--warmup-pairs", type=int, default=3, help="pairs that do not count")
    root.add_argument("--updates-per-block", type=int, default=50, help="gradient steps of one train() call")
    root.add_argument("--steps-per-block", type=int, default=50, help="environment steps of one learn() call")
    root.add_argument("--transitions", type=int, default=10_000, help="in the buffer while train() is timed")
    root.add_argument("--seconds", type=float, default=120.0, help="at most, for one measurement of a round")
    root.add_argument("--repeats", type=int, default=3, help="processes per algorithm for memory; 0 leaves it out")
    root.add_argument("--alone-steps", type=int, default=1000, help="steps of learn() before memory is read")
    root.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return root


if __name__ == "__main__":
    sys.exit(main())
