"""Actor of soft Q-learning for Box actions: a network that turns noise into actions.

Shapes: B batch, K particles, D action dimension, F features.
"""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.distributions import PolicySupport

# Particles of which a deterministic action is one, and how many of them have to be near it.
N_CANDIDATES, N_NEIGHBOURS = 32, 8


class SamplingActor(SoftActor):
    """Actor whose action is a function of state and noise: ``a = tanh(f(s, xi))``, ``xi ~ N(0, I)``.

    It can have any distribution, with any number of modes; but its density is not known.
    arXiv:1702.08165, section 3.3

    :param args: the arguments of :class:`SoftActor`
    :param kwargs: the arguments of :class:`SoftActor`
    """

    action_space: spaces.Box
    candidates: th.Tensor  #: (N_CANDIDATES, D), noise of the particles of which a deterministic action is one

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mu = nn.Linear(self.latent_dim, self._noise_dim())
        self.register_buffer("candidates", th.randn(N_CANDIDATES, self._noise_dim()))

    def _noise_dim(self) -> int:
        return get_action_dim(self.action_space)

    def inputs(self, obs: PyTorchObs) -> th.Tensor:
        """Inputs of the hidden layers: features, and one noise for each state.

        :param obs: observations, first dimension B
        :return: (B, F + D)
        """
        features = super().inputs(obs)
        return th.cat([features, th.randn_like(features.new_empty(len(features), self._noise_dim()))], dim=-1)

    def particles(self, obs: PyTorchObs, n_particles: int) -> th.Tensor:
        """Samples before tanh, which carry a gradient.

        :param obs: observations, first dimension B
        :param n_particles: K
        :return: u, (B, K, D)
        """
        features = super().inputs(obs)
        shape = (len(features), n_particles, self._noise_dim())
        return self._pre_tanh(features, th.randn(shape, dtype=features.dtype, device=features.device))

    def _pre_tanh(self, features: th.Tensor, noise_BKD: th.Tensor) -> th.Tensor:
        """Samples before tanh, (B, K, D), from features (B, F) and noise."""
        features_BKF = features.unsqueeze(1).expand(-1, noise_BKD.shape[1], -1)
        rows = th.cat([features_BKF, noise_BKD], dim=-1).flatten(0, 1)
        return self.heads_of(rows, self.mu)[0].unflatten(0, noise_BKD.shape[:2])

    def support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Refuse: a support has log-probabilities.

        :param obs: observations, first dimension B
        :param n_samples: K
        :raises ValueError: always
        """
        raise ValueError(
            "The policy of `variant='soft_q'` for Box actions is a network that turns noise into actions, whose "
            "density is not known; sample actions by `predict()`, or take `variant='v2'`"
        )

    score_support = support

    def log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        """Refuse, as :meth:`support` does.

        :param obs: observations, first dimension B
        :param pre_tanh: (B, K, D)
        :raises ValueError: always
        """
        return self.support(obs).log_pi

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take.

        :param obs: observations, first dimension B
        :param deterministic: True: the one of :data:`N_CANDIDATES` fixed particles that has others nearest to it, and
            so lies at a mode; False: a sample
        :return: (B, D), in [-1, 1]
        """
        if not deterministic:
            return self.heads(obs, self.mu)[0].tanh()
        features = super().inputs(obs)
        actions = self._pre_tanh(features, self.candidates.expand(len(features), -1, -1)).tanh()
        distances = (actions.unsqueeze(1) - actions.unsqueeze(2)).square().sum(dim=-1)
        radius = distances.topk(N_NEIGHBOURS, dim=-1, largest=False).values.amax(dim=-1)
        nearest = radius.argmin(dim=-1).view(-1, 1, 1).expand(-1, 1, actions.shape[-1])
        return actions.gather(1, nearest).squeeze(1)
