"""Batch renormalisation: batch normalisation that computes the same in training and in evaluation mode.

Shapes: B rows, F features.
"""

import math
from collections.abc import Callable
from types import TracebackType

import torch as th
from torch import nn

EPSILON = 1e-3
# Final limits of the correction, and the number of passes over which they are relaxed after the warm-up: the values in
# the experiments of arXiv:1702.03275. sb3-contrib's CrossQ has 100 000 passes of warm-up, then these limits at once.
R_MAX, D_MAX = 3.0, 5.0
R_PASSES, D_PASSES = 35_000, 20_000
WARMUP_STEPS = 5_000
#: from a number of features to a normalisation layer
MakeNorm = Callable[[int], nn.Module]


class BatchRenorm(nn.Module):
    """Batch renormalisation of each feature.   arXiv:1702.03275, algorithm 1

    Training mode: ``y = w (r (x - m) / s + d) + b`` with the mean m and the standard deviation s of the batch. The
    correction ``r = s / s'``, ``d = (m - m') / s'`` leads to the running mean m' and standard deviation s'. It has no
    gradient, and is clipped to [1 / r_max, r_max] and [-d_max, d_max].

    Limits: r_max = 1 and d_max = 0, which is batch normalisation, in the first ``warmup_steps`` passes. Then r_max
    grows linearly to ``R_MAX`` over ``R_PASSES`` passes, and d_max to ``D_MAX`` over ``D_PASSES`` passes.

    Evaluation mode: ``y = w (x - m') / s' + b``.

    The names of parameters and buffers are those of ``nn.BatchNorm1d``. Buffers are updated in place, on the device.

    :param n_features: F
    :param momentum: in (0, 1]; how far the running statistics move towards those of a batch
    :param warmup_steps: number of passes without a correction; None: all of them
    """

    __constants__ = ("momentum", "warmup_steps")

    running_mean: th.Tensor
    running_var: th.Tensor
    num_batches_tracked: th.Tensor

    def __init__(self, n_features: int, momentum: float = 0.01, warmup_steps: int | None = WARMUP_STEPS) -> None:
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
        """Normalise the features.

        :param x: (B, F); B of at least 2 in training mode
        :return: (B, F)
        """
        if not self.training:
            statistics = self.running_mean, self.running_var
            return nn.functional.batch_norm(x, *statistics, self.weight, self.bias, training=False, eps=EPSILON)
        mean, variance, _ = moments(x.detach())
        weight: th.Tensor = self.weight
        bias: th.Tensor = self.bias
        correction = self.correction(mean, variance)
        self.track(mean, variance)
        if correction is not None:
            # It only changes scale and shift, so that the gradient is that of batch normalisation.
            r, d = correction
            weight, bias = weight * r, bias + weight * d
        return nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=EPSILON)

    @th.no_grad()
    def correction(self, mean: th.Tensor, variance: th.Tensor) -> tuple[th.Tensor, th.Tensor] | None:
        """Compute the correction of a batch from the running statistics, before these move.

        :param mean: m, (F,)
        :param variance: s^2, (F,)
        :return: scale r and shift d, both (F,); None where there never is a correction
        """
        if self.warmup_steps is None:
            return None
        r_max, d_max = self.limits()
        running_std = (self.running_var + EPSILON).sqrt()
        r = ((variance + EPSILON).sqrt() / running_std).clamp(r_max.reciprocal(), r_max)
        d = ((mean - self.running_mean) / running_std).clamp(-d_max, d_max)
        return r, d

    @th.no_grad()
    def track(self, mean: th.Tensor, variance: th.Tensor) -> None:
        """Move the running statistics towards those of a batch.

        :param mean: m, (F,)
        :param variance: s^2, (F,); the biased one, which also normalises a batch, so that both modes compute the same
        """
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)

    def limits(self) -> tuple[th.Tensor, th.Tensor]:
        """Limits r_max and d_max of the next pass, each () and on the device."""
        warmup_steps = math.inf if self.warmup_steps is None else self.warmup_steps
        passes = self.num_batches_tracked.to(self.running_mean.dtype) - warmup_steps
        r_max = passes * ((R_MAX - 1.0) / R_PASSES) + 1.0
        d_max = passes * (D_MAX / D_PASSES)
        return r_max.clamp(1.0, R_MAX), d_max.clamp(0.0, D_MAX)

    def extra_repr(self) -> str:
        return f"{self.n_features}, momentum={self.momentum}, warmup_steps={self.warmup_steps}"


def moments(x: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Mean, biased variance, and centred features of a batch.

    :param x: (B, F)
    :return: mean (F,), variance (F,), ``x - mean`` (B, F)
    """
    # Not by `var_mean()`, which takes ten times as long over the first dimension.
    mean = x.mean(dim=0)
    centred = x - mean
    return mean, centred.square().mean(dim=0), centred


def layers_of(network: nn.Module) -> list[BatchRenorm]:
    """List the layers of batch renormalisation in a network.

    :param network: any module
    """
    return [module for module in network.modules() if isinstance(module, BatchRenorm)]


class BatchStatistics:
    """Context manager that switches the batch renormalisation layers of a network to training mode.

    Inside, they normalise by the statistics of the batch and update the running statistics. Outside, they normalise by
    the running statistics. The algorithm decides this pass by pass: a network uses batch statistics in the pass of its
    own loss only, and the actor's loss sees critics with running statistics.   arXiv:1902.05605

    :param network: a network with or without layers of batch renormalisation; None: there is no network
    """

    def __init__(self, network: nn.Module | None) -> None:
        self.layers = [] if network is None else layers_of(network)

    def __enter__(self) -> None:
        for layer in self.layers:
            layer.training = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for layer in self.layers:
            layer.training = False
