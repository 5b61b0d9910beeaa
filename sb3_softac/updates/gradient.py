"""One optimizer step on one network."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch as th

# Optimizers whose whole step is one call to PyTorch's kernels, if they are told so.
FUSABLE_OPTIMIZERS = (th.optim.Adam, th.optim.AdamW)


class GradientStep:
    """Minimise a loss over the parameters of one optimizer, and of no other.

    The loss may run through other networks (the actor's runs through the critics): they are left out of the
    differentiation, so their gradients are neither computed nor touched.

    :param optimizer: holds the parameters
    :param max_grad_norm: clip the gradient to this norm; None for no clipping
    """

    def __init__(self, optimizer: th.optim.Optimizer, max_grad_norm: float | None = None) -> None:
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm

    def __call__(self, loss: th.Tensor) -> None:
        """Differentiate, clip, step.

        :param loss: ()
        """
        groups = self._optimizer.param_groups
        # Asked anew each time: a user may freeze a layer at any moment.
        parameters = [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        if self._max_grad_norm is not None:
            th.nn.utils.clip_grad_norm_(parameters, self._max_grad_norm)
        self._optimizer.step()


@contextmanager
def frozen(parameters: Iterable[th.Tensor]) -> Iterator[None]:
    """Record nothing that a gradient of these parameters would need, while gradients run through their network.

    :param parameters: those that a user froze stay frozen
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def fuse_optimizer(optimizer: th.optim.Optimizer, fused: bool, capturable: bool = False) -> None:
    """Let an Adam step be one call for all parameters; other optimizers stay as they are.

    Called whenever an engine is made, as loading a checkpoint brings the settings of the run that wrote it.

    :param optimizer: of any kind
    :param fused: one call, or PyTorch's default
    :param capturable: for a CUDA graph: the count of steps, too, is kept on the device
    """
    if type(optimizer) not in FUSABLE_OPTIMIZERS:
        return
    for group in optimizer.param_groups:
        group.update(fused=fused, foreach=False if fused else None, capturable=capturable)
        for parameter in group["params"]:
            state = optimizer.state.get(parameter)
            if state:
                on_device = parameter.is_cuda and (fused or capturable)
                state["step"] = state["step"].to(parameter.device if on_device else "cpu")
