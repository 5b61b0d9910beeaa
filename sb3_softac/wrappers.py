"""Environment wrappers: action masks as a part of the observation."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_softac.spaces import ACTION_MASK, check_mask_space, discrete_sizes, has_action_masks


class ActionMaskObservation(gym.Wrapper):
    """Environment wrapper that puts ``env.action_masks()``, the interface of sb3-contrib, into the observation.

    The mask is then stored with each transition, so that the mask of the *next* state is known when the TD target is
    computed. The observation becomes a Dict with the key ``"action_mask"`` (and ``"observation"``, if it was no Dict):
    use ``"MultiInputPolicy"``.

    :param env: environment with Discrete or MultiDiscrete actions and a method ``action_masks() -> (A,)``, True where
        an action is allowed; for MultiDiscrete, the masks of the factors stand one after another
    :raises ValueError: other actions, or no method ``action_masks()``
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        if not isinstance(env.action_space, (spaces.Discrete, spaces.MultiDiscrete)):
            raise ValueError(
                f"`ActionMaskObservation` needs Discrete or MultiDiscrete actions, but {env} has {env.action_space}"
            )
        if not env.has_wrapper_attr("action_masks"):
            raise ValueError(f"`ActionMaskObservation` needs an environment with `action_masks()`, but {env} has none")
        mask_space = spaces.MultiBinary(sum(discrete_sizes(env.action_space)))
        self._was_dict = isinstance(env.observation_space, spaces.Dict)
        entries = (
            dict(env.observation_space.spaces)  # type: ignore[attr-defined]
            if self._was_dict
            else {"observation": env.observation_space}
        )
        self.observation_space = spaces.Dict(entries | {ACTION_MASK: mask_space})

    def _with_mask(self, observation: Any) -> dict[str, Any]:
        mask = np.asarray(self.env.get_wrapper_attr("action_masks")(), dtype=np.int8)
        return (dict(observation) if self._was_dict else {"observation": observation}) | {ACTION_MASK: mask}

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return self._with_mask(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_mask(observation), reward, terminated, truncated, info


def check_masks(env: VecEnv | None) -> None:
    """Check the action masks of an environment, and warn if it has masks that are not in the observation.

    :param env: environment of a model; None for none
    :raises ValueError: ``VecNormalize`` would change the masks, or their size differs from the number of actions
    """
    if env is None or isinstance(env.action_space, spaces.Box):
        return
    check_mask_space(env.observation_space, env.action_space)
    normalize = unwrap_vec_normalize(env)
    normalized = normalize.norm_obs_keys or [] if normalize is not None and normalize.norm_obs else []
    if ACTION_MASK in normalized:
        raise ValueError(
            "`VecNormalize` normalises the observation's 'action_mask', which then no longer says what is allowed; "
            f"pass `norm_obs_keys={[key for key in normalized if key != ACTION_MASK]}` to it"
        )
    if not has_action_masks(env.observation_space, env.action_space) and env.has_attr("action_masks"):
        warnings.warn(
            "The environment has `action_masks()`, but its observation has no 'action_mask', so that the masks are "
            "ignored; wrap it in sb3_softac.ActionMaskObservation",
            stacklevel=3,
        )
