"""Where a replay buffer keeps its rows: on the host or on a device, each observation once."""

import math
from typing import Any

import numpy as np
import torch as th

# Up to this size of a step's observations, comparing copies of the memory is faster than a ufunc.
BYTES_TO_COMPARE_AT_ONCE = 64 * 1024
# Spare slots, when more are allocated: this many, and this part of what is needed.
SPARE_SLOTS, SPARE_PART = 64, 0.25


class Rows:
    """Rows of one shape and type: a numpy array on the host, or a tensor on a device.

    The host's rows are empty pages of the operating system until they are written, so that a large capacity costs
    nothing before it is used, and nothing is ever copied to make room. A device's rows are allocated at once: what does
    not fit fails at the start and not after hours.

    :param n_rows: capacity
    :param n_envs: rows of one step, which are written together
    :param shape: of one row
    :param dtype: of numpy
    :param device: None for the host
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
        """Memory of one row."""
        return math.prod(self.step_shape[1:]) * self.dtype.itemsize

    def write_step(self, step: int, values: np.ndarray) -> None:
        """Overwrite the rows of one step.

        :param step: which
        :param values: (n_envs, ...)
        """
        self.steps[step] = values if self.device is None else self._on_device(values)

    def write(self, index: np.ndarray | slice, values: np.ndarray) -> None:
        """Overwrite rows.

        :param index: (k,), which
        :param values: (k, ...)
        """
        if self.device is None:
            self.data[index] = values
        else:
            self.data[index if isinstance(index, slice) else self.index(index)] = self._on_device(values)

    def _on_device(self, values: np.ndarray) -> th.Tensor:
        return th.as_tensor(values.astype(self.dtype, copy=False), device=self.device)

    def index(self, index: np.ndarray) -> Any:
        """An index in the form that :meth:`take` needs: on the device."""
        return index if self.device is None else th.as_tensor(index, device=self.device)

    def take(self, index: Any) -> Any:
        """Copy rows.

        :param index: (B,), from :meth:`index`
        :return: (B, ...), an array or a tensor, as the rows are
        """
        return self.data.take(index, axis=0) if self.device is None else self.data.index_select(0, index)

    def grow(self, n_rows: int) -> None:
        """Make room for more rows."""
        self._replace(n_rows, self.device)

    def move(self, device: th.device | None) -> None:
        """Move to the host (None) or to a device."""
        if device != self.device:
            self._replace(len(self), device)

    def _replace(self, n_rows: int, device: th.device | None) -> None:
        old = self.data
        self._allocate(n_rows, device)
        self.data[: len(old)] = to_numpy(old) if device is None else th.as_tensor(old)


class ObservationStore:
    """Observations of several environments, each once: the next one of a step is the one of the step after it.

    Where it is not, the next observation is kept aside, in a slot. The first ``n_envs`` slots hold those of the newest
    step, which no step follows yet.

    :param n_steps: capacity
    :param n_envs: number of environments
    :param shape: of one observation
    :param dtype: of numpy
    :param device: None for the host
    """

    def __init__(self, n_steps: int, n_envs: int, shape: tuple[int, ...], dtype: Any, device: th.device | None) -> None:
        self.rows = Rows(n_steps * n_envs, n_envs, shape, dtype, device)
        self.slots = Rows(n_envs, n_envs, shape, dtype, device)
        self._bind()

    def _bind(self) -> None:
        """Find the places that are written: in the rows and slots themselves, or on the host and then copied."""
        self._on_host = self.rows.device is None
        newest = to_numpy(self.slots.steps[0])
        self._newest = newest if self._on_host else newest.copy()
        self._newest_words = words(self._newest)
        self._incoming = None if self._on_host else np.empty_like(newest)

    def add(self, step: int, obs: np.ndarray) -> np.ndarray | None:
        """Write the observations of one step.

        :param step: which
        :param obs: (n_envs, ...)
        :return: (n_envs,), where they differ in any bit (NaN equals NaN) from the newest next observations; None where
            none does
        """
        stored = self.rows.steps[step] if self._incoming is None else self._incoming
        stored[...] = _in_rows(obs, stored)
        if not self._on_host:
            self.rows.write_step(step, stored)
        # For small observations faster than a ufunc, and true but where an episode ended.
        small = stored.nbytes <= BYTES_TO_COMPARE_AT_ONCE
        if small and stored.tobytes() == self._newest.tobytes():
            return None
        differ = (words(stored) != self._newest_words).any(axis=1)
        return differ if small or differ.any() else None

    def add_next(self, next_obs: np.ndarray) -> None:
        """Write the newest next observations.

        :param next_obs: (n_envs, ...)
        """
        self._newest[...] = _in_rows(next_obs, self._newest)
        if not self._on_host:
            self.slots.write_step(0, self._newest)

    def keep(self, envs: np.ndarray, slots: np.ndarray, needed: int) -> None:
        """Keep the newest next observations of some environments.

        :param envs: (k,), indices of the environments
        :param slots: (k,), where to
        :param needed: number of slots in use
        """
        if needed > len(self.slots):
            spare = SPARE_SLOTS + int(SPARE_PART * needed)
            self.slots.grow(min(needed + spare, len(self.rows) + self.rows.step_shape[0]))
            self._bind()
        self.slots.write(slots, self._newest[envs])

    def take_next(self, index: Any, kept: Any, slots: Any) -> Any:
        """Copy next observations; see :meth:`Slots.of`."""
        taken = self.rows.take(index)
        if len(slots) > 0:
            taken[kept] = self.slots.take(slots)
        return taken

    def move(self, device: th.device | None) -> None:
        """Move to the host (None) or to a device."""
        for rows in (self.rows, self.slots):
            rows.move(device)
        self._bind()

    def head(self, n_rows: int, n_slots: int) -> tuple[np.ndarray, np.ndarray]:
        """What was written: (n_rows, ...) observations and (n_slots, ...) kept ones."""
        return to_numpy(self.rows.data[:n_rows]), to_numpy(self.slots.data[:n_slots])

    def restore(self, rows: np.ndarray, slots: np.ndarray) -> None:
        """Write back what :meth:`head` returned."""
        self.rows.write(slice(0, len(rows)), rows)
        self.slots.grow(len(slots))
        self.slots.write(slice(0, len(slots)), slots)
        self._bind()


class Slots:
    """Which transitions have a slot for their next observation; that of the others is the one of the step after.

    :param n_steps: capacity
    :param n_envs: number of environments
    """

    def __init__(self, n_steps: int, n_envs: int) -> None:
        self.in_use = n_envs  #: slots that were ever in use
        #: (n_steps, n_envs): 0 for none, else 1 + slot
        self.table = np.zeros((n_steps, n_envs), np.int32 if n_steps * n_envs < 2**31 - 1 else np.int64)
        self._free: list[int] = []
        self._newest = np.arange(1, n_envs + 1, dtype=self.table.dtype)
        self._no_slots = bytes(self._newest.nbytes)

    def free(self, step: int) -> None:
        """Give back the slots of a step that is about to be overwritten."""
        slots = self.table[step]
        if slots.tobytes() != self._no_slots:  # faster than a ufunc
            self._free.extend((slots[slots > len(self._newest)] - 1).tolist())
            slots[:] = 0

    def hold_newest(self, step: int) -> None:
        """Let the newest step have the first slots, in place of what it had."""
        self.table[step] = self._newest

    def hold(self, step: int, envs: np.ndarray) -> np.ndarray:
        """Let a step have new slots, in place of the first ones.

        :param step: which
        :param envs: (k,), for these environments only
        :return: (k,), the slots
        """
        reused = [self._free.pop() for _ in range(min(len(envs), len(self._free)))]
        fresh = range(self.in_use, self.in_use + len(envs) - len(reused))
        self.in_use += len(fresh)
        slots = np.array([*reused, *fresh])
        self.table[step, envs] = slots + 1
        return slots

    def of(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the next observations of transitions are.

        :param index: (B,), step * n_envs + environment
        :return: (B,) rows, but (k,) of these places, are in (k,) slots
        """
        slots = self.table.take(index)
        kept = slots.nonzero()[0]
        return (index + len(self._newest)) % self.table.size, kept, slots[kept] - 1

    def head(self, n_steps: int) -> dict[str, Any]:
        """What was written of the first steps."""
        return {"table": self.table[:n_steps], "in_use": self.in_use, "free": self._free}

    def restore(self, table: np.ndarray, in_use: int, free: list[int]) -> None:
        """Write back what :meth:`head` returned."""
        self.table[: len(table)] = table
        self.in_use, self._free = in_use, list(free)


def _in_rows(obs: Any, stored: np.ndarray) -> np.ndarray:
    """Observations as they are stored: ids, (n_envs,), as (n_envs, 1); others in a wrong layout are refused there.

    :param obs: (n_envs, ...), or a list of such
    :param stored: (n_envs, ...), where they go
    """
    obs = np.asarray(obs)
    return obs.reshape(stored.shape) if obs.ndim == 1 else obs


def words(array: np.ndarray) -> np.ndarray:
    """Rows as the widest unsigned integers that fit, which compare fastest.

    :param array: (n, ...), contiguous
    :return: (n, bytes of a row / bytes of a word), a view
    """
    n_bytes = array.nbytes // len(array)
    if n_bytes == 0:  # an empty space, as some Dicts have
        return np.empty((len(array), 0), np.uint8)
    width = next(width for width in (8, 4, 2, 1) if n_bytes % width == 0)
    return array.reshape(len(array), -1).view(f"u{width}")


def to_numpy(rows: Any) -> np.ndarray:
    """An array of an array or a tensor, on the host without a copy."""
    return rows if isinstance(rows, np.ndarray) else rows.cpu().numpy()
