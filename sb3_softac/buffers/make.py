"""Choice of a model's replay buffer, its arguments and its batches."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.buffers.tensors import TensorReplayBuffer
from sb3_softac.settings.arguments import MAX_RETURN_STEPS, SetUpSettings
from sb3_softac.settings.parsing import FRACTION, flag
from sb3_softac.settings.rows import check_known, number_in, read_given, row, whole
from sb3_softac.spaces import has_goals

#: arguments of a replay buffer that SoftAC sets, and not the user
GIVEN_BY_SOFTAC = (
    "buffer_size",
    "observation_space",
    "action_space",
    "env",
    "device",
    "n_envs",
    "optimize_memory_usage",
)
#: buffers of this package, which take ``n_steps`` and ``gamma`` from the algorithm
OWN = (SingleCopyReplayBuffer, TensorReplayBuffer)
# Placeholder: Stable-Baselines3's set-up allocates no replay buffer if the attribute is not None.
_NO_BUFFER: Any = "no replay buffer yet"


class Demonstrations(NamedTuple):
    """Transitions that make up a fixed part of each batch, as in RLPD (arXiv:2302.02948).

    :param buffer: holds them
    :param ratio: part of each batch, above 0 and at most 1
    """

    buffer: SingleCopyReplayBuffer
    ratio: float


@dataclass(frozen=True)
class ReplayBufferSettings:
    """Arguments that the replay buffers of Stable-Baselines3 and of this package share; all are optional."""

    handle_timeout_termination: bool = row(flag)
    n_steps: int = row(whole(1, MAX_RETURN_STEPS))
    gamma: float = row(number_in(FRACTION))


def choose_class(
    replay_buffer_class: type[ReplayBuffer] | str | None,
    optimize_memory_usage: bool,
    n_steps: int,
    env: VecEnv | None,
    takes_tensors: bool,
) -> type[ReplayBuffer] | None:
    """Choose the class of the replay buffer.

    :param replay_buffer_class: class that the user gave; None for none; ``"auto"`` for one that suits the environment
    :param optimize_memory_usage: Stable-Baselines3's way to store an observation once
    :param n_steps: steps of reward in the TD target
    :param env: the environment; None for none
    :param takes_tensors: whether it makes steps of tensors
    :return: the class; None: Stable-Baselines3 chooses
    """
    if isinstance(replay_buffer_class, str):
        replay_buffer_class = class_for(env)
    if replay_buffer_class is None and not optimize_memory_usage:
        return TensorReplayBuffer if takes_tensors else SingleCopyReplayBuffer
    if n_steps > 1 and replay_buffer_class is NStepReplayBuffer:
        return None  # an earlier set-up chose it, and `n_steps` may have changed since
    return replay_buffer_class


def class_for(env: VecEnv | None) -> type[ReplayBuffer] | None:
    """The class for ``"auto"``.

    :param env: the environment; None for none
    :return: hindsight, if the environment has goals and can say the reward for another goal; else None
    """
    if env is None or not has_goals(env.observation_space) or not env.has_attr("compute_reward"):
        return None
    return HerReplayBuffer


def awaits_first_episode(buffer: ReplayBuffer) -> bool:
    """Whether a replay buffer of hindsight has no episode that is over, from which alone it takes goals.

    :param buffer: of any class
    """
    # The first episode has the first rows, until the buffer is full and these are overwritten.
    return isinstance(buffer, HerReplayBuffer) and not buffer.full and not buffer.ep_length[0].any()


def asks_environment(buffer: ReplayBuffer) -> bool:
    """Whether a replay buffer asks the environment as it samples: hindsight has it compute the rewards of other goals.

    :param buffer: of any class
    """
    return isinstance(buffer, HerReplayBuffer)


def is_own(replay_buffer_class: type[ReplayBuffer] | None) -> bool:
    """Whether a class is of this package, and takes ``n_steps`` and ``gamma`` from the algorithm."""
    return replay_buffer_class is not None and issubclass(replay_buffer_class, OWN)


@contextmanager
def without_allocation(model: OffPolicyAlgorithm) -> Iterator[None]:
    """Context manager in which Stable-Baselines3 sets a model up without allocating a replay buffer.

    An agent that only acts never needs one.

    :param model: a model that is not yet set up
    """
    is_new, n_steps = model.__dict__.get("replay_buffer") is None, model.n_steps
    if is_own(model.replay_buffer_class):
        model.n_steps = 1  # else Stable-Baselines3 warns that a class it does not know ignores `n_steps`
    if is_new:
        model.__dict__["replay_buffer"] = _NO_BUFFER
    try:
        yield
    finally:
        model.n_steps = n_steps
        if is_new:
            del model.__dict__["replay_buffer"]


def check_replay_kwargs(
    replay_buffer_class: type[ReplayBuffer] | None, replay_buffer_kwargs: Mapping[str, Any]
) -> None:
    """Refuse arguments that the class of a replay buffer does not take.

    :param replay_buffer_class: the class; None: Stable-Baselines3 chooses among classes with the same arguments
    :param replay_buffer_kwargs: arguments that the user gave
    :raises ValueError: naming the first wrong argument
    """
    name = "replay_buffer_kwargs"
    try:
        read_given(ReplayBufferSettings, replay_buffer_kwargs)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None
    check_known(name, replay_buffer_kwargs, replay_buffer_class or NStepReplayBuffer, hidden=GIVEN_BY_SOFTAC)


def make_replay_buffer(
    settings: SetUpSettings,
    replay_buffer_class: type[ReplayBuffer],
    spaces_of_env: tuple[spaces.Space, spaces.Space],
    n_envs: int,
    device: th.device,
    env: VecEnv | None,
    returns: Mapping[str, Any],
) -> ReplayBuffer:
    """Allocate a replay buffer.

    :param settings: settings of the set-up
    :param replay_buffer_class: the class
    :param spaces_of_env: observation space and action space
    :param n_envs: number of environments
    :param device: device of the batches
    :param env: environment from which ``HerReplayBuffer`` gets rewards; None for none
    :param returns: result of :func:`return_arguments`
    :raises ValueError: the class refuses its arguments
    """
    kwargs = dict(settings.replay_buffer_kwargs)
    if is_own(replay_buffer_class):
        kwargs |= returns
    if issubclass(replay_buffer_class, HerReplayBuffer):
        if env is None:
            raise ValueError("`HerReplayBuffer` needs the environment, but there is none: call `set_env()` first")
        kwargs["env"] = env
    try:
        return replay_buffer_class(
            settings.buffer_size,
            *spaces_of_env,
            device=device,
            n_envs=n_envs,
            optimize_memory_usage=settings.optimize_memory_usage,
            **kwargs,
        )
    except MemoryError as error:
        raise ValueError(
            f"`buffer_size={settings.buffer_size}` needs more memory than there is: {error}; pass a smaller one"
        ) from error
    except (TypeError, AssertionError) as error:
        raise ValueError(
            f"`replay_buffer_kwargs={settings.replay_buffer_kwargs}` are not what "
            f"`replay_buffer_class={replay_buffer_class.__name__}` takes: {error}"
        ) from error


def return_arguments(n_steps: int, gamma: float, replay_buffer_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments ``n_steps`` and ``gamma`` of our buffer: the algorithm's, unless ``replay_buffer_kwargs`` has its own.

    :param n_steps: steps of reward of the algorithm; above 1, the algorithm sets both arguments
    :param gamma: discount of the algorithm
    :param replay_buffer_kwargs: arguments of the buffer that the user gave
    :return: the arguments that the algorithm sets, by name
    """
    ours = {"n_steps": n_steps, "gamma": gamma}
    if n_steps > 1:
        return ours
    return {name: value for name, value in ours.items() if name not in replay_buffer_kwargs}


