"""Observations as networks take them."""

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.type_aliases import PyTorchObs


def preprocess(obs: PyTorchObs, space: spaces.Space, normalize_images: bool) -> PyTorchObs:
    """Stable-Baselines3's ``preprocess_obs``, without looking at values: images in [0, 1], ids one-hot, floats.

    ``one_hot()``, which is called there, looks at the ids to check them: no capture of an update could hold it.

    :param obs: observations, first dimension B
    :param space: of one of them
    :param normalize_images: divide those of images by 255
    :return: the same keys, if it is a dict
    """
    if isinstance(space, spaces.Dict):
        assert isinstance(obs, dict)
        return {key: preprocess(value, space[key], normalize_images) for key, value in obs.items()}  # type: ignore[misc]
    assert isinstance(obs, th.Tensor)
    if isinstance(space, spaces.Discrete):
        return one_hot(obs, int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        factors = zip(obs.flatten(1).unbind(dim=1), space.nvec.flat, space.start.flat, strict=True)
        return th.cat([one_hot(ids, int(size), int(start)) for ids, size, start in factors], dim=-1)
    return preprocess_obs(obs, space, normalize_images)


def one_hot(ids: th.Tensor, size: int, start: int = 0) -> th.Tensor:
    """Vectors that are 1 at the place of an id.

    :param ids: (...), of any dtype
    :param size: number of ids
    :param start: the smallest
    :return: (..., size)
    """
    return (ids.unsqueeze(-1) == th.arange(start, start + size, device=ids.device)).float()
