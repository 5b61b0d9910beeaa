"""Environments of other packages, which Gymnasium does not know by itself."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable

import gymnasium


def _register_dm_control() -> None:
    with warnings.catch_warnings():
        # Without a screen glfw warns as it is imported; nothing is drawn here.
        warnings.filterwarnings("ignore", category=UserWarning)
        importlib.import_module("shimmy")


def _register_minatar() -> None:
    importlib.import_module("minatar.gym").register_envs()


# By the namespace of an id, which is what stands before the slash: the extra to install, and what registers its ids.
_REGISTER: dict[str, tuple[str, Callable[[], None]]] = {
    "dm_control": ("dm-control", _register_dm_control),
    "MinAtar": ("minatar", _register_minatar),
}


def register(env: str) -> None:
    """Register the environments of the package that an id belongs to, once.

    :param env: Gymnasium id, such as ``dm_control/walker-run-v0``
    :raises ValueError: the package is not installed
    """
    extra, register_ids = _REGISTER.get(env.partition("/")[0], ("", None))
    if register_ids is None or env in gymnasium.registry:
        return
    try:
        register_ids()
    except ImportError as error:
        raise ValueError(f"{env} needs a package that is not installed: pip install -e '.[{extra}]'.") from error
