"""Inputs of an exported policy: their names, shapes and types, and random values for them."""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from sb3_softac.spaces import ACTION_MASK, discrete_sizes, has_action_masks, sample_allowed

OBSERVATION, ACTION, NOISE = "observation", "action", "noise"
# A bound beyond this stands for none: nobody observes such values.
LARGE_BOUND = 1e6
# Standard deviations of VecNormalize over which observations are drawn: some are clipped, most are not.
SPREAD = 3.0


class Input(NamedTuple):
    """One input of an exported policy.

    :param name: of the input
    :param shape: of one row, without the batch axis; of the whole input if it has none
    :param dtype: of its numbers
    :param distribution: of noise: ``"normal"`` (standard) or ``"uniform"`` (in [0, 1)); None: an observation
    :param has_batch: whether the first axis is the batch; the noise of gSDE is the same for all rows
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    distribution: str | None = None
    has_batch: bool = True

    def full_shape(self, rows: Any) -> tuple[Any, ...]:
        """Shape with the batch axis, if there is one.

        :param rows: size of the batch, or a name for it
        """
        return (rows, *self.shape) if self.has_batch else self.shape

    def described(self) -> dict[str, Any]:
        """Description in terms of JSON."""
        facts = {"name": self.name, "shape": list(self.full_shape("batch")), "dtype": self.dtype.name}
        return facts | ({} if self.distribution is None else {"distribution": self.distribution})

    def __str__(self) -> str:
        kind = "" if self.distribution is None else f", {self.distribution} random numbers"
        shape = ", ".join(map(str, self.full_shape("batch")))
        return f"{self.name}: {self.dtype.name} ({shape}){kind}"


def parts_of(space: spaces.Space) -> dict[str, spaces.Space]:
    """Spaces of the observation by the name of their input.

    :param space: of the observations
    :raises ValueError: a space that SoftAC's policies do not take
    """
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {OBSERVATION: space}
    known = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    for name, part in parts.items():
        if not isinstance(part, known):
            raise ValueError(
                f"The observation {name!r} is a {part}, which cannot be exported; exported are Box, Discrete, "
                "MultiDiscrete, MultiBinary, and a Dict of these"
            )
    return parts


def observation_inputs(space: spaces.Space, channels_last: bool) -> tuple[Input, ...]:
    """Inputs that stand for an observation: one, or one for each key of a Dict.

    :param space: of the observations, as the policy has it
    :param channels_last: images come as (height, width, channels)
    :raises ValueError: a space that cannot be exported, or ``channels_last`` without images
    """
    parts = parts_of(space)
    if channels_last and not any(map(is_channels_first_image, parts.values())):
        raise ValueError(
            f"`channels_last=True` needs images, but the observations are {space}; leave it out. An image is a Box of "
            "uint8 from 0 to 255"
        )
    return tuple(Input(name, _shape(part, channels_last), _dtype(part)) for name, part in parts.items())


def _shape(space: spaces.Space, channels_last: bool) -> tuple[int, ...]:
    shape = space.shape or ()
    return (*shape[1:], shape[0]) if channels_last and is_channels_first_image(space) else shape


def _dtype(space: spaces.Space) -> np.dtype:
    """Type of an input: that of the space, but float32 for all floats, as the networks compute in it."""
    is_float = np.issubdtype(space.dtype, np.floating)
    return np.dtype(np.float32) if is_float else np.dtype(space.dtype)


def is_channels_first_image(space: spaces.Space) -> bool:
    """Whether observations are uint8 images, with the channels first, as Stable-Baselines3 brings them there.

    :param space: of the observations
    """
    return is_image_space(space) and is_image_space_channels_first(space)  # type: ignore[arg-type]  # a Box


def unused_name(name: str, taken: Any) -> str:
    """A name that no other input has.

    :param name: wanted
    :param taken: names that are taken
    """
    while name in taken:
        name += "_"
    return name


# Random values


def sample(
    space: spaces.Space, action_space: spaces.Space, normalize: Any, rows: int, seed: int
) -> dict[str, np.ndarray]:
    """Random observations by the name of their input, in the layout of the policy.

    The random generators of the spaces are not touched.

    :param space: of the observations
    :param action_space: space of the actions, for which masks allow at least one
    :param normalize: ``VecNormalize``, whose statistics say which values are usual; None: the space says it
    :param rows: size of the batch
    :param seed: of the random numbers
    """
    rng = np.random.default_rng(seed)
    values = {name: _drawn(part, rows, seed).astype(_dtype(part)) for name, part in parts_of(space).items()}
    for name, statistics in normalized_parts(normalize).items():
        noise = rng.standard_normal((rows, *statistics.mean.shape)) * SPREAD
        values[name] = (statistics.mean + np.sqrt(statistics.var) * noise).astype(values[name].dtype)
    if has_action_masks(space, action_space):
        values[ACTION_MASK] = _with_one_allowed(values[ACTION_MASK], action_space, seed)
    return values


def _drawn(space: spaces.Space, rows: int, seed: int) -> np.ndarray:
    space = deepcopy(space)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low, high = (
            np.where(np.abs(bound) > LARGE_BOUND, sign * np.inf, bound)
            for bound, sign in ((space.low, -1.0), (space.high, 1.0))
        )
        space = spaces.Box(low.astype(space.dtype), high.astype(space.dtype), space.shape, space.dtype)
    space.seed(seed)
    return np.stack([space.sample() for _ in range(rows)])


def _with_one_allowed(masks: np.ndarray, action_space: Any, seed: int) -> np.ndarray:
    """Masks that also allow one random action of each factor."""
    action_space = deepcopy(action_space)
    action_space.seed(seed)
    ids = sample_allowed(action_space, np.ones_like(masks)).reshape(len(masks), -1)
    starts = np.cumsum([0, *discrete_sizes(action_space)[:-1]])
    masks = masks.copy()
    np.put_along_axis(masks, ids + starts, 1, axis=1)
    return masks


def normalized_parts(normalize: Any) -> Mapping[str, Any]:
    """Running statistics of ``VecNormalize`` by the name of the input that they normalise.

    :param normalize: ``VecNormalize``, or None
    """
    if normalize is None or not normalize.norm_obs:
        return {}
    return normalize.obs_rms if isinstance(normalize.obs_rms, dict) else {OBSERVATION: normalize.obs_rms}


def noise(inputs: tuple[Input, ...], rows: int, seed: int) -> dict[str, np.ndarray]:
    """Random numbers for the inputs that are noise.

    :param inputs: all inputs
    :param rows: size of the batch
    :param seed: of the random numbers
    """
    rng = np.random.default_rng(seed)
    draw: dict[str, Any] = {"normal": rng.standard_normal, "uniform": rng.random}
    return {
        each.name: draw[each.distribution](each.full_shape(rows), np.float32)
        for each in inputs
        if each.distribution is not None
    }


# Spaces in terms of JSON


def space_as_json(space: spaces.Space) -> dict[str, Any]:
    """Description of a space that any language reads.

    :param space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these
    """
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {name: space_as_json(part) for name, part in space.spaces.items()}}
    facts: dict[str, Any] = {"type": type(space).__name__, "shape": list(space.shape or ()), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Box):
        return facts | {"low": _numbers(space.low), "high": _numbers(space.high)}
    names = [name for name in ("n", "nvec", "start") if hasattr(space, name)]
    return facts | {name: np.asarray(getattr(space, name)).tolist() for name in names}


def _numbers(bound: np.ndarray) -> Any:
    """Bounds as lists; one number where all are alike; None where there is no bound, as JSON knows no infinity."""
    if bound.size > 0 and np.all(bound == bound.flat[0]):
        bound = bound.flat[0]
    return json.loads(json.dumps(np.asarray(bound).tolist()), parse_constant=lambda _: None)
