"""Runs side by side: which are the same but for their seed, how they differ, and their mean with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sb3_softac.report.run import Run

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
N_GRID = 200  # points of a mean curve
MAX_LABEL = 36  # characters, which the legend has room for on a phone
# Where and how often was looked at a run does not change what it learns.
NO_DIFFERENCE = frozenset(
    {
        "algo",
        "env",
        "seed",
        "conf_file",
        "device",
        "eval_episodes",
        "eval_freq",
        "gym_packages",
        "hyperparams",
        "log_folder",
        "log_interval",
        "max_total_trials",
        "n_eval_envs",
        "n_evaluations",
        "n_jobs",
        "n_startup_trials",
        "n_trials",
        "no_optim_plots",
        "num_threads",
        "optimization_log_path",
        "optimize_hyperparameters",
        "progress",
        "pruner",
        "sampler",
        "save_freq",
        "save_replay_buffer",
        "storage",
        "study_name",
        "tensorboard_log",
        "track",
        "trained_agent",
        "trial_id",
        "truncate_last_trajectory",
        "uuid",
        "vec_env",
        "verbose",
        "wandb_entity",
        "wandb_group",
        "wandb_project_name",
        "wandb_tags",
        "yaml_file",
        "n_timesteps",
    }
)
ABSENT = "–"


@dataclass(frozen=True)
class Group:
    """Runs that are the same but for their seed.

    :param label: name of the algorithm, and what it has that other groups of its environment do not
    :param runs: at least one
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def env_id(self) -> str:
        """Id of the environment of all of its runs."""
        return self.runs[0].env_id


class Curve(NamedTuple):
    """Mean over runs with its interval.

    :param steps: (N,), environment steps
    :param mean: (N,)
    :param low: (N,), lower end of the interval
    :param high: (N,), upper end
    :param meaning: of the interval, in words; empty if there is none
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    meaning: str


def grouped(runs: Sequence[Run]) -> dict[str, list[Group]]:
    """Sort runs into groups, by environment.

    :param runs: of any environments
    :return: groups of each environment, in the order of their first runs
    """
    sorted_runs: dict[str, dict[Any, list[Run]]] = {}
    for run in runs:
        key = (run.algo, repr(sorted(setting_of(run).items(), key=lambda item: item[0])))
        sorted_runs.setdefault(run.env_id, {}).setdefault(key, []).append(run)
    return {
        env_id: [Group(label, tuple(each)) for label, each in zip(_labels(groups), groups, strict=True)]
        for env_id, groups in ((env_id, list(keyed.values())) for env_id, keyed in sorted_runs.items())
    }


def setting_of(run: Run) -> dict[str, Any]:
    """Hyperparameters of a run, and options of the zoo that change what it learns."""
    options = {name: value for name, value in run.arguments.items() if value not in (None, "", [], {})}
    return {name: value for name, value in {**options, **run.hyperparams}.items() if name not in NO_DIFFERENCE}


def differences(settings: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Values that are not the same everywhere: one list for each name, an entry for each setting."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    table = {name: [setting.get(name, ABSENT) for setting in settings] for name in names}
    return {name: values for name, values in table.items() if any(value != values[0] for value in values)}


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Name of each group: its algorithm, and the settings that set it apart from groups of the same algorithm."""
    labels = []
    for group in groups:
        algo, own = group[0].algo, setting_of(group[0])
        alike = [setting_of(other[0]) for other in groups if other[0].algo == algo]
        told = [
            f"{name.removeprefix('policy_kwargs.')} {own[name]}"
            for name, values in differences(alike).items()
            # Of many groups, what most of them have needs no word.
            if name in own and (len(alike) <= 3 or values.count(own[name]) <= len(alike) / 2)
        ]
        labels.append(_cut(", ".join([algo or group[0].folder.resolve().name, *sorted(told, key=len)])))
    repeated = {label for label in labels if labels.count(label) > 1}
    return [f"{label} ({number})" if label in repeated else label for number, label in enumerate(labels, start=1)]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"


def run_label(group: Group, run: Run) -> str:
    """Name of a run in a group."""
    return group.label if len(group.runs) == 1 else f"{group.label}, seed {run.seed if run.seed is not None else '?'}"


def evaluation_curve(group: Group) -> Curve | None:
    """Mean return of a group's evaluations against steps; None if no run of it was evaluated.

    The interval is Student's over the seeds, which is honest for the two to ten runs that one has; a bootstrap of so
    few is too narrow. That of a single run is the spread of its evaluation episodes.

    :param group: of one or more runs
    """
    curve = _mean_curve([run.evaluation_returns() for run in group.runs])
    evaluations = [run.evaluations for run in group.runs if run.evaluations is not None]
    if curve is None or len(group.runs) > 1 or not evaluations:
        return curve
    (evaluated,) = evaluations
    spread, n_episodes = evaluated.returns.std(axis=1), evaluated.returns.shape[1]
    return curve._replace(
        low=curve.mean - spread, high=curve.mean + spread, meaning=f"± std of {n_episodes} evaluation episodes"
    )


def training_curve(group: Group) -> Curve | None:
    """Mean return of a group's training episodes against steps, smoothed; None if no episode has ended.

    :param group: of one or more runs
    """
    return _mean_curve([smoothed(run.training_returns()) for run in group.runs])


def _mean_curve(curves: "Sequence[pd.Series]") -> Curve | None:
    curves = [curve[~curve.index.duplicated(keep="last")] for curve in curves if not curve.empty]
    if not curves:
        return None
    steps = _common_steps(curves)
    values = np.stack([np.interp(steps, curve.index, curve) for curve in curves])
    if len(curves) == 1:
        return Curve(steps, values[0], values[0], values[0], "")
    return Curve(steps, values.mean(0), *interval(values), f"{CONFIDENCE:.0%} interval over {len(curves)} runs")


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of a mean.

    :param values: (R, N), of R runs, at least two
    :return: lower and upper ends, (N,) each
    """
    from scipy import stats

    n_runs = len(values)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, n_runs - 1) * values.std(0, ddof=1) / np.sqrt(n_runs)
    return values.mean(0) - half, values.mean(0) + half


def smoothed(returns: "pd.Series") -> "pd.Series":
    """Mean of neighbouring training episodes: of a tenth of them, at most 100."""
    window = max(1, min(100, len(returns) // 10))
    return returns.rolling(window, min_periods=1).mean()


def _common_steps(curves: Sequence["pd.Series"]) -> np.ndarray:
    """Steps that all curves cover: those of the runs if they agree and are few, a grid otherwise."""
    if len(curves[0]) <= N_GRID and all(curve.index.equals(curves[0].index) for curve in curves):
        return curves[0].index.to_numpy()
    first, last = max(curve.index[0] for curve in curves), min(curve.index[-1] for curve in curves)
    if first >= last:  # one of them has hardly begun
        first, last = min(curve.index[0] for curve in curves), max(curve.index[-1] for curve in curves)
    return np.unique(np.linspace(first, last, N_GRID).round())
