"""Card of an agent: its page on the Hub, with the figures in the form that the Hub lists."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch as th

from sb3_softac.hub.client import optional
from sb3_softac.version import __version__


class Results(NamedTuple):
    """Figures of an evaluation."""

    env_id: str  #: id of the environment, or the name of its class
    returns: list[float]  #: of each episode
    lengths: list[int]  #: of each episode, in steps
    deterministic: bool  #: whether the agent took its most likely actions
    num_timesteps: int  #: steps that the agent has learned from

    def summary(self) -> dict[str, Any]:
        """Figures by their names, with the versions of what computed them."""
        return {
            "env_id": self.env_id,
            "mean_reward": float(np.mean(self.returns)),
            "std_reward": float(np.std(self.returns)),
            "mean_ep_length": float(np.mean(self.lengths)),
            "n_eval_episodes": len(self.returns),
            "is_deterministic": self.deterministic,
            "num_timesteps": self.num_timesteps,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Versions of the libraries that an agent is made by."""
    return {
        "sb3_softac": __version__,
        "stable_baselines3": stable_baselines3.__version__,
        "torch": th.__version__,
        "gymnasium": gym.__version__,
    }


def card(repo_id: str, arguments: Mapping[str, Any], results: Results, has_video: bool) -> str:
    """Text of the card, Markdown with the Hub's metadata before it.

    :param repo_id: of the repository
    :param arguments: of the agent
    :param results: of its evaluation
    :param has_video: whether there is a ``replay.mp4``
    """
    score, owner = _score(results), repo_id.split("/")[0]
    how = "most likely" if results.deterministic else "sampled"
    video = "\nThe agent at work: `replay.mp4`.\n" if has_video else ""
    return f"""---
{_metadata(results)}
---

# SoftAC in {results.env_id}

A Soft Actor-Critic agent, made by sb3_softac for Stable-Baselines3.

| | |
|---|---|
| return of an episode | {score}, over {len(results.returns)} episodes |
| length of an episode | {results.summary()["mean_ep_length"]:.1f} steps |
| actions | the {how} ones |
| learned from | {results.num_timesteps:,} steps |
{video}
## Use it

```python
from sb3_softac.hub import load_from_hub

model = load_from_hub({repo_id!r})  # runs no code of the file
action, _ = model.predict(observation, deterministic=True)
```

With RL Zoo: `python -m sb3_softac.zoo load_from_hub --algo softac --env {results.env_id} -orga {owner} -f logs/`.

## Arguments

{_table(arguments)}

## Versions

{_table(versions())}
"""


def _score(results: Results) -> str:
    """Mean return and its standard deviation, in the form of the Hub's leaderboards."""
    figures = results.summary()
    return f"{figures['mean_reward']:.2f} +/- {figures['std_reward']:.2f}"


def _metadata(results: Results) -> str:
    """Metadata of the Hub, YAML: tags, and the results as ``model-index``."""
    hub = optional("huggingface_hub")
    result = hub.EvalResult(
        task_type="reinforcement-learning",
        dataset_type=results.env_id,
        dataset_name=results.env_id,
        metric_type="mean_reward",
        metric_name="mean_reward",
        metric_value=_score(results),
    )
    topics = ("deep-reinforcement-learning", "reinforcement-learning", "stable-baselines3", "sb3_softac")
    data = hub.ModelCardData(
        library_name="stable-baselines3",
        model_name="SoftAC",
        pipeline_tag="reinforcement-learning",
        tags=[results.env_id, *topics],
        eval_results=[result],
    )
    return data.to_yaml()


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| `{name}` | `{str(value).replace('|', '/')}` |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])
