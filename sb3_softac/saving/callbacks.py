"""State of callbacks: what each has counted and found so far, so that it goes on with the run.

It is read from a callback's attributes: numbers, lists, dicts and arrays, but for arguments of its constructor, as the
next run may have others. Callbacks with ``get_state()`` and ``set_state(state)`` say themselves what their state is.
"""

import collections
import inspect
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback

from sb3_softac.saving import environments, plain
from sb3_softac.saving.files import SavedFileError

# Attributes that are the run's own, or follow from arguments.
NO_STATE = {"model", "locals", "globals", "parent", "num_timesteps", "verbose", "_total_max_episodes"}
# Types of attributes that say how a callback was made, or what it has opened, and of those that are None so far.
NO_STATE_TYPES = (str, bytes, bool, pathlib.PurePath, type(None))
ENVIRONMENT = "environment"


def read(callback: BaseCallback | None) -> dict[str, dict[str, Any]]:
    """States of a callback and of those that it calls, by their place, as ``"/EvalCallback#0"``.

    :param callback: all callbacks of a run; None for none
    """
    return {} if callback is None else {place: _read(own) for place, own in _places(callback)}


def restore(callback: BaseCallback, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Put states into callbacks of the same classes; others begin anew.

    :param callback: all callbacks of a run, which are set up
    :param states: of :func:`read`
    :raises ValueError: a callback of its own class refuses its state
    """
    for place, own in _places(callback):
        if place in states:
            _restore(own, states[place])


def _places(callback: BaseCallback) -> Iterator[tuple[str, BaseCallback]]:
    """The n-th of a class is the n-th of that class again, whatever stands between them."""
    seen: collections.Counter[str] = collections.Counter()
    for path, own in _paths(callback, ()):
        yield f"{path}#{seen[path]}", own
        seen[path] += 1


def _paths(callback: BaseCallback, above: tuple[BaseCallback, ...]) -> Iterator[tuple[str, BaseCallback]]:
    above = (*above, callback)
    if not isinstance(callback, CallbackList):
        yield "".join(f"/{type(each).__name__}" for each in above if not isinstance(each, CallbackList)), callback
    for value in vars(callback).values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseCallback) and each not in above:
                yield from _paths(each, above)


def _read(callback: BaseCallback) -> dict[str, Any]:
    if environments.has_hooks(callback):
        return {"own": callback.get_state()}  # type: ignore[attr-defined]
    values = {name: value for name, value in _attributes(callback) if not isinstance(value, NO_STATE_TYPES)}
    state: dict[str, Any] = {"attributes": {name: value for name, value in values.items() if plain.is_plain(value)}}
    if isinstance(callback, EvalCallback):
        environment = environments.read(callback.eval_env)
        state[ENVIRONMENT] = None if environment.missing else environment.links
    return state


def _restore(callback: BaseCallback, state: Mapping[str, Any]) -> None:
    if environments.has_hooks(callback):
        callback.set_state(state["own"])  # type: ignore[attr-defined]
        return
    for name, value in _attributes(callback):
        if name in state["attributes"] and (value is None or not isinstance(value, NO_STATE_TYPES)):
            setattr(callback, name, state["attributes"][name])
    if isinstance(callback, EvalCallback) and state.get(ENVIRONMENT) is not None:
        try:
            environments.restore(callback.eval_env, state[ENVIRONMENT])
        except SavedFileError as error:
            warnings.warn(f"Evaluations go on with other random numbers: {error}", stacklevel=2)


def _attributes(callback: BaseCallback) -> list[tuple[str, Any]]:
    arguments = {name for cls in type(callback).__mro__[:-1] for name in inspect.signature(cls).parameters}
    return [(name, value) for name, value in vars(callback).items() if name not in NO_STATE | arguments]
