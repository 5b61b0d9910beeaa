"""One optimizer step on the parameters of one optimizer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch as th

#: lets an optimizer step along the gradients that its parameters hold
Stepper = Callable[[th.optim.Optimizer], None]


def plain_step(optimizer: th.optim.Optimizer) -> None:
    """The optimizer's own step."""
    optimizer.step()


class GradientStep:
    """Minimise a loss over the parameters of one optimizer, and of no other.

    The loss may run through other networks (the actor's runs through the critics): they are left out of the
    differentiation, so their gradients are neither computed nor touched.

    :param optimizer: holds the parameters
    :param max_grad_norm: clip the gradient to this norm; None for no clipping
    :param step: lets the optimizer step; an engine has a faster one
    """

    def __init__(
        self, optimizer: th.optim.Optimizer, max_grad_norm: float | None = None, step: Stepper = plain_step
    ) -> None:
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm
        self._step = step

    def __call__(self, loss: th.Tensor) -> None:
        """Differentiate, clip, step.

        :param loss: ()
        """
        parameters = self.parameters()
        # Not `backward()`, which copies each gradient once more.
        self.step_along(th.autograd.grad(loss, parameters, allow_unused=True) if parameters else ())

    def parameters(self) -> list[th.Tensor]:
        """Those that are trained now."""
        groups = self._optimizer.param_groups
        # Asked anew each time: a user may freeze a layer at any moment.
        return [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]

    def step_along(self, gradients: Sequence[th.Tensor | None]) -> None:
        """Clip and step along given gradients.

        :param gradients: one for each parameter that is trained
        """
        parameters = self.parameters()
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # else what was frozen since the last step would go on along its last gradient
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = in_layout_of(parameter, gradient)
            # `backward()` would call these.
            for hook in (parameter._post_accumulate_grad_hooks or {}).values():
                hook(parameter)
        if not parameters:  # a user froze them all
            return
        if self._max_grad_norm is not None:
            th.nn.utils.clip_grad_norm_(parameters, self._max_grad_norm)
        self._step(self._optimizer)


def in_layout_of(parameter: th.Tensor, gradient: th.Tensor | None) -> th.Tensor | None:
    """The gradient in the memory layout of its parameter, which a fused optimizer takes for granted.

    ``backward()`` sees to it, ``grad()`` does not: the gradient of a plain linear layer may come transposed.

    :param parameter: of any shape
    :param gradient: of the same shape; None for none
    """
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return th.empty_like(parameter).copy_(gradient)


@contextmanager
def frozen(parameters: Iterable[th.Tensor]) -> Iterator[None]:
    """Record nothing that a gradient of these parameters would need, while gradients run through their network.

    :param parameters: those that a user froze stay frozen
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        _set_requires_grad(trained, False)
        yield
    finally:
        try:
            _set_requires_grad(trained, True)
        except KeyboardInterrupt:  # half-way: the rest would stay frozen for good
            _set_requires_grad(trained, True)
            raise


def _set_requires_grad(parameters: Iterable[th.Tensor], requires_grad: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(requires_grad)
