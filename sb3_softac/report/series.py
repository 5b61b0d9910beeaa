"""Numbers of every metric for the page's script, thinned out so that the page stays small."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_softac.report.groups import Group, run_label
from sb3_softac.report.run import Run
from sb3_softac.report.thinning import envelope

if TYPE_CHECKING:
    import pandas as pd

MAX_POINTS = 400  # of a metric of a run
MIN_POINTS = 20
BUDGET_BYTES = 2_000_000  # of all metrics of a page
BYTES_OF_A_POINT = 40
#: metrics that say nothing beyond the axis
BORING = frozenset(
    {"steps", "seconds", "time/total_timesteps", "time/time_elapsed", "time/iterations", "time/episodes"}
)
#: metrics that one looks at first
FIRST = ("episode return", "train/entropy", "train/ent_coef", "train/q_value", "train/critic_loss", "train/actor_loss")
UNITS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def metrics_of(groups: Sequence[Group], n_points: int) -> dict[str, Any]:
    """All metrics of an environment's runs, in the form that the page's script reads.

    :param groups: of one environment
    :param n_points: largest number of points of a metric of a run; see :func:`points_for`
    :return: ``labels`` of the runs, the ``unit`` of time, and ``metrics``: for each key, for each run, None or lists
    """
    runs = [(run_label(group, run), run) for group in groups for run in group.runs]
    longest = max([run.seconds for _, run in runs])
    scale, unit = next((scale, unit) for least, scale, unit in UNITS if longest >= least)
    columns = [dict(_columns(run)) for _, run in runs]
    keys = sorted({key for each in columns for key in each}, key=_order)
    return {
        "labels": [label for label, _ in runs],
        "unit": unit,
        "metrics": {key: [_thinned(each.get(key), scale, n_points) for each in columns] for key in keys},
    }


def points_for(runs: Sequence[Run]) -> int:
    """Points of a metric, so many that those of all runs fit the page's budget."""
    n_series = sum(len(run.metrics.columns) + 2 for run in runs)
    return int(np.clip(BUDGET_BYTES / BYTES_OF_A_POINT / max(1, n_series), MIN_POINTS, MAX_POINTS))


def _order(key: str) -> tuple[int, str]:
    return (FIRST.index(key) if key in FIRST else len(FIRST), key)


def _columns(run: Run) -> Iterator[tuple[str, "pd.DataFrame"]]:
    """Each metric of a run: a table of steps, seconds and finite values."""
    import pandas as pd

    if not run.episodes.empty:
        for column, key in (("returns", "episode return"), ("lengths", "episode length")):
            values = run.episodes[["timesteps", "seconds", column]]
            yield key, values.set_axis(["steps", "seconds", "value"], axis=1)
    for key in run.metrics.columns:
        values = pd.DataFrame({name: run.metrics[name] for name in ("steps", "seconds")} | {"value": run.metrics[key]})
        values = values[np.isfinite(values["value"].to_numpy(float))]
        if key not in BORING and not values.empty:
            yield str(key), values


def _thinned(table: "pd.DataFrame | None", scale: float, n_points: int) -> dict[str, list[float | None]] | None:
    if table is None:
        return None
    steps, seconds, values = (table[name].to_numpy(float) for name in ("steps", "seconds", "value"))
    thinned = envelope(steps, values, n_points)
    times = envelope(seconds, seconds, n_points).x / scale
    lists = {"steps": _short(thinned.x, 8), "time": _short(times, 6), "mean": _short(thinned.mean)}
    if thinned.mean is not thinned.low:
        lists |= {"low": _short(thinned.low), "high": _short(thinned.high)}
    return lists


def _short(values: np.ndarray, digits: int = 5) -> list[float | None]:
    """Numbers of a few digits, as JSON has them: no NaN, whole ones without a point."""
    rounded = (float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values)
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]
