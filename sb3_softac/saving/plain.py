"""Objects as JSON, and back without running any code of a file.

A JSON object with the key ``":"`` is an object of the type that it names. Types are rows of tables: those of Python,
numpy, torch, Gymnasium and Stable-Baselines3 that an agent holds. Whatever has no row is pickled, and stands in the
file as Stable-Baselines3 writes it: reading that runs the pickle's code, and has to be allowed.
"""

import base64
import collections
import importlib
import io
import math
import pathlib
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common import noise
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations
from stable_baselines3.her.goal_selection_strategy import GoalSelectionStrategy
from torch import nn

from sb3_softac.buffers.returns import RunningReturns
from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.saving.files import SavedFileError

TAG = ":"
# As Stable-Baselines3 writes what it pickles.
PICKLED = ":serialized:"
#: classes that a file may name are of these modules ...
PACKAGES = (
    "torch.nn.modules.",
    "torch.optim.",
    "stable_baselines3.common.",
    "stable_baselines3.her.",
    "sb3_softac.buffers.",
    "sb3_softac.networks.",
    "sb3_softac.policies.",
)
#: ... and derived from one of these
BASES = (nn.Module, th.optim.Optimizer, BaseBuffer, BaseModel)
# The schedule of rl_zoo3's "lin_<start>", which need not be installed where an agent is loaded.
ZOO_SCHEDULE = "rl_zoo3.utils.SimpleLinearSchedule"
# Kinds of numpy's types that hold numbers or characters, and no objects.
NUMBER_KINDS = "biufcSU"
# Replay buffers copy pieces of arrays to their place, and these are in them.
MAY_BE_IN_PIECES = ("replay buffer", "tuple", "dict")
# Attribute of hindsight's buffer.
INFOS = "infos"
# Bytes from which on an array has a file of its own, where there are such files.
LARGE = 1024


class Row(NamedTuple):
    """One type of objects: its name in a file, and how it is written and read.

    :param cls: the type itself, not a derived one
    :param fields: of an object: what stands in the file
    :param make: an object of what stands in the file
    """

    cls: type
    fields: Callable[[Any], dict[str, Any]]
    make: Callable[[dict[str, Any]], Any]


def _attributes(cls: type, *names: str) -> Row:
    """A type that its constructor makes from the attributes of the same names."""
    return Row(cls, lambda value: {name: getattr(value, name) for name in names}, lambda fields: cls(**fields))


def _whole_state(cls: Any) -> Row:
    """A type whose objects are made of all their attributes."""

    def make(fields: dict[str, Any]) -> Any:
        value = cls.__new__(cls)
        value.__dict__.update(fields)
        return value

    return Row(cls, lambda value: dict(vars(value)), make)


def _enum(cls: type[Enum]) -> Row:
    return Row(cls, lambda value: {"value": value.value}, lambda fields: cls(fields["value"]))


def _array_fields(array: np.ndarray) -> dict[str, Any]:
    if not _holds_numbers(array):  # as some buffers have of infos
        return {"shape": list(array.shape), "items": list(array.flat)}
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def _make_array(fields: dict[str, Any]) -> np.ndarray:
    if "items" in fields:
        array = np.empty(len(fields["items"]), dtype=object)
        array[:] = fields["items"]
        return array.reshape(fields["shape"])
    dtype = np.dtype(fields["dtype"])
    if dtype.kind not in NUMBER_KINDS:
        raise SavedFileError(f"an array of {dtype}, which are no numbers")
    data = base64.b64decode(fields["data"], validate=True)
    return np.frombuffer(data, dtype).reshape(fields["shape"]).copy()


def _make_dict_space(fields: dict[str, Any]) -> spaces.Dict:
    return spaces.Dict(dict(fields["spaces"]))


def _generator_fields(generator: np.random.Generator) -> dict[str, Any]:
    return {"state": generator.bit_generator.state}


def _make_generator(fields: dict[str, Any]) -> np.random.Generator:
    name = fields["state"]["bit_generator"]
    if name not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        raise SavedFileError(f"the unknown random generator {name!r}")
    bit_generator = getattr(np.random, name)()
    bit_generator.state = fields["state"]
    return np.random.Generator(bit_generator)


