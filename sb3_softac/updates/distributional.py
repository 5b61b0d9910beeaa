"""Equations of critics that learn the distribution of the return: each is written once, as a pure function of tensors.

Shapes: N critics, B batch, K support size, M outputs of a critic, J values of a distribution. A distribution is a set
of values with weights that sum to one.
"""

import torch as th

from sb3_softac.updates.shapes import check_dimensions, check_same_shape


def soft_atoms(atoms: th.Tensor, log_pi: th.Tensor, alpha: th.Tensor | float) -> th.Tensor:
    """Values of a return with the entropy of the next action: ``z - alpha log pi(a_k|s)``.   arXiv:2005.04269, Eq. (9)

    :param atoms: z, (B, K, J)
    :param log_pi: (B, K)
    :param alpha: () or (1,), the temperature
    :return: (B, K, J)
    """
    check_dimensions(atoms=(atoms, 3))
    check_same_shape(log_pi=log_pi, first_atom=atoms[..., 0])
    return atoms - (alpha * log_pi).unsqueeze(-1)


def td_atoms(reward: th.Tensor, done: th.Tensor, discount: th.Tensor | float, next_atoms: th.Tensor) -> th.Tensor:
    """Distributional Bellman target: ``y_j = r + gamma (1 - d) z_j``.   arXiv:1707.06887, Eq. (7)

    :param reward: (B,); for n-step returns the discounted sum of n rewards
    :param done: d, (B,): 1 where s' is terminal; 0 otherwise, also where a time limit ended the episode
    :param discount: scalar or (B,); gamma to the number of steps from s to s'
    :param next_atoms: z, (B, J), values of the return from s'
    :return: (B, J)
    """
    check_dimensions(reward=(reward, 1), next_atoms=(next_atoms, 2))
    check_same_shape(reward=reward, done=done, first_atom=next_atoms[:, 0])
    factor = (1.0 - done) * discount
    return reward.unsqueeze(-1) + factor.unsqueeze(-1) * next_atoms


def projection(values: th.Tensor, weight: th.Tensor, atoms: th.Tensor) -> th.Tensor:
    """Projection of a distribution on evenly spaced atoms, which keeps its mean.   arXiv:1707.06887, Eq. (7)

    A value between two atoms gives each of them a part of its weight, the nearer one the larger part. Values outside of
    the atoms are clipped to the first or the last one.

    :param values: (B, J)
    :param weight: (B, J), weights of the values
    :param atoms: (M,), rising and evenly spaced
    :return: (B, M), probabilities of the atoms
    """
    check_dimensions(values=(values, 2), atoms=(atoms, 1))
    check_same_shape(values=values, weight=weight)
    last = len(atoms) - 1
    position = ((values - atoms[0]) * (last / (atoms[-1] - atoms[0]))).clamp(0.0, last)
    lower = position.floor().clamp(max=last - 1)
    upper_part = position - lower
    index = lower.long()
    empty = th.zeros_like(values[:, :1] * atoms)
    return empty.scatter_add(1, index, weight * (1.0 - upper_part)).scatter_add(1, index + 1, weight * upper_part)


def gaussian_histogram(value: th.Tensor, atoms: th.Tensor, deviation: float) -> th.Tensor:
    """Histogram of a Gaussian around a value, over bins with the atoms in the middle.   arXiv:2403.03950, Eq. (3)

    :param value: (B,); clipped to the atoms
    :param atoms: (M,), rising and evenly spaced
    :param deviation: standard deviation of the Gaussian, in widths of a bin
    :return: (B, M), probabilities of the bins
    """
    check_dimensions(value=(value, 1), atoms=(atoms, 1))
    width = (atoms[-1] - atoms[0]) / (len(atoms) - 1)
    edges = th.cat([atoms - 0.5 * width, atoms[-1:] + 0.5 * width])
    centre = value.unsqueeze(-1).clamp(atoms[0], atoms[-1])
    below = th.special.ndtr((edges - centre) / (deviation * width))
    return below.diff(dim=-1) / (below[:, -1:] - below[:, :1])


def cross_entropy(logits_NBM: th.Tensor, target: th.Tensor) -> th.Tensor:
    """Cross-entropy of the critics' distributions: ``sum_i mean_b -sum_m p_m log q_i,m``.   arXiv:1707.06887, Eq. (8)

    :param logits_NBM: (N, B, M), gradients reach the critics
    :param target: p, (B, M), must carry no gradient
    :return: ()
    """
    check_dimensions(logits_NBM=(logits_NBM, 3))
    check_same_shape(target=target, first_critic=logits_NBM[0])
    return -(target * logits_NBM.log_softmax(dim=-1)).sum(dim=-1).mean(dim=1).sum()


def lowest_quantiles(quantiles_NBKM: th.Tensor, n_dropped: int) -> th.Tensor:
    """Quantiles of all critics together, without the largest of them.   arXiv:2005.04269, Eq. (11)

    :param quantiles_NBKM: (N, B, K, M)
    :param n_dropped: largest quantiles to drop, for each critic; fewer than M
    :return: (B, K, N (M - n_dropped)), from the smallest on
    """
    check_dimensions(quantiles_NBKM=(quantiles_NBKM, 4))
    n_critics, *_, n_quantiles = quantiles_NBKM.shape
    together = quantiles_NBKM.movedim(0, 2).flatten(2)
    return together.sort(dim=-1).values[..., : n_critics * (n_quantiles - n_dropped)]


def quantile_huber_loss(quantiles_NBM: th.Tensor, values: th.Tensor, weight: th.Tensor) -> th.Tensor:
    """Quantile regression with the Huber loss: ``mean_i,b,m sum_j w_j |tau_m - 1(u < 0)| H(u)``, ``u = y_j - theta_m``.

    arXiv:2005.04269, Eq. (12), (13), with ``tau_m = (m - 1/2) / M``. The mean over the quantiles, in the place of the
    paper's sum, is that of sb3-contrib's TQC.

    :param quantiles_NBM: theta, (N, B, M), gradients reach the critics
    :param values: y, (B, J), must carry no gradient
    :param weight: w, (B, J), weights of the values
    :return: ()
    """
    check_dimensions(quantiles_NBM=(quantiles_NBM, 3), values=(values, 2))
    check_same_shape(values=values, weight=weight)
    n_quantiles = quantiles_NBM.shape[-1]
    level = (th.arange(n_quantiles, dtype=values.dtype, device=values.device) + 0.5) / n_quantiles
    error = values.unsqueeze(1) - quantiles_NBM.unsqueeze(-1)  # (N, B, M, J)
    huber = th.nn.functional.huber_loss(error, th.zeros_like(error), reduction="none")
    slope = (level.unsqueeze(-1) - (error.detach() < 0).to(level.dtype)).abs()
    return (weight.unsqueeze(1) * slope * huber).sum(dim=-1).mean()
