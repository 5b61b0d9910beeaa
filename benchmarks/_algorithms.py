"""The algorithms that the benchmarks know by name, imported only when asked for."""

from __future__ import annotations

import ast
import importlib
from typing import Any

ALGORITHMS = {
    "softac": "sb3_softac:SoftAC",
    "sac": "stable_baselines3:SAC",
    "td3": "stable_baselines3:TD3",
    "ddpg": "stable_baselines3:DDPG",
    "ppo": "stable_baselines3:PPO",
    "dqn": "stable_baselines3:DQN",
    "tqc": "sb3_contrib:TQC",
    "crossq": "sb3_contrib:CrossQ",
    "qrdqn": "sb3_contrib:QRDQN",
}


def check_algorithm(name: str) -> None:
    """Refuse a name that is not in ``ALGORITHMS``."""
    if name not in ALGORITHMS:
        raise ValueError(f"Unknown algorithm {name!r}; known are {', '.join(ALGORITHMS)}.")


def load_algorithm(name: str) -> Any:
    """The class behind a name."""
    check_algorithm(name)
    module, attribute = ALGORITHMS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def parse_value(text: str) -> Any:
    """A Python literal if it is one, else the text itself (``lin_1e-3``, ``dict(net_arch=[64])``)."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
