"""Soft Actor-Critic for Stable-Baselines3: one class, every variant."""

from sb3_softac.collecting.steps import BadStepError
from sb3_softac.collecting.workers import GuardedSubprocVecEnv, WorkerError
from sb3_softac.engines.divergence import DivergenceError
from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy
from sb3_softac.softac import SoftAC
from sb3_softac.version import __version__
from sb3_softac.wrappers import ActionMaskObservation

__all__ = [
    "ActionMaskObservation",
    "BadStepError",
    "CnnPolicy",
    "DivergenceError",
    "GuardedSubprocVecEnv",
    "MlpPolicy",
    "MultiInputPolicy",
    "SoftAC",
    "SoftACPolicy",
    "WorkerError",
    "__version__",
]
