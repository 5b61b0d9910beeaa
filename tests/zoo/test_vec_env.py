"""Where the environments of a run of the zoo are: a hyperparameter names their class."""

import pytest

from sb3_softac import GuardedSubprocVecEnv
from sb3_softac.distributed import RayVecEnv
from sb3_softac.zoo import runs


def test_classes_by_their_names():
    assert runs._vec_env_class("sb3_softac.distributed.RayVecEnv") is RayVecEnv
    assert runs._vec_env_class("sb3_softac.GuardedSubprocVecEnv") is GuardedSubprocVecEnv


@pytest.mark.parametrize("name", ["RayVecEnv", "sb3_softac.SoftAC", "sb3_softac.distributed", "nowhere.Envs", None, 3])
def test_names_of_something_else(name):
    with pytest.raises(ValueError, match="`vec_env_class` must name a class"):
        runs._vec_env_class(name)
