"""Environments of rsl_rl's contract: Isaac Lab, mjlab, MuJoCo Playground, Legged Gym.

Shapes: n_envs environments.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.collecting.tensor_steps import TensorStep
from sb3_softac.distributed.tensor_vec_env import TensorVecEnv, unbounded_space

#: attributes and methods of rsl_rl's ``VecEnv`` that are used
NEEDED = ("num_envs", "num_actions", "device", "get_observations", "step")


class RslRlVecEnv(TensorVecEnv):
    """Environment of rsl_rl's ``VecEnv``, which is known by its attributes: no simulator has to be imported.

    ``extras["time_outs"]`` says where a time limit ended an episode, and ``extras["final_obs"]`` its last observation,
    in the form of the observations. Without the latter, the value of the last state is left out.

    :param env: with ``num_envs``, ``num_actions``, ``device``, ``get_observations()`` and ``step()``
    :param action_low: smallest action, a number or one for each dimension; None: as the environment's space says
    :param action_high: largest action. Without bounds in the space take those of the joints, or of actions that an
        agent of another algorithm takes: the policy spans them evenly
    :param group: group of observations that the policy sees, or several of them, which become a Dict
    :raises ValueError: no such contract, no bounds, or an unknown group
    """

    def __init__(
        self,
        env: Any,
        action_low: float | Sequence[float] | None = None,
        action_high: float | Sequence[float] | None = None,
        group: str | Sequence[str] = "policy",
    ) -> None:
        missing = [name for name in NEEDED if not hasattr(env, name)]
        if missing:
            raise ValueError(
                f"`RslRlVecEnv` needs an environment of rsl_rl's contract, but {type(env).__name__} has no {missing}; "
                "wrap it by the simulator's own wrapper for rsl_rl"
            )
        self.simulator = env
        self._group: str | list[str] = group if isinstance(group, str) else list(group)
        action_space = _action_space(env, action_low, action_high)
        obs = self._grouped(env.get_observations())
        super().__init__(int(env.num_envs), unbounded_space(obs), action_space, env.device)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the simulator, if it has a method for that.

        :param seed: None for one that is drawn
        """
        seeds = list(super().seed(seed))
        if callable(getattr(self.simulator, "seed", None)):
            self.simulator.seed(seeds[0])
        return seeds

    def reset_tensors(self) -> PyTorchObs:
        # Some simulators reset as they are made, and have no method for it.
        obs = self.simulator.reset() if hasattr(self.simulator, "reset") else self.simulator.get_observations()
        return self._grouped(obs)

    def step_tensors(self, actions: th.Tensor) -> TensorStep:
        # Older versions return the observations of the critic in the second place.
        obs, *_, rewards, dones, extras = self.simulator.step(actions)
        ended, truncated = dones != 0, extras.get("time_outs")
        if truncated is not None:
            truncated = ended & (truncated != 0)
        final_obs = extras.get("final_obs")
        return TensorStep(
            self._grouped(obs),
            rewards,
            ended if truncated is None else ended & ~truncated,
            truncated,
            None if final_obs is None else self._grouped(final_obs),
        )

    def close(self) -> None:
        """Close the simulator, if it has a method for that."""
        if hasattr(self.simulator, "close"):
            self.simulator.close()

    def _grouped(self, obs: Any) -> PyTorchObs:
        """Observations of the chosen groups, of a tensor, a dict or a ``TensorDict``."""
        if isinstance(obs, tuple):  # with extras, or with the observations of the critic
            obs = obs[0]
        if isinstance(obs, th.Tensor):
            return obs
        wanted = [self._group] if isinstance(self._group, str) else self._group
        unknown = [name for name in wanted if name not in obs.keys()]  # noqa: SIM118  # a TensorDict iterates over rows
        if unknown:
            raise ValueError(
                f"`group={self._group!r}` was given, but the observations have the groups {sorted(obs.keys())}; "
                "pass one of them, or several"
            )
        return obs[self._group] if isinstance(self._group, str) else {name: obs[name] for name in wanted}


def _action_space(env: Any, low: Any, high: Any) -> spaces.Box:
    """Space of the actions of one environment, with bounds.

    :raises ValueError: there are none
    """
    own = getattr(getattr(env, "unwrapped", env), "single_action_space", None)
    if isinstance(own, spaces.Box) and own.is_bounded():
        low, high = own.low if low is None else low, own.high if high is None else high
    if low is None or high is None:
        raise ValueError(
            f"{type(env).__name__} gives no bounds of its {env.num_actions} actions, which the policy spans: pass "
            "`action_low` and `action_high`, as the limits of the joints, or -1 and 1 where the simulator scales them"
        )
    shape = (int(env.num_actions),)
    try:
        lows, highs = (np.broadcast_to(np.asarray(bound, np.float32), shape) for bound in (low, high))
    except ValueError:
        raise ValueError(
            f"`action_low` and `action_high` must be numbers, or {shape[0]} numbers, but {low!r} and {high!r} are given"
        ) from None
    return spaces.Box(lows, highs)
