"""Statistics of the last episodes, for the log."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def return_statistics(episodes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Spread of the returns of the last episodes; Stable-Baselines3 logs the mean.

    :param episodes: what a ``Monitor`` says of each: ``"r"`` is the return
    :return: metrics to log; none without episodes
    """
    returns = [float(episode["r"]) for episode in episodes]
    if not returns:
        return {}
    with np.errstate(invalid="ignore"):  # an infinite return is refused elsewhere, and by name
        spread = float(np.std(returns))
    return {"ep_rew_std": spread, "ep_rew_min": min(returns), "ep_rew_max": max(returns)}


def successes(infos: Iterable[Mapping[str, Any]], success_return: float) -> list[bool]:
    """Successes of the episodes that have ended, by their returns, where the environment does not say them itself.

    :param infos: one dict for each environment
    :param success_return: return from which on an episode is a success
    """
    ended = [info["episode"] for info in infos if "episode" in info and "is_success" not in info]
    return [float(episode["r"]) >= success_return for episode in ended]
