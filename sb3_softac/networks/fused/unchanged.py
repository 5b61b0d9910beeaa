"""What a user has changed in modules: hooks, to be called around them, and modules in the place of others."""

from collections.abc import Iterable
from typing import Any

from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooks_of(module: nn.Module) -> list[dict[int, Any]]:
    """Where a module keeps what is to be called around it, which one node for many modules would not call.

    :param module: any module
    """
    own = module.__dict__  # without the search of `nn.Module.__getattr__`
    return [own[name] for name in HOOKS]


def has_hooks(module: nn.Module) -> bool:
    """Whether something is to be called around a module.

    :param module: any module
    """
    return any(hooks_of(module))


class SameChildren:
    """Says whether modules still hold the modules that they held.

    :param modules: any modules
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._holders = [module._modules for module in modules if module._modules]
        self._known = self._children()

    def _children(self) -> list[tuple[nn.Module | None, ...]]:
        return [tuple(children.values()) for children in self._holders]

    def __call__(self) -> bool:
        return self._children() == self._known


class Unchanged:
    """Says whether modules still are what they were.

    Nothing is to be called around them, none has another class, none holds another module.

    :param modules: of any kind; a parametrization, such as spectral normalisation, gives a module another class
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = list(modules)
        self._classes = list(map(type, self._modules))
        self._hooks = [hooks for module in self._modules for hooks in hooks_of(module)]
        self._has_same_children = SameChildren(self._modules)

    def __call__(self) -> bool:
        # Asked several times in each update: comparisons of lists, and no generators.
        return not any(self._hooks) and list(map(type, self._modules)) == self._classes and self._has_same_children()
