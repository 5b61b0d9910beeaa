"""Replay buffers as files: arrays in numpy's own format, and the rest as JSON, in one zip file without compression."""

import json
import os
import pickle
import re
import zipfile
from typing import IO, Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from sb3_softac.saving import archive, files, plain
from sb3_softac.saving.files import PathOrFile, SavedFileError

STATE = "state.json"
ARRAYS = "arrays/{}.npy"
ENTRY_NAME = re.compile(r"[A-Za-z0-9_]+(\.json|/\d+\.npy)?")


def write(file: Any, buffer: ReplayBuffer) -> dict[str, str]:
    """Write a replay buffer.

    :param file: open for writing
    :param buffer: of any class
    :return: types of what had to be pickled, by its place
    """
    arrays: dict[str, np.ndarray] = {}
    writer = plain.Writer(arrays)
    tree = writer.encode({"format": archive.FORMAT, "buffer": buffer})
    names = {where: ARRAYS.format(index) for index, where in enumerate(arrays)}
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(STATE, json.dumps({"tree": tree, "arrays": names}, indent=1))
        for where, array in arrays.items():
            with zipped.open(names[where], "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
    return writer.pickled


def read(path: PathOrFile, allow_pickle: bool | None = None) -> ReplayBuffer:
    """Read a replay buffer, by :func:`write` or pickled.

    :param path: the file, or an open one
    :param allow_pickle: as for :func:`sb3_softac.saving.archive.read`
    :raises SavedFileError: the file is damaged, is no replay buffer, or needs code to be run
    """
    with archive.named(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as zipped:
                buffer = _read_zip(zipped, allow_pickle)
        else:
            archive.check_pickled({"the whole file": "pickle"}, allow_pickle)
            buffer = _unpickle(path)
        if not isinstance(buffer, ReplayBuffer):
            raise SavedFileError(f"it holds a {type(buffer).__name__}, which is no replay buffer")
        return buffer


def _read_zip(zipped: zipfile.ZipFile, allow_pickle: bool | None) -> ReplayBuffer:
    archive.check_entries(zipped, ENTRY_NAME)
    content = json.loads(zipped.read(STATE))
    archive.check_pickled(plain.pickled_in(content["tree"]), allow_pickle)
    arrays = {}
    for where, name in content["arrays"].items():
        with zipped.open(name) as entry:
            arrays[where] = _read_array(entry, zipped.getinfo(name).file_size)
    tree = plain.decode(content["tree"], arrays)
    if tree["format"] > archive.FORMAT:
        raise SavedFileError(f"it has format {tree['format']}, which a newer version of sb3_softac wrote; install that")
    return tree["buffer"]


def _read_array(entry: IO[bytes], n_bytes: int) -> np.ndarray:
    """An array of numpy's format, whose header is checked before memory is allocated for it."""
    version = np.lib.format.read_magic(entry)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, in_columns, dtype = read_header[version](entry)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.kind not in plain.NUMBER_KINDS or in_columns or not 0 <= size <= n_bytes:
        raise SavedFileError(f"an array of shape {shape} and {dtype} in {n_bytes:,} bytes")
    array = np.empty(shape, dtype)
    view = memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # of bytes
    filled = 0
    while filled < size:
        n_read = entry.readinto(view[filled:])  # type: ignore[attr-defined]
        if not n_read:
            raise SavedFileError("an array ends early")
        filled += n_read
    entry.read()  # to the end, where the checksum is compared
    return array


def _unpickle(path: Any) -> Any:
    if hasattr(path, "read"):
        path.seek(0)
        return pickle.load(path)
    with open(path, "rb") as file:
        return pickle.load(file)


def save(path: PathOrFile, buffer: ReplayBuffer) -> dict[str, str]:
    """Write a replay buffer to its place, as a whole or not at all.

    :param path: of the file, or an open one
    :param buffer: of any class
    :return: types of what had to be pickled, by its place
    """
    if not isinstance(path, (str, os.PathLike)):
        return write(path, buffer)
    with files.replaced(files.with_suffix(path, ".pkl")) as file:
        return write(file, buffer)
