"""What is read from checkpoints, and the checks that keep a wrong one from half-changing a model."""

import io
import pathlib
from typing import TYPE_CHECKING, Any

import torch as th
from stable_baselines3.common.save_util import load_from_zip_file, recursive_getattr
from stable_baselines3.common.type_aliases import TensorDict
from stable_baselines3.sac import SAC
from stable_baselines3.sac import policies as sac_policies
from torch import nn

from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy

if TYPE_CHECKING:
    from sb3_softac.softac import SoftAC

# Classes of Stable-Baselines3's SAC, and ours of the same parameters.
POLICY_OF_SAC: dict[type, type[SoftACPolicy]] = {
    sac_policies.MlpPolicy: MlpPolicy,
    sac_policies.CnnPolicy: CnnPolicy,
    sac_policies.MultiInputPolicy: MultiInputPolicy,
}
# What Stable-Baselines3's SAC keeps in its checkpoints and SoftAC has no use for.
SAC_ONLY_ATTRIBUTES = ("batch_norm_stats", "batch_norm_stats_target")


class ParameterMismatchError(ValueError, RuntimeError):
    """Parameters that do not fit the networks; a RuntimeError too, which is what callers of torch expect."""


def check_policy_class(policy: Any) -> None:
    """Refuse the policy class of another algorithm, as it stands in that algorithm's checkpoints.

    :param policy: a class, or a name that is checked elsewhere
    :raises ValueError: a class that is not a ``SoftACPolicy``
    """
    if isinstance(policy, str) or (isinstance(policy, type) and issubclass(policy, SoftACPolicy)):
        return
    raise ValueError(
        "`policy` must be 'MlpPolicy', 'CnnPolicy', 'MultiInputPolicy' or a subclass of sb3_softac's SoftACPolicy, but "
        f"{policy!r} was given. If it comes from a checkpoint, another algorithm made it; "
        "`SoftAC.from_sac()` imports those of Stable-Baselines3's SAC"
    )


def read_parameters(path_or_dict: Any, device: th.device | str) -> TensorDict:
    """State dicts of a checkpoint.

    :param path_or_dict: a file, or the state dicts themselves
    :param device: of the loaded tensors
    """
    if isinstance(path_or_dict, dict):
        return path_or_dict
    return load_from_zip_file(path_or_dict, device=device, load_data=False)[1]


def check_parameters(model: "SoftAC", parameters: TensorDict, exact_match: bool) -> None:
    """Refuse state dicts that do not fit, before any is loaded.

    :param model: to load them into
    :param parameters: state dict by attribute of the model
    :param exact_match: refuse missing and unexpected entries too
    :raises ValueError: naming the entries that do not fit
    """
    expected = set(model.get_parameters())
    if exact_match and set(parameters) != expected:
        raise ValueError(
            f"The parameters are for {sorted(parameters)}, but this model has {sorted(expected)}; "
            "they differ where one learns `ent_coef` and the other does not, or another algorithm made the checkpoint"
        )
    for name, state in parameters.items():
        if name not in expected:
            raise ValueError(f"Key {name} is an invalid object name: this model has {sorted(expected)}")
        module = recursive_getattr(model, name)
        if isinstance(module, nn.Module):
            _check_state(name, module.state_dict(), state, exact_match)  # type: ignore[arg-type]


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


def open_sac(
    path_or_model: str | pathlib.Path | io.BufferedIOBase | SAC,
) -> tuple[str | pathlib.Path | io.BufferedIOBase, type[SoftACPolicy]]:
    """A checkpoint of Stable-Baselines3's SAC, and the policy class that takes its weights.

    :param path_or_model: the file, or the model
    :return: something that ``load`` reads, and our policy class
    :raises ValueError: another algorithm's, or a policy class that has no counterpart
    """
    file: Any = path_or_model
    policy_class: Any
    if isinstance(path_or_model, SAC):
        file = io.BytesIO()
        path_or_model.save(file)
        policy_class = path_or_model.policy_class
    else:
        data, _, _ = load_from_zip_file(file, device="cpu")
        policy_class = (data or {}).get("policy_class")
    if isinstance(file, io.IOBase):
        file.seek(0)
    if policy_class not in POLICY_OF_SAC:
        raise ValueError(
            "`from_sac()` imports Stable-Baselines3's SAC with one of its own policies, "
            f"but the policy is {policy_class!r}"
        )
    return file, POLICY_OF_SAC[policy_class]
