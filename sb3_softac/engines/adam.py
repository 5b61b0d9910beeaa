"""Adam's step as one call to PyTorch's kernels, and optimizers set up for an engine."""

import torch as th

# Optimizers whose whole step is one call to PyTorch's kernels, if they are told so.
FUSABLE_OPTIMIZERS = (th.optim.Adam, th.optim.AdamW)


def step(optimizer: th.optim.Optimizer) -> None:
    """An optimizer's step: one call for a fused Adam, the optimizer's own step for any other.

    :param optimizer: of any kind, whose parameters hold their gradients
    """
    if steps_by_one_call(optimizer) and not step_is_hooked(optimizer):
        fused_adam_step(optimizer)
    else:
        optimizer.step()


def steps_by_one_call(optimizer: th.optim.Optimizer) -> bool:
    """Whether a step is :func:`fused_adam_step`: a fused Adam without options that this would pass over.

    :param optimizer: any optimizer
    """
    if type(optimizer) is not th.optim.Adam:
        return False
    options = ("amsgrad", "decoupled_weight_decay")
    return all(group["fused"] and not any(group[name] for name in options) for group in optimizer.param_groups)


def step_is_hooked(optimizer: th.optim.Optimizer) -> bool:
    """Whether ``optimizer.step()`` has hooks, or is wrapped as by learning-rate schedulers: then it must be called."""
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
        share_step_counter(optimizer)
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


def share_step_counter(optimizer: th.optim.Optimizer) -> None:
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


def set_learning_rate(optimizer: th.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, in place where it is a tensor that a CUDA graph reads.

    :param optimizer: any optimizer
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

    :param optimizer: any optimizer
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
    share_step_counter(optimizer)


def _rate_tensor(rate: float, device: th.device) -> th.Tensor:
    # Kernels of CUDA read a single, those of the CPU what a number would be.
    return th.tensor(rate, device=device, dtype=th.float64 if device.type == "cpu" else th.float32)
