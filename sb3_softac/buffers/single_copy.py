"""Replay buffer that stores each observation once, and returns the same batches as those of Stable-Baselines3."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common import buffers as sb3_buffers
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac.buffers.storage import ObservationStore, Rows, Slots, pieces, to_numpy
from sb3_softac.settings import parsing

STORAGES = ("host", "device")
# Types that PyTorch can store, but not fully index.
HOST_ONLY_DTYPES = ("uint16", "uint32", "uint64")
# Bytes of observations that are gathered together. More would not fit the caches, and with images not the memory.
GATHERED_BYTES = 1_000_000
# Arrays with one entry for each transition, beside observations and actions.
ROW_ARRAYS = ("rewards", "dones", "timeouts")


class SingleCopyReplayBuffer(NStepReplayBuffer):
    """Replay buffer in half the memory of Stable-Baselines3's, for Box and Dict observations and n-step returns.

    Equal additions and an equal seed give the batches of Stable-Baselines3's ``ReplayBuffer``, ``DictReplayBuffer`` and
    ``NStepReplayBuffer``. An observation is stored once: it is the next observation of one transition and the current
    observation of the following transition. If these two differ in any bit, the next observation is kept separately, as
    long as its transition is in the buffer, and n-step returns end there. They differ where an episode ended, or where
    ``learn()`` was called again and reset the environment. No transition is lost at time limits or when the buffer is
    full.

    ``observations`` and ``actions`` are arrays as in Stable-Baselines3; there are no ``next_observations``.

    :param buffer_size: number of transitions to hold, of all environments together
    :param observation_space: observation space of one environment
    :param action_space: action space of one environment
    :param device: device of the batches
    :param n_envs: number of environments
    :param optimize_memory_usage: must be False: this buffer saves the same memory and handles time limits
    :param handle_timeout_termination: True: a time limit is no terminal state, and the ``dones`` of batches are 0 there
    :param n_steps: steps of reward in a transition; above 1, batches contain discounts
    :param gamma: discount of one step, for ``n_steps`` above 1
    :param storage: ``"host"``: memory of the host is used as the buffer fills; ``"device"``: observations and actions
        are allocated on ``device`` at once, and batches are gathered there (with a ``VecNormalize`` they pass the host)
    :raises ValueError: an argument out of its range
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        n_steps: int = 1,
        gamma: float = 0.99,
        storage: str = "host",
    ) -> None:
        if optimize_memory_usage:
            raise ValueError(
                "`optimize_memory_usage=True` was given, but `SingleCopyReplayBuffer` always stores an observation "
                "once, and handles time limits correctly; pass False"
            )
        self.storage = parsing.one_of("storage", storage, STORAGES)
        self._stores: dict[str | None, ObservationStore] = {}
        # Skips the constructors that allocate each observation twice.
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs)
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = parsing.flag("handle_timeout_termination", handle_timeout_termination)
        self.n_steps = parsing.whole_number("n_steps", n_steps)
        self.gamma = parsing.number("gamma", gamma, parsing.FRACTION)
        self._allocate()
        self._warn_if_too_large()

    def _allocate(self) -> None:
        leaves: Any = {None: self.observation_space}
        shapes: Any = {None: self.obs_shape}
        if isinstance(self.observation_space, spaces.Dict):
            leaves, shapes = self.observation_space.spaces, self.obs_shape
        self._samples_class: Any = ReplayBufferSamples if None in leaves else DictReplayBufferSamples
        n_rows, n_envs, device = self.buffer_size, self.n_envs, self._storage_device()
        for key, space in leaves.items():
            if device is not None and str(space.dtype) in HOST_ONLY_DTYPES:
                raise ValueError(f"`storage='device'` cannot hold observations of {space.dtype}; pass `storage='host'`")
            self._stores[key] = ObservationStore(n_rows, n_envs, shapes[key], space.dtype, device)
        action_dtype = self._maybe_cast_dtype(self.action_space.dtype)
        self._actions = Rows(n_rows * n_envs, n_envs, (self.action_dim,), action_dtype, device)
        self.rewards = np.zeros((n_rows, n_envs), np.float32)
        self.dones = np.zeros((n_rows, n_envs), np.uint8)
        self.timeouts = np.zeros((n_rows, n_envs), np.uint8)
        self._slots = Slots(n_rows, n_envs)

    def _warn_if_too_large(self) -> None:
        if sb3_buffers.psutil is None:
            return
        needed, available = self.host_bytes(), sb3_buffers.psutil.virtual_memory().available
        if needed > available:
            warnings.warn(
                "This system does not have apparently enough memory to store the complete "
                f"replay buffer {needed / 1e9:.2f}GB > {available / 1e9:.2f}GB",
                stacklevel=3,
            )

    def host_bytes(self) -> int:
        """Bytes that the full buffer takes on the host, without the observations kept at the ends of episodes."""
        rows = [self._actions, *(store.rows for store in self._stores.values())]
        arrays = [getattr(self, name) for name in ROW_ARRAYS] + [self._slots.table]
        return sum(array.nbytes for array in arrays + [each.data for each in rows if each.device is None])

    # Places

    @property
    def device(self) -> th.device:
        """Device of the batches. Setting it also moves the observations if they are stored on the device."""
        return self._device

    @device.setter
    def device(self, device: th.device | str) -> None:
        self._device = th.device(device)
        for store in self._stores.values():
            store.move(self._storage_device())
        if self._stores:
            self._actions.move(self._storage_device())

    def _storage_device(self) -> th.device | None:
        return self.device if self.storage == "device" else None

    # Adding

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Add a step of every environment.

        :param obs: (n_envs, ...), or a dict of such
        :param next_obs: (n_envs, ...), or a dict of such; where an episode ended, its final observation
        :param action: (n_envs, action_dim)
        :param reward: (n_envs,)
        :param done: (n_envs,), whether an episode ended, by a time limit too
        :param infos: n_envs dicts, with ``TimeLimit.truncated`` where a time limit ended an episode
        """
        row = self.pos
        if self.full:
            self._slots.free(row)
            self.timeouts[row] = 0
        self._add_observations(row, obs)
        for key, store in self._stores.items():
            store.add_next(next_obs if key is None else next_obs[key])
        self._slots.hold_newest(row)
        self._actions.write_step(row, action.reshape(self._actions.step_shape))
        self.rewards[row] = reward
        self.dones[row] = done
        if self.handle_timeout_termination:
            truncated = [info.get("TimeLimit.truncated", False) for info in infos]
            if any(truncated):  # rare, and making an array takes time
                self.timeouts[row] = np.array(truncated)
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full = True
            self.pos = 0

    def _add_observations(self, row: int, obs: Any) -> None:
        """Write observations, and keep each previous next observation that differs from its successor."""
        changed = None
        for key, store in self._stores.items():
            differ = store.add(row, obs if key is None else obs[key])
            if differ is not None:
                changed = differ if changed is None else changed | differ
        if self.buffer_size == 1 or not (self.full or row > 0):
            return  # no step before this one
        self._slots.table[row - 1] = 0
        if changed is not None:
            envs = changed.nonzero()[0]
            slots = self._slots.hold(row - 1, envs)
            for store in self._stores.values():
                store.keep(envs, slots, self._slots.in_use)

    def reset(self) -> None:
        """Remove all transitions."""
        super().reset()
        self._allocate()

    # Sampling

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw transitions with replacement.

        :param batch_size: number of transitions
        :param env: normalises observations and rewards; None for none
        :return: samples in the form of Stable-Baselines3's buffers
        :raises ValueError: the buffer is empty
        """
        return self._get_samples(self._draw_rows(batch_size), env)

    def samples_uniformly(self) -> bool:
        """Whether :meth:`sample_batches` may replace :meth:`sample`, since nobody has overridden the sampling."""
        own = ("sample", "_get_samples")
        is_overridden = any(getattr(type(self), name) is not getattr(SingleCopyReplayBuffer, name) for name in own)
        return not is_overridden and vars(self).keys().isdisjoint(own)

    def sample_batches(self, n_batches: int, batch_size: int, env: VecNormalize | None = None) -> Iterator[Any]:
        """Draw several batches and gather many at once; repeated calls of :meth:`sample` return the same batches.

        :param n_batches: number of batches
        :param batch_size: number of transitions in each batch
        :param env: normalises observations and rewards; None for none
        :return: batches, which are slices of larger ones
        :raises ValueError: the buffer is empty
        """
        row_bytes = sum(store.rows.row_bytes for store in self._stores.values())
        for n_gathered in gathered_at_once(n_batches, batch_size, row_bytes):
            if n_gathered == 1:
                yield self.sample(batch_size, env)
                continue
            indices = [self._draw_envs(self._draw_rows(batch_size)) for _ in range(n_gathered)]
            yield from split(self._gather(np.concatenate(indices), env), batch_size)

    def _draw_rows(self, batch_size: int) -> np.ndarray:
        n_rows = self.size()
        check_not_empty(n_rows)
        return np.random.randint(0, n_rows, size=batch_size)  # noqa: NPY002  # seeded by Stable-Baselines3

    def _draw_envs(self, rows: np.ndarray) -> np.ndarray:
        """Draw an environment for each row, and return the indices of the transitions: row * n_envs + environment."""
        if self.n_envs == 1:  # with one environment, drawing would not change the random state
            return rows
        return rows * self.n_envs + np.random.randint(0, high=self.n_envs, size=len(rows))  # noqa: NPY002

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> Any:
        return self._gather(self._draw_envs(batch_inds), env)

    def _gather(self, index: np.ndarray, env: VecNormalize | None) -> Any:
        """Gather transitions by their index, row * n_envs + environment.

        :param index: (B,)
        :param env: normalises observations and rewards; None for none
        """
        if self.n_steps == 1:
            last, rewards, discounts = index, self._rewards_at(index, env), None
        else:
            last, rewards, discounts = self._n_step_returns(index, env)
        at = self._actions.index(index)
        obs = {key: store.rows.take(at) for key, store in self._stores.items()}
        next_obs = self._take_next(last)
        dones = (self.dones.take(last) > self.timeouts.take(last)).astype(np.float32)
        return self._samples_class(
            self._finished(obs, env),
            self._to_device(self._actions.take(at)),
            self._finished(next_obs, env),
            self._to_device(dones.reshape(-1, 1)),
            self._to_device(rewards.reshape(-1, 1)),
            None if discounts is None else self._to_device(discounts),
        )

    def _take_next(self, index: np.ndarray) -> dict[str | None, Any]:
        at = [self._actions.index(part) for part in self._slots.of(index)]
        return {key: store.take_next(*at) for key, store in self._stores.items()}

    def _rewards_at(self, index: np.ndarray, env: VecNormalize | None) -> np.ndarray:
        return self._normalize_reward(self.rewards.take(index), env)

    def _n_step_returns(self, index: np.ndarray, env: VecNormalize | None) -> tuple[np.ndarray, ...]:
        """Discounted sums of n rewards, which stop at the end of an episode and at the newest row.

        :param index: (B,), index of the first step
        :param env: normalises rewards; None for none
        :return: (B,) index of the last step, (B,) sum of discounted rewards, (B, 1) discount of the next value
        """
        steps = np.arange(self.n_steps)
        indices = (index[:, None] + steps * self.n_envs) % self.rewards.size
        over = (self.dones.take(indices) | self.timeouts.take(indices) | self._slots.table.take(indices)) > 0
        over[:, -1] = True
        n_before = over.argmax(axis=1)
        counts = steps <= n_before[:, None]
        # This order and these types give the same bits as Stable-Baselines3.
        rewards = self._rewards_at(indices, env) * self.gamma ** steps.astype(np.float32) * counts
        discounts = self.gamma ** counts.sum(axis=1, keepdims=True).astype(np.float32)
        return indices[np.arange(len(index)), n_before], rewards.sum(axis=1), discounts

    def _finished(self, leaves: Any, env: VecNormalize | None) -> Any:
        """Observations of a batch: normalised, on the device, and in a dict only if the space is a Dict."""
        is_box = None in leaves
        if env is not None:
            arrays = {key: to_numpy(values) for key, values in leaves.items()}
            leaves = {None: self._normalize_obs(arrays[None], env)} if is_box else self._normalize_obs(arrays, env)
        tensors = {key: self._to_device(values) for key, values in leaves.items()}
        return tensors[None] if is_box else tensors

    def _to_device(self, rows: Any) -> th.Tensor:
        tensor = th.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        return tensor.to(self._device)

    # For users, and for files

    @property
    def observations(self) -> Any:  # type: ignore[override]
        """Observations, (rows, n_envs, ...), or a dict of such: a view if stored on the host, else a copy."""
        arrays = {key: to_numpy(store.rows.steps) for key, store in self._stores.items()}
        return arrays.get(None, arrays)

    def first_observations(self, n_rows: int) -> dict[str | None, np.ndarray]:
        """The first (n_rows, n_envs, ...) by the key in a Dict, or None; of a device, no more than these are copied.

        :param n_rows: how many
        """
        return {key: to_numpy(store.rows.steps[:n_rows]) for key, store in self._stores.items()}

    def next_observations_of(self, index: np.ndarray) -> dict[str | None, np.ndarray]:
        """Next observations (k, ...) of transitions, by the key in a Dict, or None.

        :param index: (k,), row * n_envs + environment
        """
        return {key: to_numpy(values) for key, values in self._take_next(index).items()}

    def transitions_at(self, index: np.ndarray) -> tuple[Any, ...]:
        """Transitions as they were added, whatever ``n_steps`` is.

        :param index: (k,), row * n_envs + environment
        :return: observations and next observations (k, ...) by the key in a Dict, or None; actions (k, action_dim);
            rewards, dones and timeouts (k,)
        """
        at = self._actions.index(index)
        obs = {key: to_numpy(store.rows.take(at)) for key, store in self._stores.items()}
        arrays = [getattr(self, name).take(index) for name in ROW_ARRAYS]
        return obs, self.next_observations_of(index), to_numpy(self._actions.take(at)), *arrays

    @property
    def actions(self) -> np.ndarray:  # type: ignore[override]
        """Actions, (rows, n_envs, action_dim): a view if stored on the host, else a copy."""
        return to_numpy(self._actions.steps)

    def __getstate__(self) -> dict[str, Any]:
        """State for a pickle: only the filled rows."""
        n_rows = self.size()
        n_flat = n_rows * self.n_envs
        state = self.__dict__ | {name: getattr(self, name)[:n_rows] for name in ROW_ARRAYS}
        del state["_samples_class"]
        state["_slots"] = self._slots.head(n_rows)
        state["_actions"] = to_numpy(self._actions.data[:n_flat])
        state["_stores"] = {key: store.head(n_flat, self._slots.in_use) for key, store in self._stores.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        filled = {name: state.pop(name) for name in (*ROW_ARRAYS, "_slots", "_actions", "_stores")}
        self.__dict__.update(state, _stores={}, _device=get_device(state["_device"]))
        self._allocate()
        for name in ROW_ARRAYS:
            for rows, piece in pieces(filled[name]):
                getattr(self, name)[rows] = piece
        self._slots.restore(**filled["_slots"])
        self._actions.write_first(filled["_actions"])
        for key, arrays in filled["_stores"].items():
            self._stores[key].restore(*arrays)


def check_not_empty(n_rows: int) -> None:
    """Refuse to sample a replay buffer without transitions.

    :param n_rows: number of filled rows
    :raises ValueError: there are none
    """
    if n_rows == 0:
        raise ValueError("The replay buffer is empty: add transitions, or let `learn()` collect some, before sampling")


def gathered_at_once(n_batches: int, batch_size: int, row_bytes: int) -> Iterator[int]:
    """Numbers of batches that are gathered together, which add up to ``n_batches``.

    :param n_batches: number of batches
    :param batch_size: transitions in each of them
    :param row_bytes: size of an observation, of which a transition has two
    """
    most = max(1, GATHERED_BYTES // (2 * row_bytes * batch_size))
    for start in range(0, n_batches, most):
        yield min(most, n_batches - start)


def split(samples: Any, batch_size: int) -> list[Any]:
    """Split samples into batches.

    :param samples: (n * batch_size, ...)
    :param batch_size: number of transitions in each batch
    :return: n batches, which are views
    """
    n_batches = len(samples.actions) // batch_size

    def parts(value: Any) -> list[Any]:
        if value is None:
            return [None] * n_batches
        if isinstance(value, dict):
            columns = {key: tensor.split(batch_size) for key, tensor in value.items()}
            return [{key: column[i] for key, column in columns.items()} for i in range(n_batches)]
        return value.split(batch_size)

    return [type(samples)(*fields) for fields in zip(*map(parts, samples), strict=True)]
