"""Arrays by name, in memory or in an ``.npz`` file."""

import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_softac.offline.steps import Data, Leaves, make_steps
from sb3_softac.saving import archive, plain

#: names of the arrays, the one that is written first; D4RL's are among them
NAMES = {
    "observations": ("observations", "obs"),
    "next_observations": ("next_observations", "next_obs"),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminations": ("terminations", "terminals"),
    "truncations": ("truncations", "timeouts"),
}
#: of the JSON text that has both spaces
SPACES = "spaces"
FLAGS = ("terminations", "truncations")
REMEDY = (
    "needed are observations, actions, rewards, terminations (or terminals), and next_observations or truncations (or "
    "timeouts); those of a Dict are named as 'observations/key'"
)


def read_file(path: pathlib.Path) -> Data:
    """The data of an ``.npz`` file, which runs no code.

    :param path: of the file
    :raises ValueError: it is no such file, or an array is missing or ragged
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            given = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(
            f"The file {str(path)!r} is no .npz file of arrays of numbers: {error}; a ragged array, of episodes of "
            "different lengths, must be joined to one with a row for each step"
        ) from error
    return read(given, repr(str(path)))


def read(given: Mapping[str, Any], name: str) -> Data:
    """Data from arrays by name.

    :param given: the arrays
    :param name: of the data, as error messages have it
    :raises ValueError: an array is missing, ragged, or not as long as the others
    """
    fields = {field: _leaves(given, field, name) for field in NAMES}
    known_spaces = _read_spaces(given, name)
    missing = [field for field in ("observations", "actions", "rewards", "terminations") if not fields[field]]
    if not missing and not fields["next_observations"] and not fields["truncations"]:
        missing = ["next_observations"]
    if missing:
        hint = ""
        if "terminations" in missing and "dones" in given:
            hint = "; 'dones' does not say whether a time limit ended an episode: name it 'terminations' if none did"
        raise ValueError(f"The data of {name} has no {missing[0]!r}, only {sorted(given)}: {REMEDY}{hint}")
    _check_lengths(fields, name)
    rewards = _in_a_row(fields["rewards"][None], "rewards", name)
    flags = {flag: _in_a_row(fields[flag].get(None, np.zeros(len(rewards), bool)), flag, name) for flag in FLAGS}
    steps = make_steps(
        {
            "observations": fields["observations"],
            "next_observations": fields["next_observations"] or None,
            "actions": fields["actions"][None],
            "rewards": rewards,
            **flags,
        }
    )
    return Data(name, lambda: [steps], *known_spaces)


def _in_a_row(values: np.ndarray, field: str, name: str) -> np.ndarray:
    if values.shape not in ((len(values),), (len(values), 1)):
        raise ValueError(f"The data of {name} has {field!r} of shape {values.shape}; give one value for each step")
    return values.reshape(len(values))


def _leaves(given: Mapping[str, Any], field: str, name: str) -> Leaves:
    """Arrays of a field, by their keys in a Dict, or None; empty if there are none."""
    found: Leaves = {}
    for spelling in NAMES[field]:
        if spelling in given and not isinstance(given[spelling], Mapping):
            return {None: _array(given[spelling], spelling, name)}
        nested = given.get(spelling, {})
        found |= {str(key): _array(values, f"{spelling}/{key}", name) for key, values in nested.items()}
        prefix = f"{spelling}/"
        found |= {
            key[len(prefix) :]: _array(given[key], key, name)
            for key in given
            if isinstance(key, str) and key.startswith(prefix)
        }
    return found


def _array(values: Any, key: str, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"The data of {name} has {key!r} in rows of different lengths; give one array with a row for each step: "
            f"{error}"
        ) from error
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise ValueError(
            f"The data of {name} has {key!r} of {array.dtype} and shape {array.shape}; give one array of numbers with "
            "a row for each step"
        )
    return array


def _check_lengths(fields: Mapping[str, Leaves], name: str) -> None:
    n_steps = len(fields["rewards"].get(None, ()))
    for field, leaves in fields.items():
        if field in ("actions", "rewards", *FLAGS) and leaves and None not in leaves:
            raise ValueError(f"The data of {name} has {field!r} by key: only observations may have keys")
        for key, values in leaves.items():
            if len(values) != n_steps:
                which = field if key is None else f"{field}/{key}"
                raise ValueError(
                    f"The data of {name} has {len(values)} rows of {which!r}, but {n_steps} rewards; give one row for "
                    "each step. An episode's last observation is a row of 'next_observations'"
                )


def _read_spaces(given: Mapping[str, Any], name: str) -> tuple[spaces.Space | None, spaces.Space | None]:
    if SPACES not in given:
        return None, None
    try:
        tree = json.loads(str(np.asarray(given[SPACES])[()]))
        archive.check_pickled(plain.pickled_in(tree), allow_pickle=False)
        found = plain.decode(tree)
        pair = found["observation_space"], found["action_space"]
        if not all(space is None or isinstance(space, spaces.Space) for space in pair):
            raise ValueError("they are no spaces")
        return pair
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"The data of {name} has {SPACES!r} that cannot be read: {error}; leave them out") from error