ROWS = {
    row.cls.__name__: row
    for row in (
        Row(tuple, lambda value: {"items": list(value)}, lambda fields: tuple(fields["items"])),
        Row(set, lambda value: {"items": list(value)}, lambda fields: set(fields["items"])),
        Row(bytes, lambda value: {"data": base64.b64encode(value).decode()}, lambda f: base64.b64decode(f["data"])),
        Row(
            collections.deque,
            lambda value: {"items": list(value), "maxlen": value.maxlen},
            lambda fields: collections.deque(fields["items"], fields["maxlen"]),
        ),
        Row(
            collections.OrderedDict,
            lambda value: {"items": [list(item) for item in value.items()]},
            lambda fields: collections.OrderedDict(fields["items"]),
        ),
        Row(np.ndarray, _array_fields, _make_array),
        Row(th.device, lambda value: {"name": str(value)}, lambda fields: th.device(fields["name"])),
        Row(np.random.Generator, _generator_fields, _make_generator),
        Row(spaces.Box, lambda s: {"low": s.low, "high": s.high, "dtype": s.dtype.str}, lambda f: _make_box(f)),
        Row(spaces.Discrete, lambda s: {"n": int(s.n), "start": int(s.start)}, lambda f: spaces.Discrete(**f)),
        Row(
            spaces.MultiDiscrete,
            lambda s: {"nvec": s.nvec, "dtype": s.dtype.str, "start": s.start},
            lambda f: spaces.MultiDiscrete(f["nvec"], np.dtype(f["dtype"]), start=f["start"]),
        ),
        Row(spaces.MultiBinary, lambda s: {"n": s.n}, lambda fields: spaces.MultiBinary(fields["n"])),
        Row(spaces.Dict, lambda s: {"spaces": [[k, v] for k, v in s.spaces.items()]}, _make_dict_space),
        Row(TrainFreq, lambda value: value._asdict(), lambda fields: TrainFreq(**fields)),
        _enum(TrainFrequencyUnit),
        _enum(GoalSelectionStrategy),
        _attributes(ConstantSchedule, "val"),
        _attributes(LinearSchedule, "start", "end", "end_fraction"),
        _attributes(FloatSchedule, "value_schedule"),
        _whole_state(RunningMeanStd),
        _whole_state(RunningReturns),
        _whole_state(StackedObservations),
        _whole_state(noise.NormalActionNoise),
        _whole_state(noise.OrnsteinUhlenbeckActionNoise),
        Row(
            noise.VectorizedActionNoise,
            lambda value: {"base_noise": value.base_noise, "noises": list(value.noises)},
            lambda fields: _make_vectorized_noise(fields),
        ),
    )
}


def _make_box(fields: dict[str, Any]) -> spaces.Box:
    return spaces.Box(fields["low"], fields["high"], dtype=np.dtype(fields["dtype"]).type)


def _make_vectorized_noise(fields: dict[str, Any]) -> noise.VectorizedActionNoise:
    vectorized = noise.VectorizedActionNoise(fields["base_noise"], len(fields["noises"]))
    vectorized.noises = fields["noises"]
    return vectorized


# Writing


