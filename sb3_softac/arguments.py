"""The arguments of SoftAC: what each may be, and with which others."""

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import FloatSchedule

from sb3_softac.networks.discrete import discrete_sizes, is_enumerable
from sb3_softac.parsing import auto_number, bounded_float, flag, is_auto, number_or_schedule, one_of, positive_int

if TYPE_CHECKING:
    from sb3_softac.softac import SoftAC

VARIANTS = ("v1", "v2")
ACTOR_GRADIENTS = ("reparameterized", "score_function")
BASELINES = ("state_value", "leave_one_out", "none")
Q_REDUCTIONS = ("min", "mean")
ENGINES = ("auto", "eager", "fused", "traced", "cuda_graph", "compile")
PRECISIONS = ("float32", "bfloat16")
CHOICES = {
    "variant": VARIANTS,
    "engine": ENGINES,
    "precision": PRECISIONS,
    "actor_gradient": ACTOR_GRADIENTS,
    "baseline": BASELINES,
    "q_reduction": Q_REDUCTIONS,
}
# Numbers that may be None: what else they may be, in words and as a function.
OPTIONAL_NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "max_grad_norm": ("above 0", lambda norm: norm > 0.0),
    "critic_ent_coef": ("of at least 0", lambda alpha: alpha >= 0.0),
    "actor_tau": ("above 0, to 1", lambda tau: 0.0 < tau <= 1.0),
    "q_target_clip": ("above 0", lambda clip: clip > 0.0),
}

# Beyond this, a tanh policy rarely explores well: rescale in a wrapper.
LARGE_ACTION_BOUND = 10.0
DISCRETE_TARGET_ENTROPY_FACTOR = 0.98  # arXiv:1910.07207, section 4


def learns_ent_coef(value: Any, variant: str) -> bool:
    """Whether the temperature is learned: ``"auto"`` does what the variant's paper does, ``"auto_<x>"`` always learns.

    :param value: of ``ent_coef``
    :param variant: of the algorithm
    """
    return is_auto(value) and not (variant == "v1" and value == "auto")


def fixed_ent_coef(value: Any) -> float:
    """The value of a temperature that is not learned; 1 for ``"auto"``, which only v1 fixes.

    :param value: of ``ent_coef``
    :raises ValueError: neither a number of at least 0 nor ``"auto"``
    """
    if value == "auto":
        return 1.0
    return bounded_float("ent_coef", value, "of at least 0, 'auto' or 'auto_<number>'", lambda alpha: alpha >= 0.0)


def default_target_entropy(action_space: spaces.Space, factor: float | None = None) -> float:
    """The entropy that a learned temperature aims at: -dim(A) for Box, 0.98 log|A| for Discrete and MultiDiscrete.

    arXiv:1812.05905v2, section 5 and appendix D; arXiv:1910.07207, section 4

    :param action_space: a Box, Discrete or MultiDiscrete space
    :param factor: replaces the 1 in -1 * dim(A), or the 0.98
    :return: in nats; for Box, of the actions scaled to [-1, 1]
    """
    if not isinstance(action_space, spaces.Box):
        factor = DISCRETE_TARGET_ENTROPY_FACTOR if factor is None else factor
        return factor * sum(math.log(n) for n in discrete_sizes(action_space))
    return -(1.0 if factor is None else factor) * math.prod(action_space.shape or (1,))


def target_entropy(value: Any, action_space: spaces.Space) -> float | FloatSchedule:
    """A target entropy: ``"auto"``, ``"auto_<factor>"``, a number, or a schedule.

    :param value: what the user gave
    :param action_space: gives the default
    :raises ValueError: anything else
    """
    if is_auto(value):
        return default_target_entropy(action_space, auto_number("target_entropy", value))
    try:
        return number_or_schedule("target_entropy", value, "that is finite", lambda _: True)
    except ValueError as error:
        raise ValueError(f"{error}, and so are 'auto' and 'auto_<factor>'") from None


