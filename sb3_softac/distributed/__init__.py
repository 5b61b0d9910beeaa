"""Work on several processes and machines with Ray (extra ``ray``).

::

    from sb3_softac.distributed import RayVecEnv

    env = make_vec_env("Pendulum-v1", n_envs=8, vec_env_cls=RayVecEnv, vec_env_kwargs=dict(envs_per_actor=4))
    model = SoftAC("MlpPolicy", env, gradient_steps=-1).learn(10_000)
    env.close()
"""

from sb3_softac.distributed.cluster import ClusterError, connect
from sb3_softac.distributed.ray_vec_env import RayVecEnv

__all__ = ["ClusterError", "RayVecEnv", "connect"]
