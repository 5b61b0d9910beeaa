"""Detects changes that users make to ``nn.Module``: hooks, another class or ``forward()``, and replaced submodules."""

from collections.abc import Iterable
from typing import Any

from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooks_of(module: nn.Module) -> list[dict[int, Any]]:
    """Dicts in which a module keeps its hooks. A node that stands for several modules would not call them.

    :param module: any module
    """
    own = module.__dict__  # without the search of `nn.Module.__getattr__`
    return [own[name] for name in HOOKS]


def has_own_calls(module: nn.Module) -> bool:
    """Whether calling a module does more or other things than the ``forward()`` of its class.

    It has forward or backward hooks, a ``forward()`` that is not that of its class, or was compiled by ``compile()``.

    :param module: any module
    """
    own = module.__dict__
    return "forward" in own or "_compiled_call_impl" in own or any(hooks_of(module))


class SameChildren:
    """Check that no submodule of the given modules was replaced, added or removed; called without arguments.

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
    """Check that modules compute what they did: called without arguments.

    None of them has calls of its own (see :func:`has_own_calls`), changed its class, or had a submodule replaced. A
    parametrization, such as spectral normalisation, changes the class.

    :param modules: any modules
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = list(modules)
        self._classes = list(map(type, self._modules))
        self._attributes = [module.__dict__ for module in self._modules]
        self._hooks = [hooks for module in self._modules for hooks in hooks_of(module)]
        self._has_same_children = SameChildren(self._modules)

    def __call__(self) -> bool:
        # Called several times in each update: comparing lists is faster than generators.
        return (
            not any(self._hooks)
            and list(map(type, self._modules)) == self._classes
            and not any(["forward" in own or "_compiled_call_impl" in own for own in self._attributes])
            and self._has_same_children()
        )
