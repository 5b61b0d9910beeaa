"""Files that are written as a whole, or not at all."""

import contextlib
import errno
import io
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

#: a path, or an open file
PathOrFile = str | os.PathLike[str] | io.BufferedIOBase | IO[bytes]


class SavedFileError(ValueError):
    """A saved file that cannot be read; the message names the file and the trouble."""


@contextmanager
def replaced(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """A new file that takes its place only once it is whole: written beside it, synced, and renamed.

    After a kill or an error at any moment, the file at ``path`` is the old one or the new one.

    :param path: of the file; its folder is created
    :return: to write into
    :raises OSError: the disk is full, say; then the message has what was written, what is free, and where
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_together(path.parent, [path.name]) as (file,):
        yield file


@contextmanager
def replaced_together(folder: pathlib.Path, names: Sequence[str]) -> Iterator[Sequence[IO[bytes]]]:
    """New files of one folder, as :func:`replaced`: all are written, then all are synced, which is faster.

    :param folder: of the files
    :param names: of the files
    :return: to write into
    :raises OSError: as for :func:`replaced`
    """
    paths = [folder / name for name in names]
    parts = [folder / f".{name}.{secrets.token_hex(4)}.part" for name in names]
    try:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(open(part, "xb")) for part in parts]
            yield opened
            for path, file in zip(paths, opened, strict=True):
                file.flush()
                if path.exists():
                    os.chmod(file.name, path.stat().st_mode & 0o777)
            for file in opened:
                os.fsync(file.fileno())
        for path, part in zip(paths, parts, strict=True):
            os.replace(part, path)
        sync_folder(folder)
    except BaseException as error:
        written = sum(part.stat().st_size for part in parts if part.exists())
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise _disk_full(paths[0], written) from error
        raise


def _disk_full(path: pathlib.Path, written: int) -> OSError:
    free = shutil.disk_usage(path.parent).free
    return OSError(
        errno.ENOSPC,
        f"The disk of {path.parent} is full: {written:,} bytes of the new file were written, more are needed, and "
        f"{free:,} are free. The previous file, if there is one, is whole. Make room, or choose another folder",
        str(path),
    )


def sync_folder(folder: pathlib.Path) -> None:
    """Make the names in a folder survive a power cut, where the system can."""
    with contextlib.suppress(OSError):  # not every system opens folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write(path: pathlib.Path, write_to: Callable[[IO[bytes]], Any]) -> None:
    """Write a file by a function; see :func:`replaced`.

    :param path: of the file
    :param write_to: writes into an open file
    """
    with replaced(path) as file:
        write_to(file)


def with_suffix(path: str | os.PathLike[str], suffix: str) -> pathlib.Path:
    """A path to write to, with the suffix that Stable-Baselines3 adds where there is none.

    :param path: that the user gave
    :param suffix: with its dot
    """
    path = pathlib.Path(path)
    return path if path.suffix else path.with_name(path.name + suffix)


def existing(path: PathOrFile, suffix: str) -> pathlib.Path | IO[bytes]:
    """A path to read from: the one given, or with the suffix that Stable-Baselines3 adds. Open files stay as they are.

    :param path: that the user gave
    :param suffix: with its dot
    :raises FileNotFoundError: neither is there
    """
    if not isinstance(path, (str, os.PathLike)):
        return path  # type: ignore[return-value]  # open for reading
    path = pathlib.Path(path)
    longer = path.with_name(path.name + suffix)
    return longer if not path.exists() and longer.exists() else path
