"""A file is the old one or the new one, as a whole."""

import errno
import io
import os
import threading
from unittest.mock import patch

import numpy as np
import pytest

from sb3_softac import SoftAC
from sb3_softac.saving import chunks, files
from tests.helpers import Target

DISK_FULL = OSError(errno.ENOSPC, "No space left on device")
TINY = {"policy_kwargs": {"net_arch": [4]}, "buffer_size": 20}


class Full(io.BufferedWriter):
    """A file on a full disk."""

    def write(self, _: object) -> int:
        raise DISK_FULL


def test_a_failure_half_way_leaves_the_previous_file_and_nothing_else(tmp_path):
    path = tmp_path / "agent.zip"
    model = SoftAC("MlpPolicy", Target(), **TINY)
    model.save(path)
    before = path.read_bytes()
    model.lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        model.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
@pytest.mark.parametrize("method", ["save", "save_replay_buffer"])
def test_a_full_disk_leaves_the_previous_file_and_says_what_it_needs(method, function, tmp_path):
    path = tmp_path / "agent.file"
    model = SoftAC("MlpPolicy", Target(), **TINY)
    save = getattr(model, method)
    save(path)
    before = path.read_bytes()
    if function == "write":
        patched = patch.object(files, "open", lambda part, mode: Full(io.FileIO(part, mode)), create=True)
    else:
        patched = patch.object(files.os, function, side_effect=DISK_FULL)
    with patched, pytest.raises(OSError, match=r"is full: .* bytes of the new file were written.*are free"):
        save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_of_the_file_stay_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "agent.zip"
    model = SoftAC("MlpPolicy", Target(), **TINY)
    model.save(path)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    path.chmod(0o640)
    model.save(path)
    assert path.stat().st_mode & 0o777 == 0o640


def test_suffixes_are_those_of_stable_baselines3(tmp_path):
    model = SoftAC("MlpPolicy", Target(), **TINY)
    model.save(tmp_path / "agent")
    model.save_replay_buffer(tmp_path / "buffer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.zip", "buffer.pkl"]
    SoftAC.load(str(tmp_path / "agent")).load_replay_buffer(str(tmp_path / "buffer"))
    with pytest.raises(FileNotFoundError, match="nothing"):
        SoftAC.load(tmp_path / "nothing")


def test_the_last_bytes_of_an_array_are_missed_too(tmp_path):
    """numpy leaves them to a buffer of C, and does not hear of it if the disk is full then."""
    resource = pytest.importorskip("resource")
    array = np.random.default_rng(0).random(chunks.PIECE_BYTES // 8)

    def write(folder):
        folder.mkdir()
        pieces = chunks.PieceWriter(folder, {})
        (name,) = pieces.add("array", array)["pieces"]
        pieces.write()
        return folder / f"{name}.npy"

    size = write(tmp_path / "whole").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 10, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write(tmp_path / "part")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "part").iterdir()) == []
