"""Critics: ensembles of networks that estimate the soft action value Q(s, a), and the state value of SAC v1.

Shapes: N critics, B batch, K support size, D action dimension, A discrete actions.
"""

import math
from abc import abstractmethod
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.networks.batch_renorm import MakeNorm
from sb3_softac.networks.discrete import discrete_sizes, joint_strides
from sb3_softac.networks.layers import MLP, FastFeatures, make_mlp
from sb3_softac.networks.observations import one_hot


class FeaturesNetwork(FastFeatures):
    """A network on top of a features extractor that is its own, or the actor's.

    :param observation_space: space of the observations
    :param action_space: space of the actions
    :param net_arch: units of the hidden layers
    :param features_extractor: maps preprocessed observations to (B, features_dim)
    :param features_dim: number of features
    :param activation_fn: activation of the hidden layers
    :param normalize_images: divide uint8 images by 255
    :param share_features_extractor: the features extractor is the actor's, and is trained by the actor's loss alone
    :param layer_norm: normalise each hidden layer before its activation
    :param dropout: probability that a hidden unit is left out while training
    :param batch_norm: makes a layer of batch renormalisation for a number of features; None for none
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
        share_features_extractor: bool = False,
        layer_norm: bool = False,
        dropout: float = 0.0,
        batch_norm: MakeNorm | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.net_arch = net_arch
        self.features_dim = features_dim
        self.activation_fn = activation_fn
        self.share_features_extractor = share_features_extractor
        self.layer_norm = layer_norm
        self.dropout = dropout
        self.batch_norm = batch_norm

    def features(self, obs: PyTorchObs) -> th.Tensor:
        """Features of the observations, without a gradient where the actor owns the extractor.

        :param obs: observations, first dimension B
        :return: (B, features_dim)
        """
        if not self.share_features_extractor:
            return self.extract_features(obs, self.features_extractor)
        with th.no_grad():
            return self.extract_features(obs, self.features_extractor)

    def _mlp(self, input_dim: int, output_dim: int) -> MLP:
        options = (self.layer_norm, self.dropout, self.batch_norm)
        return make_mlp(input_dim, output_dim, self.net_arch, self.activation_fn, *options)


class ValueNetwork(FeaturesNetwork):
    """The state value V(s) of SAC v1.   arXiv:1801.01290

    :param args: the arguments of :class:`FeaturesNetwork`
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.vf = self._mlp(self.features_dim, 1)

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        """State values.

        :param obs: observations, first dimension B
        :return: (B,)
        """
        return self.vf(self.features(obs)).squeeze(-1)

    def joint(self, obs: PyTorchObs, next_obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """State values of both in one pass, whose batch statistics are of both.   arXiv:1902.05605

        :param obs: observations, first dimension B
        :param next_obs: the same
        :return: (B,) and (B,)
        """
        value, next_value = self(side_by_side(obs, next_obs)).chunk(2)
        return value, next_value


class Critic(FeaturesNetwork):
    """N networks that estimate Q.

    Parameter names are those of Stable-Baselines3's SAC, so that its weights load unchanged.

    :param n_critics: N
    :param kwargs: the arguments of :class:`FeaturesNetwork`
    """

    def __init__(self, *args: Any, n_critics: int = 2, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.n_critics = n_critics
        self.q_networks: list[nn.Module] = []
        for index in range(n_critics):
            q_network = self._make_q_network()
            self.add_module(f"qf{index}", q_network)
            self.q_networks.append(q_network)

    @abstractmethod
    def _make_q_network(self) -> nn.Module:
        """One of the N networks."""

    @abstractmethod
    def q_values(self, obs: PyTorchObs, actions: th.Tensor | None) -> th.Tensor:
        """Values of the actions of a policy's support.

        :param obs: observations, first dimension B
        :param actions: (B, K, D), or ids (B, K, F); None for all
        :return: (N, B, K)
        """

    @abstractmethod
    def q_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        """Values of the actions that were taken.

        :param obs: observations, first dimension B
        :param action: (B, D)
        :return: (N, B)
        """

    @abstractmethod
    def q_joint(
        self, obs: PyTorchObs, action: th.Tensor, next_obs: PyTorchObs, next_actions: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor]:
        """:meth:`q_taken` and :meth:`q_values` of the next states in one pass, whose batch statistics are of both.

        arXiv:1902.05605

        :param obs: observations, first dimension B
        :param action: (B, D)
        :param next_obs: as ``obs``
        :param next_actions: (B, K, D), or ids (B, K, F); None for all
        :return: (N, B) and (N, B, K)
        """

    def forward(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """Values of the actions that were taken, in Stable-Baselines3's form.

        :param obs: observations, first dimension B
        :param actions: (B, D)
        :return: N tensors of shape (B, 1)
        """
        return tuple(self.q_taken(obs, actions).unsqueeze(-1))

    def q1_forward(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Values by the first critic, in Stable-Baselines3's form.

        :param obs: observations, first dimension B
        :param actions: (B, D)
        :return: (B, 1)
        """
        return self(obs, actions)[0]


class ContinuousCritic(Critic):
    """N networks (s, a) -> Q, for Box actions in [-1, 1]."""

    def _make_q_network(self) -> nn.Module:
        return self._mlp(self.features_dim + get_action_dim(self.action_space), 1)

    def q_values(self, obs: PyTorchObs, actions: th.Tensor | None) -> th.Tensor:
        assert actions is not None, "there is no list of all actions"
        q_NR = MLP.ensemble(self.q_networks, self._rows(self.features(obs), actions))
        return q_NR if actions.shape[1] == 1 else q_NR.squeeze(-1).unflatten(1, actions.shape[:2])

    def _rows(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Inputs of the networks: (B, F) with (B, K, D) to (B * K, F + D)."""
        if actions.shape[1] == 1:
            return th.cat([features, actions.squeeze(1)], dim=-1)
        features_BKF = features.unsqueeze(1).expand(-1, actions.shape[1], -1)
        return th.cat([features_BKF, actions], dim=-1).flatten(0, 1)

    def q_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        return self.q_values(obs, action.unsqueeze(1)).squeeze(-1)

    def q_joint(
        self, obs: PyTorchObs, action: th.Tensor, next_obs: PyTorchObs, next_actions: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor]:
        assert next_actions is not None, "there is no list of all actions"
        features, next_features = self.features(side_by_side(obs, next_obs)).chunk(2)
        rows = th.cat([self._rows(features, action.unsqueeze(1)), self._rows(next_features, next_actions)])
        q_NR = MLP.ensemble(self.q_networks, rows).squeeze(-1)
        q_NB, next_q_NR = q_NR.tensor_split([len(action)], dim=1)
        return q_NB, next_q_NR.unflatten(1, next_actions.shape[:2])


class DiscreteCritic(Critic):
    """N networks s -> (Q of every action), for Discrete actions and for MultiDiscrete ones that can be enumerated."""

    strides: th.Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("strides", joint_strides(discrete_sizes(self.action_space)), persistent=False)

    def _make_q_network(self) -> nn.Module:
        return self._mlp(self.features_dim, math.prod(discrete_sizes(self.action_space)))

    def q_values(self, obs: PyTorchObs, actions: th.Tensor | None) -> th.Tensor:
        return self._chosen(MLP.ensemble(self.q_networks, self.features(obs)), actions)

    def _chosen(self, q_NBA: th.Tensor, actions: th.Tensor | None) -> th.Tensor:
        if actions is None:
            return q_NBA
        index_BK = (actions.long() * self.strides).sum(dim=-1)
        return q_NBA.gather(2, index_BK.expand(self.n_critics, -1, -1))

    def q_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        return self.q_values(obs, action.unsqueeze(1)).squeeze(-1)

    def q_joint(
        self, obs: PyTorchObs, action: th.Tensor, next_obs: PyTorchObs, next_actions: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor]:
        features = self.features(side_by_side(obs, next_obs))
        q_NBA, next_q_NBA = MLP.ensemble(self.q_networks, features).chunk(2, dim=1)
        return self._chosen(q_NBA, action.unsqueeze(1)).squeeze(-1), self._chosen(next_q_NBA, next_actions)


class OneHotCritic(ContinuousCritic):
    """N networks (s, a) -> Q, for MultiDiscrete actions that are too many to enumerate: each factor one-hot."""

    def _make_q_network(self) -> nn.Module:
        return self._mlp(self.features_dim + sum(discrete_sizes(self.action_space)), 1)

    def _rows(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        factors = zip(actions.long().unbind(dim=-1), discrete_sizes(self.action_space), strict=True)
        rows = th.cat([one_hot(ids, size) for ids, size in factors], dim=-1)
        return super()._rows(features, rows.to(next(self.parameters()).dtype))


def side_by_side(obs: PyTorchObs, next_obs: PyTorchObs) -> PyTorchObs:
    """Both as one batch.

    :param obs: observations, first dimension B
    :param next_obs: the same
    :return: first dimension 2 B
    """
    if isinstance(obs, dict):
        assert isinstance(next_obs, dict)
        return {key: th.cat([value, next_obs[key]]) for key, value in obs.items()}
    assert not isinstance(next_obs, dict)
    return th.cat([obs, next_obs])
