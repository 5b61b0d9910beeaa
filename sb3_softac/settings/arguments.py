"""Arguments of SoftAC: one row for each, with the function that checks and converts its value.

A model keeps each argument in an attribute of the same name. Four tables hold the rows. The table of a row decides what
happens when a user changes the attribute later.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sb3_softac.settings.engines import ENGINE_KINDS
from sb3_softac.settings.parsing import (
    FINITE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_FRACTION,
    Interval,
    Schedule,
    auto_number,
    flag,
    is_auto,
    number,
    number_or_schedule,
    one_of,
    value_at,
    whole_number,
)
from sb3_softac.settings.rows import (
    instance_of,
    keyword_arguments,
    number_in,
    optional,
    row,
    schedule_in,
    subclass_of,
    whole,
    word,
)
from sb3_softac.settings.variants import NEUTRAL, VARIANTS
from sb3_softac.spaces import has_action_masks, is_enumerable, max_entropy

ACTOR_GRADIENTS = ("reparameterized", "score_function")
BASELINES = ("state_value", "leave_one_out", "none")
Q_REDUCTIONS = ("min", "mean")
PRECISIONS = ("float32", "bfloat16")
DIAGNOSTICS = ("off", "basic", "full")
DISCRETE_TARGET_ENTROPY_FACTOR = 0.98  # arXiv:1910.07207, section 4
# More steps between two trainings, or updates in one, would seem to hang.
MAX_STEPS = 1_000_000
# More transitions than any memory holds.
MAX_TRANSITIONS = 10**11
# More steps of reward in one return would fill the memory with a batch.
MAX_RETURN_STEPS = 10_000


# Single values


@dataclass(frozen=True)
class EntCoef:
    """The checked argument ``ent_coef``: a fixed or a learned temperature.

    :param is_learned: True: learned; False: fixed
    :param value: the fixed value, at least 0; or the initial value of a learned temperature, above 0
    """

    is_learned: bool
    value: float


def read_ent_coef(name: str, value: Any, variant: str) -> EntCoef:
    """Read a temperature: ``"auto"``, ``"auto_<initial value>"`` or a number.

    ``"auto"`` follows the paper of the variant, ``"auto_<initial value>"`` always learns, and a number is fixed.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :param variant: a key of :data:`~sb3_softac.settings.variants.VARIANTS`
    :raises ValueError: for any other value
    """
    if is_auto(value):
        initial = auto_number(name, value)
        return EntCoef(initial is not None or VARIANTS[variant].learns_temperature, 1.0 if initial is None else initial)
    try:
        return EntCoef(False, number(name, value, NOT_NEGATIVE))
    except ValueError as error:
        message = str(error).replace("of at least 0", "of at least 0, 'auto' or 'auto_<number>'")
        raise ValueError(message) from None


@dataclass(frozen=True)
class TargetEntropy:
    """Target entropy of a learned temperature: ``offset + factor log(number of allowed actions)``, in nats.

    :param offset: a number, or a schedule
    :param factor: above 0 only with action masks: then the target depends on the number of actions allowed in a state
    """

    offset: float | Schedule
    factor: float = 0.0

    def at(self, progress_remaining: float) -> tuple[float, float]:
        """Offset and factor at a moment of the training.

        :param progress_remaining: remaining progress, from 1 to 0
        """
        return value_at(self.offset, progress_remaining), self.factor


def read_target_entropy(
    name: str, value: Any, action_space: spaces.Space, observation_space: spaces.Space | None = None
) -> TargetEntropy:
    """Read a target entropy: ``"auto"``, ``"auto_<factor>"``, a number, or a schedule.

    ``"auto"`` is -dim(A) for Box and 0.98 log|A| for Discrete and MultiDiscrete. With masks, A is the set of allowed
    actions. arXiv:1812.05905v2, section 5 and appendix D; arXiv:1910.07207, section 4

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :param action_space: gives the default, and the largest entropy that a policy can have
    :param observation_space: observation space of the environment; None: no masks
    :raises ValueError: for any other value
    """
    largest = max_entropy(action_space)
    if not is_auto(value):
        try:
            return TargetEntropy(number_or_schedule(name, value, Interval(high=largest)))
        except ValueError as error:
            raise ValueError(
                f"{error}, and so are 'auto' and 'auto_<factor>'. No policy in {action_space} has a larger entropy "
                f"than {largest:.4g}"
            ) from None
    factor = auto_number(name, value)
    if isinstance(action_space, spaces.Box):
        return TargetEntropy(-(1.0 if factor is None else factor) * math.prod(action_space.shape or (1,)))
    factor = DISCRETE_TARGET_ENTROPY_FACTOR if factor is None else factor
    if factor > 1.0:
        raise ValueError(f"`{name}` must be at most 'auto_1', the entropy of random actions, but {value!r} was given")
    if observation_space is not None and has_action_masks(observation_space, action_space):
        return TargetEntropy(0.0, factor)
    return TargetEntropy(factor * largest)


def read_train_freq(name: str, value: Any) -> TrainFreq:
    """Read the training frequency: a number of steps, or ``(number, "step" or "episode")``.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    frequency, unit = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, "step")
    units = [u.value for u in TrainFrequencyUnit]
    unit = TrainFrequencyUnit(one_of(name, getattr(unit, "value", unit), units))
    return TrainFreq(whole_number(name, frequency, maximum=MAX_STEPS), unit)


