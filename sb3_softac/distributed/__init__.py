"""Simulators that are not objects of Python beside the agent: on a device, or elsewhere."""

from sb3_softac.collecting.tensor_steps import TensorStep
from sb3_softac.distributed.tensor_jax import JaxVecEnv
from sb3_softac.distributed.tensor_rsl_rl import RslRlVecEnv
from sb3_softac.distributed.tensor_vec_env import TensorVecEnv

__all__ = ["JaxVecEnv", "RslRlVecEnv", "TensorStep", "TensorVecEnv"]
