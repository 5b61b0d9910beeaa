"""The sizes and arguments that an agent and its reference share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SB3_DEFAULTS = {"batch_size": 256, "width": 256, "critics": 2, "n_envs": 1}


@dataclass(frozen=True)
class Case:
    """The sizes that both agents share. Those that equal SB3 SAC's defaults are left to the constructor.

    :param env: a name of ``envs.SPACES``, or a Gymnasium id
    :param batch_size: transitions in one gradient step
    :param width: units of each of the two hidden layers
    :param critics: number of critics
    :param n_envs: environments, stepped in turn; above 1 there is a gradient step for each transition
    :param device: torch device
    :param seed: of both agents
    :param arguments: further arguments of both constructors
    """

    env: str = "synthetic"
    batch_size: int = 256
    width: int = 256
    critics: int = 2
    n_envs: int = 1
    device: str = "cpu"
    seed: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in SB3_DEFAULTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def constructor_arguments(self, own: dict[str, Any]) -> dict[str, Any]:
        """Arguments of a constructor beside policy and environment.

        :param own: arguments of one agent alone; they win, and their ``policy_kwargs`` are added to the case's
        """
        arguments = {"seed": self.seed, "device": self.device, **self.arguments, **own}
        policy_kwargs: dict[str, Any] = {}
        if self.width != SB3_DEFAULTS["width"]:
            policy_kwargs["net_arch"] = [self.width, self.width]
        if self.critics != SB3_DEFAULTS["critics"]:
            policy_kwargs["n_critics"] = self.critics
        policy_kwargs |= self.arguments.get("policy_kwargs", {}) | own.get("policy_kwargs", {})
        if policy_kwargs:
            arguments["policy_kwargs"] = policy_kwargs
        if self.batch_size != SB3_DEFAULTS["batch_size"]:
            arguments["batch_size"] = self.batch_size
        if self.n_envs > 1:
            arguments["gradient_steps"] = -1
        return arguments

    def build(self, algorithm: Any, own: dict[str, Any]) -> Any:
        """An agent on an environment of its own."""
        from gymnasium import spaces
        from stable_baselines3.common.vec_env import DummyVecEnv

        from benchmarks._speed.envs import maker

        make = maker(self.env)
        env = DummyVecEnv([make] * self.n_envs) if self.n_envs > 1 else make()
        policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
        if len(env.observation_space.shape or ()) == 3:
            policy = "CnnPolicy"
        return algorithm(policy, env, **self.constructor_arguments(own))


#: what SoftAC does beyond SB3's SAC, each to be timed against the same thing in the plain path.
#: Images are many: a small batch, and a buffer of which two fit into memory.
CASES: dict[str, dict[str, Any]] = {
    "v2": {},
    "v1": {"arguments": {"variant": "v1"}},
    "discrete": {"env": "synthetic-discrete"},
    "five-critics": {"critics": 5},
    "layer-norm": {"arguments": {"policy_kwargs": {"layer_norm": True}}},
    "crossq": {"arguments": {"target_networks": False, "policy_delay": 3, "policy_kwargs": {"batch_norm": True}}},
    "score-function": {"arguments": {"actor_gradient": "score_function"}},
    "cnn": {"env": "synthetic-image", "batch_size": 32, "arguments": {"buffer_size": 2000}},
    "multi-input": {"env": "synthetic-dict"},
}


def named_case(name: str, device: str, seed: int = 0) -> Case:
    """A case of ``CASES``."""
    if name not in CASES:
        raise ValueError(f"Unknown case {name!r}; known are {', '.join(CASES)}.")
    return Case(device=device, seed=seed, **CASES[name])