def check_action_space(action_space: spaces.Space) -> None:
    """Refuse spaces that SoftAC cannot act in, and warn of those that it rarely learns in.

    :param action_space: of the environment
    :raises ValueError: neither Box nor Discrete nor MultiDiscrete; a Box of integers, or with infinite or empty bounds
    """
    if isinstance(action_space, (spaces.Discrete, spaces.MultiDiscrete)):
        if np.any(action_space.start != 0):
            raise ValueError(f"Discrete actions must start at 0, but the environment has {action_space}; shift them")
        if np.ndim(action_space.sample()) > 1:
            raise ValueError(f"MultiDiscrete actions must be in one row, but the environment has {action_space}")
        return
    if not isinstance(action_space, spaces.Box):
        raise ValueError(
            f"SoftAC needs actions of type Box, Discrete or MultiDiscrete, but the environment has {action_space}"
        )
    if not np.issubdtype(action_space.dtype, np.floating):
        raise ValueError(
            f"SoftAC's actions in a Box are floats, but the environment has {action_space}; give its Box the dtype "
            "float32 and round in the environment, or use Discrete or MultiDiscrete actions"
        )
    low, high = action_space.low, action_space.high
    with np.errstate(over="ignore"):  # a range that overflows is as good as infinite
        width = high - low
    if not np.all(np.isfinite(width)):
        raise ValueError(
            f"SoftAC needs finite bounds of the actions, but the environment has {action_space}; "
            "wrap it in gymnasium.wrappers.RescaleAction, or give its Box a finite `low` and `high`"
        )
    if np.any(width <= 0):
        raise ValueError(f"Each action needs `low` below `high`, but the environment has {action_space}")
    if max(np.abs(low).max(), np.abs(high).max()) > LARGE_ACTION_BOUND:
        warnings.warn(
            f"The actions' bounds exceed {LARGE_ACTION_BOUND:g} ({action_space}). The policy spans them evenly, so "
            "exploration is as coarse as they are wide; narrow them to what the task needs.",
            stacklevel=3,
        )


def train_freq(value: Any, n_envs: int) -> TrainFreq:
    """How often to train: a number of steps, or (number, "step" or "episode").

    :param value: what the user gave
    :param n_envs: number of environments
    :raises ValueError: anything else; episodes with several environments
    """
    frequency, unit = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, "step")
    units = [u.value for u in TrainFrequencyUnit]
    unit = TrainFrequencyUnit(one_of("train_freq", getattr(unit, "value", unit), units))
    if unit is TrainFrequencyUnit.EPISODE and n_envs > 1:
        raise ValueError(
            f"`train_freq` in episodes needs one environment, but there are {n_envs}; count in steps: (1, 'step')"
        )
    return TrainFreq(positive_int("train_freq", frequency), unit)


