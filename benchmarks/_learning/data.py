"""The stored runs as two tidy tables."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks._learning.settings import CURVE_COLUMNS, RunFiles, RunSettings, is_finished

# What the seconds of a report can be, and their column.
CLOCKS = {"wall-clock": "seconds", "CPU": "cpu_seconds"}


class Runs(NamedTuple):
    """Every finished run of a folder.

    ``curves`` has a row per evaluation, ``finals`` a row per episode of the final evaluation; both carry
    ``env``, ``series`` and ``seed``. ``metas`` holds what was stored beside them, by (env, series). ``clock`` says
    what ``seconds`` are; they are not a number but for the runs of one machine, ``machines[env]``, which has the most.
    """

    curves: pd.DataFrame
    finals: pd.DataFrame
    metas: dict[tuple[str, str], list[dict[str, Any]]]
    clock: str
    machines: dict[str, str]

    def series_of(self, env: str, reference: str) -> list[str]:
        """The series of an environment, the reference first."""
        names = sorted({series for found, series in self.metas if found == env})
        return sorted(names, key=lambda name: name != reference)

    def scores(self, env: str, series: str, mode: str = "deterministic") -> pd.Series:
        """Mean final return of each seed."""
        rows = self.finals.query("env == @env and series == @series and mode == @mode")
        return rows.groupby("seed")["return"].mean()


def load(
    results: Path, envs: list[str] | None = None, series: list[str] | None = None, clock: str = "wall-clock"
) -> Runs:
    """Read every finished run below ``results/runs``.

    :param results: folder of the results
    :param envs: only these environments
    :param series: only these series
    :param clock: a key of ``CLOCKS``
    """
    paths = sorted((results / "runs").glob("*/*/seed_*.json"))
    runs = [RunSettings(**json.loads(path.read_text(encoding="utf-8"))["settings"]) for path in paths]
    wanted = [run for run in runs if (not envs or run.env in envs) and (not series or run.series in series)]
    return load_planned(wanted, results, clock)


def load_planned(runs: list[RunSettings], results: Path, clock: str = "wall-clock") -> Runs:
    """Read those of the runs that are finished; what else lies in the folder does not count.

    :param runs: the settings asked for
    :param results: folder of the results
    :param clock: a key of ``CLOCKS``
    """
    curves, finals = [], []
    metas: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        if not is_finished(run, results):
            continue
        files = RunFiles.of(run, results)
        names = {"env": run.env, "series": run.series, "seed": run.seed}
        curves.append(pd.read_csv(files.curve).assign(**names))
        finals.append(pd.read_csv(files.final).assign(**names))
        metas[run.env, run.series].append(json.loads(files.meta.read_text(encoding="utf-8")))
    if not curves:
        raise ValueError(f"No finished run found among {len(runs)} in {results / 'runs'}; make them first.")
    _check_alike(metas)
    # Runs stored before a column existed have it empty.
    table = pd.concat(curves, ignore_index=True).reindex(columns=["env", "series", "seed", *CURVE_COLUMNS])
    machines = _machines(metas)
    table["seconds"] = table[CLOCKS[clock]].where(_timed(table, metas, machines))
    return Runs(table, pd.concat(finals, ignore_index=True), dict(metas), clock, machines)


def machine_name(meta: dict[str, Any]) -> str:
    """The machine that made a run, as far as its speed hangs on it.

    :param meta: what was stored beside the run
    """
    machine = meta["machine"]
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    return f"{machine['cpu']}, {machine['cores']} core(s){gpu}"


def _machines(metas: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[str, str]:
    """The machine with the most runs of each environment."""
    runs: dict[str, Counter[str]] = defaultdict(Counter)
    for (env, _), group in metas.items():
        runs[env].update(map(machine_name, group))
    return {env: found.most_common(1)[0][0] for env, found in runs.items()}


def _timed(
    table: pd.DataFrame, metas: dict[tuple[str, str], list[dict[str, Any]]], machines: dict[str, str]
) -> list[bool]:
    """Whether the seconds of each row count: those of two machines do not compare."""
    found = {
        (env, series, meta["settings"]["seed"]): machine_name(meta) == machines[env]
        for (env, series), group in metas.items()
        for meta in group
    }
    return [found[key] for key in zip(table["env"], table["series"], table["seed"], strict=True)]


def _check_alike(metas: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    """Refuse to pool runs of different settings: their mean would be the mean of nothing."""
    for (env, series), group in metas.items():
        first = {**group[0]["settings"], "seed": None}
        for meta in group[1:]:
            differing = [key for key, value in meta["settings"].items() if key != "seed" and value != first[key]]
            if differing:
                raise ValueError(
                    f"{env} {series}: seed {meta['settings']['seed']} differs from seed "
                    f"{group[0]['settings']['seed']} in {', '.join(differing)}; "
                    "run the seeds again or use --label."
                )
