"""Storage of a replay buffer: rows on the host or on a device, and each observation once."""

import math
from typing import Any

import numpy as np
import torch as th

# Observations of a step up to this size are compared faster as bytes than by a ufunc of numpy.
BYTES_TO_COMPARE_AT_ONCE = 64 * 1024
# Spare slots at each new allocation: this number, plus this part of the needed slots.
SPARE_SLOTS, SPARE_PART = 64, 0.25


class Rows:
    """Rows of one shape and type: a numpy array on the host, or a tensor on a device.

    On the host, the operating system allocates a page when it is first written. So a large capacity costs nothing
    before it is used, and rows are never copied to make room. On a device, all rows are allocated at once: if they do
    not fit, this fails at the start and not after hours.

    :param n_rows: capacity in rows
    :param n_envs: number of rows of one step, which are written together
    :param shape: shape of one row
    :param dtype: dtype of numpy
    :param device: device of the rows; None for the host
    """

    def __init__(self, n_rows: int, n_envs: int, shape: tuple[int, ...], dtype: Any, device: th.device | None) -> None:
        self.step_shape = (n_envs, *shape)
        self.dtype = np.dtype(dtype)
        self._allocate(n_rows, device)

    def _allocate(self, n_rows: int, device: th.device | None) -> None:
        self.device = device
        self.data: Any  #: (n_rows, ...)
        shape = (n_rows, *self.step_shape[1:])
        if device is None:
            self.data = np.zeros(shape, self.dtype)
        else:
            self.data = th.zeros(shape, dtype=th.from_numpy(np.empty(0, self.dtype)).dtype, device=device)
        n_envs = self.step_shape[0]
        self.steps = self.data[: n_rows - n_rows % n_envs].reshape(
            n_rows // n_envs, *self.step_shape
        )  #: (steps, n_envs, ...), a view

    def __len__(self) -> int:
        return len(self.data)

    @property
    def row_bytes(self) -> int:
        """Size of one row in bytes."""
        return math.prod(self.step_shape[1:]) * self.dtype.itemsize

    def write_step(self, step: int, values: np.ndarray) -> None:
        """Overwrite the rows of one step.

        :param step: index of the step
        :param values: (n_envs, ...)
        """
        self.steps[step] = values if self.device is None else self._on_device(values)

    def write(self, index: np.ndarray | slice, values: np.ndarray) -> None:
        """Overwrite rows.

        :param index: (k,), indices of the rows
        :param values: (k, ...)
        """
        if self.device is None:
            self.data[index] = values
        else:
            self.data[index if isinstance(index, slice) else self.index(index)] = self._on_device(values)

    def _on_device(self, values: np.ndarray) -> th.Tensor:
        return th.as_tensor(values.astype(self.dtype, copy=False), device=self.device)

    def index(self, index: np.ndarray) -> Any:
        """Index in the form that :meth:`take` needs: on the device of the rows."""
        return index if self.device is None else th.as_tensor(index, device=self.device)

    def take(self, index: Any) -> Any:
        """Copy rows.

        :param index: (B,), from :meth:`index`
        :return: (B, ...), an array on the host, or a tensor on the device
        """
        return self.data.take(index, axis=0) if self.device is None else self.data.index_select(0, index)

    def grow(self, n_rows: int) -> None:
        """Increase the capacity.

        :param n_rows: new capacity in rows
        """
        self._replace(n_rows, self.device)

    def move(self, device: th.device | None) -> None:
        """Move to a device, or to the host (None)."""
        if device != self.device:
            self._replace(len(self), device)

    def _replace(self, n_rows: int, device: th.device | None) -> None:
        old = self.data
        self._allocate(n_rows, device)
        self.data[: len(old)] = to_numpy(old) if device is None else th.as_tensor(old)


