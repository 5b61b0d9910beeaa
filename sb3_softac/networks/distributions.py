"""Action distributions as pure functions of tensors, and the state-dependent noise of gSDE.

Shapes: B batch, K support size, D action dimension.
"""

import math
from typing import Any, NamedTuple

import torch as th
from torch import nn
from torch.nn.functional import softplus

# Bounds of the log standard deviation: those of the published implementation and of Stable-Baselines3.
LOG_STD_MIN = -20.0
LOG_STD_MAX = 2.0
aten = th.ops.aten
LOG_2 = math.log(2.0)
LOG_SQRT_2_PI = 0.5 * math.log(2.0 * math.pi)
# Keeps the square root of the gSDE variance differentiable at zero; the value of Stable-Baselines3.
SDE_VARIANCE_FLOOR = 1e-6
# Stands for minus infinity in the logits of masked actions; exp() of it is 0 in single precision.
MASKED_LOGIT = -1e8


class PolicySupport(NamedTuple):
    """Support of an expectation under the policy pi(.|s): K actions with their weights.

    ``E_pi[f(s, a)] = sum_k weight_k f(s, a_k)``, exactly or as an unbiased estimate.
    """

    actions: th.Tensor | None  #: (B, K, D) in [-1, 1] for Box, (B, K, F) ids for F discrete factors; None for all
    log_pi: th.Tensor  #: (B, K), log density or probability of each action
    weight: th.Tensor  #: (B, K), sums to one over K


def equally_weighted(actions: th.Tensor, log_pi: th.Tensor) -> PolicySupport:
    """Policy support of independent samples: each has the weight 1 / K.

    :param actions: (B, K, ...)
    :param log_pi: (B, K)
    """
    return PolicySupport(actions, log_pi, th.full_like(log_pi, 1.0 / log_pi.shape[1]))


def boltzmann_support(
    actions: th.Tensor | None,
    q: th.Tensor,
    alpha: th.Tensor,
    log_volume: th.Tensor | float = 0.0,
    allowed: th.Tensor | None = None,
) -> PolicySupport:
    """Policy support of the Boltzmann distribution of values.   arXiv:1702.08165, Eq. (6)

    ``pi(a|s) = exp((Q(s, a) - V(s)) / alpha)``
    The weights are ``w_k = v_k exp(Q_k / alpha) / sum_j v_j exp(Q_j / alpha)``, and ``log pi_k = log(w_k / v_k)``. So
    the soft value of this support is ``V = alpha log sum_k v_k exp(Q_k / alpha)``. For all actions of a discrete space,
    v is 1, and V is exact: Eq. (5). For K samples of a density p, ``v_k = 1 / (K p(a_k|s))``, and V is the estimate by
    importance sampling: Eq. (10).

    :param actions: (B, K, D), or None for all actions
    :param q: (B, K), values of the actions
    :param alpha: () or (1,), the temperature, above 0
    :param log_volume: log v, (B, K) or one number
    :param allowed: (B, K), True where an action is allowed; None: all actions are
    :return: a support of size K
    """
    log_weight = masked_log_softmax(q / alpha + log_volume, allowed)
    return PolicySupport(actions, log_weight - log_volume, log_weight.exp())


def tanh_log_det(pre_tanh: th.Tensor) -> th.Tensor:
    """Log-determinant of the Jacobian of a = tanh(u).

    ``sum_d log(1 - tanh(u_d)^2) = sum_d 2 (log 2 - u_d - softplus(-2 u_d))``.   arXiv:1801.01290, appendix C, Eq. (21)

    The right-hand form neither overflows nor loses its gradient for large abs(u). The usual form,
    ``log(1 - a^2 + 1e-6)``, no longer pulls a saturated mean back from abs(u) = 7 on.

    :param pre_tanh: u, (..., D)
    :return: (...)
    """
    return 2.0 * (LOG_2 - pre_tanh - softplus(-2.0 * pre_tanh)).sum(dim=-1)


