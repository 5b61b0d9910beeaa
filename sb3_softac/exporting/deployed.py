"""Policy with all that stands around it: from the observation of an environment to an action in its bounds.

Shapes: B batch.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_softac.exporting.draws import drawn_from
from sb3_softac.exporting.inputs import (
    ACTION,
    NOISE,
    OBSERVATION,
    Input,
    is_channels_first_image,
    normalized_parts,
    observation_inputs,
    parts_of,
    sample,
    unused_name,
)
from sb3_softac.policies import SoftACPolicy

# Rows of the batch in which the random numbers of a policy are found: no shape is likely to have it by chance.
EXAMPLE_ROWS = 7


class ExportError(ValueError):
    """A policy that cannot be exported; the message names the layer and what to do."""


class Normalizer(nn.Module):
    """Normalisation by the running statistics of ``VecNormalize``.

    Its mean is in double precision. The graph computes in single precision, and subtracts the mean in two parts: what
    a far-off mean lacks in single precision is the second part.

    :param statistics: running mean and variance
    :param epsilon: added to the variance
    :param clip: bound of the result
    """

    high: th.Tensor
    low: th.Tensor
    std: th.Tensor

    def __init__(self, statistics: RunningMeanStd, epsilon: float, clip: float) -> None:
        super().__init__()
        high = statistics.mean.astype(np.float32)
        low = statistics.mean - high
        std = np.sqrt(statistics.var + epsilon)
        for name, values in (("high", high), ("low", low), ("std", std)):
            self.register_buffer(name, th.as_tensor(values, dtype=th.float32))
        self.clip = clip

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Normalise observations.

        :param x: (B, ...)
        :return: (B, ...)
        """
        return ((x.float() - self.high - self.low) / self.std).clamp(-self.clip, self.clip)