class Writer:
    """Turns values into JSON.

    :param arrays: takes up arrays of :data:`LARGE` bytes or more, for files of their own; None: they are in the JSON
    """

    def __init__(self, arrays: dict[str, np.ndarray] | None = None) -> None:
        self._arrays = arrays
        #: types of what had to be pickled, by its place
        self.pickled: dict[str, str] = {}

    def encode(self, value: Any, where: str = "") -> Any:
        """A value as JSON.

        :param value: any
        :param where: its place, as ``policy_kwargs.net_arch``
        """
        if value is None or type(value) in (bool, str, int):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {TAG: "float", "value": str(value)}
        if type(value) is list:
            return [self.encode(each, f"{where}[{index}]") for index, each in enumerate(value)]
        if type(value) is dict:
            return self._encode_dict(value, where)
        if self._has_file(value):
            assert self._arrays is not None
            self._arrays[where] = value
            return {TAG: "file", "name": where}
        tagged = _tagged(value)
        if tagged is not None:
            return {
                name: each if name == TAG else self.encode(each, f"{where}.{name}") for name, each in tagged.items()
            }
        return self._pickle(value, where)

    def _has_file(self, value: Any) -> bool:
        if self._arrays is None or type(value) is not np.ndarray:
            return False
        return value.ndim > 0 and value.nbytes >= LARGE and _holds_numbers(value)

    def _encode_dict(self, value: dict[Any, Any], where: str) -> Any:
        if all(type(key) is str and not key.startswith(TAG) for key in value):
            return {key: self.encode(each, f"{where}.{key}" if where else key) for key, each in value.items()}
        items = [[self.encode(key, where), self.encode(each, f"{where}[{key!r}]")] for key, each in value.items()]
        return {TAG: "dict", "items": items}

    def _pickle(self, value: Any, where: str) -> Any:
        self.pickled[where] = f"{type(value).__module__}.{type(value).__qualname__}"
        return {":type:": str(type(value)), PICKLED: base64.b64encode(cloudpickle.dumps(value)).decode()}


class _PlainOnly(Writer):
    """Refuses what has to be pickled, without pickling it."""

    def _pickle(self, value: Any, where: str) -> Any:
        raise TypeError(f"{type(value)} has no row")


def is_plain(value: Any) -> bool:
    """Whether a value is written without a pickle.

    :param value: any
    """
    try:
        _PlainOnly({}).encode(value)
    except Exception:  # of an object's own methods, too
        return False
    return True


def _tagged(value: Any) -> dict[str, Any] | None:
    """The name of a value's type, and its fields; None if no row knows it."""
    if isinstance(value, np.generic) and value.dtype.kind in NUMBER_KINDS:
        return {TAG: "scalar", "array": np.asarray(value)}
    if isinstance(value, type):
        if _is_known_class(value):
            return {TAG: "class", "name": f"{value.__module__}.{value.__qualname__}"}
        return {TAG: "numpy type", "name": np.dtype(value).str} if issubclass(value, np.generic) else None
    if isinstance(value, np.dtype):
        return {TAG: "dtype", "name": value.str}
    if isinstance(value, pathlib.PurePath):
        return {TAG: "path", "name": str(value)}
    if f"{type(value).__module__}.{type(value).__name__}" == ZOO_SCHEDULE:
        return {TAG: "zoo schedule", "initial_value": value.initial_value}
    if isinstance(value, ReplayBuffer) and _is_known_class(type(value)):
        return {TAG: "replay buffer", "class": type(value), "state": _state_of(value)}
    row = ROWS.get(type(value).__name__)
    if row is None or row.cls is not type(value):
        return None
    return {TAG: type(value).__name__, **row.fields(value)}


def _state_of(buffer: ReplayBuffer) -> dict[str, Any]:
    """The state of a replay buffer, as it pickles itself; the environment that hindsight asks is not a part of it."""
    has_own = "__getstate__" in {name for cls in type(buffer).__mro__[:-1] for name in vars(cls)}
    state = buffer.__getstate__() if has_own else vars(buffer)  # type: ignore[attr-defined]
    state = {name: value for name, value in state.items() if name != "env"}
    # Hindsight keeps one for each transition, and they are empty unless it is told to copy them.
    if INFOS in state and all(type(info) is dict and not info for info in state[INFOS].flat):
        state[INFOS] = None
    return state


def _holds_numbers(array: np.ndarray) -> bool:
    return array.dtype.kind in NUMBER_KINDS


def _is_known_class(cls: type) -> bool:
    return f"{cls.__module__}.".startswith(PACKAGES) and issubclass(cls, BASES) and "<" not in cls.__qualname__


# Reading