def check_policy_kwargs(policy_kwargs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Refuse arguments of the policy that follow from others of SoftAC.

    :param policy_kwargs: what the user gave
    :param ours: what follows from the other arguments
    :raises ValueError: they differ
    """
    for name, own in ours.items():
        if policy_kwargs.get(name, own) != own:
            argument = "actor_tau" if name == "actor_average" else name
            raise ValueError(
                f"`policy_kwargs` has `{name}={policy_kwargs[name]!r}`, which the argument `{argument}` of SoftAC "
                f"decides; pass that: `SoftAC(..., {argument}=...)`"
            )


def check(model: "SoftAC") -> None:
    """Check and normalise every argument that is an attribute of a model.

    :param model: constructed or loaded, not yet set up
    :raises ValueError: naming the argument
    """
    for name in ("buffer_size", "batch_size", "n_steps", "target_update_interval", "n_action_samples", "policy_delay"):
        setattr(model, name, positive_int(name, getattr(model, name)))
    model.learning_starts = positive_int("learning_starts", model.learning_starts, minimum=0)
    model.gradient_steps = positive_int("gradient_steps", model.gradient_steps, minimum=-1)
    model.sde_sample_freq = positive_int("sde_sample_freq", model.sde_sample_freq, minimum=-1)
    model.tau = bounded_float("tau", model.tau, "from 0 to 1", lambda tau: 0.0 <= tau <= 1.0)
    model.gamma = bounded_float("gamma", model.gamma, "from 0 to 1", lambda gamma: 0.0 <= gamma <= 1.0)
    model.train_freq = train_freq(model.train_freq, model.n_envs)  # type: ignore[assignment]
    for name, choices in CHOICES.items():
        one_of(name, getattr(model, name), choices)
    if model.actor_q_reduction is not None:
        one_of("actor_q_reduction", model.actor_q_reduction, Q_REDUCTIONS)
    if model.n_target_critics is not None:
        model.n_target_critics = positive_int("n_target_critics", model.n_target_critics)
    for name, (allowed, is_allowed) in OPTIONAL_NUMBERS.items():
        if getattr(model, name) is not None:
            setattr(model, name, bounded_float(name, getattr(model, name), allowed, is_allowed))
    model.ent_coef_bounds = ent_coef_bounds(model.ent_coef_bounds)
    scale = number_or_schedule("reward_scale", model.reward_scale, "above 0", lambda scale: scale > 0.0)
    model.reward_scale = scale
    model.target_entropy = target_entropy(model.target_entropy, model.action_space)
    _check_combinations(model)


def check_ensemble(n_target_critics: int | None, n_critics: int) -> None:
    """Refuse a subset of the critics that is more than all of them.

    :param n_target_critics: in the subset; None for all
    :param n_critics: that the policy has
    :raises ValueError: more than all
    """
    if n_target_critics is not None and n_target_critics > n_critics:
        raise ValueError(
            f"`n_target_critics` must be None or at most `n_critics`, which is {n_critics}, but {n_target_critics} was "
            f"given; pass None for all, or `policy_kwargs={{'n_critics': {n_target_critics}}}`"
        )


def ent_coef_bounds(value: Any) -> tuple[float, float] | None:
    """Smallest and largest value of a learned temperature, or None for no bounds.

    :param value: what the user gave
    :raises ValueError: anything else
    """
    if value is None:
        return None
    try:
        low, high = (float(bound) for bound in value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0.0 < low < high:
        raise ValueError(f"`ent_coef_bounds` must be None or two numbers with 0 < low < high, but {value!r} was given")
    return low, high


def _check_combinations(model: "SoftAC") -> None:
    _check_sde(model)
    _check_gradient(model)
    flag("target_networks", model.target_networks)
    if not model.target_networks and model.q_target_clip is not None:
        raise ValueError(
            "`q_target_clip` bounds how far a critic leaves its target network, but `target_networks=False` was given; "
            "pass `q_target_clip=None`, or `target_networks=True`"
        )
    if model.policy_kwargs.get("batch_norm") and model.batch_size < 2:
        raise ValueError(
            "`batch_norm=True` needs the statistics of a batch, but `batch_size=1` was given; pass at least 2, or "
            "`layer_norm=True` in place of it"
        )
    if model.variant == "v1" and not (model.critic_ent_coef is None and model.q_target_clip is None):
        raise ValueError(
            "`critic_ent_coef` and `q_target_clip` change the TD target of `variant='v2'`; that of `variant='v1'` "
            "is made by a state value network. Pass None, or `variant='v2'`"
        )
    if model.action_noise is not None and not isinstance(model.action_space, spaces.Box):
        raise ValueError("`action_noise` needs Box actions; pass None: a categorical policy explores by itself")
    _check_observations(model)


def _check_sde(model: "SoftAC") -> None:
    made_with_sde = model.policy_kwargs.get("use_sde", model.use_sde)
    if made_with_sde != model.use_sde:
        raise ValueError(
            f"`use_sde={model.use_sde}` was given at loading, but the actor was made with `use_sde={made_with_sde}`, "
            "with other weights; leave it as it is"
        )


def _check_gradient(model: "SoftAC") -> None:
    if model.use_sde and model.n_action_samples > 1:
        raise ValueError(
            f"`n_action_samples={model.n_action_samples}` needs independent samples, which gSDE does not give: "
            "it holds its noise. Pass `n_action_samples=1` or `use_sde=False`"
        )
    if model.actor_gradient == "score_function" and model.use_sde:
        raise ValueError(
            "`actor_gradient='score_function'` needs independent samples, which gSDE does not give: it holds its "
            "noise. Pass `use_sde=False`, or `actor_gradient='reparameterized'`"
        )
    # Actions that are too many to list have no other gradient.
    has_score_function = model.actor_gradient == "score_function" or not (
        isinstance(model.action_space, spaces.Box) or is_enumerable(model.action_space)
    )
    if has_score_function and model.baseline == "leave_one_out" and model.n_action_samples < 2:
        raise ValueError(
            "`baseline='leave_one_out'` needs at least two samples in a state, but "
            f"`n_action_samples={model.n_action_samples}` was given"
        )


def _check_observations(model: "SoftAC") -> None:
    is_dict = isinstance(model.observation_space, spaces.Dict)
    if is_dict and model.replay_buffer_class is None and model.optimize_memory_usage:
        raise ValueError(
            "`optimize_memory_usage=True` is not available for Dict observations; pass False: "
            "the default replay buffer stores each observation once in any case"
        )
