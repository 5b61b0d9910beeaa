"""Data from elsewhere: replay buffers filled with it, demonstrations, and data sets for others.

::

    from sb3_softac import SoftAC, offline

    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_starts=0)
    offline.fill_buffer(model, "pendulum/expert-v0")     # a local data set of Minari, an .npz file, a .pkl file, ...
    model.learn_offline(10_000)                          # no step in the environment
    model.learn(10_000)                                  # goes on with steps
    offline.to_minari(model, "pendulum/softac-v0")
"""

from sb3_softac.offline.fill import fill_buffer
from sb3_softac.offline.rollouts import collect
from sb3_softac.offline.sources import read
from sb3_softac.offline.stand_in import SpacesEnv, spaces_env
from sb3_softac.offline.steps import Data, Steps
from sb3_softac.offline.writing import to_minari, to_npz

__all__ = ["Data", "SpacesEnv", "Steps", "collect", "fill_buffer", "read", "spaces_env", "to_minari", "to_npz"]
