"""An agent made from the contents of its file."""

import itertools
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import recursive_setattr
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces

from sb3_softac.saving.archive import Contents
from sb3_softac.saving.files import SavedFileError
from sb3_softac.settings.parsing import whole_number

AgentT = TypeVar("AgentT", bound=OffPolicyAlgorithm)
COUNTS = {"n_envs", "num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_n_updates", "_episode_num"}
#: arguments of the policy whose whole numbers are no sizes of layers
NO_SIZES = ("renorm_warmup_steps",)
NEEDED = ("policy_class", "policy_kwargs", "observation_space", "action_space", "verbose")


def build(
    cls: type[AgentT],
    contents: Contents,
    env: GymEnv | str | None,
    device: th.device | str,
    force_reset: bool,
    changed: Mapping[str, Any],
) -> AgentT:
    """An agent as the file has it, but for what is changed.

    :param cls: of the agent
    :param contents: of the file
    :param env: to go on learning in, or its registered id; None for the file's, if it has one
    :param device: to put the agent on
    :param force_reset: reset the environment before learning goes on
    :param changed: arguments of the constructor
    :raises ValueError: the contents are no agent of this class, or the environment has other spaces
    """
    data = _attributes(contents.data, cls)
    _check_sizes(data, contents.parameters)
    if "policy_kwargs" in changed and changed["policy_kwargs"] != data["policy_kwargs"]:
        raise ValueError(
            f"`policy_kwargs` is {data['policy_kwargs']} in the file, and cannot be changed to "
            f"{changed['policy_kwargs']}: its networks are made of it"
        )
    if env is not None:
        env = cls._wrap_env(maybe_make_env(env, data["verbose"]), data["verbose"])
        check_for_correct_spaces(env, data["observation_space"], data["action_space"])
        if force_reset:
            data["_last_obs"] = None
        data["n_envs"] = env.num_envs
    env = data.get("env") if env is None else env
    agent = cls(policy=data["policy_class"], env=env, device=device, _init_setup_model=False)  # type: ignore[arg-type, call-arg]
    vars(agent).update({**data, **changed})
    agent._setup_model()
    agent.set_parameters(contents.parameters, exact_match=True, device=device)
    for name, value in contents.variables.items():
        # In place: an optimizer holds the tensor.
        recursive_setattr(agent, f"{name}.data", value.data)
    if agent.use_sde:
        agent.policy.reset_noise()  # type: ignore[operator]
    return agent


def _attributes(data: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """Attributes that a file may set: those that are no methods."""
    missing = [name for name in NEEDED if name not in data]
    if missing:
        raise SavedFileError(f"it has no {missing}; it is no file of {cls.__name__}")
    for name in data:
        if not name.isidentifier() or callable(getattr(cls, name, None)):
            raise SavedFileError(f"it sets {name!r}, which is no attribute that is saved")
    for name in ("observation_space", "action_space"):
        if not isinstance(data[name], spaces.Space):
            raise SavedFileError(f"its `{name}` is {data[name]!r}, which is no space")
    for name in COUNTS & data.keys():
        whole_number(name, data[name], minimum=0)
    if not isinstance(data["policy_kwargs"], dict):
        raise SavedFileError(f"its `policy_kwargs` is {data['policy_kwargs']!r}, which is no dict")
    return dict(data)


def _check_sizes(data: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Refuse networks that are larger than the parameters of the file, before they are allocated."""
    policy = parameters.get("policy")
    if not isinstance(policy, Mapping):
        raise SavedFileError("it has no parameters of a policy")
    n_parameters = sum(each.numel() for each in policy.values() if isinstance(each, th.Tensor))
    policy_kwargs = {name: value for name, value in data["policy_kwargs"].items() if name not in NO_SIZES}
    sizes = [spaces.flatdim(data["action_space"]), *_sizes_in(policy_kwargs)]
    sizes += [_one_hot(space) for space in _leaves(data["observation_space"])]
    if max(sizes) > max(n_parameters, 1):
        raise SavedFileError(
            f"its spaces and `policy_kwargs` ask for a layer of size {max(sizes):,}, but the file has {n_parameters:,} "
            "parameters"
        )


def _leaves(space: spaces.Space) -> list[spaces.Space]:
    return list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]


def _one_hot(space: spaces.Space) -> int:
    """Inputs of a first layer that reads ids; images and vectors stand in the file at their full size anyway."""
    return 1 if isinstance(space, spaces.Box) else spaces.flatdim(space)


def _sizes_in(value: Any) -> list[int]:
    """Sizes of layers that a nested value asks for: its whole numbers, and products of two that follow each other."""
    if isinstance(value, Mapping):
        return [size for each in value.values() for size in _sizes_in(each)]
    if isinstance(value, (list, tuple)):
        pairs = [math.prod(pair) for pair in itertools.pairwise(value) if all(type(each) is int for each in pair)]
        return pairs + [size for each in value for size in _sizes_in(each)]
    return [abs(value)] if type(value) is int else []
