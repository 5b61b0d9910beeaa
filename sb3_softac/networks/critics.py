"""Critics: ensembles of networks that estimate the soft action value Q(s, a), and the state value network of SAC v1.

Shapes: N critics, B batch, K support size, D action dimension, A discrete actions, F discrete factors, M outputs of a
network for each action.
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

from sb3_softac.networks.blocks import MLP, PLAIN, HiddenLayers, VectorShortcut, make_mlp
from sb3_softac.networks.heads import make_head
from sb3_softac.networks.observations import one_hot
from sb3_softac.spaces import discrete_sizes, joint_strides


class FeaturesNetwork(VectorShortcut):
    """Base class of critics and state values: a network on a features extractor of its own, or on the actor's.

    :param observation_space: space of the observations
    :param action_space: space of the actions
    :param net_arch: units of the hidden layers
    :param features_extractor: maps preprocessed observations to (B, features_dim)
    :param features_dim: number of features
    :param activation_fn: activation of the hidden layers
    :param normalize_images: divide uint8 images by 255
    :param share_features_extractor: the loss of another network trains the features extractor
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
        share_features_extractor: bool = False,
        hidden: HiddenLayers = PLAIN,
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
        self.trains_features = not share_features_extractor
        self.hidden = hidden

    def features(self, obs: PyTorchObs) -> th.Tensor:
        """Features of the observations, without gradient if another network's loss trains the extractor.

        :param obs: observations, first dimension B
        :return: (B, features_dim)
        """
        return self.extract_features(obs, self.features_extractor)

    def _mlp(self, input_dim: int, output_dim: int) -> MLP:
        return make_mlp(input_dim, output_dim, self.net_arch, self.activation_fn, self.hidden)


