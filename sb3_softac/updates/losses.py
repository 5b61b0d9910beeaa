"""Equations of SoftAC: each is written once, as a pure function of tensors.

Shapes: N critics, B batch, K support size. The value of a state is a sum over the support of the policy
(:class:`~sb3_softac.networks.distributions.PolicySupport`): K samples of a Gaussian, or all actions of a categorical.
Scalars of a batch are always (B,), so that nothing broadcasts to (B, B) by accident. Wrong shapes raise a
``ValueError``.
"""

import torch as th

from sb3_softac.updates.shapes import check_dimensions, check_same_shape


def min_q(q_NBK: th.Tensor) -> th.Tensor:
    """Minimum over the critics, for each action.   arXiv:1812.05905v2, section 5

    :param q_NBK: (N, B, K)
    :return: (B, K)
    """
    check_dimensions(q_NBK=(q_NBK, 3))
    return q_NBK.amin(dim=0)


def mean_q(q_NBK: th.Tensor) -> th.Tensor:
    """Mean over the critics, for each action; less pessimistic, for discrete actions.   arXiv:2209.10081

    :param q_NBK: (N, B, K)
    :return: (B, K)
    """
    check_dimensions(q_NBK=(q_NBK, 3))
    return q_NBK.mean(dim=0)


def random_subset(q_NBK: th.Tensor, n_critics: int) -> th.Tensor:
    """Random subset of M of the N critics, drawn uniformly at each call.   arXiv:2101.05982, algorithm 1

    The draw happens on the device and has a fixed shape, so that a CUDA graph draws again at each replay.

    :param q_NBK: (N, B, K)
    :param n_critics: M, at most N
    :return: (M, B, K)
    """
    check_dimensions(q_NBK=(q_NBK, 3))
    drawn = th.rand(len(q_NBK), device=q_NBK.device).topk(n_critics, sorted=False).indices
    return q_NBK.index_select(0, drawn)


def soft_value(q: th.Tensor, log_pi: th.Tensor, weight: th.Tensor, alpha: th.Tensor | float) -> th.Tensor:
    """Soft state value under the policy: ``V(s) = sum_k w_k (Q(s, a_k) - alpha log pi(a_k|s))``.

    arXiv:1812.05905v2, Eq. (3); arXiv:1910.07207, Eq. (10) for discrete actions; arXiv:1801.01290, Eq. (3).
    Q is reduced over the critics, by :func:`min_q` or :func:`mean_q`, before the expectation. Gradients reach every
    argument.

    :param q: (B, K), values of the support's actions
    :param log_pi: (B, K)
    :param weight: (B, K)
    :param alpha: () or (1,), the temperature
    :return: (B,)
    """
    check_dimensions(q=(q, 2))
    check_same_shape(q=q, log_pi=log_pi, weight=weight)
    return (weight * (q - alpha * log_pi)).sum(dim=-1)


def entropy(log_pi: th.Tensor, weight: th.Tensor) -> th.Tensor:
    """Entropy of the policy at each state: ``H(s) = -sum_k w_k log pi(a_k|s)``.   arXiv:1812.05905v2, section 5

    :param log_pi: (B, K)
    :param weight: (B, K)
    :return: (B,)
    """
    check_dimensions(log_pi=(log_pi, 2))
    check_same_shape(log_pi=log_pi, weight=weight)
    return -(weight * log_pi).sum(dim=-1)


def td_target(reward: th.Tensor, done: th.Tensor, discount: th.Tensor | float, next_value: th.Tensor) -> th.Tensor:
    """Soft Bellman target: ``y = r + gamma (1 - d) V(s')``.   arXiv:1812.05905v2, Eq. (2), (5)

    ``V(s')`` contains the entropy at s', so that the factor (1 - d) removes it, too: a terminal state has no entropy.

    :param reward: (B,); for n-step returns the discounted sum of n rewards
    :param done: d, (B,): 1 where s' is terminal; 0 otherwise, also where a time limit ended the episode
    :param discount: scalar or (B,); gamma to the number of steps from s to s'
    :param next_value: (B,), soft value of s' under the target networks
    :return: (B,)
    """
    check_dimensions(reward=(reward, 1))
    check_same_shape(reward=reward, done=done, next_value=next_value)
    if isinstance(discount, th.Tensor) and discount.dim() > 0:
        check_same_shape(reward=reward, discount=discount)
    return reward + (1.0 - done) * discount * next_value


def critic_loss(q_NB: th.Tensor, target: th.Tensor) -> th.Tensor:
    """Soft Bellman residual: ``J_Q = sum_i mean_b (Q_i - y)^2 / 2``.   arXiv:1812.05905v2, Eq. (5)

    :param q_NB: (N, B), values of the actions taken; gradients reach the critics
    :param target: y, (B,), must carry no gradient
    :return: ()
    """
    check_dimensions(q_NB=(q_NB, 2))
    check_same_shape(target=target, first_critic=q_NB[0])
    return 0.5 * (q_NB - target).square().mean(dim=1).sum()


