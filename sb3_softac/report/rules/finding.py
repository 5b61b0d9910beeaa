"""Finding of a rule, and the few measures that rules share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_softac.report.groups import smoothed
from sb3_softac.report.run import Run

if TYPE_CHECKING:
    import pandas as pd

MIN_POINTS = 6  # of a metric, before a rule judges it
MIN_EPISODES = 20  # of training


@dataclass(frozen=True)
class Finding:
    """Trouble that a rule has found in a run.

    :param title: in a few words, with the number that matters
    :param seen: the numbers
    :param why: why it matters
    :param advice: what to do
    :param is_problem: False: it is worth a look, and may be right
    """

    title: str
    seen: str
    why: str
    advice: str
    is_problem: bool = True


def late(series: "pd.Series", share: float = 0.25) -> "pd.Series":
    """The last values of a series."""
    return series.tail(max(1, round(len(series) * share)))


def early(series: "pd.Series", share: float = 0.25) -> "pd.Series":
    """The first values of a series."""
    return series.head(max(1, round(len(series) * share)))


def has_points(*series: "pd.Series") -> bool:
    """Whether a rule has enough values of each metric to judge."""
    return all(len(each) >= MIN_POINTS for each in series)


def returns_of(run: Run) -> "pd.Series":
    """Returns by which a run is judged: of evaluations if there are some, smoothed ones of training otherwise."""
    evaluated = run.evaluation_returns()
    return evaluated if len(evaluated) >= 4 else smoothed(run.training_returns())


def has_improved(run: Run) -> bool | None:
    """Whether the last training episodes are better than the first, beyond chance; None if there are too few."""
    from scipy.stats import mannwhitneyu

    returns = run.training_returns()
    if len(returns) < MIN_EPISODES or run.episodes.empty:  # logged means of many episodes lag behind
        return None
    first, last = early(returns, 0.2), late(returns, 0.3)
    if np.allclose(returns, returns.iloc[0]):
        return False
    return bool(mannwhitneyu(last, first, alternative="greater").pvalue < 0.01)


def numeric(setting: dict[str, Any], name: str, default: float) -> float:
    """A setting as a number, the default if it is none."""
    try:
        return float(setting.get(name, default))
    except (TypeError, ValueError):
        return default


def say(value: float) -> str:
    """A number of three digits: 12,300, 1.23, 0.00123, 1.2e+09."""
    value = float(f"{value:.3g}")
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def steps(value: float) -> str:
    """Number of environment steps: 41,000."""
    return f"{int(value):,}"
