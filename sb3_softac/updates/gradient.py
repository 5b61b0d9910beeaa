"""One optimizer step on one network."""

from collections.abc import Iterable, Iterator, Sequence
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
        self._steps_by_one_call: bool | None = None

    def __call__(self, loss: th.Tensor) -> None:
        """Differentiate, clip, step.

        :param loss: ()
        """
        parameters = self.parameters()
        # Not `backward()`, which copies each gradient once more.
        self.along(th.autograd.grad(loss, parameters, allow_unused=True) if parameters else ())

    def parameters(self) -> list[th.Tensor]:
        """Those that are trained now."""
        groups = self._optimizer.param_groups
        # Asked anew each time: a user may freeze a layer at any moment.
        return [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]

    def along(self, gradients: Sequence[th.Tensor | None]) -> None:
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
        if self._steps_by_one_call is None:  # at the first step: engines set optimizers up after they are made
            self._steps_by_one_call = steps_by_one_call(self._optimizer)
        if self._steps_by_one_call and not step_is_hooked(self._optimizer):
            fused_adam_step(self._optimizer)
        else:
            self._optimizer.step()


def in_layout_of(parameter: th.Tensor, gradient: th.Tensor | None) -> th.Tensor | None:
    """The gradient in the memory layout of its parameter, which a fused optimizer takes for granted.

    ``backward()`` sees to it, ``grad()`` does not: the gradient of a plain linear layer may come transposed.

    :param parameter: of any shape
    :param gradient: of the same shape; None for none
    """
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return th.empty_like(parameter).copy_(gradient)


def steps_by_one_call(optimizer: th.optim.Optimizer) -> bool:
    """Whether a step is :func:`fused_adam_step`: a fused Adam without options that this would pass over.

    :param optimizer: of any kind
    """
    if type(optimizer) is not th.optim.Adam:
        return False
    options = ("amsgrad", "decoupled_weight_decay")
    return all(group["fused"] and not any(group[name] for name in options) for group in optimizer.param_groups)


def step_is_hooked(optimizer: th.optim.Optimizer) -> bool:
    """Whether something is to be called around a step: a hook, or a scheduler of PyTorch, which wraps ``step()``."""
    own = optimizer.__dict__
    return bool(own["_optimizer_step_pre_hooks"] or own["_optimizer_step_post_hooks"] or "step" in own)


def gradient_is_hooked(parameter: th.Tensor) -> bool:
    """Whether something is to be called with the gradient of a parameter.

    :param parameter: a leaf
    """
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


@th.no_grad()
def fused_adam_step(optimizer: th.optim.Optimizer) -> None:
    """The step of a fused Adam: the same call on the same state.   arXiv:1412.6980

    :param optimizer: with ``fused=True``, without ``amsgrad``
    """
    trained = [
        [parameter for parameter in group["params"] if parameter.grad is not None] for group in optimizer.param_groups
    ]
    if not all(optimizer.state.get(parameter) for parameters in trained for parameter in parameters):
        optimizer.step()  # creates the state
        lay_counts_side_by_side(optimizer)
        return
    for group, parameters in zip(optimizer.param_groups, trained, strict=True):
        if not parameters:
            continue
        states = [optimizer.state[parameter] for parameter in parameters]
        counts = [state["step"] for state in states]
        _count_a_step(counts)
        th._fused_adam_(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            counts,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=group["maximize"],
        )


def lay_counts_side_by_side(optimizer: th.optim.Optimizer) -> None:
    """Let the counts of steps, one tensor for each parameter, be elements of one, to which a step adds at once.

    :param optimizer: an Adam
    """
    for group in optimizer.param_groups:
        states = [optimizer.state[parameter] for parameter in group["params"] if optimizer.state.get(parameter)]
        if states:
            for state, count in zip(states, th.stack([state["step"] for state in states]).unbind(), strict=True):
                state["step"] = count


def _count_a_step(counts: list[th.Tensor]) -> None:
    all_counts = counts[0]._base if counts else None
    if all_counts is not None and len(all_counts) == len(counts) and all(count._base is all_counts for count in counts):
        all_counts.add_(1)
    else:  # a parameter that is frozen now, or the counts of a copied optimizer
        th._foreach_add_(counts, 1)


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


def set_learning_rate(optimizer: th.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, in place where it is a tensor that a CUDA graph reads.

    :param optimizer: of any kind
    :param rate: of at least 0
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], th.Tensor):
            group["lr"].fill_(rate)
        elif group.get("capturable"):  # a user has put a number in the tensor's place
            group["lr"] = _rate_tensor(rate, group["params"][0].device)
        else:
            group["lr"] = rate


def fuse_optimizer(optimizer: th.optim.Optimizer, fused: bool, capturable: bool = False) -> None:
    """Let an Adam step be one call for all parameters; other optimizers stay as they are.

    Called whenever an engine is made, as loading a checkpoint brings the settings of the run that wrote it.

    :param optimizer: of any kind
    :param fused: one call, or PyTorch's default
    :param capturable: for a CUDA graph: learning rate and count of steps are tensors on the device
    """
    if type(optimizer) not in FUSABLE_OPTIMIZERS:
        return
    for group in optimizer.param_groups:
        group.update(fused=fused, foreach=False if fused else None, capturable=capturable)
        rate = float(group["lr"])
        group["lr"] = _rate_tensor(rate, group["params"][0].device) if capturable else rate
        for parameter in group["params"]:
            state = optimizer.state.get(parameter)
            if state:
                on_device = parameter.is_cuda and (fused or capturable)
                state["step"] = state["step"].to(parameter.device if on_device else "cpu")
    lay_counts_side_by_side(optimizer)


def _rate_tensor(rate: float, device: th.device) -> th.Tensor:
    # Kernels of CUDA read a single, those of the CPU what a number would be.
    return th.tensor(rate, device=device, dtype=th.float64 if device.type == "cpu" else th.float32)