def clipped_critic_loss(q_NB: th.Tensor, q_target_NB: th.Tensor, target: th.Tensor, clip: float) -> th.Tensor:
    """Clipped soft Bellman residual: a critic gains nothing by moving far away from its target network.

    ``J_Q = sum_i mean_b max((Q_i - y)^2, (Q'_i + clip(Q_i - Q'_i, -c, c) - y)^2) / 2``.   arXiv:2209.10081

    The maximum is taken transition by transition. Gradients reach the critics through ``q_NB``.

    :param q_NB: (N, B), values of the actions taken
    :param q_target_NB: Q', (N, B), values of the actions taken by the target critics, must carry no gradient
    :param target: y, (B,), must carry no gradient
    :param clip: c, above 0
    :return: ()
    """
    check_dimensions(q_NB=(q_NB, 2))
    check_same_shape(q_NB=q_NB, q_target_NB=q_target_NB)
    check_same_shape(target=target, first_critic=q_NB[0])
    near = q_target_NB + (q_NB - q_target_NB).clamp(-clip, clip)
    return 0.5 * th.maximum((q_NB - target).square(), (near - target).square()).mean(dim=1).sum()


def value_loss(value: th.Tensor, target: th.Tensor) -> th.Tensor:
    """State value residual of SAC v1: ``J_V = mean_b (V(s_b) - V_soft(s_b))^2 / 2``.   arXiv:1801.01290, Eq. (5)

    There is no mask for ended episodes: every state in which the agent acted has a value.

    :param value: (B,), by the value network; gradients reach it alone
    :param target: (B,), :func:`soft_value` of fresh actions under the current critics; detached here
    :return: ()
    """
    check_dimensions(value=(value, 1))
    check_same_shape(value=value, target=target)
    return 0.5 * (value - target.detach()).square().mean()


def reparameterized_actor_loss(value: th.Tensor) -> th.Tensor:
    """Policy loss by reparameterised actions: ``J_pi = mean_b -V(s_b)``.   arXiv:1812.05905v2, Eq. (9)

    V is the :func:`soft_value` of s under the current critics. Gradients reach the actor through the actions, their
    log-probabilities and their weights. The critics must be left out of the differentiation.

    :param value: (B,), soft value of s under the current critics
    :return: ()
    """
    check_dimensions(value=(value, 1))
    return -value.mean()


def score_function_actor_loss(
    log_pi: th.Tensor, weight: th.Tensor, q: th.Tensor, alpha: th.Tensor, baseline: th.Tensor
) -> th.Tensor:
    """Policy loss whose gradient is the score-function estimate of the gradient of ``mean_b -V(s_b)``.

    ``J_pi = mean_b sum_k w_k log pi(a_k|s) [alpha log pi(a_k|s) - Q(s, a_k) + b(s)]``. The bracket and the weights have
    no gradient. This is arXiv:1801.01290, Eq. (10), differentiated by the likelihood ratio. The term alpha grad log pi
    has mean zero and is left out. Only the gradient of this loss has a meaning, its value has none.

    :param log_pi: (B, K), at actions without gradient; gradients reach the actor through it alone
    :param weight: (B, K)
    :param q: (B, K), values of these actions
    :param alpha: () or (1,), the temperature
    :param baseline: b, (B, K) or (B, 1), in units of value; must not depend on the action it belongs to
    :return: ()
    """
    check_dimensions(log_pi=(log_pi, 2), baseline=(baseline, 2))
    check_same_shape(log_pi=log_pi, weight=weight, q=q)
    check_same_shape(log_pi=log_pi, baseline=baseline.expand(-1, log_pi.shape[1]))
    cost = (alpha * log_pi - q + baseline).detach()
    return (weight.detach() * log_pi * cost).sum(dim=-1).mean()


def leave_one_out_baseline(q: th.Tensor, log_pi: th.Tensor, alpha: th.Tensor) -> th.Tensor:
    """Leave-one-out baseline of each sample: the soft value that the other K - 1 samples estimate.

    ``b_k = sum_{j != k} (Q_j - alpha log pi_j) / (K - 1)``. The gradient stays unbiased; the mean of all K samples
    would bias it.

    :param q: (B, K), K of at least 2
    :param log_pi: (B, K)
    :param alpha: () or (1,)
    :return: (B, K)
    """
    check_dimensions(q=(q, 2))
    check_same_shape(q=q, log_pi=log_pi)
    soft_q = q - alpha * log_pi
    return (soft_q.sum(dim=-1, keepdim=True) - soft_q) / (soft_q.shape[-1] - 1)


def temperature_gradient(policy_entropy: th.Tensor, target_entropy: th.Tensor) -> th.Tensor:
    """Gradient of the temperature loss by log alpha: ``mean_b (H(s_b) - target)``.   arXiv:1812.05905v2, Eq. (18)

    The loss is ``J = log alpha * mean_b (H(s_b) - target)``. As in the published code, it is linear in log alpha and
    not in alpha, so that the size of a step does not depend on alpha. Too little entropy raises alpha.

    :param policy_entropy: (B,)
    :param target_entropy: (), or (B,) where it depends on the state
    :return: (), without gradient
    """
    check_dimensions(policy_entropy=(policy_entropy, 1))
    if target_entropy.dim() > 0:
        check_same_shape(policy_entropy=policy_entropy, target_entropy=target_entropy)
    return (policy_entropy - target_entropy).detach().mean()


def masked_target_entropy(offset: th.Tensor, factor: th.Tensor, max_entropy: th.Tensor) -> th.Tensor:
    """Target entropy with action masks: ``offset + factor log|A(s)|``, where A(s) is the set of allowed actions.

    An offset of 0 and a factor of 0.98 give the target of arXiv:1910.07207, section 4, for the allowed actions.

    :param offset: ()
    :param factor: ()
    :param max_entropy: (B,), log|A(s)|
    :return: (B,)
    """
    check_dimensions(max_entropy=(max_entropy, 1))
    return offset + factor * max_entropy
