"""``python -m sb3_softac.zoo sweep``: the zoo's training for each environment, algorithm and seed, then one report."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from sb3_softac.saving import files
from sb3_softac.zoo.sweep import cell as cells
from sb3_softac.zoo.sweep import comparison
from sb3_softac.zoo.sweep.cell import Cell
from sb3_softac.zoo.sweep.executors import LOCAL, make_executor, run_all

#: options of the training command that the sweep gives itself, or that make no run
TAKEN = ("--seed", "-i", "--trained-agent", "-uuid", "--uuid", "-optimize", "--optimize-hyperparameters")
DESCRIPTION = """Train on each environment with each seed, and compare: what is finished is not run again, and what was
stopped goes on from its checkpoint. Options that are not listed here are those of the zoo's training
command, as -n 10000 --eval-freq 1000."""


def main(arguments: Sequence[str]) -> None:
    """Run a sweep.

    :param arguments: of the command line
    """
    options, others = _parser().parse_known_args(arguments)
    try:
        failed = sweep(_cells(options, others), options.ray, options.workers, options.retries)
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on.")
    except ValueError as error:
        sys.exit(f"error: {str(error).rstrip('.')}.")
    if failed:
        sys.exit(f"error: {len(failed)} runs failed; the same command tries them again.\n\n" + "\n\n".join(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m sb3_softac.zoo sweep", description=DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("--env", nargs="+", required=True, metavar="ID", help="environments")
    add("--seeds", nargs="+", default=["0-4"], metavar="N", help="numbers, or ranges such as 0-4 (default: 0-4)")
    add("--algo", nargs="+", default=["softac"], metavar="NAME", help="algorithms (default: softac)")
    add("-f", "--log-folder", default="logs/sweep", metavar="FOLDER", help="of the sweep (default: logs/sweep)")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="runs at a time (default: one a core)")
    add("--retries", type=int, default=1, metavar="N", help="how often a run that fails is tried again (default: 1)")
    add("--ray", nargs="?", const=LOCAL, metavar="ADDRESS", help="on a cluster of Ray; without an address, on this one")
    return parser


def parse_seeds(items: Iterable[str]) -> tuple[int, ...]:
    """Seeds from ``0 1 2`` or ``0-4`` or a mixture, in order and without repeats.

    :param items: numbers and ranges
    :raises ValueError: one is neither
    """
    seeds: dict[int, None] = {}
    for item in items:
        first, dash, last = item.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ValueError(f"Seeds are numbers or ranges such as 0-4, got {item!r}.")
        seeds.update(dict.fromkeys(range(int(first), int(last if dash else first) + 1)))
    return tuple(seeds)


def _cells(options: argparse.Namespace, others: Sequence[str]) -> list[Cell]:
    """Cells of the sweep, the seeds outermost, so that an early stop leaves whole comparisons.

    :raises ValueError: the options are wrong, or the folder holds a sweep with others
    """
    if taken := [name for name in others if name.partition("=")[0] in TAKEN]:
        raise ValueError(f"{', '.join(taken)} cannot be given to a sweep, which trains anew for each of its --seeds")
    for name, least in (("workers", 1), ("retries", 0)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name} must be at least {least}, got {getattr(options, name)}")
    seeds = parse_seeds(options.seeds)
    _check_names(options.env, options.algo, others)
    folder = Path(options.log_folder).resolve()
    _write_manifest(folder / cells.MANIFEST, list(others))
    return [
        Cell(algo, env, seed, str(folder), tuple(others))
        for seed in seeds
        for env in dict.fromkeys(options.env)
        for algo in dict.fromkeys(options.algo)
    ]


def _check_names(envs: Sequence[str], algos: Sequence[str], others: Sequence[str]) -> None:
    """Refuse a name that every training would refuse."""
    import gymnasium as gym
    import rl_zoo3.import_envs  # noqa: F401  # which registers those of other packages
    from rl_zoo3.utils import ALGOS

    if unknown := [algo for algo in algos if algo not in ALGOS]:
        raise ValueError(f"unknown algorithm {', '.join(unknown)}; known are {', '.join(ALGOS)}")
    # Other packages register environments when a training imports them.
    if "--gym-packages" not in others and (unknown := [env for env in envs if env not in gym.registry]):
        raise ValueError(f"unknown environment {', '.join(unknown)}; give its package with --gym-packages")


def _write_manifest(path: Path, options: list[str]) -> None:
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))["options"]
        if before != options:
            raise ValueError(
                f"{path.parent} holds a sweep with the options {' '.join(before) or '(none)'}, and these are "
                f"{' '.join(options) or '(none)'}: give another folder (-f), or the same options. Other environments, "
                "algorithms and seeds may be added"
            )
    files.write(path, lambda file: file.write(json.dumps({"options": options}).encode()))


def sweep(wanted: Sequence[Cell], ray: str | None, workers: int, retries: int) -> list[str]:
    """Run cells, then write the page and the table; what failed is left out there.

    :param wanted: cells of one sweep
    :param ray: address of a cluster, or None for this machine
    :param workers: runs at a time on this machine
    :param retries: how often a run that fails is tried again
    :return: what went wrong with each run that failed
    :raises EngineError: there is no such cluster
    """
    missing = [cell for cell in wanted if not cell.is_finished]
    print(f"{len(wanted)} runs, of which {len(wanted) - len(missing)} are finished.", flush=True)
    failed: list[str] = []
    if missing:
        executor = make_executor(ray, workers)
        try:
            failed = _run(executor, missing, retries)
        finally:
            executor.shutdown()
    finished = [cell.run for cell in wanted if cell.is_finished]
    if finished:
        comparison.write([run for run in finished if run is not None], Path(wanted[0].sweep))
    return failed


def _run(executor: Executor, missing: Sequence[Cell], retries: int) -> list[str]:
    from tqdm import tqdm

    failed = []
    with tqdm(total=len(missing), unit="run") as bar:
        try:
            for cell, future in run_all(executor, cells.run_cell, missing, retries):
                bar.update()
                bar.set_postfix_str(str(cell))
                if error := future.exception():
                    failed.append(str(error))
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            cells.stop_cells()
            raise
    return failed
