"""What is read from checkpoints, and the checks that keep a wrong one from half-changing a model."""

import io
import pathlib
from abc import abstractmethod
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_getattr
from stable_baselines3.common.type_aliases import GymEnv, TensorDict
from stable_baselines3.sac import SAC
from stable_baselines3.sac import policies as sac_policies
from torch import nn

from sb3_softac import arguments, parsing
from sb3_softac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftACPolicy

SelfCheckpointed = TypeVar("SelfCheckpointed", bound="CheckpointedAlgorithm")

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


def open_sac(
    path_or_model: str | pathlib.Path | io.BufferedIOBase | SAC,
) -> tuple[str | pathlib.Path | io.BufferedIOBase, dict[str, Any]]:
    """A checkpoint of Stable-Baselines3's SAC, and the classes that take the place of those in it.

    :param path_or_model: the file, or the model
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
        data = load_from_zip_file(file, device="cpu")[0] or {}
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
    return file, classes


class CheckpointedAlgorithm(OffPolicyAlgorithm):
    """The half of SoftAC that deals with files: what is saved, what is loaded, what is imported."""

    policy: SoftACPolicy
    variant: str
    ent_coef: str | float
    ent_coef_optimizer: th.optim.Optimizer | None
    _engine: Any

    @abstractmethod
    def _setup_temperature(self) -> None:
        """Create the temperature from ``ent_coef``."""

    def _excluded_save_params(self) -> list[str]:
        networks = ["actor", "critic", "critic_target", "value_net", "value_target"]
        made_anew = ["temperature", "_engine", "_own_lr_schedules", "_actor_copy", "_is_loaded"]
        return super()._excluded_save_params() + networks + made_anew

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts = ["policy", "actor.optimizer", "critic.optimizer"]
        if self.variant == "v1":
            state_dicts.append("value_net.optimizer")
        if self.ent_coef_optimizer is None:
            return state_dicts, ["ent_coef_tensor"]
        return [*state_dicts, "ent_coef_optimizer"], ["log_ent_coef"]

    def set_parameters(
        self,
        load_path_or_dict: str | TensorDict,
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """Load networks and optimizers in place; nothing is changed if anything does not fit.

        :param load_path_or_dict: a checkpoint, or a dict as :meth:`get_parameters` returns it
        :param exact_match: refuse missing and unexpected entries; False: a single network's will do, as ``"actor"``,
            whose average begins anew at it
        :param device: of the loaded tensors
        :raises ValueError: the parameters are not for these networks
        """
        is_averaged = self.policy.actor_average is not None
        parameters = fit_average(read_parameters(load_path_or_dict, device), is_averaged)
        check_parameters(self, parameters, exact_match)
        super().set_parameters(parameters, exact_match, device)
        if self.policy.actor_average is not None and not {"actor", "policy.actor"}.isdisjoint(parameters):
            self.policy.actor_average.load_state_dict(self.policy.actor.state_dict())
        self._engine.forget()  # it holds settings of the optimizers, which the checkpoint has overwritten

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """Load what :meth:`save_replay_buffer` wrote; the present one stays if that does not fit.

        :param path: the pickle, or an open one
        :param truncate_last_traj: with hindsight, take the last trajectory for finished
        :raises ValueError: it is for other spaces or another number of environments
        """
        before = self.__dict__.get("replay_buffer")
        super().load_replay_buffer(path, truncate_last_traj)
        try:
            _check_buffer(self)
        except ValueError:
            del self.replay_buffer
            if before is not None:
                self.replay_buffer = before
            raise

    @classmethod
    def load(
        cls: type[SelfCheckpointed],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfCheckpointed:
        """Load a model that :meth:`save` wrote. The replay buffer is not in it, and is allocated only when needed.

        :param path: the zip file, or an open one
        :param env: to go on learning in; None if the model only acts
        :param device: to put the model on
        :param custom_objects: replace entries of the file, for those that cannot be unpickled
        :param print_system_info: print the systems that saved and that load
        :param force_reset: reset the environment before learning goes on
        :param kwargs: arguments of the constructor to change. A learned ``ent_coef`` stays as learned if the new one is
            learned too, and is set up anew if learning is switched on or off
        :raises ValueError: the file was made by another algorithm, or for other spaces
        """
        ent_coef = kwargs.pop("ent_coef", None)
        model = super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)
        if ent_coef is not None:
            model._change_ent_coef(ent_coef)
        return model

    def _change_ent_coef(self, ent_coef: str | float) -> None:
        stays_learned = all(arguments.learns_ent_coef(value, self.variant) for value in (self.ent_coef, ent_coef))
        self.ent_coef = ent_coef
        if stays_learned:
            parsing.auto_number("ent_coef", ent_coef)
        else:
            self._setup_temperature()

    @classmethod
    def from_sac(
        cls: type[SelfCheckpointed],
        path_or_model: str | pathlib.Path | io.BufferedIOBase | SAC,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        **kwargs: Any,
    ) -> SelfCheckpointed:
        """Import a SAC of Stable-Baselines3: networks, optimizers, temperature, counters and arguments.

        :param path_or_model: its zip file, or the model itself, whose environment and replay buffer are then shared
        :param env: to go on learning in; None: the model's, or none
        :param device: to put the model on
        :param kwargs: arguments of the constructor to change
        :return: a model that acts as the imported one does
        :raises ValueError: not a SAC of Stable-Baselines3, one with a policy class of its own, or returns that the
            model's replay buffer does not give
        """
        file, classes = open_sac(path_or_model)
        source = path_or_model if isinstance(path_or_model, SAC) else None
        if env is None and source is not None:
            env = source.get_env()
        model = cls.load(file, env, device, custom_objects=classes, **kwargs)
        for name in SAC_ONLY_ATTRIBUTES:
            model.__dict__.pop(name, None)
        if "n_steps" in kwargs:  # which a SAC keeps twice
            for name in ("n_steps", "gamma"):
                model.replay_buffer_kwargs.pop(name, None)
        if source is not None and source.replay_buffer is not None:
            if not {"n_steps", "gamma"}.isdisjoint(kwargs):
                _check_returns(source.replay_buffer, model.n_steps, model.gamma)
            model.replay_buffer = source.replay_buffer
        return model


def _check_buffer(model: OffPolicyAlgorithm) -> None:
    for name in ("n_envs", "observation_space", "action_space"):
        own, given = getattr(model, name), getattr(model.replay_buffer, name)
        if own != given:
            raise ValueError(
                f"The replay buffer is for `{name}={given}`, but the model has {own}; load the model with such an "
                "environment, or go on without the buffer"
            )


def _check_returns(buffer: ReplayBuffer, n_steps: int, gamma: float) -> None:
    """Refuse a replay buffer of Stable-Baselines3, which keeps these two itself, if its returns are others."""
    own_n_steps = getattr(buffer, "n_steps", 1)
    own_gamma = gamma if own_n_steps == 1 else getattr(buffer, "gamma", gamma)
    if (own_n_steps, own_gamma) != (n_steps, gamma):
        raise ValueError(
            f"`n_steps={n_steps}` and `gamma={gamma}` are asked for, but the model's replay buffer, which would be "
            f"shared, has returns of {own_n_steps} step(s), discounted by {own_gamma}. Import the model's zip file "
            "instead, and begin with an empty replay buffer"
        )
