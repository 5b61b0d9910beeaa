"""Replay buffer of simulators on a device: nothing of a transition passes the host.

Shapes: B batch, n_envs environments.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, PyTorchObs, ReplayBufferSamples
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac.buffers.single_copy import HOST_ONLY_DTYPES, STORAGES, check_not_empty, gathered_at_once, split
from sb3_softac.buffers.storage import Rows, pieces, to_numpy
from sb3_softac.settings import parsing

#: fields of a transition with one number
SCALARS = ("rewards", "dones", "timeouts")


class TensorReplayBuffer(NStepReplayBuffer):
    """Replay buffer whose transitions come and go as tensors of one device, where indices are drawn, too.

    All of its memory is allocated at once, on the device of the batches. Both observations of a transition are kept: to
    keep one, the host would have to know in each step which episodes ended. Batches have the form of those of
    Stable-Baselines3, with discounts where ``n_steps`` is above 1.

    :param buffer_size: number of transitions to hold, of all environments together
    :param observation_space: observation space of one environment
    :param action_space: action space of one environment
    :param device: of the transitions and the batches
    :param n_envs: number of environments
    :param optimize_memory_usage: must be False
    :param handle_timeout_termination: True: a time limit is no terminal state, and the ``dones`` of batches are 0 there
    :param n_steps: steps of reward in a transition
    :param gamma: discount of one step, for ``n_steps`` above 1
    :param storage: must be ``"device"``
    :raises ValueError: an argument out of its range, or too little memory on the device
    """

    rewards: th.Tensor  # type: ignore[assignment]  #: (rows, n_envs)
    dones: th.Tensor  # type: ignore[assignment]  #: (rows, n_envs) bool, True where an episode ended, at time limits too
    timeouts: th.Tensor  # type: ignore[assignment]  #: (rows, n_envs) bool, True where the next state has a value still

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
        storage: str = "device",
    ) -> None:
        if optimize_memory_usage or parsing.one_of("storage", storage, STORAGES) != "device":
            raise ValueError(
                f"`storage={storage!r}` and `optimize_memory_usage={optimize_memory_usage}` were given, but "
                "`TensorReplayBuffer` keeps whole transitions on the device. For little memory there pass "
                "`replay_buffer_class=sb3_softac.buffers.SingleCopyReplayBuffer`; steps then pass the host"
            )
        # Skips the constructors that allocate arrays on the host.
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs)
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = parsing.flag("handle_timeout_termination", handle_timeout_termination)
        self.n_steps = parsing.whole_number("n_steps", n_steps)
        self.gamma = parsing.number("gamma", gamma, parsing.FRACTION)
        self._allocate()

    def _allocate(self) -> None:
        leaves: Any = {None: self.observation_space}
        shapes: Any = {None: self.obs_shape}
        if isinstance(self.observation_space, spaces.Dict):
            leaves, shapes = self.observation_space.spaces, self.obs_shape
        unusable = [str(space.dtype) for space in leaves.values() if str(space.dtype) in HOST_ONLY_DTYPES]
        if unusable:
            raise ValueError(f"`TensorReplayBuffer` cannot hold observations of {unusable[0]}; use another type")
        self._samples_class: Any = ReplayBufferSamples if None in leaves else DictReplayBufferSamples
        try:
            self._obs = {key: self._rows(shapes[key], space.dtype) for key, space in leaves.items()}
            self._next_obs = {key: self._rows(shapes[key], space.dtype) for key, space in leaves.items()}
            self._actions = self._rows((self.action_dim,), self._maybe_cast_dtype(self.action_space.dtype))
        except RuntimeError as error:  # the device's memory is full
            raise ValueError(
                f"`buffer_size={self.buffer_size * self.n_envs}` does not fit the memory of {self.device}: {error}; "
                "pass a smaller one"
            ) from error
        of_steps = (self.buffer_size, self.n_envs)
        self.rewards = th.zeros(of_steps, device=self.device)
        self.dones = th.zeros(of_steps, dtype=th.bool, device=self.device)
        self.timeouts = th.zeros(of_steps, dtype=th.bool, device=self.device)

    def _rows(self, shape: tuple[int, ...], dtype: Any) -> Rows:
        return Rows(self.buffer_size * self.n_envs, self.n_envs, shape, dtype, th.device(self.device))

    # Adding

    def add_tensors(
        self,
        obs: PyTorchObs,
        next_obs: PyTorchObs,
        action: th.Tensor,
        reward: th.Tensor,
        done: th.Tensor,
        timeout: th.Tensor | None,
    ) -> None:
        """Add a step of every environment, without a synchronisation of host and device.

        :param obs: (n_envs, ...), or a dict of such
        :param next_obs: (n_envs, ...), or a dict of such; where an episode ended, its last observation
        :param action: (n_envs, action_dim), in [-1, 1] for Box
        :param reward: (n_envs,)
        :param done: (n_envs,) bool, True where an episode ended, by a time limit too
        :param timeout: (n_envs,) bool, True where it was a time limit; None for nowhere
        """
        row = self.pos
        of_both: Any = ((self._obs, obs), (self._next_obs, next_obs))
        for rows, values in of_both:
            for key, own in rows.items():
                part = values if key is None else values[key]
                own.steps[row] = part.reshape(own.step_shape)
        self._actions.steps[row] = action
        self.rewards[row] = reward
        self.dones[row] = done
        self.timeouts[row] = False if timeout is None or not self.handle_timeout_termination else timeout
        self.pos = (row + 1) % self.buffer_size
        self.full = self.full or self.pos == 0

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Add a step of every environment from numpy arrays; see Stable-Baselines3's ``ReplayBuffer``.

        :param obs: (n_envs, ...), or a dict of such
        :param next_obs: (n_envs, ...), or a dict of such; where an episode ended, its last observation
        :param action: (n_envs, action_dim)
        :param reward: (n_envs,)
        :param done: (n_envs,)
        :param infos: n_envs dicts, with ``TimeLimit.truncated`` where a time limit ended an episode
        """
        timeouts = [bool(info.get("TimeLimit.truncated", False)) for info in infos]
        both = [
            {key: self._tensor(values) for key, values in each.items()}
            if isinstance(each, dict)
            else self._tensor(each)
            for each in (obs, next_obs)
        ]
        rest = (np.asarray(action).reshape(self.n_envs, self.action_dim), reward, np.asarray(done, bool), timeouts)
        self.add_tensors(*both, *map(self._tensor, rest))  # type: ignore[arg-type]

    def _tensor(self, values: Any) -> th.Tensor:
        return th.as_tensor(np.asarray(values), device=self.device)

    def end_episodes(self) -> None:
        """End the episodes that are being stored, as none of them goes on: the next step begins others."""
        if self.size() > 0:
            newest = self.pos - 1
            self.timeouts[newest] |= ~self.dones[newest]

    def has_broken_steps(self, n_steps: int) -> bool:
        """Whether a finite observation and action led to an observation or reward that is not finite.

        Waits for the device.

        :param n_steps: the newest of the steps are looked at, this many
        """
        newest = self._newest(n_steps)
        n_steps = len(newest)

        def finite(*rows: th.Tensor) -> th.Tensor:
            """(n_steps, n_envs): where all numbers of all rows are finite."""
            each = [own.index_select(0, newest).isfinite() for own in rows]
            return th.stack([one.reshape(n_steps, self.n_envs, math.prod(one.shape[2:])).all(2) for one in each]).all(0)

        before, after = ([own.steps for own in rows.values()] for rows in (self._obs, self._next_obs))
        return bool((finite(*before, self._actions.steps) & ~finite(*after, self.rewards)).any())

    def newest(self, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Rewards, and whether episodes ended, of the newest steps, from the oldest on: both (n_steps, n_envs).

        Waits for the device.

        :param n_steps: how many
        """
        rows = self._newest(n_steps)
        return to_numpy(self.rewards.index_select(0, rows)), to_numpy(self.dones.index_select(0, rows))

    def _newest(self, n_steps: int) -> th.Tensor:
        n_steps = min(n_steps, self.size())
        return th.arange(self.pos - n_steps, self.pos, device=self.device) % self.buffer_size

    # Sampling

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw transitions with replacement, by the random generator of the device.

        :param batch_size: number of transitions
        :param env: must be None: a ``VecNormalize`` computes in numpy
        :return: samples in the form of Stable-Baselines3's buffers
        :raises ValueError: the buffer is empty
        """
        if env is not None:
            raise ValueError(
                "`TensorReplayBuffer` keeps its batches on the device, where `VecNormalize` cannot normalise: pass "
                "`policy_kwargs=dict(normalize_obs=True)` in place of it, or another `replay_buffer_class`"
            )
        check_not_empty(self.size())
        return self._gather(th.randint(self.size() * self.n_envs, (batch_size,), device=self.device))

    def samples_uniformly(self) -> bool:
        """Whether :meth:`sample_batches` may replace :meth:`sample`, since nobody has overridden the sampling."""
        return type(self).sample is TensorReplayBuffer.sample and "sample" not in vars(self)

    def sample_batches(self, n_batches: int, batch_size: int, env: VecNormalize | None = None) -> Iterator[Any]:
        """Draw several batches and gather many at once.

        :param n_batches: number of batches
        :param batch_size: number of transitions in each batch
        :param env: must be None
        :return: batches, which are slices of larger ones
        :raises ValueError: the buffer is empty
        """
        row_bytes = sum(own.row_bytes for own in self._obs.values())
        for n_gathered in gathered_at_once(n_batches, batch_size, row_bytes):
            yield from split(self.sample(n_gathered * batch_size, env), batch_size)

    def _gather(self, index: th.Tensor) -> Any:
        """Gather transitions.

        :param index: (B,), row * n_envs + environment
        """
        rewards, dones, timeouts = (getattr(self, name).view(-1) for name in SCALARS)
        last, reward, discounts = index, rewards.take(index), None
        if self.n_steps > 1:
            last, reward, discounts = self._n_step_returns(index)
        obs = {key: own.take(index) for key, own in self._obs.items()}
        next_obs = {key: own.take(last) for key, own in self._next_obs.items()}
        done = dones.take(last) & ~timeouts.take(last)
        return self._samples_class(
            obs.get(None, obs),
            self._actions.take(index),
            next_obs.get(None, next_obs),
            done.float().unsqueeze(1),
            reward.unsqueeze(1),
            discounts,
        )

    def _n_step_returns(self, index: th.Tensor) -> tuple[th.Tensor, ...]:
        """Discounted sums of n rewards, which stop at the end of an episode and at the newest row.

        :param index: (B,), index of the first step
        :return: (B,) index of the last step, (B,) sum of discounted rewards, (B, 1) discount of the next value
        """
        steps = th.arange(self.n_steps, device=index.device)
        indices = (index.unsqueeze(1) + steps * self.n_envs) % self.rewards.numel()
        over = self.dones.take(indices) | self.timeouts.take(indices)
        over |= indices // self.n_envs == (self.pos - 1) % self.buffer_size
        # A step counts unless one before it was the last.
        counts = over.cumsum(1) - over.long() == 0
        n_counted = counts.sum(1, keepdim=True)
        rewards = (self.rewards.take(indices) * self.gamma**steps * counts).sum(1)
        return indices.gather(1, n_counted - 1).squeeze(1), rewards, self.gamma ** n_counted.float()

    # For users, and for files

    @property
    def device(self) -> th.device:
        """Device of the transitions. Setting it moves them."""
        return self._device

    @device.setter
    def device(self, device: th.device | str) -> None:
        self._device = th.device(device)
        if "_obs" not in vars(self):
            return  # not allocated yet
        for rows in (*self._obs.values(), *self._next_obs.values(), self._actions):
            rows.move(self._device)
        for name in SCALARS:
            setattr(self, name, getattr(self, name).to(self._device))

    @property
    def observations(self) -> Any:  # type: ignore[override]
        """Observations, (rows, n_envs, ...), or a dict of such: a copy in numpy."""
        arrays = self.first_observations(self.buffer_size)
        return arrays.get(None, arrays)

    @property
    def next_observations(self) -> Any:  # type: ignore[override]
        """Next observations, (rows, n_envs, ...), or a dict of such: a copy in numpy."""
        arrays = {key: to_numpy(own.steps) for key, own in self._next_obs.items()}
        return arrays.get(None, arrays)

    def first_observations(self, n_rows: int) -> dict[str | None, np.ndarray]:
        """The first (n_rows, n_envs, ...) by the key in a Dict, or None, copied to the host.

        :param n_rows: how many
        """
        return {key: to_numpy(own.steps[:n_rows]) for key, own in self._obs.items()}

    @property
    def actions(self) -> np.ndarray:  # type: ignore[override]
        """Actions, (rows, n_envs, action_dim): a copy in numpy."""
        return to_numpy(self._actions.steps)

    def reset(self) -> None:
        """Remove all transitions."""
        super().reset()
        self._allocate()

    def __getstate__(self) -> dict[str, Any]:
        """State for a pickle: only the filled rows."""
        n_rows = self.size()
        filled: dict[str, Any] = {name: to_numpy(getattr(self, name)[:n_rows]) for name in SCALARS}
        for name in ("_obs", "_next_obs"):
            filled[name] = {key: to_numpy(own.steps[:n_rows]) for key, own in getattr(self, name).items()}
        filled["_actions"] = to_numpy(self._actions.steps[:n_rows])
        return {name: value for name, value in vars(self).items() if name != "_samples_class"} | filled

    def __setstate__(self, state: dict[str, Any]) -> None:
        filled = {name: state.pop(name) for name in (*SCALARS, "_obs", "_next_obs", "_actions")}
        vars(self).update(state, _device=get_device(state["_device"]))
        self._allocate()
        for name in SCALARS:
            for rows, piece in pieces(filled[name]):
                getattr(self, name)[rows] = th.as_tensor(piece, device=self._device)
        for name in ("_obs", "_next_obs"):
            for key, own in getattr(self, name).items():
                _write_steps(own, filled[name][key])
        _write_steps(self._actions, filled["_actions"])


def _write_steps(rows: Rows, values: Any) -> None:
    """Overwrite the first steps.

    :param rows: of all steps
    :param values: (steps, n_envs, ...), an array, or one in pieces
    """
    for steps, piece in pieces(values):
        rows.steps[steps] = th.as_tensor(np.asarray(piece), device=rows.device)
