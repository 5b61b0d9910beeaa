"""Extension of rl_zoo3 by SoftAC, so that ``python -m rl_zoo3.train --algo softac`` works.

The start-up file (``startup/_sb3_softac_zoo.py``) calls :func:`extend` right after Python has executed a module of
rl_zoo3. If Python does not read start-up files (``python -S``, ``PYTHONPATH`` only, ``pip install --target``, a zipapp,
or ``SB3_SOFTAC_ZOO_HOOK=0``), use either of::

    python -m sb3_softac.zoo train --algo softac --env Pendulum-v1
    import sb3_softac.zoo; sb3_softac.zoo.register()

This package imports nothing of rl_zoo3 when it is imported, since rl_zoo3 is then only half imported itself.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from sb3_softac import SoftAC
from sb3_softac.zoo import runs
from sb3_softac.zoo.sampler import convert_softac_params, sample_softac_params

__all__ = ["ALGO", "extend", "hyperparams_file", "register"]

# rl_zoo3 derives the name of a hub model from the name of the class, so that the two must agree.
ALGO = SoftAC.__name__.lower()
#: functions of sb3_softac.presets, and their files
PRESETS = ("sac_v1", "discrete_sac", "redq", "droq", "crossq", "tqc", "simba", "xqc", "flashsac", "robust")


def hyperparams_file(name: str = ALGO) -> Path:
    """Path of a file of hyperparameters: inside the installed package, or at the top of the checkout.

    :param name: without ``.yml``; ``"presets/crossq"``, say
    :raises FileNotFoundError: the file is missing
    """
    package = Path(__file__).resolve().parent.parent
    candidates = [folder / "hyperparams" / f"{name}.yml" for folder in (package, package.parent)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{name}.yml is missing, looked for {' and '.join(map(str, candidates))}: reinstall sb3_softac, "
        "or name a file with --conf-file."
    )


def _file_of(config: str | None) -> str:
    """File for the value of ``--conf-file``: ours if there is none, a preset by its name, else the user's."""
    if not config:
        return str(hyperparams_file())
    return str(hyperparams_file(f"presets/{config}")) if config in PRESETS else config


def extend(module: ModuleType) -> None:
    """Extend one module of rl_zoo3 that has just been executed; a second call changes nothing.

    :param module: ``rl_zoo3.utils``, ``rl_zoo3.hyperparams_opt`` or ``rl_zoo3.exp_manager``
    :raises ValueError: any other module
    """
    if module.__name__ not in _EXTENSIONS:
        raise ValueError(f"nothing to extend in {module.__name__}, only in {', '.join(_EXTENSIONS)}.")
    _EXTENSIONS[module.__name__](module)


def register() -> None:
    """Import rl_zoo3 and extend it, also if the start-up file has done so already."""
    for name in _EXTENSIONS:
        extend(importlib.import_module(name))


def _extend_utils(module: ModuleType) -> None:
    # Changed in place, here and below, since every script of rl_zoo3 reads this dict. `setdefault`, so that a "softac"
    # of rl_zoo3 itself would be kept.
    module.ALGOS.setdefault(ALGO, SoftAC)


def _extend_hyperparams_opt(module: ModuleType) -> None:
    module.HYPERPARAMS_SAMPLER.setdefault(ALGO, sample_softac_params)
    module.HYPERPARAMS_CONVERTER.setdefault(ALGO, convert_softac_params)


def _extend_exp_manager(module: ModuleType) -> None:
    """Change the class in place, for our algorithm only: other code may have imported or subclassed it already."""
    manager = module.ExperimentManager
    if not hasattr(manager.__init__, "_softac_original"):
        _default_to_our_file(manager)
        runs.extend_runs(manager, ALGO)
        vars(module).setdefault("auto", "auto")  # rl_zoo3 evaluates `replay_buffer_class: auto` as Python


def _default_to_our_file(manager: Any) -> None:
    """Make our file the default of ``--conf-file``, and let it name a preset: rl_zoo3 looks only in its own folder."""
    original = manager.__init__
    signature = inspect.signature(original)
    if not {"algo", "config"} <= signature.parameters.keys():
        raise RuntimeError("ExperimentManager.__init__ has no `algo` and `config`: unknown version of rl_zoo3")

    @functools.wraps(original)
    def __init__(*args: Any, **kwargs: Any) -> None:  # noqa: N807
        bound = signature.bind(*args, **kwargs)
        if bound.arguments["algo"] == ALGO:
            bound.arguments["config"] = _file_of(bound.arguments.get("config"))
        original(*bound.args, **bound.kwargs)

    __init__._softac_original = original  # type: ignore[attr-defined]
    manager.__init__ = __init__


_EXTENSIONS: dict[str, Callable[[ModuleType], None]] = {
    "rl_zoo3.utils": _extend_utils,
    "rl_zoo3.hyperparams_opt": _extend_hyperparams_opt,
    "rl_zoo3.exp_manager": _extend_exp_manager,
}
