"""One optimizer step on one network."""

import torch as th


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
