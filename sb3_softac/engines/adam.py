"""Adam's step as one call to PyTorch's kernels, and the set-up of optimizers for an engine."""

from typing import Any

import torch as th

# Optimizers of PyTorch with the option ``fused``: one call to its kernels for all parameters.
FUSABLE_OPTIMIZERS = (th.optim.Adam, th.optim.AdamW)


def step(optimizer: th.optim.Optimizer) -> None:
    """Let an optimizer step: by one call if it is a fused Adam, otherwise by its own method.

    :param optimizer: any optimizer, whose parameters hold their gradients
    """
    if not steps_by_one_call(optimizer) or step_is_hooked(optimizer):
        optimizer.step()
        return
    trained = _parameters_with_gradient(optimizer)
    if all(optimizer.state.get(parameter) for parameters in trained for parameter in parameters):
        fused_adam_step(optimizer, trained)
    else:
        optimizer.step()  # creates the state
        share_step_counter(optimizer)


def _parameters_with_gradient(optimizer: th.optim.Optimizer) -> list[list[Any]]:
    """Parameters of each group that hold a gradient."""
    return [
        [parameter for parameter in group["params"] if parameter.grad is not None] for group in optimizer.param_groups
    ]


def steps_by_one_call(optimizer: th.optim.Optimizer) -> bool:
    """Whether :func:`fused_adam_step` can take the step: a fused Adam, without options that it does not know.

    :param optimizer: any optimizer
    """
    if type(optimizer) is not th.optim.Adam:
        return False
    options = ("amsgrad", "decoupled_weight_decay")
    return all(group["fused"] and not any(group[name] for name in options) for group in optimizer.param_groups)


def step_is_hooked(optimizer: th.optim.Optimizer) -> bool:
    """Whether ``optimizer.step()`` itself must be called: it has hooks, or a learning-rate scheduler wraps it.

    :param optimizer: any optimizer
    """
    own = optimizer.__dict__
    return bool(own["_optimizer_step_pre_hooks"] or own["_optimizer_step_post_hooks"] or "step" in own)


def gradient_is_hooked(parameter: th.Tensor) -> bool:
    """Whether a parameter has hooks that are called with its gradient.

    :param parameter: a leaf of the autograd graph
    """
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


@th.no_grad()
def fused_adam_step(optimizer: th.optim.Optimizer, trained: list[list[Any]]) -> None:
    """Step of a fused Adam: the call that ``optimizer.step()`` makes, on the same state.   arXiv:1412.6980

    :param optimizer: an Adam with ``fused=True``, without ``amsgrad``
    :param trained: parameters of each group that hold a gradient and have a state
    """
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


def share_step_counter(optimizer: th.optim.Optimizer) -> None:
    """Make the step counts of all parameters elements of one tensor, so that one addition counts a step.

    :param optimizer: an Adam
    """
    for group in optimizer.param_groups:
        states = [optimizer.state[parameter] for parameter in group["params"] if optimizer.state.get(parameter)]
        if states:
            for state, count in zip(states, th.stack([state["step"] for state in states]).unbind(), strict=True):
                state["step"] = count


def _count_a_step(counts: list[th.Tensor]) -> None:
    """Add 1 to each count of steps."""
    all_counts = counts[0]._base if counts else None
    if all_counts is not None and len(all_counts) == len(counts) and all(count._base is all_counts for count in counts):
        all_counts.add_(1)
    else:  # a parameter is frozen now, or the optimizer was copied
        th._foreach_add_(counts, 1)


def set_learning_rate(optimizer: th.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; a tensor, which a captured update reads, is changed in place.

    :param optimizer: any optimizer
    :param rate: learning rate, at least 0
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], th.Tensor):
            group["lr"].fill_(rate)
        elif group.get("capturable"):  # a user has replaced the tensor by a number
            group["lr"] = _rate_tensor(rate, group["params"][0].device)
        else:
            group["lr"] = rate


def fuse_optimizer(optimizer: th.optim.Optimizer, fused: bool, capturable: bool = False) -> None:
    """Set the options of an Adam or AdamW for an engine; other optimizers stay as they are.

    Every new engine does this, since a checkpoint brings the options of the run that wrote it.

    :param optimizer: any optimizer
    :param fused: True: one call for all parameters; False: PyTorch's default
    :param capturable: True: the learning rate is a tensor, and tensors are where a captured update needs them
    """
    if type(optimizer) not in FUSABLE_OPTIMIZERS:
        return
    for group in optimizer.param_groups:
        group.update(fused=fused, foreach=False if fused else None, capturable=capturable)
        rate = float(group["lr"])
        group["lr"] = _rate_tensor(rate, group["params"][0].device) if capturable else rate
    _move_step_counts(optimizer, to_device=fused or capturable)
    share_step_counter(optimizer)


def _move_step_counts(optimizer: th.optim.Optimizer, to_device: bool) -> None:
    """Move the step counts of an Adam to the GPU of their parameters, if asked for, or to the host."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter)
            if state:
                state["step"] = state["step"].to(parameter.device if parameter.is_cuda and to_device else "cpu")


def _rate_tensor(rate: float, device: th.device) -> th.Tensor:
    # CUDA kernels read the rate in single precision, CPU kernels in double, as a Python number.
    return th.tensor(rate, device=device, dtype=th.float64 if device.type == "cpu" else th.float32)
