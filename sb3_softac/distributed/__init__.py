"""Simulators that are not objects of Python beside the agent: in Ray actors (extra ``ray``), or on a device.

::

    from sb3_softac.distributed import RayVecEnv

    env = make_vec_env("Pendulum-v1", n_envs=8, vec_env_cls=RayVecEnv, vec_env_kwargs=dict(envs_per_actor=4))
    model = SoftAC("MlpPolicy", env, gradient_steps=-1).learn(10_000)
    env.close()
"""

from sb3_softac.collecting.tensor_steps import TensorStep
from sb3_softac.distributed.cluster import ClusterError, connect
from sb3_softac.distributed.ray_vec_env import RayVecEnv
from sb3_softac.distributed.tensor_jax import JaxVecEnv
from sb3_softac.distributed.tensor_rsl_rl import RslRlVecEnv
from sb3_softac.distributed.tensor_vec_env import TensorVecEnv

__all__ = ["ClusterError", "JaxVecEnv", "RayVecEnv", "RslRlVecEnv", "TensorStep", "TensorVecEnv", "connect"]
