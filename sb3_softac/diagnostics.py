"""Diagnostics of the policy improvement: the KL divergence of the policy from the Boltzmann distribution of Q.

The actor's loss is, up to the factor alpha and a constant, ``KL(pi(.|s) || exp(Q(s, .) / alpha) / Z(s))``
(arXiv:1812.05905v2, Eq. (4)). The divergence that remains after training is the part of the target that the family of
distributions cannot express.

Shapes: B observations, A grid points or discrete actions, D action dimension, F discrete factors.
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim

from sb3_softac.networks.discrete_actor import DiscreteActor
from sb3_softac.networks.distributions import MASKED_LOGIT, masked_log_softmax, tanh_log_det
from sb3_softac.softac import SoftAC
from sb3_softac.updates.variants import actor_q_reduction

# tanh(10) is 1 in single precision, so that a wider grid would have no further actions.
PRE_TANH_LIMIT = 10.0
# Largest logarithm of the sum of the policy's probabilities on the grid, which should be 0.
MAX_LOG_ERROR = 0.01
NODES_PER_DIMENSION = {1: 2001, 2: 201}


class PolicyImprovement(NamedTuple):
    """Policy and its target on a grid of actions, each as a distribution over the A grid points.

    The values are probabilities and not densities: they sum to one over the grid.
    """

    actions: np.ndarray  #: (A, D) in [-1, 1] for Box, (A, F) ids for F discrete factors
    log_pi: np.ndarray  #: (B, A)
    log_target: np.ndarray  #: (B, A), log of exp(Q / alpha) / Z
    kl: np.ndarray  #: (B,), KL(pi || target) in nats


@th.no_grad()
def policy_improvement(model: SoftAC, observations: Any) -> PolicyImprovement:
    """Compare the policy with exp(Q / alpha) / Z, exactly for Discrete, by quadrature for Box of one or two dimensions.

    Q is reduced over the critics as in the actor's loss; alpha is the current temperature.

    :param model: any model, trained or not
    :param observations: a batch of observations, as :meth:`SoftAC.predict` takes it
    :return: both distributions on the grid, and their divergence for each observation. The divergence is NaN, with a
        warning, where the policy is too narrow for the grid
    :raises ValueError: a Box of more than two dimensions, too many joint actions to list, or a temperature of zero
    """
    alpha = model.temperature.alpha().item()
    if alpha == 0.0:
        raise ValueError("`ent_coef` is 0, for which exp(Q / ent_coef) is no distribution; it must be above 0")
    model.policy.set_training_mode(False)
    obs = model.policy.normalized(model.policy.obs_to_tensor(observations)[0])
    reduce_q = actor_q_reduction(model.current_settings().update)
    if not isinstance(model.action_space, spaces.Box):
        if not isinstance(model.actor, DiscreteActor) or not model.actor.has_exact_support:
            raise ValueError(f"{model.action_space} has too many joint actions to list")
        actions, log_volume = model.actor.joint_actions.cpu().numpy(), th.zeros(())
        log_pi = model.actor.support(obs).log_pi
        allowed = log_pi > MASKED_LOGIT / 2
        q = reduce_q(model.critic.q_values(obs, None))
    else:
        allowed = None
        pre_tanh, log_volume = _grid(get_action_dim(model.action_space))
        nodes_BKD = pre_tanh.to(model.device).expand(_batch_size(obs), -1, -1)
        log_volume = log_volume.to(model.device)
        log_pi = model.actor.log_prob(obs, nodes_BKD) + log_volume  # type: ignore[operator]
        q = reduce_q(model.critic.q_values(obs, nodes_BKD.tanh()))
        actions = pre_tanh.tanh().numpy()
    # The target has the mask of the policy; in both, a large negative number stands for minus infinity.
    log_target = masked_log_softmax(q / alpha + log_volume, allowed)
    kl = (log_pi.exp() * (log_pi - log_target)).sum(dim=-1)
    is_resolved = log_pi.logsumexp(dim=-1).abs() < MAX_LOG_ERROR
    if not is_resolved.all():
        kl[~is_resolved] = math.nan
        warnings.warn(
            f"The policy is too narrow for the grid of actions at {int((~is_resolved).sum())} of {len(kl)} "
            "observations, whose divergence is NaN",
            stacklevel=2,
        )
    return PolicyImprovement(actions, log_pi.cpu().numpy(), log_target.cpu().numpy(), kl.cpu().numpy())


def _batch_size(obs: Any) -> int:
    return len(next(iter(obs.values())) if isinstance(obs, dict) else obs)


def _grid(action_dim: int) -> tuple[th.Tensor, th.Tensor]:
    """Grid of evenly spaced u = atanh(a), (A, D), and the log-volume of the actions around each point, (A,)."""
    if action_dim not in NODES_PER_DIMENSION:
        raise ValueError(
            f"Quadrature is for Box actions of one or two dimensions, but these have {action_dim}; "
            "for more, compare `train/actor_loss` between runs"
        )
    axis = th.linspace(-PRE_TANH_LIMIT, PRE_TANH_LIMIT, NODES_PER_DIMENSION[action_dim])
    pre_tanh = th.cartesian_prod(*[axis] * action_dim).view(-1, action_dim)
    log_step = math.log(float(axis[1] - axis[0]))
    return pre_tanh, tanh_log_det(pre_tanh) + action_dim * log_step  # da = (1 - tanh(u)^2) du in each dimension
