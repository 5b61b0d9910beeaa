"""Every equation of SoftAC, each once, as a pure function of tensors.

Shapes: N critics, B batch, K support size. A state's value is a sum over the support of the policy
(:class:`~sb3_softac.networks.distributions.PolicySupport`): K samples of a Gaussian, or all actions of a categorical.
Scalars of a batch are always (B,), so that nothing broadcasts to (B, B) by accident.
"""

import torch as th


def soft_value(q_NBK: th.Tensor, log_pi: th.Tensor, weight: th.Tensor, alpha: th.Tensor) -> th.Tensor:
    """Soft state value under the policy, with the smallest of the critics.

    ``V(s) = sum_k w_k (min_i Q_i(s, a_k) - alpha log pi(a_k|s))``

    arXiv:1812.05905v2, Eq. (3), with the minimum of section 5; arXiv:1910.07207, Eq. (10) for discrete actions.
    The minimum is taken action by action, before the expectation. Gradients reach all arguments.

    :param q_NBK: (N, B, K), critics' values of the support's actions
    :param log_pi: (B, K)
    :param weight: (B, K)
    :param alpha: () or (1,), the temperature
    :return: (B,)
    """
    min_q = q_NBK.min(dim=0).values
    return (weight * (min_q - alpha * log_pi)).sum(dim=-1)


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


def reparameterized_actor_loss(value: th.Tensor) -> th.Tensor:
    """Policy loss by reparameterised actions: ``J_pi = mean_b -V(s_b)``.   arXiv:1812.05905v2, Eq. (9)

    The same soft value as in the critic's target, here with the current critics. Gradients reach the actor through
    the actions, their log-probabilities and their weights; the critics must be left out of the differentiation.

    :param value: (B,), soft value of s under the current critics
    :return: ()
    """
    return -value.mean()


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
