"""One training run, as its files tell it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class Evaluations(NamedTuple):
    """Evaluations during a run, from the file of an ``EvalCallback``.

    :param timesteps: (E,), environment steps before each of E evaluations
    :param returns: (E, n_eval_episodes), return of each episode
    :param lengths: (E, n_eval_episodes), steps of each episode; None if the file does not say it
    :param successes: (E, n_eval_episodes), whether each episode succeeded; None if the environment does not say it
    """

    timesteps: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray | None = None
    successes: np.ndarray | None = None


@dataclass(frozen=True)
class Run:
    """Training run of rl_zoo3 or of a script with Stable-Baselines3's loggers.

    :param folder: folder of the run
    :param env_id: id of the environment; the name of the folder if the files do not say it
    :param algo: name of the algorithm in rl_zoo3, in lower case; None if the files do not say it
    :param seed: seed; None if the files do not say it
    :param episodes: one row per training episode, in order: columns ``timesteps`` (steps of all environments until its
        end), ``returns``, ``lengths`` (steps) and ``seconds`` (since the start)
    :param evaluations: evaluations during the run; None if there were none
    :param metrics: one row each time that the logger wrote: columns ``steps``, ``seconds`` (since the start), and the
        logger's keys, such as ``train/ent_coef``; NaN where a key was not written
    :param hyperparams: arguments of the algorithm, nested names joined by a dot
    :param arguments: command line of the zoo, by the option's name
    :param versions: version of each library that wrote the agent
    :param notes: sentences on files that could not be read
    """

    folder: Path
    env_id: str
    algo: str | None
    seed: int | None
    episodes: "pd.DataFrame"
    evaluations: Evaluations | None
    metrics: "pd.DataFrame"
    hyperparams: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no episode has ended, nothing was evaluated and nothing was logged yet."""
        return self.episodes.empty and self.evaluations is None and self.metrics.empty

    @property
    def last_step(self) -> int:
        """Environment steps of the run so far."""
        ends = [0, *self.episodes["timesteps"].tail(1), *self.metrics["steps"].tail(1)]
        return int(max(ends if self.evaluations is None else [*ends, self.evaluations.timesteps[-1]]))

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run so far; 0 if its files do not say it."""
        return float(max([0.0, *self.episodes["seconds"].tail(1), *self.metrics["seconds"].dropna().tail(1)]))

    def metric(self, key: str) -> "pd.Series":
        """Finite values of a metric, indexed by environment steps; empty if it was not logged."""
        import pandas as pd

        if key not in self.metrics:
            return pd.Series(dtype=float)
        series = pd.Series(self.metrics[key].to_numpy(float), index=self.metrics["steps"].to_numpy())
        return series[np.isfinite(series)]

    def evaluation_returns(self) -> "pd.Series":
        """Mean return of each evaluation, indexed by environment steps; empty if there were none."""
        import pandas as pd

        if self.evaluations is None:
            return self.metric("eval/mean_reward")
        return pd.Series(self.evaluations.returns.mean(axis=1), index=self.evaluations.timesteps)

    def training_returns(self) -> "pd.Series":
        """Return of each training episode, or their logged means, indexed by environment steps."""
        if self.episodes.empty:
            return self.metric("rollout/ep_rew_mean")
        return self.episodes.set_index("timesteps")["returns"]

    def seconds_at(self, steps: np.ndarray) -> np.ndarray:
        """Wall-clock time at which a step was reached, between logged times by their line; NaN if none was logged.

        :param steps: (N,), environment steps
        """
        if not self.episodes.empty:
            known = self.episodes.set_index("timesteps")["seconds"]
        else:
            known = self.metrics.set_index("steps")["seconds"]
        known = known.dropna()
        if known.empty:
            return np.full(len(steps), np.nan)
        return np.interp(steps, np.concatenate([[0], known.index]), np.concatenate([[0.0], known]))
