"""Data written for elsewhere: ``.npz`` files, and data sets of Minari."""

import inspect
import json
import os
import pathlib
import shutil
import warnings
from typing import Any

import numpy as np

from sb3_softac.offline.arrays import FLAGS, SPACES
from sb3_softac.offline.minari_files import check_id, library
from sb3_softac.offline.sources import read
from sb3_softac.offline.steps import Data, Leaves, Steps
from sb3_softac.saving import files, plain


def to_npz(source: Any, path: str | os.PathLike[str], allow_pickle: bool | None = None) -> pathlib.Path:
    """Write data to an ``.npz`` file, as a whole or not at all.

    Its arrays, with T steps: ``observations`` and ``next_observations`` (T, ...), for a Dict ``observations/<key>``;
    ``actions`` (T, ...) as the environment takes them; ``rewards``, ``terminations`` and ``truncations`` (T,); and
    ``spaces``, a text. A truncation is where an episode was broken off, or where the data ends.

    :param source: see :func:`sb3_softac.offline.read`
    :param path: of the file; ``.npz`` is added where there is no suffix
    :param allow_pickle: as for :func:`sb3_softac.offline.read`
    :return: the path
    :raises ValueError: the data is empty
    """
    data = read(source, allow_pickle)
    path = files.with_suffix(path, ".npz")
    blocks = list(data)
    if not any(block.n_steps for block in blocks):
        raise ValueError(f"The data of {data.name} is empty: there is nothing to write")
    with files.replaced(path) as file:
        named: Any = _named(blocks) | {SPACES: np.array(_written_spaces(data))}
        np.savez_compressed(file, **named)
    return path


def _named(blocks: list[Steps]) -> dict[str, np.ndarray]:
    """The arrays of all blocks, by name."""
    named = {}
    for field in ("observations", "next_observations"):
        for key in getattr(blocks[0], field):
            name = field if key is None else f"{field}/{key}"
            named[name] = np.concatenate([getattr(block, field)[key] for block in blocks])
    for field in ("actions", "rewards", *FLAGS):
        named[field] = np.concatenate([getattr(block, field) for block in blocks])
    return named


def _written_spaces(data: Data) -> str:
    writer = plain.Writer()
    tree = writer.encode({"observation_space": data.observation_space, "action_space": data.action_space})
    return json.dumps({"observation_space": None, "action_space": None} if writer.pickled else tree)


def to_minari(source: Any, dataset_id: str, *, allow_pickle: bool | None = None, **metadata: Any) -> Any:
    """Write data to a new Minari data set, which d3rlpy, TorchRL and others read.

    It is where the environment variable MINARI_DATASETS_PATH says, or in ``~/.minari/datasets``.

    :param source: see :func:`sb3_softac.offline.read`: a model, a replay buffer, ...
    :param dataset_id: of the new data set, as ``"pendulum/softac-v0"``
    :param allow_pickle: as for :func:`sb3_softac.offline.read`
    :param metadata: arguments of ``minari.create_dataset_from_buffers``, as ``env="Pendulum-v1"``,
        ``algorithm_name="SoftAC"``, ``author``, ``description``
    :return: the ``minari.MinariDataset``
    :raises ValueError: the id is none or is taken, the data is empty, or does not say its spaces
    :raises ImportError: Minari is not installed
    """
    minari = library()
    check_id(dataset_id)
    data = read(source, allow_pickle)
    metadata = {"observation_space": data.observation_space, "action_space": data.action_space} | metadata
    unknown = [name for name in ("observation_space", "action_space") if metadata[name] is None]
    if unknown and "env" not in metadata:
        raise ValueError(f"The data of {data.name} does not say its spaces; pass `{unknown[0]}=...`, or `env=...`")
    episodes = [_episode(minari, episode) for episode in data.episodes()]
    if not episodes:
        raise ValueError(f"The data of {data.name} is empty: there is nothing to write")
    return _create(minari, dataset_id, episodes, metadata)


def _episode(minari: Any, episode: Steps) -> Any:
    joined: Leaves = {
        key: np.concatenate([values, episode.next_observations[key][-1:]])
        for key, values in episode.observations.items()
    }
    return minari.data_collector.EpisodeBuffer(
        observations=joined.get(None, joined),
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=episode.terminations,
        truncations=episode.truncations,
    )


def _create(minari: Any, dataset_id: str, episodes: list[Any], metadata: dict[str, Any]) -> Any:
    """A new data set, whole or not at all. Images are not compressed with a loss."""
    path = minari.storage.get_dataset_path(dataset_id)
    if path.exists():
        raise ValueError(f"There is a Minari data set {dataset_id!r} already; choose another version, as -v1")
    create = minari.create_dataset_from_buffers
    if "jpeg_encoding" in inspect.signature(create).parameters:
        metadata = {"jpeg_encoding": False} | metadata
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(is set to None|env_spec is None)")
            return create(dataset_id=dataset_id, buffer=episodes, **metadata)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
