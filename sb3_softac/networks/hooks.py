"""What a user has attached to modules, to be called around them."""

from typing import Any

from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooks_of(module: nn.Module) -> list[dict[int, Any]]:
    """Where a module keeps what is to be called around it, which one node for many modules would not call.

    :param module: of any kind
    """
    own = module.__dict__  # without the search of `nn.Module.__getattr__`
    return [own[name] for name in HOOKS]


def has_hooks(module: nn.Module) -> bool:
    """Whether something is to be called around a module.

    :param module: of any kind
    """
    return any(hooks_of(module))
