"""Register MinAtar's environments, which importing the package does not do.

Train: ``python -m rl_zoo3.train --algo softac --env MinAtar/Breakout-v1 --gym-packages examples.minatar_environments``
"""

from minatar.gym import register_envs

register_envs()
