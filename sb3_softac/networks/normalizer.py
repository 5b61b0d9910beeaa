"""Running normalisation of observations, as a part of the policy: it is saved, loaded and exported with the networks.

Shapes: B rows, D numbers of an observation that are normalised.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.spaces import ACTION_MASK, has_action_masks

CLIP = 10.0
EPSILON = 1e-8
# Both are points of one space, and hindsight puts the one in the place of the other: they need one scale.
GOALS = ("achieved_goal", "desired_goal")
# Rows that are turned into double precision together.
MAX_ROWS = 50_000


class Part(NamedTuple):
    """Numbers that have their own statistics: an observation, or a key of a Dict, or the two goals of one."""

    keys: tuple[str | None, ...]  #: None for an observation that is no Dict
    shape: tuple[int, ...]
    place: slice  #: in the statistics


class ObservationNormalizer(nn.Module):
    """Normalises floats to mean 0 and standard deviation 1, by running statistics; the result is clipped.

    Only :meth:`update` changes the statistics, in place, so that a captured update goes on reading them. Before its
    first call they are mean 0 and variance 1.

    :param observation_space: space of one observation
    :param action_space: tells whether the observation holds action masks, which stay as they are
    :param clip: largest absolute value of a normalised number
    :raises ValueError: the space has nothing to normalise
    """

    mean: th.Tensor  #: (D,)
    var: th.Tensor  #: (D,)
    count: th.Tensor  #: (), observations so far
    # Of the statistics, in single precision: what a pass needs, which is more frequent than an update.
    shift: th.Tensor
    scale: th.Tensor

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, clip: float = CLIP) -> None:
        super().__init__()
        self.clip = clip
        self._parts = _parts_of(observation_space, action_space)
        self._part_of = {key: part for part in self._parts for key in part.keys}
        size = self._parts[-1].place.stop
        # In double precision, as a mean over a million steps moves by less than single precision can tell.
        self.register_buffer("mean", th.zeros(size, dtype=th.float64))
        self.register_buffer("var", th.ones(size, dtype=th.float64))
        self.register_buffer("count", th.zeros((), dtype=th.float64))
        self.register_buffer("shift", th.zeros(size), persistent=False)
        self.register_buffer("scale", th.ones(size), persistent=False)
        self.register_load_state_dict_post_hook(_follow_loaded)

    @property
    def keys(self) -> tuple[str | None, ...]:
        """Keys of a Dict that are normalised; ``(None,)`` for an observation that is no Dict."""
        return tuple(self._part_of)

    def forward(self, obs: PyTorchObs) -> PyTorchObs:
        """Normalise observations.

        :param obs: observations, first dimension B
        :return: in the same shape; keys that are not normalised are left as they are
        """
        if isinstance(obs, dict):
            return {key: self._normalized(values, self._part_of.get(key)) for key, values in obs.items()}
        return self._normalized(obs, self._part_of[None])

    def _normalized(self, values: th.Tensor, part: Part | None) -> th.Tensor:
        if part is None:
            return values
        values = values if values.is_floating_point() else values.float()
        shift, scale = (each[part.place].view(part.shape) for each in (self.shift, self.scale))
        return ((values - shift) * scale).clamp(-self.clip, self.clip)

    @th.no_grad()
    def update(self, observations: Any, are_finite: bool = False) -> None:
        """Take observations into the statistics.

        :param observations: (..., shape of one) numpy array or tensor, or a dict of such; further keys are ignored
        :param are_finite: True: do not look whether they are, as that waits for a device
        :raises ValueError: another shape, a missing key, or numbers that are not finite; then nothing has changed
        """
        leaves = observations if isinstance(observations, Mapping) else {None: observations}
        rows = {key: _rows(leaves.get(key), part.shape, key, are_finite) for key, part in self._part_of.items()}
        counts = {key: len(values) for key, values in rows.items()}
        if len({*counts.values()}) > 1:
            raise ValueError(f"Every key of the observations must have as many rows, but there are {counts}")
        for start in range(0, min(counts.values()), MAX_ROWS):
            self._take({key: values[start : start + MAX_ROWS] for key, values in rows.items()})

    def _take(self, rows: dict[str | None, th.Tensor]) -> None:
        """Merge the moments of rows into the statistics.   Chan, Golub and LeVeque (1979), as in RunningMeanStd."""
        # On the device of the rows, which is the host while an agent explores.
        moments = [_moments([rows[key] for key in part.keys]) for part in self._parts]
        var, mean = (th.cat(each).to(self.mean.device) for each in zip(*moments, strict=True))
        n_rows = len(rows[self._parts[0].keys[0]])
        self.count.add_(n_rows)
        share, delta = n_rows / self.count, mean - self.mean
        self.mean.addcmul_(delta, share)
        self.var.lerp_(var, share).addcmul_(delta.square(), share * (1.0 - share))
        self.follow()

    @th.no_grad()
    def follow(self) -> None:
        """Normalise by the statistics as they are now; needed after they were written by hand."""
        self.shift.copy_(self.mean)
        self.scale.copy_((self.var + EPSILON).rsqrt())

    def extra_repr(self) -> str:
        return f"{', '.join(str(key) for key in self.keys)}, clip={self.clip}"


def _follow_loaded(normalizer: ObservationNormalizer, _: Any) -> None:
    normalizer.follow()


def _moments(rows: list[th.Tensor]) -> tuple[th.Tensor, th.Tensor]:
    """Variance and mean of rows, both (D,)."""
    return th.var_mean((th.cat(rows) if len(rows) > 1 else rows[0]).double(), dim=0, correction=0)


def _rows(values: Any, shape: tuple[int, ...], key: str | None, are_finite: bool) -> th.Tensor:
    """Observations as rows (B, D), of any leading dimensions."""
    name = "observations" if key is None else f"observations[{key!r}]"
    if values is None:
        raise ValueError(f"The normaliser of observations needs the {name}, but there are none")
    tensor = th.as_tensor(values)
    if tensor.shape[tensor.dim() - len(shape) :] != shape:
        raise ValueError(f"The {name} must end in the shape {shape}, but {tuple(tensor.shape)} was given")
    if not are_finite and not math.isfinite(tensor.sum(dtype=th.float64)):
        raise ValueError(f"The {name} must be finite, but hold {tensor[~tensor.isfinite()][0].item()}")
    return tensor.reshape(-1, math.prod(shape))


def _parts_of(observation_space: spaces.Space, action_space: spaces.Space) -> list[Part]:
    """Parts of an observation that are normalised, with their places side by side."""
    leaves: Any = {None: observation_space}
    if isinstance(observation_space, spaces.Dict):
        leaves = dict(observation_space.spaces)
        if has_action_masks(observation_space, action_space):
            del leaves[ACTION_MASK]
    shapes = {key: space.shape for key, space in leaves.items() if _is_vector(space)}
    together = GOALS if all(goal in shapes for goal in GOALS) and len({shapes[goal] for goal in GOALS}) == 1 else ()
    groups = [(key,) for key in shapes if key not in together] + ([together] if together else [])
    if not groups:
        raise ValueError(
            f"`normalize_obs=True` finds nothing to normalise in {observation_space}: it normalises floats of one or "
            "two dimensions, alone or in a Dict, and leaves images, ids and action masks as they are. Pass False"
        )
    parts, start = [], 0
    for keys in groups:
        end = start + math.prod(shapes[keys[0]])
        parts.append(Part(keys, shapes[keys[0]], slice(start, end)))
        start = end
    return parts


def _is_vector(space: spaces.Space) -> bool:
    """Whether a space is of floats, and no image."""
    return isinstance(space, spaces.Box) and space.dtype.kind == "f" and len(space.shape) < 3
