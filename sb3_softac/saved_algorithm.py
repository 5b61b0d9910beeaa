"""Files of an algorithm: agents, replay buffers, checkpoints, exports, and imports of Stable-Baselines3's SAC."""

import os
import pathlib
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, TensorDict
from stable_baselines3.common.utils import get_system_info
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.sac import SAC

from sb3_softac.buffers import make as buffers
from sb3_softac.engines.keeper import EngineKeeper
from sb3_softac.exporting import onnx_file, statistics
from sb3_softac.exporting.deployed import DeployedPolicy
from sb3_softac.networks.observations import on_host
from sb3_softac.policies import SoftACPolicy
from sb3_softac.saving import archive, callbacks, checkpoint, files, foreign, replay
from sb3_softac.saving import parameters as saved
from sb3_softac.saving.agent import build
from sb3_softac.settings.rows import check_known
from sb3_softac.settings.variants import VARIANTS

SelfAlgorithm = TypeVar("SelfAlgorithm", bound="SavedAlgorithm")


class SavedAlgorithm(OffPolicyAlgorithm):
    """The half of SoftAC that deals with files."""

    policy: SoftACPolicy
    variant: str
    ent_coef_optimizer: th.optim.Optimizer | None
    replay_buffer: ReplayBuffer
    _engine: EngineKeeper
    _last_callback: BaseCallback | None
    _states_of_callbacks: dict[str, Any]

    def __getstate__(self) -> dict[str, Any]:
        # A callback holds what a user gave it, which may be nothing to copy. A copy begins with its state.
        states = callbacks.read(self._last_callback) or self._states_of_callbacks
        return {**vars(self), "_last_callback": None, "_states_of_callbacks": states}

    @abstractmethod
    def change_ent_coef(self, ent_coef: str | float) -> None:
        """Change the argument; the temperature itself changes only if it was or becomes fixed.

        :param ent_coef: as the constructor takes it
        :raises ValueError: for any other value
        """

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        with_optimizers = ["actor", "critic", *VARIANTS[self.variant].optimizers]
        state_dicts = ["policy", *(f"{name}.optimizer" for name in with_optimizers)]
        if self.ent_coef_optimizer is None:
            return state_dicts, ["ent_coef_tensor"]
        return [*state_dicts, "ent_coef_optimizer"], ["log_ent_coef"]

    def set_parameters(
        self,
        load_path_or_dict: str | TensorDict,
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """Load networks and optimizers in place; nothing changes if any entry does not fit.

        :param load_path_or_dict: a checkpoint, or a dict as :meth:`get_parameters` returns it
        :param exact_match: True: refuse missing and unexpected entries; False: a single network is enough, such as
            ``"actor"``, whose average then restarts at it
        :param device: of the loaded tensors
        :raises ValueError: the parameters are not for these networks
        """
        given: Any = load_path_or_dict
        if not isinstance(given, dict):
            given = archive.read(files.existing(given, ".zip"), device, with_data=False).parameters
        average = self.policy.actor_average
        parameters = saved.fit_average(given, average is not None)
        saved.check_parameters(self, parameters, exact_match)
        super().set_parameters(parameters, exact_match, device)
        if average is not None and not {"actor", "policy.actor"}.isdisjoint(parameters):
            average.load_state_dict(self.policy.actor.state_dict())
        self._engine.forget()  # the checkpoint has overwritten the options of the optimizers

    def save(
        self,
        path: files.PathOrFile,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Save the agent to a zip file, which is written as a whole or not at all.

        It opens again without running any code, unless the agent holds objects that only a pickle can keep: a warning
        names them.

        :param path: of the file, or an open one
        :param exclude: attributes to leave out, beside those that are made anew
        :param include: attributes to save all the same
        :raises OSError: the file cannot be written; a previous one is whole
        """
        parts = self._contents()
        data = {name: value for name, value in parts.data.items() if name not in set(exclude or ())}
        data |= {name: getattr(self, name) for name in include or ()}
        archive.save(path, parts._replace(data=data))

    def export_onnx(
        self,
        path: str | os.PathLike[str],
        *,
        deterministic: bool = True,
        vec_normalize: VecNormalize | str | os.PathLike[str] | bool = True,
        channels_last: bool = False,
        opset: int = onnx_file.OPSET,
        tolerance: float = onnx_file.TOLERANCE,
        allow_pickle: bool | None = None,
    ) -> onnx_file.ExportedPolicy:
        """Write the policy to an ONNX file that other programs run, from the observation to the action in its bounds.

        The file is compared with :meth:`predict` first; one that acts otherwise is not written. The model stays as it
        is. Needs the extra ``export``.

        :param path: of the file; ``.onnx`` is added where there is no suffix
        :param deterministic: True: the deterministic action. False: a sample, whose random numbers are further inputs
        :param vec_normalize: normalises the observations: True: that of the model's environment, if there is one; a
            ``VecNormalize``, or the path of the file that it saved; False: none
        :param channels_last: images come as (height, width, channels), as most environments and cameras give them;
            False: (channels, height, width)
        :param opset: version of ONNX's operators, 18 to 23
        :param tolerance: largest difference from :meth:`predict`, as a part of the range of an action
        :param allow_pickle: run code of the file of ``vec_normalize``, which is a pickle; None: as the environment
            variable ``SB3_SOFTAC_ALLOW_PICKLE`` says
        :return: the path, inputs and output, and the difference that was found; printed, a short report
        :raises ValueError: a wrong argument, or a policy that cannot be exported: the message names the layer
        :raises ImportError: the extra is not installed
        """
        normalize = statistics.find(vec_normalize, self._vec_normalize_env, allow_pickle)
        deployed = DeployedPolicy(self.policy, deterministic, normalize, channels_last)
        facts = {"algorithm": type(self).__name__, "variant": self.variant, "num_timesteps": self.num_timesteps}
        return onnx_file.export(deployed, path, normalize, opset, tolerance, facts)

    def save_replay_buffer(self, path: files.PathOrFile) -> None:
        """Save the replay buffer, as a whole or not at all.

        :param path: of the file, or an open one
        :raises OSError: the file cannot be written; a previous one is whole
        """
        archive.warn_of_pickled(path, replay.save(path, self.replay_buffer))

    def load_replay_buffer(
        self,
        path: files.PathOrFile,
        truncate_last_traj: bool = True,
        allow_pickle: bool | None = None,
    ) -> None:
        """Load a file of :meth:`save_replay_buffer`; the present one stays if that does not fit.

        :param path: the file, or an open one
        :param truncate_last_traj: with hindsight, take the last trajectory for finished
        :param allow_pickle: run code of the file, as reading a pickle of Stable-Baselines3 does; None: as the
            environment variable ``SB3_SOFTAC_ALLOW_PICKLE`` says
        :raises ValueError: it is damaged, or for other spaces or another number of environments
        """
        buffer = replay.read(files.existing(path, ".pkl"), allow_pickle)
        buffers.check_spaces(buffer, self)
        buffers.attach(buffer, self.env, self.device, truncate_last_traj)
        self.replay_buffer = buffer

    @classmethod
    def load(
        cls: type[SelfAlgorithm],
        path: files.PathOrFile,
        env: GymEnv | str | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        allow_pickle: bool | None = None,
        **kwargs: Any,
    ) -> SelfAlgorithm:
        """Load an agent that :meth:`save` wrote, without running code of the file.

        The replay buffer is not in it, and is allocated only when needed.

        :param path: the zip file, or an open one
        :param env: to go on learning in, or its registered id; None if the agent only acts
        :param device: to put the agent on
        :param custom_objects: take the place of attributes in the file, which are then not read
        :param print_system_info: print the systems that saved and that load
        :param force_reset: reset the environment before learning goes on
        :param allow_pickle: run code of the file, where it holds pickled objects; None: as the environment variable
            ``SB3_SOFTAC_ALLOW_PICKLE`` says
        :param kwargs: arguments of the constructor to change. A learned ``ent_coef`` stays as learned if the new one is
            learned too, and is set up anew if learning is switched on or off
        :raises ValueError: the file is damaged, was made by another algorithm or for other spaces, or has to be
            unpickled
        """
        check_known("load()", kwargs, cls.__init__, hidden=("policy", "env", "device", "_init_setup_model"))
        source = files.existing(path, ".zip")
        contents = archive.read(source, device, allow_pickle, custom_objects)
        if print_system_info:
            print(f"== System that saved ==\n{contents.system_info}\n== This system ==")
            get_system_info()
        ent_coef = kwargs.pop("ent_coef", None)
        with archive.named(source):
            model = build(cls, contents, env, device, force_reset, kwargs)
        if ent_coef is not None:
            model.change_ent_coef(ent_coef)
        return model

    def save_checkpoint(self, folder: str | os.PathLike[str], keep: int | None = None) -> checkpoint.Saved:
        """Save all that a run needs to go on as if it had not stopped; several checkpoints may be in one folder.

        Call it between rollouts: outside :meth:`learn`, or by :class:`sb3_softac.callbacks.CheckpointCallback`.

        :param folder: of the checkpoints of this run; what is new since the one before is written
        :param keep: checkpoints to keep in the folder, this one included; None for all
        :return: the file, and whether the run will go on exactly, or with a new episode and why
        :raises OSError: a file cannot be written; the checkpoints before are whole
        :raises ValueError: the folder has checkpoints of a run that is further
        """
        states = callbacks.read(self._last_callback) or self._states_of_callbacks
        return checkpoint.save(pathlib.Path(folder), self, self._contents(), states, keep)

    def check_checkpoint_folder(self, folder: str | os.PathLike[str]) -> None:
        """Refuse a folder that has checkpoints of a run that is further: they would be taken for the newest.

        :param folder: in which this run is to be saved
        :raises ValueError: naming the newest checkpoint
        """
        checkpoint.check_is_newest(folder, self.num_timesteps)

    @classmethod
    def load_checkpoint(
        cls: type[SelfAlgorithm],
        folder: str | os.PathLike[str],
        env: GymEnv,
        device: th.device | str = "auto",
        allow_pickle: bool | None = None,
        **kwargs: Any,
    ) -> SelfAlgorithm:
        """Load the newest whole checkpoint of a folder. ``learn(..., reset_num_timesteps=False)`` then goes on.

        The generators of random numbers of Python, numpy and PyTorch are put back, too.

        :param folder: of the checkpoints, or the file ``agent_<number>.zip`` of one of them
        :param env: made in the same way as the one of the run, with the same wrappers
        :param device: to put the agent on
        :param allow_pickle: as for :meth:`load`
        :param kwargs: arguments of the constructor to change; then the run is another one from here on
        :raises ValueError: no checkpoint is whole, or the environment is another one
        """
        model, states = checkpoint.load(cls, folder, env, device, allow_pickle, kwargs)
        model._states_of_callbacks = states
        return model

    def _contents(self) -> archive.Parts:
        """Everything that :meth:`save` writes."""
        state_dicts, names = self._get_torch_save_params()
        torch_names = {name.split(".")[0] for name in (*state_dicts, *names)}
        excluded = {*self._excluded_save_params(), *torch_names}
        data = {name: value for name, value in vars(self).items() if name not in excluded}
        data["_last_obs"] = on_host(self._last_obs)
        return archive.Parts(data, self.get_parameters(), {name: getattr(self, name) for name in names})

    @classmethod
    def from_sac(
        cls: type[SelfAlgorithm],
        path_or_model: files.PathOrFile | SAC,
        env: GymEnv | str | None = None,
        device: th.device | str = "auto",
        allow_pickle: bool | None = None,
        **kwargs: Any,
    ) -> SelfAlgorithm:
        """Import a SAC of Stable-Baselines3: networks, optimizers, temperature, counters and arguments.

        :param path_or_model: its zip file, or the model itself, whose environment and replay buffer are then shared
        :param env: to go on learning in, or its registered id; None: the model's, or none
        :param device: to put the model on
        :param allow_pickle: run code of the file: one of Stable-Baselines3 always holds pickled objects. None: as the
            environment variable ``SB3_SOFTAC_ALLOW_PICKLE`` says
        :param kwargs: arguments of the constructor to change
        :return: a model that acts as the imported one does
        :raises ValueError: a file that is not allowed to run code, not a SAC of Stable-Baselines3, one with a policy
            class of its own, or returns that the model's replay buffer does not give
        """
        return cls._from(foreign.SB3_SAC, path_or_model, env, device, allow_pickle, kwargs)

    @classmethod
    def from_tqc(
        cls: type[SelfAlgorithm],
        path_or_model: files.PathOrFile | OffPolicyAlgorithm,
        env: GymEnv | str | None = None,
        device: th.device | str = "auto",
        allow_pickle: bool | None = None,
        **kwargs: Any,
    ) -> SelfAlgorithm:
        """Import a TQC of sb3-contrib, as critics with ``critic_head="quantile"``. Needs the extra ``zoo``.

        :param path_or_model: its zip file, or the model itself, whose environment and replay buffer are then shared
        :param env: to go on learning in, or its registered id; None: the model's, or none
        :param device: to put the model on
        :param allow_pickle: as for :meth:`from_sac`
        :param kwargs: arguments of the constructor to change
        :return: a model that acts as the imported one does, and makes its updates
        :raises ValueError: as for :meth:`from_sac`
        :raises ImportError: sb3-contrib is not installed
        """
        return cls._from(foreign.contrib_tqc(), path_or_model, env, device, allow_pickle, kwargs)

    @classmethod
    def _from(
        cls: type[SelfAlgorithm],
        other: foreign.Foreign,
        path_or_model: files.PathOrFile | OffPolicyAlgorithm,
        env: GymEnv | str | None,
        device: th.device | str,
        allow_pickle: bool | None,
        changed: dict[str, Any],
    ) -> SelfAlgorithm:
        """Import a model of another algorithm, with some arguments changed."""
        source = path_or_model if isinstance(path_or_model, OffPolicyAlgorithm) else None
        if env is None and source is not None:
            env = source.get_env()
        file, attributes = foreign.open_foreign(other, path_or_model, allow_pickle)
        may_run = source is not None or allow_pickle
        model = cls.load(file, env, device, attributes, allow_pickle=may_run, **{**other.arguments, **changed})
        for name in foreign.UNUSED_ATTRIBUTES:
            vars(model).pop(name, None)
        if source is not None and source.replay_buffer is not None:
            if not {"n_steps", "gamma"}.isdisjoint(changed):
                buffers.check_returns(source.replay_buffer, model.n_steps, model.gamma)
            model.replay_buffer = source.replay_buffer
        return model
