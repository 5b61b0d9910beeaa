"""Policies of SoftAC: actor, critics and target networks, with their optimizers."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields, replace
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

from sb3_softac.evaluation import EpisodeLengths
from sb3_softac.networks.actors import SoftActor, SquashedGaussianActor
from sb3_softac.networks.batch_renorm import WARMUP_STEPS, BatchRenorm
from sb3_softac.networks.blocks import MLP, HiddenLayers
from sb3_softac.networks.boltzmann_actor import BoltzmannActor
from sb3_softac.networks.categorical_actor import CategoricalActor
from sb3_softac.networks.critics import (
    ContinuousCritic,
    Critic,
    DiscreteCritic,
    FeaturesNetwork,
    OneHotCritic,
    ValueNetwork,
)
from sb3_softac.networks.direct import direct
from sb3_softac.networks.distributions import DEFAULT_RANGE, LogStdRange
from sb3_softac.networks.fused.unchanged import SameChildren
from sb3_softac.networks.images import RandomShift
from sb3_softac.networks.layer_kinds import layers_by_kind
from sb3_softac.networks.mixture_actor import SquashedMixtureActor
from sb3_softac.networks.networks import Networks
from sb3_softac.networks.normalizer import CLIP, ObservationNormalizer
from sb3_softac.networks.observations import on_host
from sb3_softac.networks.residual import check_blocks
from sb3_softac.networks.sampling_actor import SamplingActor
from sb3_softac.networks.small_cnn import fitting, is_image
from sb3_softac.networks.unit_norm import unit_norm_of
from sb3_softac.settings.policy import PolicySettings
from sb3_softac.settings.rows import read_table
from sb3_softac.settings.variants import VARIANT_NETWORKS, VARIANTS
from sb3_softac.spaces import Unscaling, is_enumerable, masks_in

TargetT = TypeVar("TargetT", bound=FeaturesNetwork)
NetworkT = TypeVar("NetworkT", SoftActor, Critic, ValueNetwork)
SelfPolicy = TypeVar("SelfPolicy", bound="SoftACPolicy")
# Up to here numbers are added by Python.
FEW = 64
# Methods whose work is done elsewhere where an actor acts directly.
REPLACED_BY_DIRECT = ("forward", "_predict", "normalized", "obs_to_tensor")


class SoftACPolicy(BasePolicy):
    """Policy of SoftAC: actor, critics and target networks.

    :param observation_space: space of the observations
    :param action_space: space of the actions
    :param lr_schedule: learning rate by remaining progress (from 1 to 0)
    :param net_arch: units of the hidden layers, ``[256, 256]`` if None; ``dict(pi=[...], qf=[...])`` for separate ones
    :param activation_fn: activation of the hidden layers
    :param use_sde: generalized state-dependent exploration (gSDE)
    :param log_std_init: initial log standard deviation of the gSDE weights
    :param use_expln: grow the gSDE standard deviation like ``log`` above 1 in place of ``exp``
    :param clip_mean: with gSDE, limit the mean before tanh to [-clip_mean, clip_mean]; 0 for no limit
    :param features_extractor_class: maps observations to features; None: the default of the policy class
    :param features_extractor_kwargs: arguments of the features extractor
    :param normalize_images: divide uint8 images by 255
    :param optimizer_class: class of the optimizers of actor and critics
    :param optimizer_kwargs: arguments of the optimizers, without the learning rate
    :param n_critics: number of critics; the algorithm's ``q_reduction`` reduces their values to one
    :param share_features_extractor: one features extractor for actor and critics: True: trained by the actor's loss
        alone, as in Stable-Baselines3; ``"critic"``: trained by the critics' loss alone, which suits images
        (arXiv:1910.01741). Targets have their own, which follows
    :param actor_keys: keys of Dict observations that the actor reads; None: all
    :param critic_keys: keys of Dict observations that critics and state value read, as what only a simulator knows;
        None: all
    :param critic_head: what critics learn: ``"scalar"``: the value; or the distribution of the return, whose mean is
        the value. ``"categorical"``: probabilities of evenly spaced returns (C51, arXiv:1707.06887);
        ``"hl_gauss"``: the same, from a Gaussian around the scalar target (arXiv:2403.03950); ``"quantile"``:
        quantiles, of which targets leave the largest out (TQC, arXiv:2005.04269)
    :param critic_head_kwargs: for ``"categorical"`` and ``"hl_gauss"``: ``n_atoms=101``, ``low=-5.0``, ``high=5.0``;
        for ``"hl_gauss"`` also ``deviation=0.75``, in distances of two atoms; for ``"quantile"``: ``n_quantiles=25``
        and ``n_dropped=2``, for each critic
    :param log_std_bounds: smallest and largest log standard deviation of the policy before tanh, for Box without gSDE
    :param squash_log_std: bring it between these bounds by tanh (arXiv:2604.04539, with bounds -10 and 2); False: by
        clipping
    :param decayed_layers: layers with the ``weight_decay`` of ``optimizer_kwargs``, some of ``["hidden", "output",
        "norm"]`` (CrossQ+WN, arXiv:2502.07523: AdamW with 0.01 of ``["output", "norm"]``); None: all parameters
    :param normalize_obs: normalise floats in the observations to mean 0 and standard deviation 1, by running statistics
        of the observations that the agent has acted on. They are saved with the policy
    :param clip_obs: largest absolute value of a normalised number
    :param image_shift: largest random shift of the images of a batch, in pixels (DrQ-v2, arXiv:2107.09645: 4 of 84);
        0: none. The agent acts on images as they are
    :param layer_norm: normalise each hidden layer of the critics before its activation
    :param dropout: probability that a hidden unit of the critics is set to zero while learning (arXiv:2110.02034)
    :param batch_norm: batch renormalisation (arXiv:1702.03275) of the inputs and of each hidden layer of actor and
        critics, as in CrossQ (arXiv:1902.05605). A network uses batch statistics in its own loss. It uses running
        statistics when acting, as a target, and as a critic in the actor's loss
    :param batch_norm_momentum: in (0, 1]; how far the running statistics move towards those of a batch
    :param renorm_warmup_steps: first passes of a layer, with plain batch normalisation; the limits of its correction
        are relaxed over the next 35,000. None: plain batch normalisation for ever
    :param blocks: networks of blocks in actor and critics, one for each number of ``net_arch``, which is its units W:
        ``"simba"`` (arXiv:2410.09754): residual blocks of layer normalisation and 4 W inner units;
        ``"bro"`` (arXiv:2405.16158): residual blocks of two layers with layer normalisation;
        ``"flashsac"`` (arXiv:2604.04539): residual blocks of batch normalisation and 4 W inner units;
        ``"xqc"`` (arXiv:2509.25174): layers with batch normalisation before the activation. The last two need
        ``batch_norm=True``, and also normalise the input. None: plain hidden layers
    :param unit_norm_weights: weights of norm 1 in actor and critics, by a projection after each optimizer step.
        ``"hidden"``: each row of the hidden layers, with its bias (CrossQ+WN, arXiv:2502.07523); ``"linear"``: of the
        output layers, too, without their bias (XQC, arXiv:2509.25174); ``"all"``: also scale and shift of each
        normalisation, which together have the norm sqrt(d) of d features (FlashSAC, arXiv:2604.04539); None: none. The
        features extractor is left out
    :param n_components: number of Gaussians in the policy's distribution, for Box actions; above 1: a mixture
    :param variant: set by the algorithm: ``"v2"`` has target critics, ``"v1"`` a state value network and its target,
        ``"soft_q"`` target critics, and an actor that samples from the Boltzmann distribution of their values
    :param target_networks: set by the algorithm: False: no target networks
    :param actor_average: set by the algorithm: True: also keep a moving average of the actor, which takes the
        deterministic actions
    :raises ValueError: ``n_critics`` or ``n_components`` below 1, ``dropout`` outside [0, 1), ``batch_norm_momentum``
        outside (0, 1], ``renorm_warmup_steps`` below 0, a switch that is no bool, a mixture with gSDE or without Box
        actions, or an argument of an actor that ``variant="soft_q"`` does not have
    """

    default_features_extractor_class: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor

    obs_normalizer: ObservationNormalizer | None
    actor: SoftActor
    actor_average: SoftActor | None
    critic: Critic
    critic_target: Critic | None  # v2 and soft_q only, if there are targets
    value_net: ValueNetwork | None  # v1 only
    value_target: ValueNetwork | None  # v1 only, if there are targets

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
        share_features_extractor: bool | str = False,
        actor_keys: list[str] | None = None,
        critic_keys: list[str] | None = None,
        critic_head: str = "scalar",
        critic_head_kwargs: dict[str, Any] | None = None,
        log_std_bounds: tuple[float, float] = DEFAULT_RANGE[:2],
        squash_log_std: bool = False,
        decayed_layers: list[str] | None = None,
        normalize_obs: bool = False,
        clip_obs: float = CLIP,
        image_shift: int = 0,
        layer_norm: bool = False,
        dropout: float = 0.0,
        batch_norm: bool = False,
        batch_norm_momentum: float = 0.01,
        renorm_warmup_steps: int | None = WARMUP_STEPS,
        blocks: str | None = None,
        unit_norm_weights: str | None = None,
        n_components: int = 1,
        variant: str = "v2",
        target_networks: bool = True,
        actor_average: bool = False,
    ) -> None:
        settings = read_table(PolicySettings, locals())
        extractor_class = settings.features_extractor_class or fitting(
            self.default_features_extractor_class, observation_space, settings.normalize_images
        )
        settings = replace(settings, features_extractor_class=extractor_class)
        if settings.blocks is not None:
            own_normalization = settings.layer_norm or settings.dropout > 0.0
            check_blocks(settings.blocks, settings.net_arch, settings.batch_norm, own_normalization)
        _check_keys(settings, observation_space)
        super().__init__(
            observation_space,
            action_space,
            extractor_class,
            settings.features_extractor_kwargs,
            optimizer_class=settings.optimizer_class,
            optimizer_kwargs=settings.optimizer_kwargs,
            squash_output=isinstance(action_space, spaces.Box),
            normalize_images=settings.normalize_images,
        )
        self.settings = settings
        self.net_arch = settings.net_arch
        self.share_features_extractor = settings.share_features_extractor
        self.n_critics = settings.n_critics
        self.variant = settings.variant
        self._episode_lengths = EpisodeLengths()
        self._unscaling: Unscaling | None = None
        self._build(lr_schedule)

    # Networks

    def _shared_arguments(self) -> dict[str, Any]:
        """Arguments that actors, critics and state value networks have in common."""
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "activation_fn": self.settings.activation_fn,
            "normalize_images": self.normalize_images,
        }

    def _hidden_layers(self) -> HiddenLayers:
        settings = self.settings
        norm = partial(BatchRenorm, momentum=settings.batch_norm_momentum, warmup_steps=settings.renorm_warmup_steps)
        return HiddenLayers(
            layer_norm=settings.layer_norm,
            dropout=settings.dropout,
            batch_norm=norm if settings.batch_norm else None,
            blocks=settings.blocks,
            unit_norm=settings.unit_norm_weights,
        )

    def _choose_actor(self) -> tuple[type[SoftActor], dict[str, Any]]:
        """Class of the actor for the action space, and the arguments that only this class has."""
        settings = self.settings
        if VARIANTS[self.variant].is_energy_based:
            self._refuse_gaussians()
            return SamplingActor, {}
        is_mixture = settings.n_components > 1
        log_std_range = LogStdRange(*settings.log_std_bounds, settings.squash_log_std)
        is_gaussian = isinstance(self.action_space, spaces.Box) and not settings.use_sde
        if not is_gaussian and log_std_range != DEFAULT_RANGE:
            raise ValueError(
                f"`log_std_bounds={settings.log_std_bounds}` and `squash_log_std={settings.squash_log_std}` are for "
                "Box actions without gSDE; leave them out"
            )
        if not isinstance(self.action_space, spaces.Box):
            if is_mixture:
                raise ValueError(
                    f"`n_components={settings.n_components}` needs Box actions, but the space is {self.action_space}, "
                    "whose categorical distribution has every mode already; pass `n_components=1`"
                )
            return CategoricalActor, {}
        if is_mixture and settings.use_sde:
            raise ValueError(
                f"`n_components={settings.n_components}` needs `use_sde=False`: the noise of gSDE belongs to one "
                "Gaussian"
            )
        if is_mixture:
            return SquashedMixtureActor, {"n_components": settings.n_components, "log_std_range": log_std_range}
        return SquashedGaussianActor, {
            "use_sde": settings.use_sde,
            "log_std_init": settings.log_std_init,
            "use_expln": settings.use_expln,
            "clip_mean": settings.clip_mean,
            "log_std_range": log_std_range,
        }

    def _refuse_gaussians(self) -> None:
        settings = self.settings
        if settings.n_components > 1 or LogStdRange(*settings.log_std_bounds, settings.squash_log_std) != DEFAULT_RANGE:
            raise ValueError(
                f"`n_components={self.settings.n_components}`, `log_std_bounds={self.settings.log_std_bounds}` and "
                f"`squash_log_std={self.settings.squash_log_std}` are for Gaussians, which the policy of "
                f"`variant={self.variant!r}` does not have; leave them out"
            )

    def _make_boltzmann_actor(self) -> BoltzmannActor:
        """Make an actor that is a function of the critics, which it brings with it."""
        self._refuse_gaussians()
        if self.share_features_extractor is True or self.settings.actor_keys is not None:
            raise ValueError(
                f"`share_features_extractor={self.share_features_extractor}` and "
                f"`actor_keys={self.settings.actor_keys}` are for an actor that learns, but that of "
                f"`variant={self.variant!r}` for {self.action_space} is a function of the critics; leave them out"
            )
        critic = self.make_critic()
        assert isinstance(critic, DiscreteCritic), "the settings refuse too many actions"
        return BoltzmannActor(self.observation_space, self.action_space, critic)

    def _build(self, lr_schedule: Schedule) -> None:
        """Create networks and optimizers, in the order of Stable-Baselines3, so that a seed gives the same weights."""
        self.obs_normalizer = self._make_obs_normalizer()
        shift = self.settings.image_shift
        self._random_shift = RandomShift(self.observation_space, shift) if shift else None
        self.actor = self.make_actor()
        self.actor.trains_features = not self._critics_train_features()
        self.actor.optimizer = self._make_optimizer(self.actor, lr_schedule)
        self.actor_average = self._copy_of_actor() if self.settings.actor_average else None
        # A target always has its own features extractor, since its weights are an average over time.
        shared = self.actor.features_extractor if self.share_features_extractor else None
        self.critic = self.actor.critic if isinstance(self.actor, BoltzmannActor) else self.make_critic(shared)
        for name in VARIANT_NETWORKS:
            setattr(self, name, None)
        for name in VARIANTS[self.variant].networks:
            setattr(self, name, self._make_variant_network(name, shared))
        for name in VARIANTS[self.variant].optimizers:
            network = getattr(self, name)
            network.optimizer = self._make_optimizer(network, lr_schedule)
        self.critic.optimizer = self._make_optimizer(self.critic, lr_schedule)
        self.structure_version = 0  # a count, raised when a user replaces a module
        self._list_modules()
        self.set_training_mode(True)

    def _critics_train_features(self) -> bool:
        return self.share_features_extractor == "critic"

    def _make_obs_normalizer(self) -> ObservationNormalizer | None:
        if not self.settings.normalize_obs:
            return None
        return ObservationNormalizer(self.observation_space, self.action_space, self.settings.clip_obs)

    def _make_variant_network(self, name: str, shared: BaseFeaturesExtractor | None) -> FeaturesNetwork | None:
        """Make a network that only some variants have; None for a target network if there are to be none."""
        if name == "value_net":
            return self.make_value_net(shared)
        if not self.settings.target_networks:
            return None
        if name == "value_target":
            assert self.value_net is not None
            return self._as_target(self.make_value_net(), self.value_net)
        return self._as_target(self.make_critic(), self.critic)

    def networks(self) -> Networks:
        """All networks; None for a network that the variant or the arguments leave out."""
        return Networks(
            self.actor, self.critic, self.critic_target, self.value_net, self.value_target, self.actor_average
        )

    def _copy_of_actor(self) -> SoftActor:
        """Copy of the actor without an optimizer.

        A new actor would draw random numbers, and a seed would give another run than without an average.
        """
        optimizers = [getattr(module, "optimizer", None) for module in self.actor.modules()]
        return deepcopy(self.actor, {id(each): None for each in optimizers if each is not None}).eval()

    def _list_modules(self) -> None:
        """List the modules that :meth:`set_training_mode` switches, and raise the version of the structure."""
        trained = [self.actor, self.critic, *([] if self.value_net is None else [self.value_net])]
        targets = [target for target in (self.critic_target, self.value_target) if target is not None]
        modules = [self, *(module for network in trained for module in network.modules())]
        self._switched_modules = [module for module in modules if not isinstance(module, BatchRenorm)]
        self._switched_modules += [dropout for target in targets for dropout in _dropouts_of(target)]
        self._batch_norms = [module for module in modules if isinstance(module, BatchRenorm)]
        self._has_same_children = SameChildren(modules)
        self._modules_of_actor = list(self.actor.modules())
        self._make_direct_actors()
        self.structure_version += 1

    def _make_direct_actors(self) -> None:
        acting = (self.actor, self.actor if self.actor_average is None else self.actor_average)
        owners = [self, *([] if self.obs_normalizer is None else [self.obs_normalizer])]
        is_own = all(getattr(type(self), name) is getattr(SoftACPolicy, name) for name in REPLACED_BY_DIRECT)
        #: for a sample and for the mode; None for an actor, or a subclass of this policy, that acts in its own way
        self._direct_actors = [direct(actor, self.obs_normalizer, owners) if is_own else None for actor in acting]

    @staticmethod
    def _as_target(target: TargetT, online: TargetT) -> TargetT:
        target.load_state_dict(online.state_dict())
        target.set_training_mode(False)
        return target

    @staticmethod
    def _owned_parameters(network: SoftActor | FeaturesNetwork) -> list[nn.Parameter]:
        """Parameters that a network's own loss trains; what another network's loss trains is left out."""
        if isinstance(network, BoltzmannActor):
            return []
        foreign = set() if network.trains_features else {id(each) for each in network.features_extractor.parameters()}
        return [parameter for parameter in network.parameters() if id(parameter) not in foreign]

    def _parameter_groups(self, network: SoftActor | FeaturesNetwork) -> Any:
        """Parameters that a network's own loss trains; in two groups, if only some layers have weight decay."""
        owned, kinds = self._owned_parameters(network), self.settings.decayed_layers
        if kinds is None or not owned:
            return [{"params": owned}]
        layers = [layer for kind in kinds for layer in layers_by_kind(network)[kind]]
        decayed = {id(parameter) for layer in layers for parameter in layer.parameters(recurse=False)}
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in owned if id(parameter) in decayed]},
            {"params": [parameter for parameter in owned if id(parameter) not in decayed], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def _make_optimizer(self, network: SoftActor | FeaturesNetwork, lr_schedule: Schedule) -> th.optim.Optimizer:
        try:
            optimizer = self.optimizer_class(
                self._parameter_groups(network),
                lr=lr_schedule(1.0),  # type: ignore[call-arg]
                **self.optimizer_kwargs,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`optimizer_kwargs={self.optimizer_kwargs}` are not what `optimizer_class={self.optimizer_class}` "
                f"takes: {error}"
            ) from error
        if self.settings.decayed_layers is not None and not optimizer.defaults.get("weight_decay"):
            raise ValueError(
                f"`decayed_layers={self.settings.decayed_layers}` chooses layers with weight decay, but there is none; "
                "pass `optimizer_class=torch.optim.AdamW` and `optimizer_kwargs=dict(weight_decay=0.01)`, or "
                "`decayed_layers=None`"
            )
        return optimizer

    def begin_anew(self) -> None:
        """Give all networks the weights of new ones, and empty their optimizers. What normalises observations stays."""
        fresh = type(self)(**self._get_constructor_parameters()).to(self.device)
        weights = {name: value for name, value in fresh.state_dict().items() if not name.startswith("obs_normalizer.")}
        self.load_state_dict(weights, strict=False)
        for network in (self.actor, self.critic, self.value_net):
            if network is not None:
                network.optimizer.state.clear()

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Create a features extractor.

        :raises ValueError: the class does not take the arguments, or makes no features extractor
        """
        return self._extractor_of(self.observation_space)

    def _extractor(self, shared: BaseFeaturesExtractor | None, keys: tuple[str, ...] | None) -> BaseFeaturesExtractor:
        """Features extractor: the shared one, or a new one that reads some keys of Dict observations, or all (None)."""
        if shared is not None:
            return shared
        if keys is None:
            return self.make_features_extractor()
        space: Any = self.observation_space
        return self._extractor_of(spaces.Dict({key: space[key] for key in keys}))

    def _extractor_of(self, space: spaces.Space) -> BaseFeaturesExtractor:
        try:
            extractor = self.features_extractor_class(space, **self.features_extractor_kwargs)
        except TypeError as error:
            raise ValueError(
                f"`features_extractor_kwargs={self.features_extractor_kwargs}` are not what "
                f"`features_extractor_class={self.features_extractor_class}` takes: {error}"
            ) from error
        if not isinstance(extractor, BaseFeaturesExtractor):
            raise ValueError(
                f"`features_extractor_class={self.features_extractor_class}` made {extractor!r}, no features extractor"
            )
        return extractor

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> SoftActor:
        """Create an actor.

        :param features_extractor: to share; None for one of its own
        """
        if VARIANTS[self.variant].is_energy_based and not isinstance(self.action_space, spaces.Box):
            return self._finished(self._make_boltzmann_actor())
        actor_class, own_arguments = self._choose_actor()
        arguments = self._shared_arguments() | own_arguments
        hidden = replace(self._hidden_layers(), layer_norm=False, dropout=0.0)  # which the critics alone have
        arguments |= {"net_arch": self._net_arch_of("pi"), "hidden": hidden}
        extractor = self._extractor(features_extractor, self.settings.actor_keys)
        return self._finished(actor_class(**self._update_features_extractor(arguments, extractor)))

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Critic:
        """Create an ensemble of critics.

        :param features_extractor: to share; None for one of its own
        """
        settings = self.settings
        head = {"head": settings.critic_head, "head_kwargs": settings.critic_head_kwargs}
        arguments = self._value_arguments() | {"n_critics": self.n_critics} | head
        if self._critics_train_features():
            arguments["share_features_extractor"] = False
        extractor = self._extractor(features_extractor, self.settings.critic_keys)
        return self._finished(self._critic_class()(**self._update_features_extractor(arguments, extractor)))

    def _finished(self, network: NetworkT) -> NetworkT:
        """Move a new network to the device, and project its weights if they are to have unit norm."""
        network.to(self.device)
        project = unit_norm_of(network, network.hidden)
        if project is not None:
            project()
        return network

    def _value_arguments(self) -> dict[str, Any]:
        """Arguments that critics and state value networks have in common."""
        return self._shared_arguments() | {
            "net_arch": self._net_arch_of("qf"),
            "share_features_extractor": bool(self.share_features_extractor),
            "hidden": self._hidden_layers(),
        }

    def _net_arch_of(self, part: str) -> list[int]:
        """Units of the hidden layers of the actor (``"pi"``) or of the critics (``"qf"``)."""
        actor_arch, critic_arch = get_actor_critic_arch(self.net_arch)
        return actor_arch if part == "pi" else critic_arch

    def _critic_class(self) -> type[Critic]:
        if isinstance(self.action_space, spaces.Box):
            return ContinuousCritic
        return DiscreteCritic if is_enumerable(self.action_space) else OneHotCritic

    def make_value_net(self, features_extractor: BaseFeaturesExtractor | None = None) -> ValueNetwork:
        """Create a state value network.

        :param features_extractor: to share; None for one of its own
        """
        extractor = self._extractor(features_extractor, self.settings.critic_keys)
        arguments = self._update_features_extractor(self._value_arguments(), extractor)
        return self._finished(ValueNetwork(**arguments))

    def follow(self, alpha: th.Tensor, takes_mean: bool) -> None:
        """Tell the actor, and its average, by what values they act, if they have no weights of their own.

        :param alpha: () or (1,), the temperature
        :param takes_mean: True: by the mean of the critics; False: by their minimum
        """
        for actor in (self.actor, self.actor_average):
            if actor is not None:
                actor.follow(alpha, takes_mean)

    def reset_noise(self, batch_size: int = 1) -> None:
        """Draw new gSDE exploration weights.

        :param batch_size: number of environments that explore side by side
        :raises ValueError: without gSDE
        """
        self.actor.reset_noise(batch_size)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take.

        :param obs: observations, first dimension B
        :param deterministic: True: the mode; False: a sample
        :return: (B, D) in [-1, 1] for Box, ids (B, F) for F discrete factors
        """
        return self._predict(obs, deterministic=deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        average = self.actor_average if deterministic else None
        return (self.actor if average is None else average)(self.normalized(observation), deterministic)

    def normalized(self, obs: PyTorchObs) -> PyTorchObs:
        """Observations as actor and critics take them: normalised with ``normalize_obs=True``, else as they are.

        :param obs: observations, first dimension B
        """
        return obs if self.obs_normalizer is None else self.obs_normalizer(obs)

    def preparations(self) -> tuple[Callable[[PyTorchObs], PyTorchObs], ...]:
        """Functions that prepare the observations of a batch for the networks, in their order."""
        return tuple(each for each in (self._random_shift, self.obs_normalizer) if each is not None)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Action to take in the environment, in the bounds of its space.

        :param observation: one observation, or B of them
        :param state: returned unchanged, since the policy has no state
        :param episode_start: True where an episode begins, for a warning of one that does not end; None if unknown
        :param deterministic: True: the mode; False: a sample
        :return: one action, or B of them, and the state
        :raises ValueError: a Box action that is not a number, or a mask that allows no action
        """
        observation = on_host(observation)
        masks_in(observation, self.action_space)
        if deterministic:
            self._episode_lengths.see(episode_start)
        actions = self._predict_directly(observation, deterministic)
        if actions is None:
            actions, state = super().predict(observation, state, episode_start, deterministic)
        check_actions(actions)
        return actions, state

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """Action in the bounds of its space, as that of Stable-Baselines3, in a quarter of the time.

        :param scaled_action: (B, ...), in [-1, 1]
        """
        if self._unscaling is None or self._unscaling.space is not self.action_space:
            assert isinstance(self.action_space, spaces.Box)
            self._unscaling = Unscaling(self.action_space)
        return self._unscaling(scaled_action)

    def _predict_directly(self, observation: Any, deterministic: bool) -> np.ndarray | None:
        """Actions as those of Stable-Baselines3's ``predict()``; None where that has to make them."""
        is_one = type(observation) is np.ndarray and observation.shape == self.observation_space.shape
        self.set_training_mode(False)
        action = self.act_directly(observation[None] if is_one else observation, deterministic)
        if action is None:
            return None
        actions: Any = action.cpu().numpy().reshape(-1, *self.action_space.shape)  # type: ignore[misc]
        if isinstance(self.action_space, spaces.Box):
            actions = self.unscale_action(actions)
        return actions.squeeze(axis=0) if is_one else actions

    def act_directly(self, obs: Any, deterministic: bool) -> th.Tensor | None:
        """Action to take, as :meth:`forward` gives it, sooner for a few vectors; see :class:`DirectActor`.

        In the mode of evaluation: :meth:`set_training_mode` was called.

        :param obs: (B, ...) numpy array, or anything else
        :param deterministic: True: the mode; False: a sample
        :return: None where :meth:`forward` has to be called
        """
        direct_actor = self._direct_actors[deterministic]
        if direct_actor is None or "_predict" in vars(self):
            return None
        return direct_actor(obs, deterministic)

    def train(self: SelfPolicy, mode: bool = True) -> SelfPolicy:
        """Switch the mode, under the name that ``nn.Module`` gives this method; see :meth:`set_training_mode`.

        :param mode: True for training, False for evaluation
        :return: self
        """
        self.set_training_mode(mode)
        return self

    def set_training_mode(self, mode: bool) -> None:
        """Switch actor and critics between training and evaluation mode.

        The mode concerns dropout and the features extractors. Target networks stay in evaluation mode, except their
        dropout. Batch renormalisation stays in evaluation mode, except in the passes of a gradient step that update its
        statistics.

        :param mode: True for training, False for evaluation
        """
        self._follow_replaced_modules()
        # Called several times in each step of the environment, so without the recursion and the checks of `nn.Module`.
        for module in self._switched_modules:
            module.__dict__["training"] = mode
        for module in self._batch_norms:
            module.__dict__["training"] = False

    def _follow_replaced_modules(self) -> None:
        """List the modules again if a user has replaced one, such as a features extractor."""
        if self._has_same_children():
            return
        if self.actor_average is not None and list(self.actor.modules()) != self._modules_of_actor:
            self.actor_average = self._copy_of_actor()
        self._list_modules()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update({field.name: getattr(self.settings, field.name) for field in fields(self.settings)})
        data.update(
            lr_schedule=self._dummy_schedule,  # a policy that is loaded alone does not learn
        )
        return data


MlpPolicy = SoftACPolicy


def _check_keys(settings: PolicySettings, observation_space: spaces.Space) -> None:
    """Refuse keys that the observations do not have, and a features extractor that cannot be shared."""
    known = list(observation_space.spaces) if isinstance(observation_space, spaces.Dict) else []
    for name in ("actor_keys", "critic_keys"):
        keys = getattr(settings, name)
        if keys is not None and not set(keys) <= set(known):
            raise ValueError(
                f"`{name}` must be None or some of the keys of Dict observations, which are {known}, but {list(keys)} "
                "was given"
            )
    if settings.share_features_extractor and settings.actor_keys != settings.critic_keys:
        raise ValueError(
            f"`share_features_extractor={settings.share_features_extractor!r}` lets actor and critics read the same, "
            f"but `actor_keys={settings.actor_keys}` and `critic_keys={settings.critic_keys}` were given; pass False, "
            "or the same keys"
        )


def _dropouts_of(target: FeaturesNetwork) -> list[nn.Module]:
    """Dropout layers of a target's fully connected networks, which stay active as in training.   arXiv:2110.02034"""
    layers = [module for network in target.modules() if isinstance(network, MLP) for module in network.modules()]
    return [module for module in layers if isinstance(module, nn.Dropout)]


def check_actions(actions: np.ndarray) -> None:
    """Refuse actions that are not a number (NaN), before the environment gets them.

    :param actions: of any shape
    :raises ValueError: an action is NaN
    """
    # For a few numbers, a sum in Python takes a quarter of the time; it is NaN if one of them is.
    if actions.size <= FEW and not math.isnan(sum(actions.ravel().tolist())):
        return
    if np.isnan(actions).any():
        raise ValueError(
            f"The action is {actions}: an observation is not a number, or learning has diverged. "
            "stable_baselines3's `VecCheckNan` around the environment finds the first; load the last checkpoint"
        )


class CnnPolicy(SoftACPolicy):
    """Policy of SoftAC for images: :class:`SoftACPolicy` with ``NatureCNN``."""

    default_features_extractor_class = NatureCNN


class MultiInputPolicy(SoftACPolicy):
    """Policy of SoftAC for Dict observations: :class:`SoftACPolicy` with ``CombinedExtractor``."""

    default_features_extractor_class = CombinedExtractor


POLICIES: dict[str, type[SoftACPolicy]] = {
    "MlpPolicy": MlpPolicy,
    "CnnPolicy": CnnPolicy,
    "MultiInputPolicy": MultiInputPolicy,
}


def check_policy(policy: Any, env: Any) -> None:
    """Refuse what is no policy of SoftAC: an unknown name, or the class of another algorithm.

    :param policy: a name or a class
    :param env: the environment; None while loading, when the class is known
    :raises ValueError: neither ``"auto"`` nor the name of a policy nor a ``SoftACPolicy``; ``"auto"`` without ``env``
    """
    if policy == "auto" and env is None:
        raise ValueError(
            "`policy='auto'` chooses by the observations: `env` must be an environment or its id, not None"
        )
    if policy in ("auto", *POLICIES) or (isinstance(policy, type) and issubclass(policy, SoftACPolicy)):
        return
    raise ValueError(
        "`policy` must be 'auto', 'MlpPolicy', 'CnnPolicy', 'MultiInputPolicy' or a subclass of sb3_softac's "
        f"SoftACPolicy, but {policy!r} was given. If it comes from a checkpoint, another algorithm made it; "
        "`SoftAC.from_sac()` imports those of Stable-Baselines3's SAC"
    )


def choose_policy(
    policy: str | type[SoftACPolicy], observation_space: spaces.Space, policy_kwargs: Mapping[str, Any] | None
) -> str | type[SoftACPolicy]:
    """Choose the policy for ``"auto"``, and refuse one that cannot read the observations.

    :param policy: checked by :func:`check_policy`
    :param observation_space: space of the observations
    :param policy_kwargs: arguments of the policy; with a features extractor of the user's own it may read anything
    :return: a policy as Stable-Baselines3 takes it
    :raises ValueError: the policy is for other observations
    """
    suitable = _suitable_policy(observation_space)
    if policy == "auto":
        return suitable
    given = policy_kwargs or {}
    name = next((name for name, cls in POLICIES.items() if policy in (name, cls)), None)
    if name is None or given.get("features_extractor_class") is not None:
        return policy
    is_any_image = given.get("normalize_images") is False and len(observation_space.shape or ()) == 3
    flattens_image = name == "MlpPolicy" and suitable == "CnnPolicy"
    if name == suitable or flattens_image or (name == "CnnPolicy" and is_any_image):
        return policy
    raise ValueError(
        f"`policy={name!r}` {_IS_FOR[name]}, but those of the environment are {observation_space}; pass {suitable!r}, "
        "or 'auto', which chooses by the observations"
    )


_IS_FOR = {
    "MlpPolicy": "is for observations that are no Dict",
    "CnnPolicy": (
        "is for images (Boxes of three dimensions: bytes from 0 to 255, or numbers in [-1, 1]; others need "
        "`policy_kwargs=dict(normalize_images=False)`)"
    ),
    "MultiInputPolicy": "is for Dict observations",
}


def _suitable_policy(observation_space: spaces.Space) -> str:
    if isinstance(observation_space, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image(observation_space) else "MlpPolicy"
