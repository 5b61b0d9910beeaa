"""Critics: ensembles of networks that estimate the soft action value Q(s, a).

Shapes: N critics, B batch, K support size, D action dimension.
"""

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn


class ContinuousCritic(BaseModel):
    """N networks (s, a) -> Q for Box actions, on one features extractor.

    Parameter names are those of Stable-Baselines3's SAC, so that its weights load unchanged.

    :param observation_space: space of the observations
    :param action_space: space of the actions
    :param net_arch: units of the hidden layers
    :param features_extractor: maps preprocessed observations to (B, features_dim)
    :param features_dim: number of features
    :param activation_fn: activation of the hidden layers
    :param normalize_images: divide uint8 images by 255
    :param n_critics: N
    :param share_features_extractor: the features extractor is the actor's, and is trained by the actor's loss alone
    """

    features_extractor: BaseFeaturesExtractor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        n_critics: int = 2,
        share_features_extractor: bool = False,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.n_critics = n_critics
        self.share_features_extractor = share_features_extractor
        self.q_networks: list[nn.Module] = []
        input_dim = features_dim + get_action_dim(self.action_space)
        for index in range(n_critics):
            q_network = nn.Sequential(*create_mlp(input_dim, 1, net_arch, activation_fn))
            self.add_module(f"qf{index}", q_network)
            self.q_networks.append(q_network)

    def features(self, obs: PyTorchObs) -> th.Tensor:
        """Features of the observations, without a gradient where the actor owns the extractor.

        :param obs: observations, first dimension B
        :return: (B, features_dim)
        """
        if not self.share_features_extractor:
            return self.extract_features(obs, self.features_extractor)
        with th.no_grad():
            return self.extract_features(obs, self.features_extractor)

    def q_values(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Values of K actions in each state.

        :param obs: observations, first dimension B
        :param actions: (B, K, D), in [-1, 1]
        :return: (N, B, K)
        """
        batch_size, support_size, _ = actions.shape
        features_BKF = self.features(obs).unsqueeze(1).expand(-1, support_size, -1)
        rows = th.cat([features_BKF, actions], dim=-1).flatten(0, 1)
        q_NR = th.stack([q_network(rows).squeeze(-1) for q_network in self.q_networks])
        return q_NR.unflatten(1, (batch_size, support_size))

    def q_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        """Values of the actions that were taken.

        :param obs: observations, first dimension B
        :param action: (B, D), in [-1, 1]
        :return: (N, B)
        """
        return self.q_values(obs, action.unsqueeze(1)).squeeze(-1)

    def forward(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """Values of the actions that were taken, in Stable-Baselines3's form.

        :param obs: observations, first dimension B
        :param actions: (B, D), in [-1, 1]
        :return: N tensors of shape (B, 1)
        """
        return tuple(self.q_taken(obs, actions).unsqueeze(-1))
