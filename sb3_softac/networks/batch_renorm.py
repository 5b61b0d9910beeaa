"""Batch renormalisation: batch normalisation that computes the same while training and while evaluating.

Shapes: B rows, F features.
"""

from collections.abc import Callable
from types import TracebackType

import torch as th
from torch import nn

EPSILON = 1e-3
# The limits of the correction, and the passes over which they are relaxed, after those without one: those of the
# experiments of arXiv:1702.03275. sb3-contrib's CrossQ takes 100 000 passes without one, and then these limits at once.
R_MAX, D_MAX = 3.0, 5.0
R_PASSES, D_PASSES = 35_000, 20_000
WARMUP_STEPS = 5_000
#: Makes a layer for a number of features
MakeNorm = Callable[[int], nn.Module]


class BatchRenorm(nn.Module):
    """Batch renormalisation of each feature.   arXiv:1702.03275, algorithm 1

    While training ``y = w (r (x - m) / s + d) + b`` with the batch's mean m and deviation s, and the correction
    ``r = s / s'``, ``d = (m - m') / s'`` towards the running mean m' and deviation s', without gradient and within
    limits: [1 / r_max, r_max] and [-d_max, d_max]. The limits are r_max = 1, d_max = 0, which is batch normalisation,
    for the first ``warmup_steps`` passes, and grow linearly to ``R_MAX`` over the next ``R_PASSES`` and to ``D_MAX``
    over the next ``D_PASSES``. While evaluating ``y = w (x - m') / s' + b``.

    The names of parameters and buffers are those of ``nn.BatchNorm1d``. Everything is updated in place, on the device.

    :param n_features: F
    :param momentum: in (0, 1]; how far the running statistics move towards those of a batch
    :param warmup_steps: passes without a correction
    """

    running_mean: th.Tensor
    running_var: th.Tensor
    num_batches_tracked: th.Tensor

    def __init__(self, n_features: int, momentum: float = 0.01, warmup_steps: int = WARMUP_STEPS) -> None:
        super().__init__()
        self.n_features = n_features
        self.momentum = momentum
        self.warmup_steps = warmup_steps
        self.weight = nn.Parameter(th.ones(n_features))
        self.bias = nn.Parameter(th.zeros(n_features))
        self.register_buffer("running_mean", th.zeros(n_features))
        self.register_buffer("running_var", th.ones(n_features))
        self.register_buffer("num_batches_tracked", th.zeros((), dtype=th.long))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Normalised features (B, F) of features (B, F); while training, B of at least 2."""
        if not self.training:
            statistics = self.running_mean, self.running_var
            return nn.functional.batch_norm(x, *statistics, self.weight, self.bias, training=False, eps=EPSILON)
        mean, variance, _ = moments(x.detach())
        r, d = self.correction(mean, variance)
        # The correction is one of the scale and the shift: the gradient is that of batch normalisation.
        weight, bias = self.weight * r, self.bias + self.weight * d
        return nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=EPSILON)

    @th.no_grad()
    def correction(self, mean: th.Tensor, variance: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Scale r and shift d, both (F,), by the statistics so far; then learns those of this batch.

        :param mean: m, (F,)
        :param variance: s^2, (F,)
        """
        r_max, d_max = self.limits()
        running_std = (self.running_var + EPSILON).sqrt()
        r = ((variance + EPSILON).sqrt() / running_std).clamp(r_max.reciprocal(), r_max)
        d = ((mean - self.running_mean) / running_std).clamp(-d_max, d_max)
        # Not the unbiased variance, which a batch is not normalised by: both modes are to compute the same.
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)
        return r, d

    def limits(self) -> tuple[th.Tensor, th.Tensor]:
        """r_max and d_max of the next pass, each () and on the device."""
        passes = self.num_batches_tracked.to(self.running_mean.dtype) - self.warmup_steps
        r_max = passes * ((R_MAX - 1.0) / R_PASSES) + 1.0
        d_max = passes * (D_MAX / D_PASSES)
        return r_max.clamp(1.0, R_MAX), d_max.clamp(0.0, D_MAX)

    def extra_repr(self) -> str:
        return f"{self.n_features}, momentum={self.momentum}, warmup_steps={self.warmup_steps}"


def moments(x: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Mean and variance of each feature, both (F,), and the features around their mean (B, F).

    :param x: (B, F)
    """
    # Not by `var_mean()`, which takes ten times as long over the first dimension.
    mean = x.mean(dim=0)
    centred = x - mean
    return mean, centred.square().mean(dim=0), centred


def layers_of(network: nn.Module) -> list[BatchRenorm]:
    """The layers of batch renormalisation in a network.

    :param network: with any number of them
    """
    return [module for module in network.modules() if isinstance(module, BatchRenorm)]


class BatchStatistics:
    """``with`` it, a network normalises by the statistics of its batch and learns from them; else by what it learnt.

    Which passes these are is part of the algorithm, and not a mode of the whole training: the critics learn their
    statistics from what they are trained on, but the actor's loss sees them as they are when they act.
    arXiv:1902.05605

    :param network: with or without layers of batch renormalisation
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = layers_of(network)

    def __enter__(self) -> None:
        for layer in self.layers:
            layer.training = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for layer in self.layers:
            layer.training = False
