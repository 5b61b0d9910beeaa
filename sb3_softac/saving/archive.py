"""The zip file of an agent: its attributes as JSON, its tensors, and checksums of both.

The entries are those of Stable-Baselines3's zip files, so that its tools find what they look for. Beside them,
``softac.json`` has the version of the format and the checksum of every other entry.
"""

import functools
import hashlib
import io
import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import stable_baselines3
import torch as th
from stable_baselines3.common.utils import get_device, get_system_info

from sb3_softac.saving import files, plain
from sb3_softac.saving.files import PathOrFile, SavedFileError
from sb3_softac.version import __version__

FORMAT = 1
MANIFEST = "softac.json"
VARIABLES = "pytorch_variables"
#: begin of the names of entries that belong to a checkpoint and not to its agent
OF_A_RUN = "run"
#: set to 1, it allows files to run code: for commands that have no such option
ALLOW_PICKLE = "SB3_SOFTAC_ALLOW_PICKLE"
ENTRY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]*")
# No entry of ours is compressed; one of somebody else that unpacks to more than this is meant to fill the memory.
MAX_RATIO = 100


class NeedsPickleError(SavedFileError):
    """A saved file that has to run code to be read, which was not allowed."""


class Parts(NamedTuple):
    """All that an agent's file holds.

    :param data: attributes
    :param parameters: state dicts by attribute
    :param variables: further tensors by attribute
    """

    data: Mapping[str, Any]
    parameters: Mapping[str, Any]
    variables: Mapping[str, Any]


class Contents(NamedTuple):
    """The contents of an agent's file.

    :param data: attributes
    :param parameters: state dicts by attribute
    :param variables: further tensors by attribute
    :param system_info: of the machine that wrote it; None if it does not say
    """

    data: dict[str, Any]
    parameters: dict[str, Any]
    variables: dict[str, th.Tensor]
    system_info: str | None


# Writing


def write(file: Any, parts: Parts, run: Mapping[str, bytes] | None = None) -> dict[str, str]:
    """Write an agent.

    :param file: open for writing
    :param parts: of the agent
    :param run: entries of the run that it is of, if there is one; their names begin with :data:`OF_A_RUN`
    :return: types of what had to be pickled, by its place
    """
    writer = plain.Writer()
    entries = {"data": json.dumps(writer.encode(dict(parts.data)), indent=1).encode()}
    entries |= {f"{name}.pth": _tensor_bytes(state) for name, state in parts.parameters.items()}
    entries[f"{VARIABLES}.pth"] = _tensor_bytes(dict(parts.variables))
    entries["_stable_baselines3_version"] = stable_baselines3.__version__.encode()
    entries["system_info.txt"] = _system_info().encode()
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in entries.items()}
    manifest = {"format": FORMAT, "sb3_softac": __version__, "sha256": checksums}
    entries[MANIFEST] = json.dumps(manifest, indent=1).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (entries | dict(run or {})).items():
            archive.writestr(name, content)
    return writer.pickled


@functools.cache
def _system_info() -> str:
    """Description of the system, which takes as long as all the rest of a small file."""
    return get_system_info(print_info=False)[1]


def save(path: PathOrFile, parts: Parts) -> None:
    """Write an agent to its place, as a whole or not at all; a warning names what has to be pickled.

    :param path: of the file, or an open one
    :param parts: of the agent
    """
    if isinstance(path, (str, os.PathLike)):
        with files.replaced(files.with_suffix(path, ".zip")) as file:
            pickled = write(file, parts)
    else:
        pickled = write(path, parts)
    warn_of_pickled(path, pickled)


def warn_of_pickled(path: Any, pickled: Mapping[str, str]) -> None:
    """Say which objects of a file have to be unpickled.

    :param path: of the file, or an open one
    :param pickled: their types, by place
    """
    if pickled:
        places = ", ".join(f"{place} ({kind})" for place, kind in pickled.items())
        warnings.warn(
            f"{_name_of(path)} holds objects that only a pickle can keep: {places}. Whoever loads it has to trust it, "
            "and pass `allow_pickle=True`",
            stacklevel=3,
        )


def _tensor_bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    th.save(value, buffer)
    return buffer.getvalue()


# Reading


