"""Actor of soft Q-learning for Discrete actions: the Boltzmann distribution of the critics' values.

Shapes: B batch, K support size, F factors, A (joint) actions.
"""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.critics import DiscreteCritic
from sb3_softac.networks.discrete_actor import DiscreteActor
from sb3_softac.networks.distributions import PolicySupport, boltzmann_support, equally_weighted


class BoltzmannActor(DiscreteActor):
    """Actor without weights of its own: ``pi(a|s) = exp(Q(s, a) / alpha) / Z(s)``.   arXiv:1702.08165, Eq. (6)

    For MultiDiscrete actions the distribution is over the joint actions. Temperature and reduction of the critics are
    buffers, so that a saved policy acts as the agent did.

    :param observation_space: space of the observations
    :param action_space: Discrete, or MultiDiscrete with joint actions that can be listed
    :param critic: the agent's critics, which are a part of this actor
    """

    alpha: th.Tensor  #: (1,), the temperature
    takes_mean: th.Tensor  #: (), True: Q is the mean of the critics; False: their minimum

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, critic: DiscreteCritic) -> None:
        super().__init__(
            observation_space,
            action_space,
            net_arch=[],
            features_extractor=critic.features_extractor,
            features_dim=critic.features_dim,
            activation_fn=critic.activation_fn,
            normalize_images=critic.normalize_images,
        )
        self.critic = critic
        self.register_buffer("alpha", th.ones(1))
        self.register_buffer("takes_mean", th.tensor(False))

    def follow(self, alpha: th.Tensor, takes_mean: bool) -> None:
        self.alpha.copy_(alpha)
        self.takes_mean.fill_(takes_mean)

    def allowed(self, obs: PyTorchObs) -> th.Tensor | None:
        """Joint actions whose factors are all allowed, (B, A); None: all actions are.

        :param obs: observations, first dimension B
        """
        mask = self.mask(obs)
        if mask is None:
            return None
        factors = (mask != 0).split(self.nvec, dim=-1)
        each = [allowed[:, self.joint_actions[:, f]] for f, allowed in enumerate(factors)]
        return th.stack(each).all(dim=0)

    def support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support: every action with its probability, so that expectations are exact.

        :param obs: observations, first dimension B
        :param n_samples: has no effect
        :return: actions None, which stands for all, log_pi and weight (B, A)
        """
        q_NBA = self.critic.q_values(obs, None)
        q = th.where(self.takes_mean, q_NBA.mean(dim=0), q_NBA.amin(dim=0))
        return boltzmann_support(None, q, self.alpha, allowed=self.allowed(obs))

    def log_probs(self, obs: PyTorchObs) -> th.Tensor:
        """Log-probability of every (joint) action.

        :param obs: observations, first dimension B
        :return: (B, A), in the order of ``joint_actions``
        """
        return self.support(obs).log_pi

    def score_support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support of K sampled actions.

        :param obs: observations, first dimension B
        :param n_samples: K
        :return: ids of the actions (B, K, F), log_pi and weight (B, K)
        """
        log_pi = self.log_probs(obs)
        index = th.multinomial(log_pi.detach().exp(), n_samples, replacement=True)
        return equally_weighted(self.joint_actions[index], log_pi.gather(1, index))

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take.

        :param obs: observations, first dimension B
        :param deterministic: True: the action of the largest value; False: a sample
        :return: ids (B, F); F is 1 for Discrete
        """
        log_pi = self.log_probs(obs)
        if deterministic:
            return self.joint_actions[log_pi.argmax(dim=-1)]
        return self.joint_actions[th.multinomial(log_pi.exp(), 1, replacement=True).squeeze(1)]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "critic": self.critic,
        }
