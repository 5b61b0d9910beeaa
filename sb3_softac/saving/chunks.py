"""Arrays in files that many checkpoints share: a piece that is in the folder already is not written again."""

import hashlib
import io
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from sb3_softac.saving import files
from sb3_softac.saving.files import SavedFileError
from sb3_softac.saving.plain import NUMBER_KINDS

# Bytes of one piece. Of an array that grows or changes in one place, one or two pieces are new.
PIECE_BYTES = 1 << 20
SUFFIX = ".npy"


class PiecedArray:
    """An array in pieces of the first axis, each mapped from its file when it is needed.

    :param shape: of the whole
    :param dtype: of numpy
    :param paths: of the pieces
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, paths: list[pathlib.Path]) -> None:
        self.shape = shape
        self.dtype = dtype
        self._paths = paths

    def __len__(self) -> int:
        return self.shape[0]

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows of each piece, and the piece.

        :raises SavedFileError: a piece is missing or damaged
        """
        start = 0
        for path in self._paths:
            piece = _mapped(path)
            if _digest(piece) != path.stem or piece.dtype != self.dtype or piece.shape[1:] != self.shape[1:]:
                raise SavedFileError(f"the piece {path.name} of an array is damaged")
            yield slice(start, start + len(piece)), piece
            start += len(piece)
        if start != len(self):
            raise SavedFileError(f"an array of {len(self)} rows has pieces of {start}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, self.dtype)
        for rows, piece in self.pieces():
            whole[rows] = piece
        return whole if dtype is None else whole.astype(dtype, copy=False)


def _mapped(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SavedFileError(f"the piece {path.name} of an array: {error}") from error


def write(folder: pathlib.Path, array: np.ndarray) -> dict[str, Any]:
    """Write the pieces of an array that are not in a folder yet. The caller syncs the folder.

    :param folder: of the pieces
    :param array: of numbers, with one dimension or more
    :return: what :func:`read` needs, as JSON
    """
    array = np.ascontiguousarray(array)
    row_bytes = max(array.nbytes // max(len(array), 1), 1)
    n_rows = max(PIECE_BYTES // row_bytes, 1)
    names = []
    for start in range(0, len(array), n_rows):
        piece = array[start : start + n_rows]
        name = _digest(piece)
        path = folder / (name + SUFFIX)
        if not path.exists():
            content = io.BytesIO()
            np.save(content, piece, allow_pickle=False)
            with files.replaced(path, syncs_name=False) as file:
                file.write(content.getbuffer())  # not by numpy, to which a full disk is no error at a file's last bytes
        names.append(name)
    return {"shape": list(array.shape), "dtype": array.dtype.str, "pieces": names}


def read(folder: pathlib.Path, entry: Mapping[str, Any]) -> PiecedArray:
    """An array of a folder.

    :param folder: of the pieces
    :param entry: of :func:`write`
    :raises SavedFileError: a piece is missing
    """
    dtype = np.dtype(entry["dtype"])
    paths = [folder / (name + SUFFIX) for name in entry["pieces"]]
    missing = [path.name for path in paths if not path.is_file()]
    if missing or dtype.kind not in NUMBER_KINDS:
        raise SavedFileError(f"an array of {dtype} lacks the pieces {missing[:3]}")
    return PiecedArray(tuple(entry["shape"]), dtype, paths)


def sweep(folder: pathlib.Path, used: Iterable[str]) -> None:
    """Delete the pieces that no checkpoint uses, and what a kill left half-written.

    :param folder: of the pieces
    :param used: names of pieces
    """
    kept = set(used)
    for path in folder.glob("*"):
        if path.suffix == ".part" or path.stem not in kept:
            path.unlink(missing_ok=True)


def _digest(piece: np.ndarray) -> str:
    """Name of a piece: a checksum of its type, its shape and its bytes."""
    checksum = hashlib.sha256(f"{piece.dtype.str} {piece.shape} ".encode())
    checksum.update(memoryview(np.ascontiguousarray(piece).reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
    return checksum.hexdigest()[:40]
