"""Policies of SoftAC: an actor, an ensemble of critics and its target, with their optimizers."""

from copy import deepcopy
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    get_actor_critic_arch,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_softac.networks.actors import SoftActor, SquashedGaussianActor
from sb3_softac.networks.batch_renorm import WARMUP_STEPS, BatchRenorm
from sb3_softac.networks.categorical_actor import CategoricalActor
from sb3_softac.networks.critics import (
    ContinuousCritic,
    Critic,
    DiscreteCritic,
    FeaturesNetwork,
    OneHotCritic,
    ValueNetwork,
)
from sb3_softac.networks.discrete import is_enumerable
from sb3_softac.networks.hooks import SameChildren
from sb3_softac.networks.mixture_actor import SquashedMixtureActor
from sb3_softac.parsing import bounded_float, flag, positive_int

TargetT = TypeVar("TargetT", bound=FeaturesNetwork)
SelfPolicy = TypeVar("SelfPolicy", bound="SoftACPolicy")


class SoftACPolicy(BasePolicy):
    """Actor and critics of SoftAC.

    :param observation_space: space of the observations
    :param action_space: space of the actions
    :param lr_schedule: learning rate by remaining progress (from 1 to 0)
    :param net_arch: units of the hidden layers, ``[256, 256]`` if None; ``dict(pi=[...], qf=[...])`` for separate ones
    :param activation_fn: activation of the hidden layers
    :param use_sde: generalized state-dependent exploration (gSDE)
    :param log_std_init: initial log standard deviation of the gSDE weights
    :param use_expln: grow the gSDE standard deviation like ``log`` above 1 in place of ``exp``
    :param clip_mean: with gSDE, limit the mean before tanh to [-clip_mean, clip_mean]; 0 for no limit
    :param features_extractor_class: maps observations to features; None: what suits the policy's name
    :param features_extractor_kwargs: arguments of the features extractor
    :param normalize_images: divide uint8 images by 255
    :param optimizer_class: of the actor and the critics
    :param optimizer_kwargs: arguments of the optimizers, without the learning rate
    :param n_critics: number of critics; the algorithm's ``q_reduction`` says which of their values counts
    :param share_features_extractor: one features extractor for actor and critics, trained by the actor's loss alone
    :param layer_norm: normalise each hidden layer of the critics before its activation
    :param dropout: probability that a hidden unit of the critics is left out while learning (arXiv:2110.02034)
    :param batch_norm: batch renormalisation (arXiv:1702.03275) of the inputs and of each hidden layer of actor and
        critics, as CrossQ has it (arXiv:1902.05605). A network's own loss sees the batch's statistics; acting,
        targets, and the critics in the actor's loss see the running ones
    :param batch_norm_momentum: in (0, 1]; how far the running statistics move towards those of a batch
    :param renorm_warmup_steps: passes of a layer that are plain batch normalisation; the limits of its correction
        are relaxed over the next 35,000
    :param n_components: Gaussians in the policy's distribution, for Box actions; above 1: a mixture
    :param variant: set by the algorithm: ``"v2"`` has target critics, ``"v1"`` a state value and its target
    :param target_networks: set by the algorithm: False for neither target
    :param actor_average: set by the algorithm: keep an average of the actor too, which acts where it is to be
        deterministic
    :raises ValueError: ``n_critics`` or ``n_components`` below 1, ``dropout`` outside [0, 1), ``batch_norm_momentum``
        outside (0, 1], ``renorm_warmup_steps`` below 0, a switch that is no bool, or a mixture that cannot be
    """

    default_features_extractor_class: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor

    actor: SoftActor
    actor_average: SoftActor | None
    critic: Critic
    critic_target: Critic  # v2 only, if there are targets
    value_net: ValueNetwork  # v1 only
    value_target: ValueNetwork  # v1 only, if there are targets

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        use_sde: bool = False,
        log_std_init: float = -3,
        use_expln: bool = False,
        clip_mean: float = 2.0,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
        layer_norm: bool = False,
        dropout: float = 0.0,
        batch_norm: bool = False,
        batch_norm_momentum: float = 0.01,
        renorm_warmup_steps: int = WARMUP_STEPS,
        n_components: int = 1,
        variant: str = "v2",
        target_networks: bool = True,
        actor_average: bool = False,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class or self.default_features_extractor_class,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=isinstance(action_space, spaces.Box),
            normalize_images=normalize_images,
        )
        self.net_arch = [256, 256] if net_arch is None else net_arch
        self.share_features_extractor = flag("share_features_extractor", share_features_extractor)
        actor_arch, critic_arch = get_actor_critic_arch(self.net_arch)
        momentum = bounded_float("batch_norm_momentum", batch_norm_momentum, "in (0, 1]", lambda m: 0.0 < m <= 1.0)
        self.batch_norm_momentum = momentum
        self.renorm_warmup_steps = positive_int("renorm_warmup_steps", renorm_warmup_steps, minimum=0)
        make_norm = partial(BatchRenorm, momentum=momentum, warmup_steps=self.renorm_warmup_steps)
        shared_kwargs = {
            "observation_space": observation_space,
            "action_space": action_space,
            "activation_fn": activation_fn,
            "normalize_images": normalize_images,
            "batch_norm": make_norm if flag("batch_norm", batch_norm) else None,
        }
        sde_kwargs = {
            "use_sde": use_sde,
            "log_std_init": log_std_init,
            "use_expln": use_expln,
            "clip_mean": clip_mean,
        }
        self.n_components = positive_int("n_components", n_components)
        self.n_critics = positive_int("n_critics", n_critics)
        self.variant = variant
        self.target_networks = target_networks
        self.actor_class, actor_kwargs = self._choose_actor(sde_kwargs)
        self.actor_kwargs = shared_kwargs | {"net_arch": actor_arch} | actor_kwargs
        self.value_kwargs = shared_kwargs | {
            "net_arch": critic_arch,
            "share_features_extractor": share_features_extractor,
            "layer_norm": flag("layer_norm", layer_norm),
            "dropout": bounded_float("dropout", dropout, "from 0 to below 1", lambda p: 0.0 <= p < 1.0),
        }
        self.critic_kwargs = self.value_kwargs | {"n_critics": self.n_critics}
        self._sde_kwargs = sde_kwargs
        self._build(lr_schedule, actor_average)

    def _choose_actor(self, sde_kwargs: dict[str, Any]) -> tuple[type[SoftActor], dict[str, Any]]:
        """The actor for the action space, and the arguments that are its own."""
        is_mixture = self.n_components > 1
        if not isinstance(self.action_space, spaces.Box):
            if is_mixture:
                raise ValueError(
                    f"`n_components={self.n_components}` needs Box actions, but the space is {self.action_space}, "
                    "whose categorical distribution has every mode already; pass `n_components=1`"
                )
            return CategoricalActor, {}
        if is_mixture and sde_kwargs["use_sde"]:
            raise ValueError(
                f"`n_components={self.n_components}` needs `use_sde=False`: the noise of gSDE belongs to one Gaussian"
            )
        if is_mixture:
            return SquashedMixtureActor, {"n_components": self.n_components}
        return SquashedGaussianActor, sde_kwargs

    def _build(self, lr_schedule: Schedule, actor_average: bool) -> None:
        """Create networks and optimizers, in Stable-Baselines3's order, so that a seed gives its weights."""
        self.actor = self.make_actor()
        self.actor.optimizer = self._make_optimizer(list(self.actor.parameters()), lr_schedule)
        self.actor_average = self._copy_of_actor() if actor_average else None
        # A target has its own features extractor in any case: it is an average over time.
        shared = self.actor.features_extractor if self.share_features_extractor else None
        self.critic = self.make_critic(shared)
        if self.variant == "v1":
            self.value_net = self.make_value_net(shared)
            self.value_net.optimizer = self._make_optimizer(self._owned_parameters(self.value_net), lr_schedule)
        if self.target_networks and self.variant == "v1":
            self.value_target = self._as_target(self.make_value_net(), self.value_net)
        elif self.target_networks:
            self.critic_target = self._as_target(self.make_critic(), self.critic)
        self.critic.optimizer = self._make_optimizer(self._owned_parameters(self.critic), lr_schedule)
        self.n_structures = 0  # of modules, since a user may put in others
        self._choose_switched()
        self.set_training_mode(True)

    def _copy_of_actor(self) -> SoftActor:
        """Without an optimizer. To make an actor would take random numbers that a run without an average does not."""
        return deepcopy(self.actor, {id(self.actor.optimizer): None}).eval()

    def _choose_switched(self) -> None:
        """The modules of the trained networks that follow :meth:`set_training_mode`, and those that never do."""
        networks = [self.actor, self.critic, *([self.value_net] if self.variant == "v1" else [])]
        modules = [self, *(module for network in networks for module in network.modules())]
        self._switched_modules = [module for module in modules if not isinstance(module, BatchRenorm)]
        self._batch_norms = [module for module in modules if isinstance(module, BatchRenorm)]
        self._has_same_children = SameChildren(modules)
        self._modules_of_actor = list(self.actor.modules())
        self.n_structures += 1

    @staticmethod
    def _as_target(target: TargetT, online: TargetT) -> TargetT:
        target.load_state_dict(online.state_dict())
        target.set_training_mode(False)
        return target

    @staticmethod
    def _owned_parameters(network: FeaturesNetwork) -> list[nn.Parameter]:
        """The parameters that a network's own loss trains: not those of an extractor that is the actor's."""
        shared = network.features_extractor if network.share_features_extractor else None
        foreign = {id(parameter) for parameter in shared.parameters()} if shared is not None else set()
        return [parameter for parameter in network.parameters() if id(parameter) not in foreign]

    def _make_optimizer(self, parameters: list[nn.Parameter], lr_schedule: Schedule) -> th.optim.Optimizer:
        return self.optimizer_class(parameters, lr=lr_schedule(1.0), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> SoftActor:
        """Create an actor.

        :param features_extractor: to share; None for one of its own
        """
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return self.actor_class(**kwargs).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Critic:
        """Create an ensemble of critics.

        :param features_extractor: to share; None for one of its own
        """
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return self._critic_class()(**kwargs).to(self.device)

    def _critic_class(self) -> type[Critic]:
        if isinstance(self.action_space, spaces.Box):
            return ContinuousCritic
        return DiscreteCritic if is_enumerable(self.action_space) else OneHotCritic

    def make_value_net(self, features_extractor: BaseFeaturesExtractor | None = None) -> ValueNetwork:
        """Create a state value network.

        :param features_extractor: to share; None for one of its own
        """
        return ValueNetwork(**self._update_features_extractor(self.value_kwargs, features_extractor)).to(self.device)

    def reset_noise(self, batch_size: int = 1) -> None:
        """Draw new gSDE exploration weights.

        :param batch_size: number of environments that explore side by side
        :raises ValueError: without gSDE
        """
        self.actor.reset_noise(batch_size)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take: (B, D) in [-1, 1] for Box, (B, F) ids for F discrete factors.

        :param obs: observations, first dimension B
        :param deterministic: the mode in place of a sample
        """
        return self._predict(obs, deterministic=deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        average = self.actor_average if deterministic else None
        return (self.actor if average is None else average)(observation, deterministic)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Action to take in the environment, in the bounds of its space.

        :param observation: one, or B of them
        :param state: returned as it is: the policy has none
        :param episode_start: of no use without a state
        :param deterministic: the mode in place of a sample
        :return: one action, or B of them, and the state
        :raises ValueError: a Box action that is not a number
        """
        actions, state = super().predict(observation, state, episode_start, deterministic)
        check_actions(actions)
        return actions, state

    def train(self: SelfPolicy, mode: bool = True) -> SelfPolicy:
        """What :meth:`set_training_mode` does, by the name that it has in any other module.

        :param mode: True for training, False for evaluation
        :return: self
        """
        self.set_training_mode(mode)
        return self

    def set_training_mode(self, mode: bool) -> None:
        """Switch dropout, and a features extractor's own layers, of actor and critics; the target always evaluates.

        Batch renormalisation evaluates too, but in those passes of a gradient step from which it learns.

        :param mode: True for training, False for evaluation
        """
        if not self._has_same_children():  # a user put in another features extractor, say
            if self.actor_average is not None and list(self.actor.modules()) != self._modules_of_actor:
                self.actor_average = self._copy_of_actor()
            self._choose_switched()
        # Called several times in each step of the environment: without the recursion and the checks of `nn.Module`.
        for module in self._switched_modules:
            module.__dict__["training"] = mode
        for module in self._batch_norms:
            module.__dict__["training"] = False

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            net_arch=self.net_arch,
            lr_schedule=self._dummy_schedule,  # a policy that is loaded alone does not learn
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            share_features_extractor=self.share_features_extractor,
            n_critics=self.n_critics,
            layer_norm=self.value_kwargs["layer_norm"],
            dropout=self.value_kwargs["dropout"],
            batch_norm=self.value_kwargs["batch_norm"] is not None,
            batch_norm_momentum=self.batch_norm_momentum,
            renorm_warmup_steps=self.renorm_warmup_steps,
            n_components=self.n_components,
            variant=self.variant,
            target_networks=self.target_networks,
            actor_average=self.actor_average is not None,
            activation_fn=self.actor_kwargs["activation_fn"],
        )
        return data | self._sde_kwargs


MlpPolicy = SoftACPolicy


def check_actions(actions: np.ndarray) -> None:
    """Refuse actions that an environment would take for numbers.

    :param actions: of any shape
    :raises ValueError: one is NaN
    """
    if np.isnan(actions).any():
        raise ValueError(
            f"The action is {actions}: an observation is not a number, or learning has diverged. "
            "stable_baselines3's `VecCheckNan` around the environment finds the first; load the last checkpoint"
        )


class CnnPolicy(SoftACPolicy):
    """:class:`SoftACPolicy` for images."""

    default_features_extractor_class = NatureCNN


class MultiInputPolicy(SoftACPolicy):
    """:class:`SoftACPolicy` for observations that are dicts."""

    default_features_extractor_class = CombinedExtractor
