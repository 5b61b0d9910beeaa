"""The stored runs as tidy tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from benchmarks._learning.settings import CURVE_COLUMNS, RunSettings
from benchmarks._learning.store import Run, Store

# Names of the clocks that the seconds of a report may be from, and their columns.
CLOCKS = {"wall-clock": "seconds", "CPU": "cpu_seconds"}
KEY = ["env", "series", "seed"]


class Runs(NamedTuple):
    """Finished runs.

    ``table`` has a row per run, ``curves`` a row per evaluation, ``finals`` a row per episode of the final evaluation;
    all carry ``env``, ``series`` and ``seed``. ``clock`` says what ``seconds`` are; they are not a number but for the
    runs of one machine, ``machines[env]``, which has the most.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    finals: pd.DataFrame
    clock: str
    machines: dict[str, str]

    def series_of(self, env: str, reference: str) -> list[str]:
        """The series of an environment, the reference first."""
        names = sorted(self.table.loc[self.table["env"] == env, "series"].unique())
        return sorted(names, key=lambda name: name != reference)

    def pairs(self, reference: str) -> list[tuple[str, str]]:
        """Every environment with each of its series, the reference first."""
        return [(env, series) for env in sorted(self.machines) for series in self.series_of(env, reference)]

    def of(self, env: str, series: str) -> pd.DataFrame:
        """The evaluations of a series, each seed's in their order."""
        rows = self.curves[(self.curves["env"] == env) & (self.curves["series"] == series)]
        return rows.sort_values(["seed", "step"])

    def episodes(self, env: str, series: str, mode: str = "deterministic") -> pd.DataFrame:
        """The final episodes of a series."""
        return self.finals.query("env == @env and series == @series and mode == @mode")

    def scores(self, env: str, series: str, mode: str = "deterministic") -> pd.Series:
        """Mean final return of each seed."""
        return self.episodes(env, series, mode).groupby("seed")["return"].mean()

    def steps(self, env: str, series: str) -> pd.DataFrame:
        """Deterministic return of each seed (row) at each evaluation (column).

        The last column is the finished agent's evaluation, which has more episodes than those on the way.
        """
        scores = self.of(env, series).pivot(index="seed", columns="step", values="eval_mean")
        scores[scores.columns[-1]] = self.scores(env, series)
        return scores


def load(
    store: Store,
    envs: list[str] | None = None,
    series: Mapping[str, tuple[int, ...] | None] | None = None,
    clock: str = "wall-clock",
) -> Runs:
    """Every finished run of a store.

    :param store: where runs are stored
    :param envs: only these environments
    :param series: only these series, each with its seeds, or None for all
    :param clock: a key of ``CLOCKS``
    """

    def is_wanted(env: str, name: str, seed: int) -> bool:
        seeds = (series or {}).get(name)
        return (not envs or env in envs) and (not series or name in series) and (seeds is None or seed in seeds)

    return tables([run for key, run in store.read().items() if is_wanted(*key)], clock)


def load_planned(runs: list[RunSettings], store: Store, clock: str = "wall-clock") -> Runs:
    """The runs asked for, as far as they are finished; others of the store do not count.

    :param runs: the settings asked for
    :param store: where runs are stored
    :param clock: a key of ``CLOCKS``
    """
    return tables(store.find(runs), clock)


def tables(runs: list[Run], clock: str) -> Runs:
    """Stored runs as tables.

    :param runs: complete
    :param clock: a key of ``CLOCKS``
    :raises ValueError: there are none, or seeds of one series have different settings
    """
    if not runs:
        raise ValueError("No finished run found; make them first.")
    table = pd.DataFrame(map(_row, runs))
    for key, group in table.groupby(["env", "series"], sort=False):
        _check_alike(" ".join(key), list(group["settings"]))
    rows = [_key(run) | row for run in runs for row in run.curve]
    # A column that was not there yet when a run was stored is empty.
    curves = pd.DataFrame(rows, columns=[*KEY, *CURVE_COLUMNS]).astype(dict.fromkeys(CURVE_COLUMNS[2:], float))
    finals = [pd.DataFrame(of).assign(mode=mode, **_key(run)) for run in runs for mode, of in run.final.items()]
    # The machine with the most runs of each environment: seconds of two machines do not compare.
    machines = table.groupby("env")["machine"].agg(lambda names: names.value_counts().index[0]).to_dict()
    timed = table.loc[table["machine"] == table["env"].map(machines), KEY]
    counts = pd.MultiIndex.from_frame(curves[KEY]).isin(pd.MultiIndex.from_frame(timed))
    curves["seconds"] = curves[CLOCKS[clock]].where(counts)
    return Runs(table, curves, pd.concat(finals, ignore_index=True), clock, machines)


def _row(run: Run) -> dict[str, Any]:
    machine = run.meta["machine"]
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    return _key(run) | {
        "settings": run.settings.to_json(),
        # The machine as far as the speed of a run hangs on it.
        "machine": f"{machine['cpu']}, {machine['cores']} core(s){gpu}",
        "versions": run.meta["versions"],
        "device": run.meta["device"],
        "threads": run.meta["torch_threads"],
    }


def _key(run: Run) -> dict[str, Any]:
    return dict(zip(KEY, run.key, strict=True))


def _check_alike(name: str, settings: list[dict[str, Any]]) -> None:
    """Refuse to pool runs of different settings: their mean would be the mean of nothing."""
    first, *others = settings
    for other in others:
        if differing := [key for key, value in other.items() if key != "seed" and value != first[key]]:
            raise ValueError(
                f"{name}: seed {other['seed']} differs from seed {first['seed']} in {', '.join(differing)}; "
                "run the seeds again or use --label."
            )
