"""Policies of SoftAC: an actor, an ensemble of critics and its target, with their optimizers."""

from typing import Any, ClassVar

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

from sb3_softac.arguments import positive_int
from sb3_softac.networks.actors import SquashedGaussianActor
from sb3_softac.networks.critics import ContinuousCritic


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
    :param n_critics: number of critics, of which the smallest counts
    :param share_features_extractor: one features extractor for actor and critics, trained by the actor's loss alone
    :raises ValueError: ``n_critics`` below 1
    """

    default_features_extractor_class: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor

    actor: SquashedGaussianActor
    critic: ContinuousCritic
    critic_target: ContinuousCritic
    action_space: spaces.Box

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
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
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class or self.default_features_extractor_class,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=True,
            normalize_images=normalize_images,
        )
        self.net_arch = [256, 256] if net_arch is None else net_arch
        self.share_features_extractor = share_features_extractor
        actor_arch, critic_arch = get_actor_critic_arch(self.net_arch)
        shared_kwargs = {
            "observation_space": observation_space,
            "action_space": action_space,
            "activation_fn": activation_fn,
            "normalize_images": normalize_images,
        }
        self.actor_kwargs = shared_kwargs | {
            "net_arch": actor_arch,
            "use_sde": use_sde,
            "log_std_init": log_std_init,
            "use_expln": use_expln,
            "clip_mean": clip_mean,
        }
        self.critic_kwargs = shared_kwargs | {
            "net_arch": critic_arch,
            "n_critics": positive_int("n_critics", n_critics),
            "share_features_extractor": share_features_extractor,
        }
        self._build(lr_schedule)

    def _build(self, lr_schedule: Schedule) -> None:
        """Create networks and optimizers, in Stable-Baselines3's order, so that a seed gives its weights."""
        self.actor = self.make_actor()
        self.actor.optimizer = self._make_optimizer(list(self.actor.parameters()), lr_schedule)
        if self.share_features_extractor:
            self.critic = self.make_critic(self.actor.features_extractor)
            owned = [p for name, p in self.critic.named_parameters() if not name.startswith("features_extractor")]
        else:
            self.critic = self.make_critic()
            owned = list(self.critic.parameters())
        self.critic.optimizer = self._make_optimizer(owned, lr_schedule)
        # The target has its own features extractor in any case: it is an average over time.
        self.critic_target = self.make_critic()
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic_target.set_training_mode(False)

    def _make_optimizer(self, parameters: list[nn.Parameter], lr_schedule: Schedule) -> th.optim.Optimizer:
        return self.optimizer_class(parameters, lr=lr_schedule(1.0), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> SquashedGaussianActor:
        """Create an actor.

        :param features_extractor: to share; None for one of its own
        """
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return SquashedGaussianActor(**kwargs).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        """Create an ensemble of critics.

        :param features_extractor: to share; None for one of its own
        """
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return ContinuousCritic(**kwargs).to(self.device)

    def reset_noise(self, batch_size: int = 1) -> None:
        """Draw new gSDE exploration weights.

        :param batch_size: number of environments that explore side by side
        :raises ValueError: without gSDE
        """
        self.actor.reset_noise(batch_size)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take, (B, D) in [-1, 1].

        :param obs: observations, first dimension B
        :param deterministic: the mode in place of a sample
        """
        return self._predict(obs, deterministic=deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.actor(observation, deterministic)

    def set_training_mode(self, mode: bool) -> None:
        """Switch batch normalisation and dropout of actor and critics; the target always evaluates.

        :param mode: True for training, False for evaluation
        """
        self.actor.set_training_mode(mode)
        self.critic.set_training_mode(mode)
        self.training = mode

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
            n_critics=self.critic_kwargs["n_critics"],
        )
        for name in ("activation_fn", "use_sde", "log_std_init", "use_expln", "clip_mean"):
            data[name] = self.actor_kwargs[name]
        return data


MlpPolicy = SoftACPolicy


class CnnPolicy(SoftACPolicy):
    """:class:`SoftACPolicy` for images."""

    default_features_extractor_class = NatureCNN


class MultiInputPolicy(SoftACPolicy):
    """:class:`SoftACPolicy` for observations that are dicts."""

    default_features_extractor_class = CombinedExtractor