def batches(
    buffer: ReplayBuffer, n_batches: int, batch_size: int, returns: Mapping[str, Any], env: VecNormalize | None
) -> Iterator[ReplayBufferSamples]:
    """Draw batches from a replay buffer; those of this package gather many at once.

    :param buffer: a buffer with transitions
    :param n_batches: number of batches
    :param batch_size: number of transitions in each batch
    :param returns: result of :func:`return_arguments`, which may have changed since the buffer was made
    :param env: normalises observations and rewards; None for none
    """
    if isinstance(buffer, OWN):
        for name, value in returns.items():
            setattr(buffer, name, value)
        if buffer.samples_uniformly():
            yield from buffer.sample_batches(n_batches, batch_size, env=env)
            return
    for _ in range(n_batches):
        yield buffer.sample(batch_size, env=env)


def mixed_batches(
    buffer: ReplayBuffer,
    demonstrations: Demonstrations,
    n_batches: int,
    batch_size: int,
    returns: Mapping[str, Any],
    env: VecNormalize | None,
) -> Iterator[ReplayBufferSamples]:
    """Draw batches of which a part are demonstrations; all are demonstrations as long as the replay buffer is empty.

    :param buffer: the replay buffer
    :param demonstrations: with their ratio
    :param n_batches: number of batches
    :param batch_size: number of transitions in each batch
    :param returns: result of :func:`return_arguments`
    :param env: normalises observations and rewards; None for none
    """
    n_demonstrations = min(max(round(demonstrations.ratio * batch_size), 1), batch_size)
    if buffer.size() == 0 or n_demonstrations == batch_size:
        yield from batches(demonstrations.buffer, n_batches, batch_size, returns, env)
        return
    for _ in range(n_batches):
        # One by one: a batch then does not depend on how many are drawn at once.
        (own,) = batches(buffer, 1, batch_size - n_demonstrations, returns, env)
        (shown,) = batches(demonstrations.buffer, 1, n_demonstrations, returns, env)
        yield _joined(own, shown, demonstrations.buffer.gamma)