def read_ent_coef_bounds(name: str, value: Any) -> tuple[float, float]:
    """Read the smallest and the largest value of a learned temperature.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    try:
        low, high = (float(bound) for bound in value)
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not 0.0 < low < high < math.inf:
        raise ValueError(f"`{name}` must be None or two numbers with 0 < low < high, but {value!r} was given")
    return low, high


@dataclass(frozen=True)
class Resets:
    """Environment steps at which networks begin anew.

    :param interval: every so many steps; None: only at ``steps``
    :param steps: these steps, in rising order
    """

    interval: int | None = None
    steps: tuple[int, ...] = ()

    def due_until(self, num_timesteps: int) -> int:
        """Number of resets that are due in the first steps of a run.

        :param num_timesteps: environment steps so far
        """
        regular = 0 if self.interval is None else num_timesteps // self.interval
        return regular + sum(step <= num_timesteps for step in self.steps)


def read_resets(name: str, value: Any) -> Resets:
    """Read when networks begin anew: a number of steps, or a list of steps.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    if not isinstance(value, (list, tuple)):
        return Resets(interval=whole_number(name, value))
    steps = tuple(whole_number(name, step) for step in value)
    if not steps or list(steps) != sorted(set(steps)):
        raise ValueError(
            f"`{name}` must be None, a number of steps, or a list of steps in rising order, as [15_000, 50_000], but "
            f"{value!r} was given"
        )
    return Resets(steps=steps)


def read_device(name: str, value: Any) -> th.device | str:
    """Read a device of PyTorch, or ``"auto"``.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: a value that names no device
    """
    if value == "auto":
        return "auto"
    try:
        if isinstance(value, bool):
            raise TypeError
        return th.device(value)
    except (RuntimeError, TypeError, ValueError, OverflowError):
        raise ValueError(
            f"`{name}` must be 'auto' or a device of PyTorch, as 'cpu' or 'cuda:0', but {value!r} was given"
        ) from None


def read_verbose(name: str, value: Any) -> int:
    """Read the verbosity, a whole number of at least 0; True counts as 1."""
    return whole_number(name, int(value) if isinstance(value, bool) else value, minimum=0)


