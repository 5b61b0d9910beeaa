"""Every equation of SoftAC, each once, as a pure function of tensors.

Shapes: N critics, B batch, K support size. A state's value is a sum over the support of the policy
(:class:`~sb3_softac.networks.distributions.PolicySupport`): K samples of a Gaussian, or all actions of a categorical.
Scalars of a batch are always (B,), so that nothing broadcasts to (B, B) by accident.
"""

import torch as th


def min_q(q_NBK: th.Tensor) -> th.Tensor:
    """The most pessimistic critic, action by action.   arXiv:1812.05905v2, section 5

    :param q_NBK: (N, B, K)
    :return: (B, K)
    """
    return q_NBK.amin(dim=0)


def mean_q(q_NBK: th.Tensor) -> th.Tensor:
    """The average critic, action by action; less pessimistic with discrete actions.   arXiv:2209.10081

    :param q_NBK: (N, B, K)
    :return: (B, K)
    """
    return q_NBK.mean(dim=0)


def random_subset(q_NBK: th.Tensor, n_critics: int) -> th.Tensor:
    """M of the N critics, each subset equally likely, drawn anew at each call.   arXiv:2101.05982, algorithm 1

    On the device and of a fixed shape, so that a CUDA graph draws anew at each replay.

    :param q_NBK: (N, B, K)
    :param n_critics: M, at most N
    :return: (M, B, K)
    """
    drawn = th.rand(len(q_NBK), device=q_NBK.device).topk(n_critics, sorted=False).indices
    return q_NBK.index_select(0, drawn)


def soft_value(q: th.Tensor, log_pi: th.Tensor, weight: th.Tensor, alpha: th.Tensor | float) -> th.Tensor:
    """Soft state value under the policy: ``V(s) = sum_k w_k (Q(s, a_k) - alpha log pi(a_k|s))``.

    arXiv:1812.05905v2, Eq. (3); arXiv:1910.07207, Eq. (10) for discrete actions; arXiv:1801.01290, Eq. (3).
    Q is :func:`min_q` or :func:`mean_q`, reduced over the critics before the expectation. Gradients reach every
    argument.

    :param q: (B, K), values of the support's actions
    :param log_pi: (B, K)
    :param weight: (B, K)
    :param alpha: () or (1,), the temperature
    :return: (B,)
    """
    return (weight * (q - alpha * log_pi)).sum(dim=-1)


def entropy(log_pi: th.Tensor, weight: th.Tensor) -> th.Tensor:
    """Entropy of the policy at each state: ``H(s) = -sum_k w_k log pi(a_k|s)``.   arXiv:1812.05905v2, section 5

    :param log_pi: (B, K)
    :param weight: (B, K)
    :return: (B,)
    """
    return -(weight * log_pi).sum(dim=-1)


def td_target(reward: th.Tensor, done: th.Tensor, discount: th.Tensor | float, next_value: th.Tensor) -> th.Tensor:
    """Soft Bellman target: ``y = r + gamma (1 - d) V(s')``.   arXiv:1812.05905v2, Eq. (2), (5)

    The entropy of s' is inside ``V(s')`` and so inside the factor (1 - d): a terminal state has none.

    :param reward: (B,); for n-step returns the discounted sum of n rewards
    :param done: (B,), 1 where s' is terminal; 0 where the episode was only cut by a time limit
    :param discount: scalar or (B,); gamma to the number of steps from s to s'
    :param next_value: (B,), soft value of s' under the target networks
    :return: (B,)
    """
    return reward + (1.0 - done) * discount * next_value


def critic_loss(q_NB: th.Tensor, target: th.Tensor) -> th.Tensor:
    """Soft Bellman residual: ``J_Q = sum_i mean_b (Q_i - y)^2 / 2``.   arXiv:1812.05905v2, Eq. (5)

    :param q_NB: (N, B), values of the actions taken; gradients reach the critics
    :param target: (B,), must carry no gradient
    :return: ()
    """
    return 0.5 * (q_NB - target).square().mean(dim=1).sum()