def pickled_in(tree: Any, where: str = "") -> dict[str, str]:
    """Pickled objects in a JSON value, which reading would unpickle: their types, as the file has them, by place.

    :param tree: by a :class:`Writer`, or by Stable-Baselines3
    :param where: the place of the value
    """
    if isinstance(tree, list):
        return {k: v for index, each in enumerate(tree) for k, v in pickled_in(each, f"{where}[{index}]").items()}
    if not isinstance(tree, dict):
        return {}
    if PICKLED in tree:
        return {where: str(tree.get(":type:", "unknown"))}
    parts = ((f"{where}.{key}" if where else key, each) for key, each in tree.items())
    return {k: v for name, each in parts for k, v in pickled_in(each, name).items()}


def decode(tree: Any, arrays: Mapping[str, Any] | None = None) -> Any:
    """A value of its JSON. The caller has seen to what :func:`pickled_in` finds.

    :param tree: by a :class:`Writer`, or by Stable-Baselines3
    :param arrays: those with files of their own, whole or in pieces
    :raises SavedFileError: an unknown type, or fields that make no object of it
    """
    if isinstance(tree, list):
        return [decode(each, arrays) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if PICKLED in tree:
        return cloudpickle.load(io.BytesIO(base64.b64decode(tree[PICKLED])))
    if TAG not in tree:
        return {key: decode(each, arrays) for key, each in tree.items()}
    name = tree[TAG]
    fields = {key: decode(each, arrays) for key, each in tree.items() if key != TAG}
    try:
        if name == "file":
            return (arrays or {})[fields["name"]]
        if name not in MAY_BE_IN_PIECES:
            fields = {key: as_whole(each) for key, each in fields.items()}
        return READERS[name](fields) if name in READERS else ROWS[name].make(fields)
    except SavedFileError:
        raise
    except Exception as error:
        raise SavedFileError(f"{name!r} with {str(fields)[:200]}: {type(error).__name__}: {error}") from error


def as_whole(value: Any) -> Any:
    """A value with arrays in the place of those that are in pieces.

    :param value: any
    """
    if isinstance(value, dict):
        return {key: as_whole(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(as_whole(each) for each in value)
    return np.asarray(value) if hasattr(value, "pieces") else value


def _read_class(fields: dict[str, Any]) -> type:
    """A class by its name; nothing but classes of the known kinds, of the known packages, is looked up."""
    module, _, name = str(fields["name"]).rpartition(".")
    if not f"{module}.".startswith(PACKAGES):
        raise SavedFileError(f"the class {fields['name']!r}, which is none of {', '.join(PACKAGES)}")
    cls = getattr(importlib.import_module(module), name, None)
    if not isinstance(cls, type) or not _is_known_class(cls):
        raise SavedFileError(f"{fields['name']!r}, which is no class of networks, optimizers, buffers or policies")
    return cls


def _read_buffer(fields: dict[str, Any]) -> ReplayBuffer:
    cls = fields["class"]
    if not issubclass(cls, ReplayBuffer):
        raise SavedFileError(f"a {cls.__name__} in the place of a replay buffer")
    state = fields["state"] if issubclass(cls, SingleCopyReplayBuffer) else as_whole(fields["state"])
    if INFOS in state and state[INFOS] is None:
        state[INFOS] = np.frompyfunc(lambda _: {}, 1, 1)(state["rewards"])
    buffer = cls.__new__(cls)
    if hasattr(buffer, "__setstate__"):
        buffer.__setstate__(state)
    else:
        vars(buffer).update(state)
    return buffer


def _read_zoo_schedule(fields: dict[str, Any]) -> Callable[[float], float]:
    start = float(fields["initial_value"])
    try:
        from rl_zoo3.utils import SimpleLinearSchedule
    except ImportError:
        return LinearSchedule(start, 0.0, 1.0)
    return SimpleLinearSchedule(start)


READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "class": _read_class,
    "scalar": lambda fields: fields["array"][()],
    "float": lambda fields: float(fields["value"]),
    "dtype": lambda fields: np.dtype(fields["name"]),
    "numpy type": lambda fields: np.dtype(fields["name"]).type,
    "replay buffer": _read_buffer,
    "zoo schedule": _read_zoo_schedule,
    "path": lambda fields: pathlib.Path(fields["name"]),
    "dict": lambda fields: {key: each for key, each in fields["items"]},
}
