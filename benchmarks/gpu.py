"""SoftAC's engines on this machine's GPU, in one call of less than 8 minutes: are they equal, and how fast are they?

``python -m benchmarks.gpu --out FOLDER`` writes ``gpu.json`` after each step and ``gpu.md`` at the end; the exit code
is 1 if an engine differs from the plain path. It needs torch, numpy, and the wheels of stable-baselines3, gymnasium,
cloudpickle and farama-notifications, and nothing else. Without a GPU it runs on the CPU, with the engines that can.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from timeit import timeit
from typing import Any

if __package__ in (None, ""):  # started as a file: its folder is on the path, the package's is not
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch as th
from stable_baselines3.common.utils import obs_as_tensor

from benchmarks import _machine, tensors
from benchmarks._algorithms import load_algorithm
from benchmarks._output import grid, write_atomically
from benchmarks._speed import markdown, store
from benchmarks._speed.agent import Agent
from benchmarks._speed.case import CASES, Case, named_case
from benchmarks._speed.contenders import Contender, named
from benchmarks._speed.equality import compare
from benchmarks._speed.pairs import Plan
from benchmarks._speed.points import Point, measure

ENGINES = ("fused", "cuda_graph", "compile")
OTHERS = ("softac-bfloat16", "plain-sac")
#: the plain path of images takes seconds a batch on a CPU
SMALL_BATCH_ON_CPU = {"cnn": 8}
PLAN = Plan(pairs=12, warmup_pairs=2, block_seconds=0.25, transitions=1000, repeats=1, seconds=60.0)

Step = tuple[str, Callable[[], dict[str, Any]]]


class AgentHere(Agent):
    """An agent that shares its process with others: what memory the process held says nothing about it."""

    def startup(self) -> dict[str, float]:
        """Start-up figures without memory."""
        return {name: value for name, value in super().startup().items() if not name.startswith("peak")}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; bad input is one line and exit code 2, not a traceback."""
    options = parser().parse_args(arguments)
    try:
        content = run(list(steps(options)), options.seconds, options.out / "gpu.json")
    except ValueError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    write_atomically(options.out / "gpu.md", tables(content))
    print(tables(content))
    return int(any(row.get("equal") is False for row in content["equality"].values()))


def steps(options: argparse.Namespace) -> Iterator[Step]:
    """The steps, the most wanted first: compiling takes minutes."""
    unknown = set(options.cases) - set(CASES)
    if unknown:
        raise ValueError(f"Unknown case {unknown.pop()!r}; known are {', '.join(CASES)}.")
    cases = {name: shrunk(name, options) for name in options.cases}
    first, *others = cases

    def equality(name: str, engine: str) -> Step:
        return f"equality/{name}, {engine}", lambda: compare(engine, cases[name], options.updates)

    def speed(name: str, contenders: tuple[str, ...], reference: str, measures: tuple[str, ...]) -> Step:
        chosen = tuple(named(contender) for contender in contenders)
        point = Point("case", name, cases[name], options.threads, chosen, named(reference), measures)
        plan = PLAN._replace(pairs=options.pairs)
        return f"points/{name}", lambda: measure(point, plan, start_here)

    engines, everyone = options.engines, ("eager", *options.engines)
    yield from (equality(first, engine) for engine in engines)
    yield speed(first, ("softac", *(f"softac-{engine}" for engine in everyone), *OTHERS), "sac", ("updates", "learn"))
    yield f"acting/{first}", lambda: acting(cases[first])
    for n_envs in options.simulators:
        yield f"tensors/{n_envs}", partial(simulator, n_envs, options.device)
    yield from (equality(name, engine) for name in others for engine in engines if engine != "compile")
    yield from (speed(name, ("softac",), "softac-eager", ("updates",)) for name in others)
    yield from (equality(name, "compile") for name in others if "compile" in engines)


def shrunk(name: str, options: argparse.Namespace) -> Case:
    """A named case, on the CPU and for tests with smaller sizes."""
    case = named_case(name, options.device)
    if options.device == "cpu" and name in SMALL_BATCH_ON_CPU:
        case = replace(case, batch_size=SMALL_BATCH_ON_CPU[name])
    return case if options.width is None else replace(case, width=options.width)


def start_here(contender: Contender, case: Case, transitions: int, threads: int) -> AgentHere:
    """An agent in this process."""
    th.set_num_threads(threads)
    return AgentHere(contender, case, transitions)


def acting(case: Case, actions: int = 100, rounds: int = 9) -> dict[str, float]:
    """Milliseconds of an action on the networks' device and by a copy of the actor on the CPU; medians, in turn."""
    from sb3_softac.collecting.actor_copy import ActorCopy

    model = case.build(load_algorithm("softac"), {})
    obs = model.env.reset()
    copy = ActorCopy(model.actor)
    actor = copy.up_to_date(0)
    ways: dict[str, Callable[[], Any]] = {
        "device_ms": lambda: model.policy(obs_as_tensor(obs, model.device)).cpu(),
        "copy_ms": lambda: actor(obs_as_tensor(obs, th.device("cpu"))),
        "transfer_ms": copy._follow,
    }
    with th.no_grad():  # each way ends on the CPU, so there is nothing left to wait for
        times = [{name: timeit(act, number=actions) for name, act in ways.items()} for _ in range(rounds)]
    return {name: round(1e3 * median(each[name] for each in times) / actions, 4) for name in ways}