def _joined(first: Any, second: Any, gamma: float) -> Any:
    """Samples one after another.

    :param first: of a replay buffer
    :param second: of another one
    :param gamma: discount of samples that bring none, if the others do
    """

    def discounts(samples: Any) -> th.Tensor:
        return th.full_like(samples.rewards, gamma) if samples.discounts is None else samples.discounts

    def join(one: Any, other: Any) -> Any:
        if isinstance(one, dict):
            return {key: th.cat((values, other[key])) for key, values in one.items()}
        return th.cat((one, other))

    is_plain = first.discounts is None and second.discounts is None
    fields = zip(first[:5], second[:5], strict=True)
    return type(first)(*(join(*pair) for pair in fields), None if is_plain else join(*map(discounts, (first, second))))


def end_episodes(buffer: ReplayBuffer | None) -> None:
    """End the episodes that are being stored, as none of them goes on.

    :param buffer: of hindsight, which takes goals from later in an episode, of tensors, or Stable-Baselines3's of
        several steps of reward; nothing needs to be done for another one
    """
    if isinstance(buffer, HerReplayBuffer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that it does
            buffer.truncate_last_trajectory()
    elif isinstance(buffer, TensorReplayBuffer):
        buffer.end_episodes()
    elif isinstance(buffer, NStepReplayBuffer) and not isinstance(buffer, OWN) and buffer.size() > 0:
        newest = buffer.pos - 1
        buffer.timeouts[newest] = np.maximum(buffer.timeouts[newest], 1.0 - buffer.dones[newest])


def check_spaces(buffer: ReplayBuffer, model: OffPolicyAlgorithm) -> None:
    """Refuse a replay buffer whose environment differs from that of the model.

    :param buffer: buffer from a file
    :param model: model that is to learn from it
    :raises ValueError: spaces or numbers of environments differ
    """
    for name in ("n_envs", "observation_space", "action_space"):
        own, given = getattr(model, name), getattr(buffer, name)
        if own != given:
            raise ValueError(
                f"The replay buffer is for `{name}={given}`, but the model has {own}; load the model with such an "
                "environment, or go on without the buffer"
            )


def check_returns(buffer: ReplayBuffer, n_steps: int, gamma: float) -> None:
    """Refuse a replay buffer whose own ``n_steps`` and ``gamma`` differ from those of the algorithm.

    The buffers of Stable-Baselines3 keep both values. Those of this package follow the algorithm.

    :param buffer: any replay buffer
    :param n_steps: steps of reward of the algorithm
    :param gamma: discount of the algorithm
    :raises ValueError: naming both values
    """
    if isinstance(buffer, OWN):
        return
    own_n_steps = getattr(buffer, "n_steps", 1)
    own_gamma = gamma if own_n_steps == 1 else getattr(buffer, "gamma", gamma)
    if (own_n_steps, own_gamma) != (n_steps, gamma):
        raise ValueError(
            f"`n_steps={n_steps}` and `gamma={gamma}` are asked for, but the model's replay buffer has returns of "
            f"{own_n_steps} step(s), discounted by {own_gamma}. Load the model's zip file with the new arguments "
            "instead, and begin with an empty replay buffer"
        )


def attach(buffer: ReplayBuffer, env: VecEnv | None, device: th.device, truncate_last_traj: bool = True) -> None:
    """Give a replay buffer of a file its environment and its device.

    :param buffer: of a file
    :param env: which hindsight asks for rewards; None for none
    :param device: where batches go
    :param truncate_last_traj: with hindsight, take the last trajectory for finished
    :raises ValueError: hindsight without an environment
    """
    buffer.device = device
    if isinstance(buffer, HerReplayBuffer):
        if env is None:
            raise ValueError("`HerReplayBuffer` needs the environment, but there is none: call `set_env()` first")
        buffer.env = None  # which its `set_env()` refuses to replace
        buffer.set_env(env)
        if truncate_last_traj:
            buffer.truncate_last_trajectory()
