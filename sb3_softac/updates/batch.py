"""Batch of transitions in the layout of the losses."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples


class Batch(NamedTuple):
    """Batch of B transitions; scalars have the shape (B,), never (B, 1)."""

    obs: PyTorchObs  #: observations (B, ...), or a dict of such
    action: th.Tensor  #: (B, D), scaled to [-1, 1]
    reward: th.Tensor  #: (B,), scaled by ``reward_scale``
    next_obs: PyTorchObs  #: next observations (B, ...), or a dict of such
    done: th.Tensor  #: (B,), 1 for a terminal state, 0 for a time limit
    discount: th.Tensor | float  #: (B,) or a scalar, gamma to the number of steps between obs and next_obs

    @classmethod
    def from_samples(cls, samples: ReplayBufferSamples, gamma: float, reward_scale: float) -> "Batch":
        """Make a batch of the samples of a replay buffer.

        :param samples: from any buffer with Stable-Baselines3's interface
        :param gamma: discount of one step; an n-step buffer brings its own discounts
        :param reward_scale: factor on the rewards, applied here and not in the buffer, so that it may change later
        """
        rewards = samples.rewards.flatten()
        return cls(
            obs=samples.observations,
            action=samples.actions,
            reward=rewards if reward_scale == 1.0 else rewards * reward_scale,
            next_obs=samples.next_observations,
            done=samples.dones.flatten(),
            discount=gamma if samples.discounts is None else samples.discounts.flatten(),
        )

    def tensors(self) -> list[th.Tensor]:
        """All tensors in one list; those of a dict stand one after another."""
        return [tensor for field in self for tensor in _tensors(field)]

    def layout(self) -> Hashable:
        """Shapes and dtypes of all tensors. A captured graph can read every batch with the layout of its own."""
        return tuple(tuple((tensor.shape, tensor.dtype) for tensor in _tensors(field)) for field in self)

    def cloned(self) -> "Batch":
        """Copy of the batch with its own memory."""
        return Batch(*[_map(th.clone, field) for field in self])


def named_tensors(batch: Batch) -> Iterator[tuple[str, th.Tensor]]:
    """The tensors of a batch with their names, in its order.

    :param batch: B transitions
    """
    for name, part in batch._asdict().items():
        if isinstance(part, dict):
            yield from ((f"{name}[{key!r}]", tensor) for key, tensor in part.items())
        elif isinstance(part, th.Tensor):
            yield name, part


def _tensors(field: Any) -> list[th.Tensor]:
    """Tensors in a field of a batch: one, those of a dict, or none for a number."""
    if isinstance(field, dict):
        return list(field.values())
    return [field] if isinstance(field, th.Tensor) else []


def _map(function: Callable[[th.Tensor], th.Tensor], field: Any) -> Any:
    if isinstance(field, dict):
        return {key: function(value) for key, value in field.items()}
    return function(field) if isinstance(field, th.Tensor) else field
