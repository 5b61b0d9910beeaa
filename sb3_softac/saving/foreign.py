"""Checkpoints of other algorithms, whose networks are those of SoftAC, read as its own."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.sac import SAC
from stable_baselines3.sac import policies as sac_policies

from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy
from sb3_softac.saving import archive, files

# What Stable-Baselines3's algorithms take if the user names no class, and SingleCopyReplayBuffer does in less memory.
DEFAULT_BUFFERS = (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer)
#: attributes that these algorithms keep in their checkpoints, and for which SoftAC has no use
UNUSED_ATTRIBUTES = ("batch_norm_stats", "batch_norm_stats_target", "top_quantiles_to_drop_per_net")


@dataclass(frozen=True)
class Foreign:
    """An algorithm whose checkpoints can be imported.

    :param name: as messages have it
    :param method: of SoftAC, which imports them
    :param algorithm: its class
    :param policies: its classes of policies, and ours of the same parameters
    :param attributes: of its attributes: those of SoftAC that say the same, and take their place
    :param arguments: arguments of SoftAC with which it makes the same updates
    """

    name: str
    method: str
    algorithm: type[OffPolicyAlgorithm]
    policies: Mapping[type, type[SoftACPolicy]]
    attributes: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _: {}
    arguments: Mapping[str, Any] = field(default_factory=dict)


SB3_SAC = Foreign(
    "Stable-Baselines3's SAC",
    "from_sac()",
    SAC,
    {
        sac_policies.MlpPolicy: MlpPolicy,
        sac_policies.CnnPolicy: CnnPolicy,
        sac_policies.MultiInputPolicy: MultiInputPolicy,
    },
)


def contrib_tqc() -> Foreign:
    """TQC of sb3-contrib.

    :raises ImportError: sb3-contrib is not installed
    """
    try:
        from sb3_contrib import TQC
        from sb3_contrib.tqc import policies
    except ImportError as error:
        raise ImportError(
            f"`from_tqc()` reads files of sb3-contrib ({error}); install it: pip install 'sb3_softac[zoo]'"
        ) from error
    known: dict[type, type[SoftACPolicy]] = {
        policies.MlpPolicy: MlpPolicy,
        policies.CnnPolicy: CnnPolicy,
        policies.MultiInputPolicy: MultiInputPolicy,
    }
    return Foreign("sb3-contrib's TQC", "from_tqc()", TQC, known, _attributes_of_tqc, {"actor_q_reduction": "mean"})


def _attributes_of_tqc(data: Mapping[str, Any]) -> dict[str, Any]:
    policy_kwargs = dict(data["policy_kwargs"])
    head = {"n_dropped": data["top_quantiles_to_drop_per_net"]}
    if "n_quantiles" in policy_kwargs:
        head["n_quantiles"] = policy_kwargs.pop("n_quantiles")
    return {"policy_kwargs": policy_kwargs | {"critic_head": "quantile", "critic_head_kwargs": head}}


def open_foreign(
    foreign: Foreign, path_or_model: files.PathOrFile | OffPolicyAlgorithm, allow_pickle: bool | None
) -> tuple[files.PathOrFile, dict[str, Any]]:
    """A checkpoint of another algorithm, and the attributes that take the place of those in it.

    :param foreign: the algorithm
    :param path_or_model: the file, or the model
    :param allow_pickle: run code of the file
    :return: something that ``load`` reads, and its ``custom_objects``
    :raises ValueError: a third algorithm's, or a policy class that has no counterpart
    """
    file: Any = path_or_model
    if isinstance(path_or_model, BaseAlgorithm):
        if not isinstance(path_or_model, foreign.algorithm):
            raise ValueError(
                f"`{foreign.method}` imports {foreign.name}, but a {type(path_or_model).__name__} was given"
            )
        file = io.BytesIO()
        path_or_model.save(file)
        data: dict[str, Any] = vars(path_or_model)
    else:
        file = files.existing(file, ".zip")
        data = archive.read(file, "cpu", allow_pickle).data
    if isinstance(file, io.IOBase):
        file.seek(0)
    policy_class: Any = data.get("policy_class")
    if policy_class not in foreign.policies:
        raise ValueError(
            f"`{foreign.method}` imports {foreign.name} with one of its own policies, "
            f"but the policy is {policy_class!r}"
        )
    attributes = {"policy_class": foreign.policies[policy_class]}
    return file, attributes | foreign.attributes(data) | _attributes_of_buffer(data)


def _attributes_of_buffer(data: Mapping[str, Any]) -> dict[str, Any]:
    if data.get("replay_buffer_class") not in DEFAULT_BUFFERS:
        return {}
    attributes: dict[str, Any] = {"replay_buffer_class": None}  # the algorithm chooses, as where the user names none
    if data.get("n_steps", 1) > 1:  # which these algorithms keep twice
        kwargs = data["replay_buffer_kwargs"]
        attributes["replay_buffer_kwargs"] = {
            name: value for name, value in kwargs.items() if name not in ("n_steps", "gamma")
        }
    return attributes