@contextmanager
def named(path: Any) -> Iterator[None]:
    """Let every trouble with a file be one error that names the file.

    :param path: of the file, or an open one
    :raises SavedFileError: in place of anything but a missing file
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except SavedFileError as error:
        raise type(error)(f"{_name_of(path)} cannot be read: {error}") from error
    except ValueError as error:
        raise SavedFileError(f"{_name_of(path)} cannot be read: {error}") from error
    except Exception as error:
        raise SavedFileError(f"{_name_of(path)} cannot be read: {type(error).__name__}: {error}") from error


def _name_of(path: Any) -> str:
    return f"The file {str(path)!r}" if isinstance(path, (str, os.PathLike)) else f"The open file {path!r}"


def read(
    path: PathOrFile,
    device: th.device | str = "auto",
    allow_pickle: bool | None = None,
    replaced: Mapping[str, Any] | None = None,
    with_data: bool = True,
) -> Contents:
    """Read an agent, without running code of the file unless that is allowed.

    :param path: the file, or an open one
    :param device: where tensors go
    :param allow_pickle: run code of the file, where it has some; None: as the environment variable
        ``SB3_SOFTAC_ALLOW_PICKLE`` says
    :param replaced: attributes to take in place of the file's
    :param with_data: False: tensors alone
    :raises SavedFileError: the file is damaged, is no agent, or needs code to be run
    """
    with named(path), zipfile.ZipFile(path) as archive:
        entries = _read_entries(archive)
        data: dict[str, Any] = {}
        if with_data:
            data = _read_data(entries, allow_pickle, replaced or {})
        tensors = {
            name.removesuffix(".pth"): _read_tensors(name, content, device)
            for name, content in entries.items()
            if name.endswith(".pth")
        }
        variables = {name: value for name, value in (tensors.pop(VARIABLES, None) or {}).items() if value is not None}
        info = entries.get("system_info.txt")
        return Contents(data, tensors, variables, None if info is None else info.decode(errors="replace"))


def _read_entries(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """All entries, each checked before it is unpacked, and by its checksums after."""
    check_entries(archive)
    names = [name for name in archive.namelist() if not name.startswith(OF_A_RUN)]
    entries = {name: archive.read(name) for name in names}
    if "data" not in entries:
        raise SavedFileError("it has no entry 'data', as the files of Stable-Baselines3's agents have")
    if MANIFEST in entries:
        _check_manifest(json.loads(entries.pop(MANIFEST)), entries)
    return entries


def check_entries(archive: zipfile.ZipFile, names: re.Pattern[str] = ENTRY_NAME) -> None:
    """Refuse a zip file that would fill the memory, or has entries that are no plain names.

    :param archive: open for reading
    :param names: of its entries
    :raises SavedFileError: naming the entry
    """
    seen = set()
    for info in archive.infolist():
        if not names.fullmatch(info.filename) or info.filename in seen:
            raise SavedFileError(f"the entry {info.filename!r} has no name that an agent's file has, or has it twice")
        seen.add(info.filename)
        if info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise SavedFileError(
                f"the entry {info.filename!r} would unpack {info.compress_size:,} bytes to {info.file_size:,}"
            )


def _check_manifest(manifest: Mapping[str, Any], entries: Mapping[str, bytes]) -> None:
    if manifest["format"] > FORMAT:
        raise SavedFileError(
            f"it has format {manifest['format']}, written by sb3_softac {manifest['sb3_softac']}, and this is "
            f"{__version__}, which reads up to format {FORMAT}; install the newer version"
        )
    checksums = manifest["sha256"]
    missing = sorted(checksums.keys() - entries.keys())
    if missing:
        raise SavedFileError(f"the entries {missing} are missing")
    for name, expected in checksums.items():
        if hashlib.sha256(entries[name]).hexdigest() != expected:
            raise SavedFileError(f"the entry {name!r} is damaged: its checksum is another one")


def _read_data(entries: Mapping[str, bytes], allow_pickle: bool | None, replaced: Mapping[str, Any]) -> dict[str, Any]:
    tree = json.loads(entries["data"])
    if not isinstance(tree, dict):
        raise SavedFileError("its attributes are no JSON object")
    own = {name: value for name, value in tree.items() if name not in replaced}
    check_pickled(plain.pickled_in(own), allow_pickle)
    return {name: plain.decode(value) for name, value in own.items()} | {
        name: value for name, value in replaced.items() if name in tree
    }


def check_pickled(pickled: Mapping[str, str], allow_pickle: bool | None) -> None:
    """Refuse a file that has to be unpickled, unless that is allowed.

    :param pickled: types of what would be unpickled, by its place
    :param allow_pickle: None: as the environment variable says
    :raises NeedsPickleError: naming each place
    """
    if allow_pickle is None:
        allow_pickle = os.environ.get(ALLOW_PICKLE) == "1"
    if pickled and not allow_pickle:
        places = ", ".join(f"{place} ({kind})" for place, kind in pickled.items())
        raise NeedsPickleError(
            f"it holds pickled objects, which run code of the file when they are read: {places}. If you trust the "
            f"file, pass `allow_pickle=True`, or set the environment variable {ALLOW_PICKLE}=1; or pass other objects "
            "in their place as `custom_objects`. `SoftAC.from_sac()` imports files of Stable-Baselines3's SAC"
        )


TENSOR_NAME = re.compile(r"[A-Za-z0-9_.]+(/[A-Za-z0-9_.]+)*")


def _read_tensors(name: str, content: bytes, device: th.device | str) -> Any:
    """Tensors of one entry; nothing but tensors and plain values is unpickled."""
    buffer = io.BytesIO(content)
    if zipfile.is_zipfile(buffer):
        with zipfile.ZipFile(buffer) as archive:
            check_entries(archive, TENSOR_NAME)
    buffer.seek(0)
    try:
        return th.load(buffer, map_location=get_device(device), weights_only=True)
    except (RuntimeError, zlib.error, EOFError, KeyError, ValueError, OSError) as error:
        raise SavedFileError(f"the tensors of {name!r}: {str(error)[:300]}") from error
    except Exception as error:  # an unpickler's, for anything that is no tensor
        raise SavedFileError(f"the tensors of {name!r}: {type(error).__name__}: {str(error)[:300]}") from error
