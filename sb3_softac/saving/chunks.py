"""Arrays in pieces that many checkpoints share: a piece that is in their folder already is not written again."""

import hashlib
import io
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from sb3_softac.saving import files
from sb3_softac.saving.files import SavedFileError
from sb3_softac.saving.plain import NUMBER_KINDS

# Bytes of one piece. Of an array that grows or changes in one place, one or two pieces are new.
PIECE_BYTES = 1 << 20
SUFFIX = ".npy"
# Files that are open, and synced, at a time.
TOGETHER = 64


class PiecedArray:
    """An array in pieces of the first axis, each read when it is needed.

    :param shape: of the whole
    :param dtype: of numpy
    :param names: of the pieces
    :param read_piece: a piece by its name
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype, names: list[str], read_piece: Callable[[str], np.ndarray]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._names = names
        self._read_piece = read_piece

    def __len__(self) -> int:
        return self.shape[0]

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows of each piece, and the piece.

        :raises SavedFileError: a piece is missing or damaged
        """
        start = 0
        for name in self._names:
            try:
                piece = self._read_piece(name)
            except (OSError, ValueError, EOFError) as error:
                raise SavedFileError(f"the piece {name} of an array: {error}") from error
            if _digest(piece) != name or piece.dtype != self.dtype or piece.shape[1:] != self.shape[1:]:
                raise SavedFileError(f"the piece {name} of an array is damaged")
            yield slice(start, start + len(piece)), piece
            start += len(piece)
        if start != len(self):
            raise SavedFileError(f"an array of {len(self)} rows has pieces of {start}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, self.dtype)
        for rows, piece in self.pieces():
            whole[rows] = piece
        return whole if dtype is None else whole.astype(dtype, copy=False)


# Writing


class PieceWriter:
    """Writes the pieces of arrays that are not in a folder yet.

    :param folder: of the pieces
    :param before: entries of the checkpoint before, by the place of the array: of pieces that are the same, the names
        need not be computed
    """

    def __init__(self, folder: pathlib.Path, before: Mapping[str, Mapping[str, Any]]) -> None:
        self._folder = folder
        self._before = before
        self._new: dict[str, np.ndarray] = {}
        #: ends of arrays, which are shorter than a piece and mostly new: they belong into the file of the checkpoint
        self.ends: dict[str, np.ndarray] = {}

    def add(self, where: str, array: np.ndarray) -> dict[str, Any]:
        """Take an array apart.

        :param where: its place
        :param array: of numbers, with one dimension or more
        :return: what :func:`read` needs, as JSON
        """
        array = np.ascontiguousarray(array)
        row_bytes = max(array.nbytes // max(len(array), 1), 1)
        n_rows = max(PIECE_BYTES // row_bytes, 1)
        names_before = self._before.get(where, {}).get("pieces", [])
        names = []
        for index, start in enumerate(range(0, len(array), n_rows)):
            piece = array[start : start + n_rows]
            name_before = names_before[index] if index < len(names_before) else None
            if name_before is not None and _is_in_file(piece, self._folder / (name_before + SUFFIX)):
                names.append(name_before)
                continue
            names.append(_digest(piece))
            if len(piece) < n_rows:
                self.ends[names[-1]] = piece
            elif not _is_in_file(piece, self._folder / (names[-1] + SUFFIX)):
                self._new[names[-1]] = piece
        return {"shape": list(array.shape), "dtype": array.dtype.str, "pieces": names}

    def write(self) -> None:
        """Write what is new.

        :raises OSError: the disk is full, say
        """
        new = iter(self._new.items())
        while group := dict(itertools.islice(new, TOGETHER)):
            with files.replaced_together(self._folder, [name + SUFFIX for name in group]) as opened:
                for file, piece in zip(opened, group.values(), strict=True):
                    # Not by numpy, to which a full disk is no error at a file's last bytes.
                    file.write(header(piece))
                    file.write(_bytes_of(piece))


def header(piece: np.ndarray) -> bytes:
    """Bytes before the numbers in a file of numpy.

    :param piece: contiguous
    """
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, np.lib.format.header_data_from_array_1_0(piece))
    return content.getvalue()


def content_of(piece: np.ndarray) -> bytes:
    """A file of numpy.

    :param piece: contiguous
    """
    return header(piece) + _bytes_of(piece).tobytes()


def _is_in_file(piece: np.ndarray, path: pathlib.Path) -> bool:
    """Whether a file has this piece and no other; quicker than the name of the piece."""
    expected = header(piece)
    try:
        content = path.read_bytes()
    except OSError:
        return False
    found = np.frombuffer(content, np.uint8, offset=min(len(expected), len(content)))
    return content.startswith(expected) and np.array_equal(found, _bytes_of(piece))


def _bytes_of(piece: np.ndarray) -> Any:
    return np.ascontiguousarray(piece).reshape(-1).view(np.uint8)


def _digest(piece: np.ndarray) -> str:
    """Name of a piece: a checksum of its type, its shape and its bytes."""
    checksum = hashlib.sha256(f"{piece.dtype.str} {piece.shape} ".encode())
    checksum.update(_bytes_of(piece))
    return checksum.hexdigest()[:40]


# Reading


def read(folder: pathlib.Path, ends: Mapping[str, Callable[[], bytes]], entry: Mapping[str, Any]) -> PiecedArray:
    """An array of a folder.

    :param folder: of the pieces
    :param ends: content of those that are in the file of the checkpoint, by name
    :param entry: of :meth:`PieceWriter.add`
    :raises SavedFileError: a piece is missing
    """
    dtype, names = np.dtype(entry["dtype"]), list(entry["pieces"])
    missing = [name for name in names if name not in ends and not (folder / (name + SUFFIX)).is_file()]
    if missing or dtype.kind not in NUMBER_KINDS:
        raise SavedFileError(f"an array of {dtype} lacks the pieces {missing[:3]}")

    def read_piece(name: str) -> np.ndarray:
        if name in ends:
            return np.load(io.BytesIO(ends[name]()), allow_pickle=False)
        return np.load(folder / (name + SUFFIX), mmap_mode="r", allow_pickle=False)

    return PiecedArray(tuple(entry["shape"]), dtype, names, read_piece)


def sweep(folder: pathlib.Path, used: Iterable[str]) -> None:
    """Delete the pieces that no checkpoint uses, and what a kill left half-written.

    :param folder: of the pieces
    :param used: names of pieces
    """
    kept = set(used)
    for path in folder.glob("*"):
        if path.suffix == ".part" or path.stem not in kept:
            path.unlink(missing_ok=True)