class ObservationStore:
    """Store of the observations of several environments, each held once.

    The next observation of a step is the observation of the following step. If the two differ, the next observation is
    kept in a slot. The first ``n_envs`` slots hold the next observations of the newest step, which no step follows yet.

    :param n_steps: capacity in steps
    :param n_envs: number of environments
    :param shape: shape of one observation
    :param dtype: dtype of numpy
    :param device: device of the observations; None for the host
    """

    def __init__(self, n_steps: int, n_envs: int, shape: tuple[int, ...], dtype: Any, device: th.device | None) -> None:
        self.rows = Rows(n_steps * n_envs, n_envs, shape, dtype, device)
        self.slots = Rows(n_envs, n_envs, shape, dtype, device)
        self._bind()

    def _bind(self) -> None:
        """Bind the write buffers: views of the storage itself on the host, staging arrays for a device."""
        self._on_host = self.rows.device is None
        newest = to_numpy(self.slots.steps[0])
        self._newest = newest if self._on_host else newest.copy()
        self._newest_words = words(self._newest)
        self._incoming = None if self._on_host else np.empty_like(newest)

    def add(self, step: int, obs: np.ndarray) -> np.ndarray | None:
        """Write the observations of one step.

        :param step: index of the step
        :param obs: (n_envs, ...)
        :return: (n_envs,), True where an observation differs in any bit from the newest next observation (NaN equals
            NaN); None if none differs
        """
        stored = self.rows.steps[step] if self._incoming is None else self._incoming
        stored[...] = _in_rows(obs, stored)
        if not self._on_host:
            self.rows.write_step(step, stored)
        # Faster than a ufunc for small observations, and they are equal unless an episode ended.
        small = stored.nbytes <= BYTES_TO_COMPARE_AT_ONCE
        if small and stored.tobytes() == self._newest.tobytes():
            return None
        differ = (words(stored) != self._newest_words).any(axis=1)
        return differ if small or differ.any() else None

    def add_next(self, next_obs: np.ndarray) -> None:
        """Write the next observations of the newest step.

        :param next_obs: (n_envs, ...)
        """
        self._newest[...] = _in_rows(next_obs, self._newest)
        if not self._on_host:
            self.slots.write_step(0, self._newest)

    def keep(self, envs: np.ndarray, slots: np.ndarray, needed: int) -> None:
        """Copy the newest next observations of some environments into slots.

        :param envs: (k,), indices of the environments
        :param slots: (k,), indices of the slots
        :param needed: number of slots in use
        """
        if needed > len(self.slots):
            spare = SPARE_SLOTS + int(SPARE_PART * needed)
            self.slots.grow(min(needed + spare, len(self.rows) + self.rows.step_shape[0]))
            self._bind()
        self.slots.write(slots, self._newest[envs])

    def take_next(self, index: Any, kept: Any, slots: Any) -> Any:
        """Copy next observations; the arguments are the results of :meth:`Slots.of`.

        :param index: (B,), rows
        :param kept: (k,), positions in the batch whose next observation is in a slot
        :param slots: (k,), these slots
        :return: (B, ...)
        """
        taken = self.rows.take(index)
        if len(slots) > 0:
            taken[kept] = self.slots.take(slots)
        return taken

    def move(self, device: th.device | None) -> None:
        """Move to a device, or to the host (None)."""
        for rows in (self.rows, self.slots):
            rows.move(device)
        self._bind()

    def head(self, n_rows: int, n_slots: int) -> tuple[np.ndarray, np.ndarray]:
        """First observations, (n_rows, ...), and first slots, (n_slots, ...), as arrays on the host."""
        return to_numpy(self.rows.data[:n_rows]), to_numpy(self.slots.data[:n_slots])

    def restore(self, rows: np.ndarray, slots: np.ndarray) -> None:
        """Write back the result of :meth:`head`."""
        self.rows.write(slice(0, len(rows)), rows)
        self.slots.grow(len(slots))
        self.slots.write(slice(0, len(slots)), slots)
        self._bind()


class Slots:
    """Table of the transitions whose next observation is in a slot; for others it is that of the following step.

    :param n_steps: capacity in steps
    :param n_envs: number of environments
    """

    def __init__(self, n_steps: int, n_envs: int) -> None:
        self.in_use = n_envs  #: number of slots that were ever in use
        #: (n_steps, n_envs): 0 for none, else 1 + slot
        self.table = np.zeros((n_steps, n_envs), np.int32 if n_steps * n_envs < 2**31 - 1 else np.int64)
        self._free: list[int] = []
        self._newest = np.arange(1, n_envs + 1, dtype=self.table.dtype)
        self._no_slots = bytes(self._newest.nbytes)

    def free(self, step: int) -> None:
        """Release the slots of a step that is about to be overwritten."""
        slots = self.table[step]
        if slots.tobytes() != self._no_slots:  # faster than a ufunc
            self._free.extend((slots[slots > len(self._newest)] - 1).tolist())
            slots[:] = 0

    def hold_newest(self, step: int) -> None:
        """Assign the first ``n_envs`` slots to the newest step."""
        self.table[step] = self._newest

    def hold(self, step: int, envs: np.ndarray) -> np.ndarray:
        """Assign new slots to a step, in place of the first slots.

        :param step: index of the step
        :param envs: (k,), indices of the environments that get a slot
        :return: (k,), the slots
        """
        reused = [self._free.pop() for _ in range(min(len(envs), len(self._free)))]
        fresh = range(self.in_use, self.in_use + len(envs) - len(reused))
        self.in_use += len(fresh)
        slots = np.array([*reused, *fresh])
        self.table[step, envs] = slots + 1
        return slots

    def of(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places of the next observations of transitions.

        :param index: (B,), step * n_envs + environment
        :return: (B,) row of each next observation; (k,) positions in the batch whose next observation is in a slot
            instead; (k,) these slots
        """
        slots = self.table.take(index)
        kept = slots.nonzero()[0]
        return (index + len(self._newest)) % self.table.size, kept, slots[kept] - 1

    def head(self, n_steps: int) -> dict[str, Any]:
        """Table of the first steps, and the state of the slots; :meth:`restore` takes them as arguments."""
        return {"table": self.table[:n_steps], "in_use": self.in_use, "free": self._free}

    def restore(self, table: np.ndarray, in_use: int, free: list[int]) -> None:
        """Write back the result of :meth:`head`."""
        self.table[: len(table)] = table
        self.in_use, self._free = in_use, list(free)


def _in_rows(obs: Any, stored: np.ndarray) -> np.ndarray:
    """Observations in the layout of the storage: ids (n_envs,) become (n_envs, 1); numpy refuses other layouts later.

    :param obs: (n_envs, ...), or a list of such
    :param stored: (n_envs, ...), the array that they are written to
    """
    obs = np.asarray(obs)
    return obs.reshape(stored.shape) if obs.ndim == 1 else obs


def words(array: np.ndarray) -> np.ndarray:
    """View of rows as the widest unsigned integers that fit, which are compared fastest.

    :param array: (n, ...), contiguous
    :return: (n, bytes of a row / bytes of a word), a view
    """
    n_bytes = array.nbytes // len(array)
    if n_bytes == 0:  # an empty space, as some Dicts have
        return np.empty((len(array), 0), np.uint8)
    width = next(width for width in (8, 4, 2, 1) if n_bytes % width == 0)
    return array.reshape(len(array), -1).view(f"u{width}")


def to_numpy(rows: Any) -> np.ndarray:
    """Convert an array or a tensor to an array; without a copy if it is on the host."""
    return rows if isinstance(rows, np.ndarray) else rows.cpu().numpy()