def standardized_gaussian_log_prob(noise: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """Log-density of u = mean + std * noise under N(mean, std^2), computed from the noise.

    ``sum_d -noise_d^2 / 2 - log std_d - log sqrt(2 pi)``

    :param noise: (u - mean) / std, (..., D)
    :param log_std: (..., D), broadcast against ``noise``
    :return: (...)
    """
    return (-0.5 * noise.square() - log_std - LOG_SQRT_2_PI).sum(dim=-1)


def masked_log_softmax(logits: th.Tensor, mask: th.Tensor | None) -> th.Tensor:
    """Log-probabilities of a categorical distribution in which masked actions have probability zero.

    A large negative number stands for minus infinity, so that ``p log p`` of a masked action is 0 and not NaN.

    :param logits: (..., A)
    :param mask: (..., A), True (or 1) where an action is allowed; None: all actions are
    :return: (..., A)
    """
    if mask is not None:
        logits = logits.masked_fill(~mask.bool(), MASKED_LOGIT)
    return logits.log_softmax(dim=-1)


def mixture_log_prob(log_weight: th.Tensor, component_log_prob: th.Tensor) -> th.Tensor:
    """Log-density of a mixture at a point: ``logsumexp_c(log w_c + log p_c(a))``.

    :param log_weight: (..., C), normalised
    :param component_log_prob: (..., C), log-density of the point under each component
    :return: (...)
    """
    return th.logsumexp(log_weight + component_log_prob, dim=-1)


def squashed_gaussian_log_prob(noise: th.Tensor, log_std: th.Tensor, pre_tanh: th.Tensor) -> th.Tensor:
    """Log-density of a = tanh(u), u = mean + std * noise.   arXiv:1801.01290, appendix C, Eq. (21)

    :param noise: (..., D)
    :param log_std: (..., D), broadcast against ``noise``
    :param pre_tanh: u, (..., D)
    :return: (...)
    """
    return standardized_gaussian_log_prob(noise, log_std) - tanh_log_det(pre_tanh)


def squashed_sample(mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """Sample of a squashed Gaussian: ``tanh(mean + exp(log_std) noise)`` with standard normal noise.

    :param mean: of any shape
    :param log_std: of that shape
    :return: of that shape, in [-1, 1]
    """
    return (mean + log_std.exp() * th.randn_like(mean)).tanh()


class LogStdRange(NamedTuple):
    """Range of a log standard deviation, and how an output of a network is brought into it."""

    low: float = LOG_STD_MIN  #: smallest log standard deviation
    high: float = LOG_STD_MAX  #: largest log standard deviation
    is_squashed: bool = False  #: by tanh, which has a gradient everywhere; False: by clipping

    def __call__(self, raw: th.Tensor) -> th.Tensor:
        """Log standard deviation of an output of a network.

        ``clip(x, low, high)``, arXiv:1812.05905v2, or ``low + (high - low) (1 + tanh x) / 2``, arXiv:2604.04539

        :param raw: of any shape
        :return: of that shape
        """
        if self.is_squashed:
            return self.low + 0.5 * (self.high - self.low) * (1.0 + raw.tanh())
        return raw.clamp(self.low, self.high)


#: as in the published implementation, and in Stable-Baselines3
DEFAULT_RANGE = LogStdRange()


class SquashedGaussianSample(th.autograd.Function):
    """Autograd node of reparameterised samples ``a = tanh(u)``, ``u = mean + std * noise``, and their log pi.

    Its gradient is written out: ``d a / d u = 1 - a^2``. The log-determinant has the gradient ``-2 a``, so that
    ``d log pi / d u = 2 a`` and ``d log pi / d log std = -1 + 2 a std noise``.
    """

    @staticmethod
    def forward(
        ctx: Any, trained: th.Tensor, other: th.Tensor, noise: th.Tensor, log_std_bounds: tuple[float, float]
    ) -> tuple[th.Tensor, ...]:
        """Samples and their log-probabilities, for B states with gradient and for B' states without.

        :param trained: (B, 2 D), mean and log standard deviation before the clamp
        :param other: (B', 2 D), mean and log standard deviation of the states without gradient
        :param noise: (B + B', K, D), standard normal
        :param log_std_bounds: smallest and largest log standard deviation
        :return: actions (B, K, D) in [-1, 1], log pi (B, K); actions (B', K, D), log pi (B', K)
        """
        n_trained = len(trained)
        mean, log_std = (th.cat([trained, other]) if len(other) else trained).unsqueeze(1).chunk(2, dim=-1)
        clamped = log_std.clamp(*log_std_bounds)
        deviation = clamped.exp() * noise
        pre_tanh = mean + deviation
        action, log_pi = pre_tanh.tanh(), squashed_gaussian_log_prob(noise, clamped, pre_tanh)
        inside = log_std[:n_trained] == clamped[:n_trained]
        ctx.save_for_backward(action[:n_trained], deviation[:n_trained], inside)
        outputs = (action[:n_trained], log_pi[:n_trained], action[n_trained:], log_pi[n_trained:])
        ctx.mark_non_differentiable(*outputs[2:])
        return outputs

    @staticmethod
    def backward(ctx: Any, grad_action: th.Tensor, grad_log_pi: th.Tensor, *_: Any) -> Any:
        """Gradient of ``trained``, (B, 2 D)."""
        action, deviation, inside = ctx.saved_tensors
        grad_log_pi = grad_log_pi.unsqueeze(-1)
        grad_pre_tanh = aten.tanh_backward(grad_action, action).addcmul_(grad_log_pi, action, value=2.0)
        grad_log_std = (grad_pre_tanh * deviation - grad_log_pi) * inside
        return th.cat([grad_pre_tanh.sum(dim=1), grad_log_std.sum(dim=1)], dim=-1), None, None, None


class StateDependentNoise:
    """Exploration noise of gSDE: linear in the latent state, with weights that stay until the next resampling.

    ``noise(s) = latent(s)^T W``, ``W ~ N(0, std^2)``.   arXiv:2005.05719

    Shapes: L units of the latent state. Only standard normal draws are kept. So no autograd graph outlives an update,
    and the model can be copied and pickled at any time. Gradients reach ``log_std`` and the latent state.

    :param use_expln: grow the standard deviation like ``log`` above 1 in place of ``exp``
    """

    def __init__(self, use_expln: bool) -> None:
        self.use_expln = use_expln
        self._draw = th.empty(0)  # (L, D), used for a batch of any size
        self._draws = th.empty(0)  # (n_envs, L, D), one for each environment

    def resample(self, log_std: th.Tensor, batch_size: int) -> None:
        """Draw new exploration weights.

        :param log_std: (L, D), gives shape, dtype and device
        :param batch_size: number of environments that explore side by side
        """
        self._draw = th.randn_like(log_std)
        self._draws = th.randn(batch_size, *log_std.shape, dtype=log_std.dtype, device=log_std.device)

    def draws(self) -> tuple[th.Tensor, th.Tensor]:
        """Standard normal draws behind the present weights: (L, D), and (n_envs, L, D)."""
        return self._draw, self._draws

    def set_draws(self, draw: th.Tensor, draws: th.Tensor) -> None:
        """Put back what :meth:`draws` returned.

        :param draw: (L, D)
        :param draws: (n_envs, L, D)
        """
        self._draw, self._draws = draw, draws

    def std(self, log_std: th.Tensor) -> th.Tensor:
        """Standard deviation of the exploration weights.

        :param log_std: (L, D)
        :return: (L, D), positive
        """
        if not self.use_expln:
            return log_std.exp()
        # Without the clamps, the branch that `where` does not take could overflow and bring NaN into the gradient.
        below = log_std.clamp(max=0.0).exp()
        above = log_std.clamp(min=0.0).log1p() + 1.0
        return th.where(log_std <= 0.0, below, above)

    def weights(self, log_std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Current exploration weights.

        :param log_std: (L, D)
        :return: (L, D) for a batch of any size, and (n_envs, L, D) for environments side by side
        """
        std = self.std(log_std)
        return std * self._draw, std * self._draws

    def marginal_log_std(self, latent: th.Tensor, log_std: th.Tensor) -> th.Tensor:
        """Log standard deviation of the noise at a state, over all draws of the weights.

        :param latent: (B, L)
        :param log_std: (L, D)
        :return: (B, D)
        """
        variance = latent.square() @ self.std(log_std).square()
        return 0.5 * (variance + SDE_VARIANCE_FLOOR).log()

    def __call__(self, latent: th.Tensor, log_std: th.Tensor) -> th.Tensor:
        """Noise at a state under the current weights.

        :param latent: (B, L)
        :param log_std: (L, D)
        :return: (B, D)
        """
        if self._draw.device != latent.device:  # drawn before the networks moved to it
            self._draw, self._draws = self._draw.to(latent.device), self._draws.to(latent.device)
        std = self.std(log_std)
        if latent.shape[0] == 1 or latent.shape[0] != self._draws.shape[0]:
            return latent @ (std * self._draw)
        return th.bmm(latent.unsqueeze(1), std * self._draws).squeeze(1)


def hard_clip(mean_net: nn.Module, bound: float) -> nn.Module:
    """Limit the output of a layer to [-bound, bound].

    :param mean_net: the layer
    :param bound: zero or less: no limit, the layer itself is returned
    """
    return nn.Sequential(mean_net, nn.Hardtanh(-bound, bound)) if bound > 0.0 else mean_net