def clipped_critic_loss(q_NB: th.Tensor, q_target_NB: th.Tensor, target: th.Tensor, clip: float) -> th.Tensor:
    """Soft Bellman residual that does not reward a critic for running away from its target network.

    ``J_Q = sum_i mean_b max((Q_i - y)^2, (Q'_i + clip(Q_i - Q'_i, -c, c) - y)^2) / 2``.   arXiv:2209.10081

    The maximum is taken transition by transition. Gradients reach the critics through ``q_NB``.

    :param q_NB: (N, B), values of the actions taken
    :param q_target_NB: (N, B), Q', the same by the target critics, must carry no gradient
    :param target: (B,), y, must carry no gradient
    :param clip: c, above 0
    :return: ()
    """
    near = q_target_NB + (q_NB - q_target_NB).clamp(-clip, clip)
    return 0.5 * th.maximum((q_NB - target).square(), (near - target).square()).mean(dim=1).sum()


def value_loss(value: th.Tensor, target: th.Tensor) -> th.Tensor:
    """State value residual of SAC v1: ``J_V = mean_b (V(s_b) - V_soft(s_b))^2 / 2``.   arXiv:1801.01290, Eq. (5)

    No mask: a state that was acted in has a value, whether or not the episode ended after it.

    :param value: (B,), by the value network; gradients reach it alone
    :param target: (B,), :func:`soft_value` of fresh actions under the current critics; taken without its gradient
    :return: ()
    """
    return 0.5 * (value - target.detach()).square().mean()


def reparameterized_actor_loss(value: th.Tensor) -> th.Tensor:
    """Policy loss by reparameterised actions: ``J_pi = mean_b -V(s_b)``.   arXiv:1812.05905v2, Eq. (9)

    The same soft value as in the critic's target, here with the current critics. Gradients reach the actor through
    the actions, their log-probabilities and their weights; the critics must be left out of the differentiation.

    :param value: (B,), soft value of s under the current critics
    :return: ()
    """
    return -value.mean()


def score_function_actor_loss(
    log_pi: th.Tensor, weight: th.Tensor, q: th.Tensor, alpha: th.Tensor, baseline: th.Tensor
) -> th.Tensor:
    """Policy loss whose gradient is the score-function estimate of that of ``mean_b -V(s_b)``.

    ``J_pi = mean_b sum_k w_k log pi(a_k|s) [alpha log pi(a_k|s) - Q(s, a_k) + b(s)]``, the bracket and the weights
    without gradient. arXiv:1801.01290, Eq. (10), differentiated by the likelihood ratio; the term alpha grad log pi has
    mean zero and is left out. The value of this loss means nothing, its gradient does.

    :param log_pi: (B, K), of actions that carry no gradient; gradients reach the actor through it alone
    :param weight: (B, K)
    :param q: (B, K), values of these actions
    :param alpha: () or (1,), the temperature
    :param baseline: (B, K) or (B, 1), in units of value, must not depend on the action that it is subtracted from
    :return: ()
    """
    cost = (alpha * log_pi - q + baseline).detach()
    return (weight.detach() * log_pi * cost).sum(dim=-1).mean()


def leave_one_out_baseline(q: th.Tensor, log_pi: th.Tensor, alpha: th.Tensor) -> th.Tensor:
    """For each of K independent samples, the soft value that the other K - 1 estimate; unbiased, unlike their mean.

    ``b_k = sum_{j != k} (Q_j - alpha log pi_j) / (K - 1)``

    :param q: (B, K), K of at least 2
    :param log_pi: (B, K)
    :param alpha: () or (1,)
    :return: (B, K)
    """
    soft_q = q - alpha * log_pi
    return (soft_q.sum(dim=-1, keepdim=True) - soft_q) / (soft_q.shape[-1] - 1)


def temperature_loss(log_alpha: th.Tensor, policy_entropy: th.Tensor, target_entropy: th.Tensor) -> th.Tensor:
    """Temperature loss: ``J_alpha = log alpha * mean_b (H(s_b) - target)``.   arXiv:1812.05905v2, Eq. (18)

    On log alpha, as in the published code, and not on alpha: the size of the step is then independent of alpha.
    Too little entropy raises alpha. Gradients reach ``log_alpha`` alone.

    :param log_alpha: (1,)
    :param policy_entropy: (B,)
    :param target_entropy: ()
    :return: ()
    """
    return (log_alpha * (policy_entropy - target_entropy).detach()).mean()