class ValueNetwork(FeaturesNetwork):
    """State value network V(s) of SAC v1.   arXiv:1801.01290

    :param args: the arguments of :class:`FeaturesNetwork`
    :param kwargs: the arguments of :class:`FeaturesNetwork`
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
        """State values of observations and next observations in one pass, with the batch statistics of both.

        arXiv:1902.05605

        :param obs: observations, first dimension B
        :param next_obs: next observations, first dimension B
        :return: V(s) and V(s'), both (B,)
        """
        value, next_value = self(side_by_side(obs, next_obs)).chunk(2)
        return value, next_value


class Critic(FeaturesNetwork):
    """Ensemble of N independent networks that estimate Q, named ``qf0``, ``qf1``, ... as in Stable-Baselines3's SAC.

    A network has M outputs for each action. The head turns them into a value.

    :param n_critics: N
    :param head: a row of :data:`~sb3_softac.networks.heads.HEADS`
    :param head_kwargs: arguments of the head; None for none
    :param kwargs: the arguments of :class:`FeaturesNetwork`
    """

    def __init__(
        self,
        *args: Any,
        n_critics: int = 2,
        head: str = "scalar",
        head_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.n_critics = n_critics
        self.head = make_head(head, head_kwargs or {})
        self.q_networks: list[nn.Module] = []
        for index in range(n_critics):
            q_network = self._make_q_network()
            self.add_module(f"qf{index}", q_network)
            self.q_networks.append(q_network)

    @abstractmethod
    def _make_q_network(self) -> nn.Module:
        """Make one of the N networks."""

    @abstractmethod
    def outputs(self, obs: PyTorchObs, actions: th.Tensor | None) -> th.Tensor:
        """Outputs for the actions of a policy support.

        :param obs: observations, first dimension B
        :param actions: (B, K, D), or ids (B, K, F); None for all actions
        :return: (N, B, K, M)
        """

    @abstractmethod
    def outputs_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        """Outputs for the actions taken.

        :param obs: observations, first dimension B
        :param action: (B, D), or ids (B, F)
        :return: (N, B, M)
        """

    @abstractmethod
    def inputs_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        """Inputs of the N networks for the actions taken.

        :param obs: observations, first dimension B
        :param action: (B, D), or ids (B, F)
        :return: (B, I)
        """

    @abstractmethod
    def outputs_joint(
        self, obs: PyTorchObs, action: th.Tensor, next_obs: PyTorchObs, next_actions: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor]:
        """Outputs for the actions taken and for the next actions, in one pass with the batch statistics of both states.

        arXiv:1902.05605

        :param obs: observations, first dimension B
        :param action: (B, D), or ids (B, F)
        :param next_obs: next observations, first dimension B
        :param next_actions: (B, K, D), or ids (B, K, F); None for all actions
        :return: (N, B, M) as in :meth:`outputs_taken`, and (N, B, K, M) as in :meth:`outputs`
        """

    def q_values(self, obs: PyTorchObs, actions: th.Tensor | None) -> th.Tensor:
        """Q values of the actions of a policy support.

        :param obs: observations, first dimension B
        :param actions: (B, K, D), or ids (B, K, F); None for all actions
        :return: (N, B, K)
        """
        return self.head.values(self.outputs(obs, actions))

    def q_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        """Q values of the actions taken.

        :param obs: observations, first dimension B
        :param action: (B, D), or ids (B, F)
        :return: (N, B)
        """
        return self.head.values(self.outputs_taken(obs, action))

    def forward(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """Q values of the actions taken, in the form of Stable-Baselines3's critic.

        :param obs: observations, first dimension B
        :param actions: (B, D)
        :return: N tensors of shape (B, 1)
        """
        return tuple(self.q_taken(obs, actions).unsqueeze(-1))

    def q1_forward(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Q values by the first network, in the form of Stable-Baselines3's critic.

        :param obs: observations, first dimension B
        :param actions: (B, D)
        :return: (B, 1)
        """
        return self(obs, actions)[0]


class ContinuousCritic(Critic):
    """Critic for Box actions in [-1, 1]: N networks (s, a) -> Q."""

    def _make_q_network(self) -> nn.Module:
        return self._mlp(self.features_dim + get_action_dim(self.action_space), self.head.n_outputs)

    def outputs(self, obs: PyTorchObs, actions: th.Tensor | None) -> th.Tensor:
        assert actions is not None, "there is no list of all actions"
        # In parts, as the actor's loss needs the gradient of the actions alone.
        outputs_NRM = MLP.ensemble(self.q_networks, *self._parts(self.features(obs), actions))
        return outputs_NRM.unflatten(1, actions.shape[:2])

    def outputs_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        return MLP.ensemble(self.q_networks, self.inputs_taken(obs, action))

    def inputs_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        return self._rows(self.features(obs), action.unsqueeze(1))

    def outputs_joint(
        self, obs: PyTorchObs, action: th.Tensor, next_obs: PyTorchObs, next_actions: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor]:
        assert next_actions is not None, "there is no list of all actions"
        features, next_features = self.features(side_by_side(obs, next_obs)).chunk(2)
        rows = th.cat([self._rows(features, action.unsqueeze(1)), self._rows(next_features, next_actions)])
        taken_NBM, next_NRM = MLP.ensemble(self.q_networks, rows).tensor_split([len(action)], dim=1)
        return taken_NBM, next_NRM.unflatten(1, next_actions.shape[:2])

    def _rows(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Network inputs, one row for each action: features (B, I) and actions (B, K, D) to (B * K, I + D)."""
        parts = self._parts(features, actions)
        return parts[0] if len(parts) == 1 else th.cat(parts, dim=-1)

    def _parts(self, features: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """Network inputs as :meth:`_rows` has them, in parts that stand side by side."""
        actions = self._as_numbers(actions)
        if actions.shape[1] == 1:  # nothing to repeat
            return features, actions.squeeze(1)
        features_BKF = features.unsqueeze(1).expand(-1, actions.shape[1], -1)
        return (th.cat([features_BKF, actions], dim=-1).flatten(0, 1),)

    def _as_numbers(self, actions: th.Tensor) -> th.Tensor:
        """Actions (B, K, D) as the networks take them."""
        return actions


class DiscreteCritic(Critic):
    """Critic for Discrete actions, and for MultiDiscrete ones that can be listed: N networks s -> Q of every action."""

    strides: th.Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("strides", joint_strides(discrete_sizes(self.action_space)), persistent=False)

    def _make_q_network(self) -> nn.Module:
        return self._mlp(self.features_dim, math.prod(discrete_sizes(self.action_space)) * self.head.n_outputs)

    def _all_outputs(self, obs: PyTorchObs) -> th.Tensor:
        """Outputs for every action: (N, B, A, M)."""
        outputs = MLP.ensemble(self.q_networks, self.features(obs))
        return outputs.unflatten(-1, (-1, self.head.n_outputs))

    def outputs(self, obs: PyTorchObs, actions: th.Tensor | None) -> th.Tensor:
        return self._chosen(self._all_outputs(obs), actions)

    def outputs_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        return self.outputs(obs, action.unsqueeze(1)).squeeze(2)

    def inputs_taken(self, obs: PyTorchObs, action: th.Tensor) -> th.Tensor:
        return self.features(obs)

    def outputs_joint(
        self, obs: PyTorchObs, action: th.Tensor, next_obs: PyTorchObs, next_actions: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor]:
        outputs, next_outputs = self._all_outputs(side_by_side(obs, next_obs)).chunk(2, dim=1)
        return self._chosen(outputs, action.unsqueeze(1)).squeeze(2), self._chosen(next_outputs, next_actions)

    def _chosen(self, outputs_NBAM: th.Tensor, actions: th.Tensor | None) -> th.Tensor:
        """Outputs for the given actions: (N, B, K, M)."""
        if actions is None:
            return outputs_NBAM
        index_BK = (actions.long() * self.strides).sum(dim=-1)
        index = index_BK.unsqueeze(-1).expand(self.n_critics, -1, -1, self.head.n_outputs)
        return outputs_NBAM.gather(2, index)


class OneHotCritic(ContinuousCritic):
    """Critic for MultiDiscrete actions that are too many to list: N networks (s, a) -> Q, with one-hot factors."""

    def _make_q_network(self) -> nn.Module:
        return self._mlp(self.features_dim + sum(discrete_sizes(self.action_space)), self.head.n_outputs)

    def _as_numbers(self, actions: th.Tensor) -> th.Tensor:
        factors = zip(actions.long().unbind(dim=-1), discrete_sizes(self.action_space), strict=True)
        rows = th.cat([one_hot(ids, size) for ids, size in factors], dim=-1)
        return rows.to(next(self.parameters()).dtype)


def side_by_side(obs: PyTorchObs, next_obs: PyTorchObs) -> PyTorchObs:
    """Concatenate observations and next observations to one batch.

    :param obs: observations, first dimension B
    :param next_obs: next observations, first dimension B
    :return: observations, first dimension 2 B
    """
    if isinstance(obs, dict):
        assert isinstance(next_obs, dict)
        return {key: th.cat([value, next_obs[key]]) for key, value in obs.items()}
    assert not isinstance(next_obs, dict)
    return th.cat([obs, next_obs])
