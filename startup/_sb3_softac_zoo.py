"""Interpreter start-up half of sb3_softac's rl_zoo3 integration.

rl_zoo3 has no plugin entry point, so ``python -m rl_zoo3.train --algo softac`` needs something that runs
before rl_zoo3 builds its argument parser. ``sb3_softac_zoo.pth`` (Python <= 3.17) or ``sb3_softac_zoo.start``
(PEP 829, Python >= 3.15) calls :func:`install` when the interpreter starts. That imports nothing and only
puts a finder on ``sys.meta_path``; sb3_softac itself is imported only in a process that imports rl_zoo3,
right after the module to be extended was executed.

``SB3_SOFTAC_ZOO_HOOK=0`` in the environment turns it off.

This module stands outside the package, because importing ``sb3_softac._anything`` would import torch at every
start, and has no annotations, because ``typing`` would cost more than all the rest of it.
"""

import os
import sys

TARGETS = frozenset({"rl_zoo3.utils", "rl_zoo3.hyperparams_opt", "rl_zoo3.exp_manager"})


def install():
    """Put the finder in front of ``sys.meta_path``, once, unless the user opted out."""
    if os.environ.get("SB3_SOFTAC_ZOO_HOOK") != "0" and _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def uninstall():
    """Remove the finder; what was extended stays so."""
    if _Finder in sys.meta_path:
        sys.meta_path.remove(_Finder)


def _extend(module):
    """Let sb3_softac extend a module of rl_zoo3; never break rl_zoo3 for the other algorithms."""
    try:
        from sb3_softac.zoo import extend

        extend(module)
    except Exception as error:
        import warnings

        uninstall()  # one message is enough
        warnings.warn(
            f"sb3_softac could not extend {module.__name__} ({type(error).__name__}: {error}). rl_zoo3 works "
            "without it; `pip uninstall sb3_softac` or SB3_SOFTAC_ZOO_HOOK=0 removes this message.",
            RuntimeWarning,
            stacklevel=3,
        )


class _Loader:
    """Loader of one target module; steps aside as soon as it runs, as ``importlib.util.LazyLoader`` does."""

    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):  # get_code, get_source, is_package, get_resource_reader, ...
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _extend(module)


class _Finder:
    """Meta path finder of the modules to extend; finds nothing by itself."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """Wrap the loader that the finders behind this one give for a target module."""
        if name not in TARGETS:
            return None
        for finder in cls._behind():
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None

    @classmethod
    def _behind(cls):
        # Not "all the others": those in front had their turn already, and two such hooks (of two packages)
        # would delegate to each other for ever.
        finders = sys.meta_path[:]
        return finders[finders.index(cls) + 1 :] if cls in finders else []