class ChannelsFirst(nn.Module):
    """Images (B, height, width, channels) to (B, channels, height, width)."""

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Move the channels of images.

        :param x: (B, height, width, channels)
        :return: (B, channels, height, width)
        """
        return x.permute(0, 3, 1, 2)


class DeployedPolicy(nn.Module):
    """Policy from the observation of an environment to an action in the bounds of its space, as ``predict`` does it.

    It holds a copy of the policy on the CPU: what is done to it does not reach the model. Its inputs are positional
    tensors, as :attr:`inputs` lists them.

    :param policy: of a model
    :param deterministic: True: the deterministic action. False: a sample, whose random numbers are further inputs
    :param normalize: ``VecNormalize`` of the environment, whose statistics are copied; None for none
    :param channels_last: images come as (height, width, channels)
    :raises ValueError: a space that cannot be exported, or statistics of another shape
    :raises ExportError: the policy cannot be copied
    """

    low: th.Tensor
    high: th.Tensor

    def __init__(
        self,
        policy: SoftACPolicy,
        deterministic: bool = True,
        normalize: VecNormalize | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.policy = _copy_of(policy)
        self.deterministic = deterministic
        space, self.action_space = policy.observation_space, policy.action_space
        self.is_dict = isinstance(space, spaces.Dict)
        self.observations = observation_inputs(space, channels_last)
        self.preparing = nn.ModuleDict()
        self._prepare(parts_of(space), normalize, channels_last)
        if isinstance(self.action_space, spaces.Box):
            self.register_buffer("low", th.as_tensor(self.action_space.low))
            self.register_buffer("high", th.as_tensor(self.action_space.high))
        self.inputs = self.observations if deterministic else (*self.observations, *self._find_noise())
        #: name of the output
        self.output = unused_name(ACTION, [each.name for each in self.inputs])
        self.eval()

    def _prepare(self, parts: Mapping[str, spaces.Space], normalize: Any, channels_last: bool) -> None:
        """List what happens to each input before the policy sees it."""
        statistics = normalized_parts(normalize)
        #: names of the inputs that VecNormalize's statistics normalise
        self.normalized = set(statistics)
        for number, (name, part) in enumerate(parts.items()):
            steps: list[nn.Module] = [ChannelsFirst()] if channels_last and is_channels_first_image(part) else []
            if name in statistics:
                _check_statistics(name, statistics[name], part)
                steps.append(Normalizer(statistics[name], normalize.epsilon, normalize.clip_obs))
            self.preparing[str(number)] = nn.Sequential(*steps)  # a key of the observation may be no name of a module
        unknown = statistics.keys() - parts.keys()
        if unknown:
            raise ValueError(
                f"`VecNormalize` normalises {sorted(unknown)}, but the policy observes {sorted(parts)}; give "
                "the one of this agent's environment"
            )

    def _find_noise(self) -> list[Input]:
        """Random numbers that the policy draws, found by letting it act."""
        found: list[Input] = []

        def record(distribution: str, shape: tuple[int, ...]) -> th.Tensor:
            has_batch = shape[0] == EXAMPLE_ROWS
            name = unused_name(f"{NOISE}_{len(found)}" if found else NOISE, [each.name for each in self.observations])
            row = shape[1:] if has_batch else shape
            found.append(Input(name, row, np.dtype(np.float32), distribution, has_batch))
            return th.full(shape, 0.5)

        with th.no_grad(), drawn_from(record, self.policy.actor):
            self.policy(self._observation(self._example(EXAMPLE_ROWS)), deterministic=False)
        return found

    def _example(self, rows: int) -> list[th.Tensor]:
        values = sample(self.policy.observation_space, self.action_space, None, rows, seed=0)
        return [th.as_tensor(values[each.name].reshape(each.full_shape(rows))) for each in self.observations]

    def example(self, rows: int = 2) -> tuple[th.Tensor, ...]:
        """Inputs to trace this module with.

        :param rows: size of the batch
        """
        noise = [th.full(each.full_shape(rows), 0.5) for each in self.inputs if each.distribution is not None]
        return (*self._example(rows), *noise)

    def batch_axes(self, batch: Any) -> tuple[Any, ...]:
        """Batch axis of each input, in the form of the ``dynamic_shapes`` of :func:`torch.export.export`.

        :param batch: the dimension, such as ``torch.export.Dim("batch")``
        """
        return (tuple({0: batch} if each.has_batch else None for each in self.inputs),)

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        """Actions for a batch of observations.

        :param inputs: as :attr:`inputs` lists them
        :return: (B, ...), actions in the bounds of their space
        """
        observation = self._observation(inputs[: len(self.observations)])
        draws = iter(inputs[len(self.observations) :])
        actor = None if self.deterministic else self.policy.actor
        with drawn_from(lambda *_: next(draws), actor):
            actions = self.policy(observation, deterministic=self.deterministic)
        actions = actions.reshape(actions.shape[0], *(self.action_space.shape or ()))
        if not isinstance(self.action_space, spaces.Box):
            return actions
        return self.low + 0.5 * (actions + 1.0) * (self.high - self.low)

    def _observation(self, inputs: Any) -> Any:
        """The observation as the policy takes it: one tensor, or one for each key."""
        prepared = {
            each.name: steps(x)
            for each, steps, x in zip(self.observations, self.preparing.values(), inputs, strict=True)
        }
        return prepared if self.is_dict else prepared[OBSERVATION]


def _copy_of(policy: SoftACPolicy) -> SoftACPolicy:
    """Copy of a policy on the CPU, in evaluation mode and without optimizers."""
    optimizers = [getattr(module, "optimizer", None) for module in policy.modules()]
    try:
        copy = deepcopy(policy, {id(each): None for each in optimizers if each is not None}).cpu()
    except Exception as error:
        raise ExportError(
            f"The policy cannot be copied: {type(error).__name__}: {error}. A layer of your own keeps something that "
            "`copy.deepcopy()` does not copy; give that layer a `__deepcopy__`"
        ) from error
    copy.set_training_mode(False)
    return copy


def _check_statistics(name: str, statistics: RunningMeanStd, space: spaces.Space) -> None:
    if statistics.mean.shape != space.shape:
        raise ValueError(
            f"`VecNormalize` has statistics of the shape {statistics.mean.shape} for {name!r}, but the policy observes "
            f"{space.shape}: another wrapper stands between them, such as VecFrameStack or one that moves the channels "
            "of images. Export with `vec_normalize=False`, and normalise in front of that wrapper"
        )
