"""State dicts of a checkpoint, and the checks that keep a wrong one from half-changing a model."""

from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.type_aliases import TensorDict
from torch import nn

from sb3_softac.saving.files import SavedFileError


class ParameterMismatchError(SavedFileError, RuntimeError):
    """Parameters that do not fit the networks; a RuntimeError too, which is what callers of torch expect."""


def check_parameters(model: BaseAlgorithm, parameters: TensorDict, exact_match: bool) -> None:
    """Refuse state dicts that do not fit, before any is loaded.

    :param model: to load them into
    :param parameters: state dict by attribute of the model
    :param exact_match: refuse missing and unexpected entries too
    :raises ValueError: naming the entries that do not fit
    """
    expected = set(model.get_parameters())
    if exact_match and set(parameters) != expected:
        raise ParameterMismatchError(  # a plain ValueError is taken for a checkpoint of old by `load()`
            f"The parameters are for {sorted(parameters)}, but this model has {sorted(expected)}; "
            "they differ where one learns `ent_coef` and the other does not, between `variant`s, or where another "
            "algorithm made the checkpoint"
        )
    for name, state in parameters.items():
        module = recursive_getattr(model, name, None)
        if name not in expected and not isinstance(module, nn.Module | th.optim.Optimizer):
            raise ParameterMismatchError(
                f"Key {name} is an invalid object name: this model has {sorted(expected)}, "
                "and with `exact_match=False` any network or optimizer in them, as 'actor'"
            )
        if isinstance(module, nn.Module):
            _check_state(name, module.state_dict(), state, exact_match)  # type: ignore[arg-type]
        if isinstance(module, th.optim.Optimizer):
            _check_optimizer(name, module, state)  # type: ignore[arg-type]


def fit_average(parameters: TensorDict, is_averaged: bool) -> TensorDict:
    """State dicts with an average of the actor where the model has one, and without where not.

    :param parameters: state dict by attribute of the model
    :param is_averaged: whether the model has one; an average that is new begins at the actor
    """
    policy: dict[str, Any] | None = parameters.get("policy")  # type: ignore[assignment]
    if policy is None or is_averaged == any(key.startswith("actor_average.") for key in policy):
        return parameters
    if is_averaged:
        actor = {key: value for key, value in policy.items() if key.startswith("actor.")}
        policy = policy | {key.replace("actor.", "actor_average.", 1): value for key, value in actor.items()}
    else:
        policy = {key: value for key, value in policy.items() if not key.startswith("actor_average.")}
    return {**parameters, "policy": policy}  # type: ignore[dict-item]


def _check_state(name: str, own: dict[str, th.Tensor], given: dict[str, th.Tensor], exact_match: bool) -> None:
    unmatched = sorted(own.keys() ^ given.keys()) if exact_match else []
    reshaped = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
        for key in own.keys() & given.keys()
        if own[key].shape != given[key].shape
    ]
    if unmatched or reshaped:
        raise ParameterMismatchError(
            f"The parameters of `{name}` are for another network or for other spaces: "
            + "; ".join(sorted(reshaped) + [f"{key} is in only one of the two" for key in unmatched])
        )


def _check_optimizer(name: str, optimizer: th.optim.Optimizer, given: dict[str, Any]) -> None:
    """Refuse the state of an optimizer of other parameters, which PyTorch takes and fails with later."""
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        counts = [len(group["params"]) for group in given["param_groups"]]
        indices = [index for group in given["param_groups"] for index in group["params"]]
        states = {own[indices.index(index)]: state for index, state in given["state"].items()}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ParameterMismatchError(f"The state of `{name}` is not that of an optimizer: {error!r}") from error
    if counts != [len(group["params"]) for group in optimizer.param_groups]:
        raise ParameterMismatchError(f"The state of `{name}` is for {counts} parameters, but there are {len(own)}")
    for parameter, state in states.items():
        for key, value in state.items():
            if isinstance(value, th.Tensor) and value.dim() > 0 and value.shape != parameter.shape:
                raise ParameterMismatchError(
                    f"The state of `{name}` has `{key}` of shape {tuple(value.shape)} for a parameter of shape "
                    f"{tuple(parameter.shape)}"
                )
