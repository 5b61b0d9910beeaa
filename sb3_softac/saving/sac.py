"""Checkpoints of Stable-Baselines3's SAC, read as those of SoftAC."""

import io
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.sac import SAC
from stable_baselines3.sac import policies as sac_policies

from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy
from sb3_softac.saving import archive, files

# Classes of Stable-Baselines3's SAC, and ours of the same parameters.
POLICY_OF_SAC: dict[type, type[SoftACPolicy]] = {
    sac_policies.MlpPolicy: MlpPolicy,
    sac_policies.CnnPolicy: CnnPolicy,
    sac_policies.MultiInputPolicy: MultiInputPolicy,
}
# What Stable-Baselines3's SAC keeps in its checkpoints and SoftAC has no use for.
SAC_ONLY_ATTRIBUTES = ("batch_norm_stats", "batch_norm_stats_target")
# What Stable-Baselines3's SAC takes if the user names no class, and SingleCopyReplayBuffer does in less memory.
REPLAY_OF_SAC = (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer)


def open_sac(
    path_or_model: files.PathOrFile | SAC, allow_pickle: bool | None
) -> tuple[files.PathOrFile, dict[str, Any]]:
    """A checkpoint of Stable-Baselines3's SAC, and the classes that take the place of those in it.

    :param path_or_model: the file, or the model
    :param allow_pickle: run code of the file
    :return: something that ``load`` reads, and its ``custom_objects``
    :raises ValueError: another algorithm's, or a policy class that has no counterpart
    """
    file: Any = path_or_model
    if isinstance(path_or_model, BaseAlgorithm):
        if not isinstance(path_or_model, SAC):
            raise ValueError(
                f"`from_sac()` imports Stable-Baselines3's SAC, but a {type(path_or_model).__name__} was given"
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
    if policy_class not in POLICY_OF_SAC:
        raise ValueError(
            "`from_sac()` imports Stable-Baselines3's SAC with one of its own policies, "
            f"but the policy is {policy_class!r}"
        )
    classes: dict[str, Any] = {"policy_class": POLICY_OF_SAC[policy_class]}
    if data.get("replay_buffer_class") in REPLAY_OF_SAC:
        classes["replay_buffer_class"] = None  # the algorithm chooses, as it does where the user names none
        if data.get("n_steps", 1) > 1:  # which a SAC keeps twice
            kwargs = data["replay_buffer_kwargs"]
            classes["replay_buffer_kwargs"] = {
                name: value for name, value in kwargs.items() if name not in ("n_steps", "gamma")
            }
    return file, classes
