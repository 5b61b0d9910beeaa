"""Data sets of Minari, the Farama Foundation's format."""

import re
import sys
from collections.abc import Iterator
from typing import Any

from gymnasium import spaces

from sb3_softac.offline.steps import Data, Steps, make_steps

ID = re.compile(r"([-\w]+/)*[-\w]+-v\d+")


def library() -> Any:
    """The library.

    :raises ImportError: it is not installed
    """
    try:
        import h5py  # noqa: F401  # which Minari imports late, with a message of its own
        import minari
    except ImportError as error:
        raise ImportError(
            f"Data sets of Minari need the package minari: pip install 'sb3_softac[offline]' ({error})"
        ) from error
    return minari


def is_dataset(source: Any) -> bool:
    """Whether an object is a data set of Minari, which needs not be installed.

    :param source: any object
    """
    minari = sys.modules.get("minari")
    return minari is not None and isinstance(source, minari.MinariDataset)


def of_id(dataset_id: str) -> Data:
    """A local data set. Nothing is downloaded.

    :param dataset_id: as ``"pointmaze/umaze-v2"``
    :raises ValueError: this is no id
    :raises FileNotFoundError: there is no such data set
    :raises ImportError: Minari is not installed
    """
    check_id(dataset_id)
    try:
        return of_dataset(library().load_dataset(dataset_id))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no local Minari data set {dataset_id!r}: {error} `minari download {dataset_id}` fetches it, and "
            "the environment variable MINARI_DATASETS_PATH says where data sets are"
        ) from error


def check_id(dataset_id: str) -> None:
    """Refuse what is no id of a data set.

    :param dataset_id: with its namespace and its version
    :raises ValueError: it is none
    """
    if not ID.fullmatch(dataset_id):
        raise ValueError(
            f"{dataset_id!r} is no .npz file, no .pkl file, and no id of a Minari data set, which reads as "
            "'namespace/name-v0'"
        )


def of_dataset(dataset: Any) -> Data:
    """A data set whose episodes are read from their file at each iteration.

    :param dataset: a ``minari.MinariDataset``
    :raises ValueError: it has spaces that no replay buffer holds
    """
    name = f"the Minari data set {dataset.id!r}"
    space = dataset.observation_space
    leaves = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    for each in [*leaves, dataset.action_space]:
        if not isinstance(each, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
            raise ValueError(
                f"The data of {name} has a space {each}, but replay buffers hold Box, Discrete, MultiDiscrete, "
                "MultiBinary, and a Dict of these; convert the data, and wrap the environment in the same way"
            )

    def blocks() -> Iterator[Steps]:
        for episode in dataset.iterate_episodes():
            if len(episode.rewards) > 0:
                yield _block(episode, name)

    return Data(name, blocks, space, dataset.action_space)


def _block(episode: Any, name: str) -> Steps:
    given = episode.observations if isinstance(episode.observations, dict) else {None: episode.observations}
    n_steps = len(episode.rewards)
    for key, values in given.items():
        if len(values) != n_steps + 1:
            what = "observations" if key is None else f"observations[{key!r}]"
            raise ValueError(
                f"The data of {name} has an episode {episode.id} with {n_steps} rewards and {len(values)} {what}, but "
                "one more than rewards is needed: the last observation of the episode"
            )
    return make_steps(
        {
            "observations": {key: values[:-1] for key, values in given.items()},
            "next_observations": {key: values[1:] for key, values in given.items()},
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminations": episode.terminations,
            "truncations": episode.truncations,
        }
    )