def read_replay_buffer_class(name: str, value: Any) -> type[ReplayBuffer] | str | None:
    """Read a class of replay buffers, ``"auto"`` or None.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    if value is None or value == "auto":
        return value
    words = "None, 'auto' or a class derived from Stable-Baselines3's `ReplayBuffer`"
    return subclass_of(ReplayBuffer, words)(name, value)


# The tables


@dataclass(frozen=True)
class UpdateSettings:
    """Arguments that decide the operations of one gradient step.

    A change takes effect at the next training, which makes another engine.
    """

    tau: float = row(number_in(FRACTION))
    target_update_interval: int = row(whole())
    actor_gradient: str = row(word(ACTOR_GRADIENTS))
    baseline: str = row(word(BASELINES))
    n_action_samples: int = row(whole())
    n_particles: int = row(whole(minimum=2))
    q_reduction: str = row(word(Q_REDUCTIONS))
    actor_q_reduction: str | None = row(optional(word(Q_REDUCTIONS)))
    n_target_critics: int | None = row(optional(whole()))
    policy_delay: int = row(whole())
    joint_pass: bool = row(flag)
    actor_tau: float | None = row(optional(number_in(POSITIVE_FRACTION)))
    q_target_clip: float | None = row(optional(number_in(POSITIVE)))
    critic_ent_coef: float | None = row(optional(number_in(NOT_NEGATIVE)))
    ent_coef_bounds: tuple[float, float] | None = row(optional(read_ent_coef_bounds))
    max_grad_norm: float | None = row(optional(number_in(POSITIVE)))
    diagnostics: str = row(word(DIAGNOSTICS))


@dataclass(frozen=True)
class EngineSettings:
    """Arguments that decide how a gradient step is computed.

    A change takes effect at the next training, which makes another engine.
    """

    precision: str = row(word(PRECISIONS))
    engine: str = row(word(("auto", *ENGINE_KINDS)))


@dataclass(frozen=True)
class RunSettings:
    """Arguments that are read during a run. A change takes effect at the next training, or at the next ``learn()``."""

    learning_rate: Schedule = row(schedule_in(NOT_NEGATIVE))
    actor_learning_rate: Schedule | None = row(optional(schedule_in(NOT_NEGATIVE)))
    critic_learning_rate: Schedule | None = row(optional(schedule_in(NOT_NEGATIVE)))
    ent_coef_learning_rate: Schedule | None = row(optional(schedule_in(NOT_NEGATIVE)))
    reward_scale: float | Schedule = row(lambda name, value: number_or_schedule(name, value, POSITIVE))
    normalize_rewards: bool = row(flag)
    max_normalized_return: float | None = row(optional(number_in(POSITIVE)))
    target_entropy: Any = row(lambda _, value: value)  # a TargetEntropy, once the spaces are known
    ent_coef: Any = row(lambda _, value: value)  # an EntCoef, once the variant is known
    gamma: float = row(number_in(FRACTION))
    n_steps: int = row(whole(1, MAX_RETURN_STEPS))
    batch_size: int = row(whole())
    learning_starts: int = row(whole(minimum=0))
    train_freq: TrainFreq = row(read_train_freq)
    gradient_steps: int = row(whole(-1, MAX_STEPS))
    noise_repeat: int = row(whole())
    reset_networks: Resets | None = row(optional(read_resets))
    action_noise: ActionNoise | None = row(optional(instance_of(ActionNoise, "None or an `ActionNoise`")))
    sde_sample_freq: int = row(whole(minimum=-1))
    use_sde_at_warmup: bool = row(flag)
    stats_window_size: int = row(whole())
    success_return: float | None = row(optional(number_in(FINITE)))
    overlap: bool = row(flag)
    tensorboard_log: Any = row(optional(instance_of((str, os.PathLike), "None or the path of a folder")))
    verbose: int = row(read_verbose)


@dataclass(frozen=True)
class SetUpSettings:
    """Arguments that decide the structure of networks and replay buffer. A change after set-up is refused."""

    variant: str = row(word(VARIANTS))
    target_networks: bool = row(flag)
    use_sde: bool = row(flag)
    buffer_size: int = row(whole(1, MAX_TRANSITIONS))
    replay_buffer_class: type[ReplayBuffer] | str | None = row(read_replay_buffer_class)
    replay_buffer_kwargs: dict[str, Any] = row(keyword_arguments)
    optimize_memory_usage: bool = row(flag)
    policy_kwargs: dict[str, Any] = row(keyword_arguments)
    seed: int | None = row(optional(whole(0, 2**32 - 1)))
    device: th.device | str = row(read_device)


TABLES = {"update": UpdateSettings, "engine": EngineSettings, "run": RunSettings, "set_up": SetUpSettings}


# Combinations


def check_combinations(values: Mapping[str, Any], action_space: spaces.Space, n_envs: int) -> None:
    """Refuse arguments that exclude each other.

    :param values: the arguments of all tables, by name
    :param action_space: action space of the environment
    :param n_envs: number of environments
    :raises ValueError: naming both arguments
    """
    _check_sde(values)
    _check_score_function(values, action_space)
    if not values["target_networks"] and values["q_target_clip"] is not None:
        raise ValueError(
            "`q_target_clip` bounds how far a critic leaves its target network, but `target_networks=False` was given; "
            "pass `q_target_clip=None`, or `target_networks=True`"
        )
    _check_critic_head(values)
    if values["max_normalized_return"] is not None and not values["normalize_rewards"]:
        raise ValueError(
            f"`max_normalized_return={values['max_normalized_return']}` bounds returns that `normalize_rewards=True` "
            "normalises, but `normalize_rewards=False` was given; pass True, or `max_normalized_return=None`"
        )
    _check_variant(values, action_space)
    if values["policy_kwargs"].get("batch_norm") and values["batch_size"] < 2:
        raise ValueError(
            "`batch_norm=True` needs the statistics of a batch, but `batch_size=1` was given; pass at least 2, or "
            "`layer_norm=True` in place of it"
        )
    if values["action_noise"] is not None and not isinstance(action_space, spaces.Box):
        raise ValueError("`action_noise` needs Box actions; pass None: a categorical policy explores by itself")
    if values["train_freq"].unit is TrainFrequencyUnit.EPISODE and n_envs > 1:
        raise ValueError(
            f"`train_freq` in episodes needs one environment, but there are {n_envs}; count in steps: (1, 'step')"
        )


def _check_variant(values: Mapping[str, Any], action_space: spaces.Space) -> None:
    variant = VARIANTS[values["variant"]]
    for name, reason in variant.refuses.items():
        if values[name] != NEUTRAL.get(name):
            raise ValueError(f"`{name}` {reason}")
    if not variant.is_energy_based:
        return
    if values["ent_coef"].value == 0.0:
        raise ValueError(
            f"`ent_coef` divides the values of the critics with `variant={values['variant']!r}`, so that it must be "
            "above 0, but 0 was given; pass a small number, as 0.01"
        )
    if not isinstance(action_space, spaces.Box) and not is_enumerable(action_space):
        raise ValueError(
            f"`variant={values['variant']!r}` compares the values of all actions, but {action_space} has too many "
            "joint actions to list; pass `variant='v2'`"
        )


def _check_critic_head(values: Mapping[str, Any]) -> None:
    head = values["policy_kwargs"].get("critic_head", "scalar")
    if head != "scalar" and values["q_target_clip"] is not None:
        raise ValueError(
            f"`q_target_clip` bounds the distance of scalar values, but `critic_head={head!r}` was given; pass "
            "`q_target_clip=None`, or `critic_head='scalar'`"
        )
    if head == "quantile" and values["n_target_critics"] is not None:
        raise ValueError(
            "`n_target_critics` chooses some critics for a target, but one of `critic_head='quantile'` is made of the "
            "quantiles of all; pass `n_target_critics=None`, and more `n_dropped` for lower targets"
        )


def _check_sde(values: Mapping[str, Any]) -> None:
    use_sde = values["use_sde"]
    made_with_sde = values["policy_kwargs"].get("use_sde", use_sde)
    if made_with_sde != use_sde:
        raise ValueError(
            f"`use_sde={use_sde}` was given to SoftAC, but the actor is made with `use_sde={made_with_sde}`, "
            "with other weights; give it to SoftAC alone, and leave it as it is when you load a model"
        )
    if use_sde and values["n_action_samples"] > 1:
        raise ValueError(
            f"`n_action_samples={values['n_action_samples']}` needs independent samples, which gSDE does not give: "
            "it holds its noise. Pass `n_action_samples=1` or `use_sde=False`"
        )
    if use_sde and values["noise_repeat"] > 1:
        raise ValueError(
            f"`noise_repeat={values['noise_repeat']}` holds the noise of actions, but gSDE holds its own; pass "
            "`noise_repeat=1` and set `sde_sample_freq`, or `use_sde=False`"
        )
    if use_sde and values["actor_gradient"] == "score_function":
        raise ValueError(
            "`actor_gradient='score_function'` needs independent samples, which gSDE does not give: it holds its "
            "noise. Pass `use_sde=False`, or `actor_gradient='reparameterized'`"
        )


def _check_score_function(values: Mapping[str, Any], action_space: spaces.Space) -> None:
    # With too many joint actions to list, the score function is the only gradient.
    has_score_function = values["actor_gradient"] == "score_function" or not (
        isinstance(action_space, spaces.Box) or is_enumerable(action_space)
    )
    if has_score_function and values["baseline"] == "leave_one_out" and values["n_action_samples"] < 2:
        raise ValueError(
            "`baseline='leave_one_out'` needs at least two samples in a state, but "
            f"`n_action_samples={values['n_action_samples']}` was given"
        )


def check_dict_observations(values: Mapping[str, Any], observation_space: spaces.Space) -> None:
    """Refuse the replay buffer of Stable-Baselines3 that cannot hold Dict observations.

    :param values: the arguments of all tables, by name
    :param observation_space: observation space of the environment
    :raises ValueError: ``optimize_memory_usage`` with Dict observations
    """
    is_dict = isinstance(observation_space, spaces.Dict)
    if is_dict and values["replay_buffer_class"] is None and values["optimize_memory_usage"]:
        raise ValueError(
            "`optimize_memory_usage=True` is not available for Dict observations; pass False: "
            "the default replay buffer stores each observation once in any case"
        )


def check_ensemble(n_target_critics: int | None, n_critics: int) -> None:
    """Refuse a random subset of critics that is larger than the ensemble.

    :param n_target_critics: number of critics in the subset; None for all
    :param n_critics: number of critics of the policy
    :raises ValueError: the subset is larger than the ensemble
    """
    if n_target_critics is not None and n_target_critics > n_critics:
        raise ValueError(
            f"`n_target_critics` must be None or at most `n_critics`, which is {n_critics}, but {n_target_critics} was "
            f"given; pass None for all, or `policy_kwargs={{'n_critics': {n_target_critics}}}`"
        )
