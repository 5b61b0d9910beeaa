"""Actors: networks that map observations to a distribution over actions.

The losses need an expectation under the policy pi. Every actor gives them the actions and the weights of that
expectation: a :class:`~sb3_softac.networks.distributions.PolicySupport`.

Shapes: B batch, K support size, D action dimension, L units of the last hidden layer.
"""

from abc import abstractmethod
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution, StateDependentNoiseDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.distributions import Normal

from sb3_softac.networks.blocks import MLP, PLAIN, HiddenLayers, VectorShortcut, make_mlp, plain_linears
from sb3_softac.networks.distributions import (
    DEFAULT_RANGE,
    LogStdRange,
    PolicySupport,
    SquashedGaussianSample,
    StateDependentNoise,
    equally_weighted,
    hard_clip,
    squashed_gaussian_log_prob,
    squashed_sample,
)


class SoftActor(VectorShortcut, BasePolicy):
    """Base class of actors: a features extractor, hidden layers, and a policy support for the losses.

    :param observation_space: space of the observations
    :param action_space: space of the actions
    :param net_arch: units of the hidden layers
    :param features_extractor: maps preprocessed observations to (B, features_dim)
    :param features_dim: number of features
    :param activation_fn: activation of the hidden layers
    :param normalize_images: divide uint8 images by 255
    :param hidden: normalisation, dropout and norm of the hidden layers
    """

    features_extractor: BaseFeaturesExtractor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        hidden: HiddenLayers = PLAIN,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=isinstance(action_space, spaces.Box),
        )
        self.net_arch = net_arch
        self.features_dim = features_dim
        self.activation_fn = activation_fn
        input_dim = features_dim + self._noise_dim()
        self.latent_dim = net_arch[-1] if net_arch else input_dim
        self.hidden = hidden
        self.latent_pi = make_mlp(input_dim, -1, net_arch, activation_fn, hidden)
        self.latent_pi.acts = True

    #: Whether gradients of Q reach the actor through the actions of :meth:`support`.
    differentiable_actions = True
    #: Whether :meth:`support` lists every action, so that the gradient runs through the weights.
    has_exact_support = False

    def _noise_dim(self) -> int:
        """Random numbers that the hidden layers take beside the features."""
        return 0

    @abstractmethod
    def support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support: actions, log-probabilities and weights for an expectation under pi.

        Gradients reach this actor through all three.

        :param obs: observations, first dimension B
        :param n_samples: K, if the actions are samples
        :return: a support of size K
        """

    def supports(
        self, obs: PyTorchObs, next_obs: PyTorchObs, n_samples: int = 1
    ) -> tuple[PolicySupport, PolicySupport]:
        """Policy supports at the observations, with gradient, and at the next observations, without.

        :param obs: observations, first dimension B
        :param next_obs: next observations, first dimension B
        :param n_samples: K, if the actions are samples
        :return: :meth:`support` of ``obs`` and of ``next_obs``
        """
        support = self.support(obs, n_samples)
        with th.no_grad():
            return support, self.support(next_obs, n_samples)

    @abstractmethod
    def score_support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support of independent samples, for the score function.

        Gradients reach this actor through ``log_pi`` alone.

        :param obs: observations, first dimension B
        :param n_samples: K
        :return: a support of K actions without gradient and with equal weights
        """

    def max_entropy(self, obs: PyTorchObs) -> th.Tensor | None:
        """Entropy of the uniform policy in each state, which depends on the state if there are action masks.

        :param obs: observations, first dimension B
        :return: (B,), in nats; None without masks
        """
        return None

    def resample_noise(self) -> None:
        """Prepare a gradient step: an actor that keeps its noise, as gSDE does, draws it again; others do nothing."""

    def follow(self, alpha: th.Tensor, takes_mean: bool) -> None:
        """Act by the values of the critics at this temperature: for an actor that has no weights of its own.

        :param alpha: () or (1,), the temperature
        :param takes_mean: True: by the mean of the critics; False: by their minimum
        """

    def reset_noise(self, batch_size: int = 1) -> None:
        """Draw new gSDE exploration weights.

        :param batch_size: number of environments that explore side by side
        :raises ValueError: without gSDE
        """
        raise ValueError("`reset_noise()` draws gSDE's noise, but this policy has none; pass `use_sde=True`")

    def latent(self, obs: PyTorchObs) -> th.Tensor:
        """Outputs of the last hidden layer.

        :param obs: observations, first dimension B
        :return: (B, latent_dim)
        """
        return self.latent_pi(self.inputs(obs))

    def inputs(self, obs: PyTorchObs) -> th.Tensor:
        """Inputs of the hidden layers.

        :param obs: observations, first dimension B
        :return: (B, I)
        """
        return self.extract_features(obs, self.features_extractor)

    def heads(self, obs: PyTorchObs, *heads: nn.Module) -> tuple[th.Tensor, ...]:
        """Outputs of several layers on top of the last hidden layer.

        :param obs: observations, first dimension B
        :param heads: the layers
        :return: for each head, (B, its outputs)
        """
        return self.heads_of(self.inputs(obs), *heads)

    def heads_of(self, inputs: th.Tensor, *heads: nn.Module) -> tuple[th.Tensor, ...]:
        """Outputs of several layers on top of the last hidden layer, from the inputs of the first one.

        :param inputs: (B, I)
        :param heads: the layers
        :return: for each head, (B, its outputs)
        """
        if type(self.latent_pi) is not MLP:  # a user put another module there
            latent = self.latent_pi(inputs)
            return tuple(head(latent) for head in heads)
        return self.latent_pi.with_heads(inputs, *heads)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self(observation, deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "net_arch": self.net_arch,
            "features_extractor": self.features_extractor,
            "features_dim": self.features_dim,
            "activation_fn": self.activation_fn,
            "hidden": self.hidden,
        }


