"""Observations: their preprocessing for the networks, and their way to the host."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.type_aliases import PyTorchObs


def preprocess(obs: PyTorchObs, space: spaces.Space, normalize_images: bool) -> PyTorchObs:
    """Preprocess observations as Stable-Baselines3 does: images to [0, 1], ids to one-hot vectors, all to floats.

    Its ``preprocess_obs`` calls PyTorch's ``one_hot()``, which reads the ids on the host to check them. A captured
    update cannot do that, so that ids are encoded here.

    :param obs: observations, first dimension B
    :param space: space of one observation
    :param normalize_images: divide uint8 images by 255
    :return: preprocessed observations, with the same keys if they are a dict
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
    """One-hot vectors of ids, without a check of the ids.

    :param ids: (...), of any dtype
    :param size: number of ids
    :param start: the smallest id
    :return: (..., size)
    """
    return (ids.unsqueeze(-1) == th.arange(start, start + size, device=ids.device)).float()


def on_host(obs: Any) -> Any:
    """Observations as numpy arrays.

    :param obs: tensors or arrays, or a dict of such; anything else stays as it is
    """
    if isinstance(obs, dict):
        return {key: on_host(values) for key, values in obs.items()}
    return obs.detach().cpu().numpy() if isinstance(obs, th.Tensor) else obs
