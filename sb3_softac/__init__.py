"""Soft Actor-Critic for Stable-Baselines3: one class, every variant."""

from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy
from sb3_softac.softac import SoftAC
from sb3_softac.version import __version__

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "SoftAC", "SoftACPolicy", "__version__"]