class SquashedGaussianActor(SoftActor):
    """Actor with a diagonal Gaussian squashed by tanh, for Box actions.   arXiv:1801.01290, appendix C

    Its support consists of reparameterised samples. Parameter names are those of Stable-Baselines3's SAC, so that its
    weights load unchanged.

    :param use_sde: generalized state-dependent exploration (gSDE, arXiv:2005.05719)
    :param log_std_init: initial log standard deviation of the gSDE weights
    :param use_expln: grow the gSDE standard deviation like ``log`` above 1 in place of ``exp``
    :param clip_mean: with gSDE, limit the mean before tanh to [-clip_mean, clip_mean]; 0 for no limit
    :param log_std_range: of the log standard deviation without gSDE
    :param kwargs: the arguments of :class:`SoftActor`
    """

    action_space: spaces.Box

    def __init__(
        self,
        *args: Any,
        use_sde: bool = False,
        log_std_init: float = -3.0,
        use_expln: bool = False,
        clip_mean: float = 2.0,
        log_std_range: LogStdRange = DEFAULT_RANGE,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.use_sde = use_sde
        self.log_std_init = log_std_init
        self.use_expln = use_expln
        self.clip_mean = clip_mean
        self.log_std_range = log_std_range

        action_dim = get_action_dim(self.action_space)
        self.mu: nn.Module = nn.Linear(self.latent_dim, action_dim)
        if use_sde:
            self.mu = hard_clip(self.mu, clip_mean)
            self.log_std: Any = nn.Parameter(th.full((self.latent_dim, action_dim), float(log_std_init)))
            self.sde_noise = StateDependentNoise(use_expln)
            self.reset_noise()
        else:
            self.log_std = nn.Linear(self.latent_dim, action_dim)

    def support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support of K reparameterised samples with equal weights.

        :param obs: observations, first dimension B
        :param n_samples: K
        :return: actions (B, K, D), log_pi and weight (B, K)
        """
        return equally_weighted(*self._sample(obs, n_samples))

    def supports(
        self, obs: PyTorchObs, next_obs: PyTorchObs, n_samples: int = 1
    ) -> tuple[PolicySupport, PolicySupport]:
        """Policy supports at the observations, with gradient, and at the next observations, without.

        One forward pass computes both if the network is one node of the autograd graph and its input is not trained.

        :param obs: observations, first dimension B
        :param next_obs: next observations, first dimension B
        :param n_samples: K
        :return: :meth:`support` of ``obs`` and of ``next_obs``
        """
        trains_features = self.trains_features and any(
            parameter.requires_grad for parameter in self.features_extractor.parameters()
        )
        is_fused = isinstance(self.latent_pi, MLP) and self.latent_pi.is_fused
        if self.use_sde or self.log_std_range.is_squashed or not is_fused or trains_features:
            return super().supports(obs, next_obs, n_samples)
        heads = plain_linears((self.mu, self.log_std))
        if len(heads) < 2:
            return super().supports(obs, next_obs, n_samples)
        features = th.cat([self.extract_features(each, self.features_extractor) for each in (obs, next_obs)])
        n_states = len(features) // 2
        outputs = self.latent_pi.partly_trained(features, n_states, *heads)
        shape = (n_states, n_samples, outputs[0].shape[-1] // 2)
        # Two draws, so that the random numbers are those of two passes.
        noise = th.cat([th.randn(shape, dtype=features.dtype, device=features.device) for _ in range(2)])
        samples = SquashedGaussianSample.apply(*outputs, noise, self.log_std_range[:2])
        return equally_weighted(*samples[:2]), equally_weighted(*samples[2:])

    def score_support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support of K samples without gradient.

        :param obs: observations, first dimension B
        :param n_samples: K
        :return: actions (B, K, D), log_pi and weight (B, K)
        """
        return equally_weighted(*self._sample(obs, n_samples, detach=True))

    def _sample(self, obs: PyTorchObs, n_samples: int, detach: bool = False) -> tuple[th.Tensor, th.Tensor]:
        """Sampled actions (B, K, D) and their log-probabilities (B, K)."""
        if self.use_sde:
            latent, mean, log_std = self._sde_gaussian(obs)
            noise = self.sde_noise(latent, self.log_std).unsqueeze(1) / log_std.exp()
        else:
            mean, log_std = self._gaussian(obs)
            noise = th.randn(len(mean), n_samples, mean.shape[-1], dtype=mean.dtype, device=mean.device)
        pre_tanh = mean + log_std.exp() * noise
        if detach:
            # The score function needs the density at a fixed point. A sample that moves with the mean keeps its noise,
            # and the Gaussian's density would not change with the mean.
            pre_tanh = pre_tanh.detach()
            noise = (pre_tanh - mean) / log_std.exp()
        return pre_tanh.tanh(), squashed_gaussian_log_prob(noise, log_std, pre_tanh)

    def log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        """Log-density of the given actions tanh(u).

        :param obs: observations, first dimension B
        :param pre_tanh: u, (B, K, D)
        :return: (B, K)
        """
        if self.use_sde:
            _, mean, log_std = self._sde_gaussian(obs)
        else:
            mean, log_std = self._gaussian(obs)
        noise = (pre_tanh - mean) / log_std.exp()
        return squashed_gaussian_log_prob(noise, log_std, pre_tanh)

    def _sde_gaussian(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Latent state (B, L), and the Gaussian before tanh with gSDE: mean and log std, both (B, 1, D)."""
        latent = self.latent(obs)
        log_std = self.sde_noise.marginal_log_std(latent, self.log_std)
        return latent, self.mu(latent).unsqueeze(1), log_std.unsqueeze(1)

    def _gaussian(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """Gaussian before tanh without gSDE: mean and log standard deviation, both (B, 1, D)."""
        mean, log_std = self.heads(obs, self.mu, self.log_std)
        return mean.unsqueeze(1), self.log_std_range(log_std).unsqueeze(1)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take.

        :param obs: observations, first dimension B
        :param deterministic: True: tanh of the Gaussian's mean; False: a sample
        :return: (B, D), in [-1, 1]
        """
        if deterministic:
            return self.mu(self.latent(obs)).tanh()
        mean, log_std, sde = self.get_action_dist_params(obs)
        if self.use_sde:
            return (mean + self.sde_noise(sde["latent_sde"], log_std)).tanh()
        return squashed_sample(mean, log_std)

    def acting_heads(self, deterministic: bool) -> tuple[nn.Module, ...]:
        """Layers on top of the last hidden one whose outputs :meth:`action_of` takes; none with gSDE.

        :param deterministic: True: for the mode; False: for a sample
        """
        if self.use_sde:
            return ()
        return (self.mu,) if deterministic else (self.mu, self.log_std)

    def action_of(self, deterministic: bool, mean: th.Tensor, *log_std: th.Tensor) -> th.Tensor:
        """Action to take, as :meth:`forward` gives it.

        :param deterministic: True: tanh of the Gaussian's mean; False: a sample
        :param mean: (B, D), output of ``mu``
        :param log_std: (B, D), output of ``log_std``, for a sample
        :return: (B, D), in [-1, 1]
        """
        return mean.tanh() if deterministic else squashed_sample(mean, self.log_std_range(*log_std))

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        """Mean and log standard deviation of the Gaussian before tanh, in the form of Stable-Baselines3's actor.

        :param obs: observations, first dimension B
        :return: mean (B, D), log standard deviation (B, D), and an empty dict. With gSDE: mean (B, D), log standard
            deviation of the exploration weights (latent_dim, D), and ``{"latent_sde": (B, latent_dim)}``
        """
        latent = self.latent(obs)
        mean = self.mu(latent)
        if self.use_sde:
            return mean, self.log_std, {"latent_sde": latent}
        return mean, self.log_std_range(self.log_std(latent)), {}

    def action_log_prob(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """One reparameterised action for each state, in the form of Stable-Baselines3's actor.

        :param obs: observations, first dimension B
        :return: actions (B, D) in [-1, 1], log-probabilities (B,)
        """
        actions, log_pi = self._sample(obs, n_samples=1)
        return actions.squeeze(1), log_pi.squeeze(1)

    def get_std(self) -> th.Tensor:
        """Standard deviation of the gSDE exploration weights.

        :return: (latent_dim, D)
        :raises ValueError: without gSDE, where the standard deviation depends on the state
        """
        self._require_sde("get_std")
        return self.sde_noise.std(self.log_std)

    def reset_noise(self, batch_size: int = 1) -> None:
        """Draw new gSDE exploration weights.

        :param batch_size: number of environments that explore side by side
        :raises ValueError: without gSDE
        """
        self._require_sde("reset_noise")
        self.sde_noise.resample(self.log_std, batch_size)

    def resample_noise(self) -> None:
        """Draw new exploration weights if gSDE is used, since the last gradient step has changed ``log_std``."""
        if self.use_sde:
            self.reset_noise()

    @property
    def action_dist(self) -> SquashedDiagGaussianDistribution | StateDependentNoiseDistribution:
        """Action distribution of Stable-Baselines3, which takes the result of :meth:`get_action_dist_params`.

        Every call makes a new one, so that the actor keeps none of its tensors. With gSDE it has the actor's current
        noise.
        """
        action_dim = get_action_dim(self.action_space)
        if not self.use_sde:
            return SquashedDiagGaussianDistribution(action_dim)
        distribution = StateDependentNoiseDistribution(
            action_dim, use_expln=self.use_expln, learn_features=True, squash_output=True
        )
        distribution.latent_sde_dim = self.latent_dim
        distribution.weights_dist = Normal(th.zeros_like(self.log_std), distribution.get_std(self.log_std))
        distribution.exploration_mat, distribution.exploration_matrices = self.sde_noise.weights(self.log_std)
        return distribution

    def _require_sde(self, method: str) -> None:
        if not self.use_sde:
            raise ValueError(f"`{method}()` needs gSDE, but `use_sde=False` was given; pass `use_sde=True`")

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "use_sde": self.use_sde,
            "log_std_init": self.log_std_init,
            "use_expln": self.use_expln,
            "clip_mean": self.clip_mean,
            "log_std_range": self.log_std_range,
        }
