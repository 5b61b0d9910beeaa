"""Actor with a mixture of Gaussians.

Shapes: B batch, K support size, C components, D action dimension.
"""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.distributions import (
    DEFAULT_RANGE,
    LogStdRange,
    PolicySupport,
    equally_weighted,
    mixture_log_prob,
    standardized_gaussian_log_prob,
    tanh_log_det,
)


class SquashedMixtureActor(SoftActor):
    """Actor with a mixture of diagonal Gaussians squashed by tanh, for Box actions with several good modes.

    Its support has ``n_samples`` reparameterised samples of each component, weighted by the weights of the mixture. The
    gradient is pathwise in means and standard deviations and exact in the weights: no component is sampled.
    arXiv:2605.09157

    :param n_components: C
    :param log_std_range: of the log standard deviations
    :param kwargs: the arguments of :class:`SoftActor`
    """

    action_space: spaces.Box

    def __init__(
        self, *args: Any, n_components: int = 4, log_std_range: LogStdRange = DEFAULT_RANGE, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.n_components = n_components
        self.log_std_range = log_std_range
        self.action_dim = get_action_dim(self.action_space)
        self.mu = nn.Linear(self.latent_dim, n_components * self.action_dim)
        self.log_std = nn.Linear(self.latent_dim, n_components * self.action_dim)
        self.log_weight = nn.Linear(self.latent_dim, n_components)
        self._spread_components()

    @th.no_grad()
    def _spread_components(self) -> None:
        """Initialise equal weights and different means, so that components find different modes."""
        self.log_weight.weight.zero_()
        self.log_weight.bias.zero_()
        means = th.linspace(-1.0, 1.0, self.n_components) if self.n_components > 1 else th.zeros(1)
        permutations = [means[th.randperm(self.n_components)] for _ in range(self.action_dim)]
        self.mu.bias.copy_(th.stack(permutations, dim=1).flatten())

    def components(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Parameters of the mixture before tanh.

        :param obs: observations, first dimension B
        :return: log-weights (B, C), normalised; means and log standard deviations (B, C, D)
        """
        log_weight, mean, log_std = self.heads(obs, self.log_weight, self.mu, self.log_std)
        shape = (self.n_components, self.action_dim)
        log_std = self.log_std_range(log_std)
        return log_weight.log_softmax(dim=-1), mean.unflatten(-1, shape), log_std.unflatten(-1, shape)

    def support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support: reparameterised samples of each component, with the weights of the mixture.

        :param obs: observations, first dimension B
        :param n_samples: K, samples of each component
        :return: actions (B, K * C, D), log_pi and weight (B, K * C)
        """
        log_weight, mean, log_std = self.components(obs)
        noise = th.randn(len(mean), n_samples, *mean.shape[1:], dtype=mean.dtype, device=mean.device)
        pre_tanh = (mean.unsqueeze(1) + log_std.exp().unsqueeze(1) * noise).flatten(1, 2)
        weight = (log_weight.exp() / n_samples).repeat(1, n_samples)
        return PolicySupport(pre_tanh.tanh(), self._log_prob(pre_tanh, log_weight, mean, log_std), weight)

    def score_support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support of K samples of the whole mixture, without gradient.

        :param obs: observations, first dimension B
        :param n_samples: K
        :return: actions (B, K, D), log_pi and weight (B, K)
        """
        log_weight, mean, log_std = self.components(obs)
        pre_tanh = self._sample(log_weight, mean, log_std, n_samples).detach()
        return equally_weighted(pre_tanh.tanh(), self._log_prob(pre_tanh, log_weight, mean, log_std))

    def log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        """Log-density of the given actions tanh(u).

        :param obs: observations, first dimension B
        :param pre_tanh: u, (B, K, D)
        :return: (B, K)
        """
        return self._log_prob(pre_tanh, *self.components(obs))

    @staticmethod
    def _sample(log_weight: th.Tensor, mean: th.Tensor, log_std: th.Tensor, n_samples: int) -> th.Tensor:
        """Samples before tanh, (B, K, D): each from a component that is drawn by its weight."""
        component = th.multinomial(log_weight.exp(), n_samples, replacement=True)
        index = component.unsqueeze(-1).expand(-1, -1, mean.shape[-1])
        chosen_mean, chosen_log_std = mean.gather(1, index), log_std.gather(1, index)
        return chosen_mean + chosen_log_std.exp() * th.randn_like(chosen_mean)

    @staticmethod
    def _log_prob(pre_tanh: th.Tensor, log_weight: th.Tensor, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
        """Log-density of the squashed mixture, (B, K), whichever component a point came from."""
        log_std_B1CD = log_std.unsqueeze(1)
        noise_BKCD = (pre_tanh.unsqueeze(2) - mean.unsqueeze(1)) / log_std_B1CD.exp()
        component_log_prob = standardized_gaussian_log_prob(noise_BKCD, log_std_B1CD)
        return mixture_log_prob(log_weight.unsqueeze(1), component_log_prob) - tanh_log_det(pre_tanh)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take.

        :param obs: observations, first dimension B
        :param deterministic: True: the mean of the heaviest component, as a mean of means may be no mode; False: a
            sample
        :return: (B, D), in [-1, 1]
        """
        log_weight, mean, log_std = self.components(obs)
        if not deterministic:
            return self._sample(log_weight, mean, log_std, 1).squeeze(1).tanh()
        heaviest = log_weight.argmax(dim=-1).view(-1, 1, 1).expand(-1, 1, self.action_dim)
        return mean.gather(1, heaviest).squeeze(1).tanh()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "n_components": self.n_components,
            "log_std_range": self.log_std_range,
        }
