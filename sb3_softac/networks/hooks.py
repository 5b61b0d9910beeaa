"""What a user has changed in modules: hooks, to be called around them, and modules in the place of others."""

from collections.abc import Iterable
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


class SameChildren:
    """Says whether modules still hold the modules that they held.

    :param modules: of any kind
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._known = [(module._modules, tuple(module._modules.values())) for module in modules if module._modules]

    def __call__(self) -> bool:
        return all(tuple(children.values()) == known for children, known in self._known)


class Unchanged:
    """Says whether modules still are what they were.

    Nothing is to be called around them, none has another class, none holds another module.

    :param modules: of any kind; a parametrization, such as spectral normalisation, gives a module another class
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._classes = [(module, type(module)) for module in modules]
        self._has_same_children = SameChildren(module for module, _ in self._classes)
        self._hooks = [hooks for module, _ in self._classes for hooks in hooks_of(module)]

    def __call__(self) -> bool:
        return (
            not any(self._hooks)
            and all(type(module) is known for module, known in self._classes)
            and self._has_same_children()
        )
