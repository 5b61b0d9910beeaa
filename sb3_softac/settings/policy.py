"""Arguments of the policy, which SoftAC takes as ``policy_kwargs``: one row for each."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch as th
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_softac.settings.parsing import FINITE, POSITIVE, POSITIVE_FRACTION, Interval, flag, number
from sb3_softac.settings.rows import keyword_arguments, number_in, optional, row, subclass_of, whole, word
from sb3_softac.settings.variants import VARIANTS

#: kinds of critics
CRITIC_HEADS = ("scalar", "categorical", "hl_gauss", "quantile")
#: networks of blocks, in the place of plain hidden layers
BLOCKS = ("simba", "bro", "flashsac", "xqc")
#: layers of actor, critics and state value, without a features extractor
LAYER_KINDS = ("hidden", "output", "norm")
#: layers whose weights have unit norm
UNIT_NORMS = ("hidden", "linear", "all")
# Initial log standard deviations of gSDE's weights. Outside, the noise is negligible or drowns the mean.
LOG_STDS = Interval(-20.0, 10.0)


def read_net_arch(name: str, value: Any) -> list[int] | dict[str, list[int]]:
    """Read the units of the hidden layers: a list, or ``dict(pi=[...], qf=[...])`` for actor and critics.

    :param name: name of the argument, for the error message
    :param value: what the user gave; None for two layers of 256
    :raises ValueError: for any other value
    """
    if value is None:
        return [256, 256]
    if isinstance(value, Mapping):
        if set(value) == {"pi", "qf"}:
            return {key: _read_units(name, units) for key, units in value.items()}
    elif isinstance(value, (list, tuple)):
        return _read_units(name, value)
    raise ValueError(
        f"`{name}` must be a list of layers' units, or dict(pi=[...], qf=[...]) with one for the actor and one for the "
        f"critics, but {value!r} was given"
    )


def _read_units(name: str, value: Any) -> list[int]:
    try:
        if not isinstance(value, (list, tuple)) or any(isinstance(units, bool) for units in value):
            raise TypeError
        layers = [operator.index(units) for units in value]
    except TypeError:
        layers = [0]
    if any(units < 1 for units in layers):
        raise ValueError(
            f"`{name}` must be made of whole numbers of at least 1, as [256, 256], but {value!r} was given"
        )
    return layers


def read_layer_kinds(name: str, value: Any) -> tuple[str, ...]:
    """Read kinds of layers: a list of words.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value, and for an empty list
    """
    if isinstance(value, (list, tuple)) and value and all(each in LAYER_KINDS for each in value):
        return tuple(value)
    raise ValueError(f"`{name}` must be None or a list of some of {list(LAYER_KINDS)}, but {value!r} was given")


def read_keys(name: str, value: Any) -> tuple[str, ...]:
    """Read keys of Dict observations: a list of words.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value, and for an empty list
    """
    if isinstance(value, (list, tuple)) and value and all(isinstance(key, str) for key in value):
        return tuple(value)
    raise ValueError(f"`{name}` must be None or a list of keys of Dict observations, but {value!r} was given")


def read_log_std_bounds(name: str, value: Any) -> tuple[float, float]:
    """Read the smallest and the largest log standard deviation of an actor.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    try:
        low, high = (number(name, bound, LOG_STDS) for bound in value)
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise ValueError(
            f"`{name}` must be two numbers of at least {LOG_STDS.low} and at most {LOG_STDS.high}, the smaller one "
            f"first, but {value!r} was given"
        )
    return low, high


def read_activation_fn(name: str, value: Any) -> Any:
    """Read an activation: a class of ``torch.nn``, or another callable that makes a module.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    try:
        is_layer = callable(value) and isinstance(value(), nn.Module)
    except TypeError:  # arguments without a default
        is_layer = False
    if not is_layer:
        raise ValueError(f"`{name}` must be a class of activations, as torch.nn.ReLU, but {value!r} was given")
    return value


def read_sharing(name: str, value: Any) -> bool | str:
    """Read whose loss trains a features extractor that actor and critics share, if they do: a bool or ``"critic"``.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    if isinstance(value, str) and value == "critic":
        return value
    try:
        return flag(name, value)
    except ValueError as error:
        raise ValueError(f"{error}, or 'critic', whose loss then trains the shared features extractor") from None


@dataclass(frozen=True)
class PolicySettings:
    """Checked arguments of a policy: they decide the structure of its networks."""

    net_arch: list[int] | dict[str, list[int]] = row(read_net_arch)
    activation_fn: type[nn.Module] = row(read_activation_fn)
    use_sde: bool = row(flag)
    log_std_init: float = row(number_in(LOG_STDS))
    use_expln: bool = row(flag)
    log_std_bounds: tuple[float, float] = row(read_log_std_bounds)
    squash_log_std: bool = row(flag)
    clip_mean: float = row(number_in(FINITE))
    features_extractor_class: type[BaseFeaturesExtractor] | None = row(
        optional(subclass_of(BaseFeaturesExtractor, "None or a class of features extractors", or_callable=True))
    )
    features_extractor_kwargs: dict[str, Any] = row(keyword_arguments)
    normalize_images: bool = row(flag)
    normalize_obs: bool = row(flag)
    clip_obs: float = row(number_in(POSITIVE))
    optimizer_class: type[th.optim.Optimizer] = row(
        subclass_of(th.optim.Optimizer, "a class of optimizers, as torch.optim.Adam", or_callable=True)
    )
    optimizer_kwargs: dict[str, Any] = row(keyword_arguments)
    decayed_layers: tuple[str, ...] | None = row(optional(read_layer_kinds))
    n_critics: int = row(whole())
    actor_keys: tuple[str, ...] | None = row(optional(read_keys))
    critic_keys: tuple[str, ...] | None = row(optional(read_keys))
    critic_head: str = row(word(CRITIC_HEADS))
    critic_head_kwargs: dict[str, Any] = row(keyword_arguments)
    share_features_extractor: bool | str = row(read_sharing)
    image_shift: int = row(whole(minimum=0))
    layer_norm: bool = row(flag)
    dropout: float = row(number_in(Interval(0.0, 1.0, below=True)))
    batch_norm: bool = row(flag)
    blocks: str | None = row(optional(word(BLOCKS)))
    batch_norm_momentum: float = row(number_in(POSITIVE_FRACTION))
    renorm_warmup_steps: int | None = row(optional(whole(minimum=0)))
    unit_norm_weights: str | None = row(optional(word(UNIT_NORMS)))
    n_components: int = row(whole())
    variant: str = row(word(VARIANTS))
    target_networks: bool = row(flag)
    actor_average: bool = row(flag)


def check_decided(policy_kwargs: Mapping[str, Any], decided: Mapping[str, Any]) -> None:
    """Refuse arguments of the policy that contradict the arguments of SoftAC.

    :param policy_kwargs: arguments of the policy that the user gave
    :param decided: arguments of the policy that follow from those of SoftAC
    :raises ValueError: naming the argument that differs
    """
    for name, own in decided.items():
        if policy_kwargs.get(name, own) != own:
            argument = "actor_tau" if name == "actor_average" else name
            raise ValueError(
                f"`policy_kwargs` has `{name}={policy_kwargs[name]!r}`, which the argument `{argument}` of SoftAC "
                f"decides; pass that: `SoftAC(..., {argument}=...)`"
            )
