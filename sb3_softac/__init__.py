"""Soft Actor-Critic for Stable-Baselines3: one class, every variant.

Map of the package, from the top down. A room imports only rooms below it, and none beside it.

1. ``softac``: the class SoftAC, with the interface of Stable-Baselines3's SAC
2. ``saved_algorithm``: the half of it that deals with files
3. ``exporting``: files of a policy that other programs run
   ``offline``: data from elsewhere, and for elsewhere
   ``distributed``: simulators in Ray actors, and on a device
4. ``engines``: run an update, and record it once to replay it faster
   ``collecting``: explore in the environment, and train beside it
   ``saving``: files that are written as a whole and run no code, and checkpoints of a run
5. ``policies``: make actor, critics and target networks, with their optimizers
   ``updates``: the losses, and the gradient step of each variant
6. ``networks``: actors, critics and distributions; ``networks.fused`` computes a network as one autograd node
   ``buffers``: replay buffers
7. ``settings``: the arguments and their checks, one row for each
8. ``spaces``: checks of action spaces, and action masks

Beside the rooms: ``zoo`` (extends rl_zoo3), ``hub`` (agents on the Hugging Face Hub), ``export`` (the command of
``exporting``), ``report`` (a page on runs), ``diagnostics`` (compares a policy with its target), ``callbacks``,
``presets`` (arguments of papers), ``wrappers`` and ``evaluation`` (warns of one that does not end). Only the last two
are used by rooms, ``softac`` and ``policies``.
"""

from sb3_softac.collecting.steps import BadStepError
from sb3_softac.collecting.workers import GuardedSubprocVecEnv, WorkerError
from sb3_softac.engines.divergence import DivergenceError
from sb3_softac.networks.images import FastCNN
from sb3_softac.networks.small_cnn import SmallCNN
from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy
from sb3_softac.saving.resumable import Resumable
from sb3_softac.softac import SoftAC
from sb3_softac.version import __version__
from sb3_softac.wrappers import ActionMaskObservation

__all__ = [
    "ActionMaskObservation",
    "BadStepError",
    "CnnPolicy",
    "DivergenceError",
    "FastCNN",
    "GuardedSubprocVecEnv",
    "MlpPolicy",
    "MultiInputPolicy",
    "Resumable",
    "SmallCNN",
    "SoftAC",
    "SoftACPolicy",
    "WorkerError",
    "__version__",
]