def simulator(n_envs: int, device: str) -> dict[str, float]:
    """Microseconds of a transition of a simulator on the device, with an actor of 256 x 2; medians, in turn.

    :param n_envs: number of environments
    :param device: of simulator and networks
    """
    times = tensors.compared(n_envs, "256 x 2", tensors.ROUNDS, tensors.SECONDS, device)
    return {name: round(median(each), 4) for name, each in times.items()}


def run(wanted: list[Step], seconds: float, path: Path) -> dict[str, Any]:
    """Do one step after the other while there is time; what fails is named and does not end the run."""
    content: dict[str, Any] = {
        "equality": {},
        "points": {},
        "acting": {},
        "tensors": {},
        "not_done": [],
        "machine": _machine.machine(),
    }
    content["versions"] = _machine.versions() | {"cuda": str(th.version.cuda)}
    started = time.perf_counter()
    for name, step in wanted:
        if time.perf_counter() - started > seconds:
            content["not_done"].append(f"{name}: no time left of {seconds:.0f} s")
            continue
        print(f"[{time.perf_counter() - started:5.0f} s] {name}", flush=True)
        kind, _, what = name.partition("/")
        try:
            content[kind][what] = step()
        except Exception as error:  # one engine's failure must not cost the others' figures
            content["not_done"].append(f"{name}: {type(error).__name__}: {error}")
            print(f"  failed: {error}", flush=True)
            continue
        report(kind, content[kind][what])
        content["seconds"] = round(time.perf_counter() - started, 1)
        store.write(content, path)
    store.write(content, path)
    return content


def report(kind: str, result: dict[str, Any]) -> None:
    """A line or more for a step that is done."""
    if kind == "points":
        store.report(result)
    else:
        print(f"  {SENTENCES[kind](result)}", flush=True)


def tables(content: dict[str, Any]) -> str:
    """All parts for reading."""
    lines = [
        "# Engines against the plain path",
        "",
        "The largest distance between a network trained by an engine and by the plain path, in parts of the distance "
        "from the initial weights, over five phases: as built, another learning rate, another batch size, after "
        "`set_parameters`, after `load`.",
        "",
        grid(("", ""), ((name, _verdict(row)) for name, row in content["equality"].items())),
        *(f"- Exploring, {name}: {_acting(row)}." for name, row in content["acting"].items()),
        *(f"- A simulator of {n_envs} environments: {_simulator(row)}." for n_envs, row in content["tensors"].items()),
        *(f"- Not done: {reason}" for reason in content["not_done"]),
        "",
    ]
    points = list(content["points"].values())
    return "\n".join(lines) + (markdown.ratios({"points": points}, "engines in one process") if points else "")


def _verdict(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"skipped: {row['skipped']}"
    repeated = ", repeats its noise" if row["draws_anew"] is False else ""
    said = f"; warned: {'; '.join(row['warnings'])}" if row["warnings"] else ""
    verdict = "equal" if row["equal"] else "DIFFERENT"
    return f"{verdict}: {max(row['distances'].values()):.1e} (at most {row['tolerance']:g}){repeated}{said}"


def _acting(row: dict[str, float]) -> str:
    return (
        f"{row['device_ms']:.3f} ms an action on the device, {row['copy_ms']:.3f} by a copy on the CPU, "
        f"{row['transfer_ms']:.3f} to bring the weights over"
    )


def _simulator(row: dict[str, float]) -> str:
    return f"{row['device_us']:.3f} us a transition on the device, {row['numpy_us']:.3f} through numpy"


#: what is printed of a step that is done
SENTENCES = {"equality": _verdict, "acting": _acting, "tensors": _simulator}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="benchmarks.gpu",
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    device = "cuda" if th.cuda.is_available() else "cpu"
    threads = min(th.get_num_threads(), _machine.usable_cores())
    root.add_argument("--out", type=Path, default=Path("logs") / "gpu", help="folder of the results")
    root.add_argument("--device", default=device, help="torch device")
    root.add_argument("--cases", nargs="+", default=list(CASES), metavar="CASE", help="the first against SB3's SAC")
    root.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES, help="beside the plain path")
    root.add_argument("--simulators", nargs="*", type=int, default=[1000, 4096], help="environments of a simulator")
    root.add_argument("--seconds", type=float, default=380.0, help="after which no step is begun")
    root.add_argument("--updates", type=int, default=5, help="in each phase of an equality")
    root.add_argument("--pairs", type=int, default=PLAN.pairs, help="pairs of blocks for each contender")
    root.add_argument("--threads", type=int, default=threads, help="torch threads")
    root.add_argument("--width", type=int, help="of the hidden layers, where not the default")
    return root


if __name__ == "__main__":
    sys.exit(main())
