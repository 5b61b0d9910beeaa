"""Equations of Stein variational gradient descent, by which the sampling network of soft Q-learning learns.

arXiv:1702.08165, section 3.3; arXiv:1608.04471. Shapes: B batch, K particles, D dimension of a particle.
"""

import math

import torch as th

from sb3_softac.updates.shapes import check_dimensions, check_same_shape

# Particles that are all alike have a distance of 0, by which the kernel cannot be divided.
MIN_BANDWIDTH = 1e-6


def median_bandwidth(particles: th.Tensor) -> th.Tensor:
    """Bandwidth of the kernel in each state.   arXiv:1608.04471, section 5

    ``h = median_ij |u_i - u_j|^2 / log(K + 1)``. With it, the kernel's sum over the particles near one is about 1.

    :param particles: u, (B, K, D)
    :return: (B, 1, 1)
    """
    check_dimensions(particles=(particles, 3))
    distances = (particles.unsqueeze(2) - particles.unsqueeze(1)).square().sum(dim=-1)
    median = distances.flatten(1).median(dim=-1).values / math.log(particles.shape[1] + 1)
    return median.clamp(min=MIN_BANDWIDTH).view(-1, 1, 1)


def stein_direction(
    particles: th.Tensor, score: th.Tensor, alpha: th.Tensor | float, bandwidth: th.Tensor
) -> th.Tensor:
    """Direction in which each particle moves towards a density ``p = exp(f / alpha) / Z``.   arXiv:1702.08165, Eq. (13)

    ``phi_j = mean_i [k(u_i, u_j) grad f(u_i) + alpha grad_(u_i) k(u_i, u_j)]`` with the kernel
    ``k(u, v) = exp(-|u - v|^2 / h)``: the first term brings particles to where f is large, the second one keeps them
    apart. The mean is over the other particles, i != j: an unbiased estimate of the expectation in Eq. (13). With its
    own term, a particle would be drawn to the mode, and the density become too narrow.

    :param particles: u, (B, K, D), without gradient
    :param score: gradient of f at each particle, (B, K, D)
    :param alpha: () or (1,), the temperature
    :param bandwidth: h, (B, 1, 1), of :func:`median_bandwidth`
    :return: (B, K, D)
    """
    check_dimensions(particles=(particles, 3), bandwidth=(bandwidth, 3))
    check_same_shape(particles=particles, score=score)
    difference = particles.unsqueeze(2) - particles.unsqueeze(1)
    kernel = (-difference.square().sum(dim=-1) / bandwidth).exp()
    # grad_(u_i) k(u_i, u_j) = 2 (u_j - u_i) k(u_i, u_j) / h, summed over i.
    apart = 2.0 / bandwidth * (kernel.unsqueeze(-1) * difference).sum(dim=2)
    return (kernel @ score - score + alpha * apart) / (particles.shape[1] - 1)  # k(u_j, u_j) is 1


def stein_loss(particles: th.Tensor, direction: th.Tensor) -> th.Tensor:
    """Loss whose gradient moves the particles of a network along a direction.   arXiv:1702.08165, Eq. (14)

    ``J = -mean_b mean_k <phi_k, u_k>``. Only its gradient has a meaning, its value has none.

    :param particles: u, (B, K, D); gradients reach the network through them
    :param direction: phi, (B, K, D), of :func:`stein_direction`; detached here
    :return: ()
    """
    check_dimensions(particles=(particles, 3))
    check_same_shape(particles=particles, direction=direction)
    return -(direction.detach() * particles).sum(dim=-1).mean()
