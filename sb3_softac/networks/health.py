"""Health of networks: dead units, effective rank of the features, norms of the weights.

Shapes: B batch, I inputs of a network, W units of a hidden layer.
"""

from collections.abc import Iterator

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.networks.layer_kinds import NORMS
from sb3_softac.networks.networks import Networks
from sb3_softac.networks.residual import Residual

# A unit whose mean activation is at most this part of its layer's counts as dead.   arXiv:2302.12902, figure 2
DEAD_BELOW = 0.025
# The effective rank explains all singular values but this part.   arXiv:2010.14498, section 3
RANK_DELTA = 0.01


@th.no_grad()
def health(networks: Networks, obs: PyTorchObs, action: th.Tensor) -> dict[str, float]:
    """Health of the trained networks on a batch.

    Fully connected layers are looked at; those of a features extractor are not.

    :param networks: all networks, in evaluation mode
    :param obs: observations, first dimension B
    :param action: (B, D), the actions taken, or ids (B, F)
    :return: ``dead_units_<network>``, ``effective_rank_<network>`` and ``weight_norm_<network>`` of actor, critics and,
        in v1, the state value; a network without a hidden layer has only the last
    """
    stacks: dict[str, tuple[list[nn.Module], th.Tensor]] = {
        "actor": (
            [networks.actor.latent_pi],
            networks.actor.inputs(obs),
        ),
        "critic": (networks.critic.q_networks, networks.critic.inputs_taken(obs, action)),
    }
    if networks.value_net is not None:
        stacks["value"] = ([networks.value_net.vf], networks.value_net.features(obs))
    measures: dict[str, float] = {}
    for name, (stack, inputs) in stacks.items():
        layers = [list(hidden_layers(network, inputs)) for network in stack if isinstance(network, nn.Sequential)]
        if any(layers):
            measures[f"dead_units_{name}"] = dead_units([layer for network in layers for layer in network])
            ranks = [effective_rank(network[-1]) for network in layers]
            measures[f"effective_rank_{name}"] = sum(ranks) / len(ranks)
        parameters = [parameter for network in stack for parameter in network.parameters()]
        if parameters:
            measures[f"weight_norm_{name}"] = th.nn.utils.get_total_norm(parameters).item()
    return measures


def hidden_layers(network: nn.Sequential, inputs: th.Tensor) -> Iterator[th.Tensor]:
    """Outputs of each hidden layer, after its activation.

    :param network: fully connected
    :param inputs: (B, I)
    :return: each (B, W)
    """
    for module in network:
        if isinstance(module, Residual):
            yield from hidden_layers(nn.Sequential(*module), inputs)
        inputs = module(inputs)
        if not isinstance(module, (nn.Linear, nn.Dropout, Residual, *NORMS)):
            yield inputs


def dead_units(layers: list[th.Tensor]) -> float:
    """Share of units that are (nearly) 0 for all observations, and so neither act nor learn.   arXiv:2302.12902

    :param layers: outputs of hidden layers, each (B, W)
    :return: in [0, 1]
    """
    scores = [layer.abs().mean(dim=0) for layer in layers]
    dead = th.cat([score <= DEAD_BELOW * score.mean() for score in scores])
    return dead.float().mean().item()


def effective_rank(features: th.Tensor) -> int:
    """Number of directions that hold 99 % of the features.   arXiv:2010.14498

    :param features: (B, W)
    :return: at most the smaller one of B and W
    """
    values = th.linalg.svdvals(features.float())
    shares = values.cumsum(dim=0) / values.sum().clamp_min(th.finfo(values.dtype).tiny)
    return int((shares < 1.0 - RANK_DELTA).sum().item()) + 1
