"""A wrapper for environments whose state is not read from outside."""

from typing import Any

import gymnasium as gym
import numpy as np

from sb3_softac.saving import environments


class Resumable(gym.Wrapper):
    """Tells and takes its state, so that a run with this environment resumes exactly.

    In one process, environments whose attributes are numbers, arrays and random generators need no such wrapper, nor do
    MuJoCo's. This one is for environments in other processes (``SubprocVecEnv``), and for those that hold what no file
    can keep, as Box2D's: they come back by a reset with the same random numbers, and the actions of the episode.

    :param env: whose episodes follow from a reset, its generator ``np_random``, and the actions
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._generator: Any = None
        self._arguments: dict[str, Any] = {}
        self._actions: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        own = self.env.unwrapped._np_random
        self._generator = None if own is None else own.bit_generator.state
        self._arguments, self._actions = {"seed": seed, "options": options}, []
        _renew_world(self.env.unwrapped)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._actions.append(np.array(action))
        return super().step(action)

    def get_state(self) -> dict[str, Any]:
        """State of the environment and of its wrappers, or what brings it back.

        :raises ValueError: an environment that began with random numbers of nobody's choice
        """
        actions = np.stack(self._actions) if self._actions else None
        begin = {"generator": self._generator, "arguments": self._arguments, "actions": actions}
        try:
            return begin | {"links": environments.read_env_chain(self.env)}
        except ValueError as error:
            if self._generator is None and self._arguments.get("seed") is None:
                raise ValueError(f"{error}; seed it, by the model's `seed` or by `reset(seed=...)`") from error
            return begin

    def state_or_reason(self) -> dict[str, Any] | str:
        """State, or why there is none: for processes, which an error would end."""
        try:
            return self.get_state()
        except ValueError as error:
            return str(error)

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` returned.

        :param state: of an environment that was made in the same way
        """
        if "links" in state:
            environments.restore_env(self.env, state["links"])
        else:
            if state["generator"] is not None:
                self.env.unwrapped.np_random.bit_generator.state = state["generator"]
            _renew_world(self.env.unwrapped)
            self.env.reset(**state["arguments"])
            for action in [] if state["actions"] is None else state["actions"]:
                self.env.step(action if action.ndim else action.item())
        self._generator, self._arguments = state["generator"], state["arguments"]
        self._actions = [] if state["actions"] is None else list(state["actions"])


def _renew_world(env: Any) -> None:
    """Give an environment of Box2D a new world: the old one remembers earlier episodes in the order of its contacts.

    :param env: any; others stay as they are
    """
    world: Any = getattr(env, "world", None)
    if type(world).__name__ == "b2World" and hasattr(env, "_destroy"):
        env._destroy()
        env.world = type(world)(gravity=world.gravity)
