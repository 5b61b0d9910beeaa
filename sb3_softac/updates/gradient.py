"""Gradient step on the parameters of one optimizer: differentiate, clip, step."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch as th

#: function that makes an optimizer step along the ``.grad`` of its parameters
Stepper = Callable[[th.optim.Optimizer], None]


def plain_step(optimizer: th.optim.Optimizer) -> None:
    """Call the optimizer's own step.

    :param optimizer: any optimizer
    """
    optimizer.step()


class GradientStep:
    """Gradient step that minimises a loss over the parameters of one optimizer, and of no other.

    The loss may depend on other networks, as the actor's loss depends on the critics. Their parameters are left out of
    the differentiation, so that their gradients are neither computed nor changed.

    :param optimizer: the optimizer that holds the parameters
    :param max_grad_norm: clip the gradient to this norm; None for no clipping
    :param step: function that makes the optimizer step; engines pass a faster one
    :param project: projection of the parameters, which follows each step; None for none
    """

    def __init__(
        self,
        optimizer: th.optim.Optimizer,
        max_grad_norm: float | None = None,
        step: Stepper = plain_step,
        project: Callable[[], None] | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm
        self._step = step
        self._project = project

    def __call__(self, loss: th.Tensor) -> None:
        """Differentiate the loss, clip the gradient, and let the optimizer step.

        :param loss: ()
        """
        self.step_along(self.gradients(loss))

    def gradients(self, loss: th.Tensor) -> Sequence[th.Tensor | None]:
        """Gradients of a loss, before any clipping.

        :param loss: ()
        :return: one for each of :meth:`parameters`; None for a parameter that the loss does not depend on
        """
        parameters = self.parameters()
        # `grad()` and not `backward()`, which copies each gradient once more.
        return th.autograd.grad(loss, parameters, allow_unused=True) if parameters else ()

    def parameters(self) -> list[th.Tensor]:
        """Parameters of the optimizer that are trained now, and not frozen."""
        groups = self._optimizer.param_groups
        # Not cached, since a user may freeze a layer at any time.
        return [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]

    def step_along(self, gradients: Sequence[th.Tensor | None]) -> None:
        """Clip the given gradients, and let the optimizer step along them.

        :param gradients: one for each of :meth:`parameters`; None for a parameter that the loss does not depend on
        """
        parameters = self.parameters()
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # else a parameter frozen since the last step would move along its old gradient
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
        if self._project is not None:
            self._project()


def in_layout_of(parameter: th.Tensor, gradient: th.Tensor | None) -> th.Tensor | None:
    """Gradient in the memory layout of its parameter, which a fused optimizer relies on.

    ``backward()`` ensures it, ``grad()`` does not: the gradient of a plain linear layer may be stored transposed.

    :param parameter: of any shape
    :param gradient: of the same shape, or None
    """
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return th.empty_like(parameter).copy_(gradient)


@contextmanager
def frozen(parameters: Iterable[th.Tensor]) -> Iterator[None]:
    """Context manager that freezes parameters, while gradients still run through their network.

    Inside, autograd records nothing that only a gradient of these parameters would need.

    :param parameters: the parameters; those that a user froze stay frozen afterwards
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        _set_requires_grad(trained, False)
        yield
    finally:
        try:
            _set_requires_grad(trained, True)
        except KeyboardInterrupt:  # without a second try, the rest would stay frozen
            _set_requires_grad(trained, True)
            raise


def _set_requires_grad(parameters: Iterable[th.Tensor], requires_grad: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(requires_grad)
