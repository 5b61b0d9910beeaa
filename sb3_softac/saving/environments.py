"""State of environments: read from their attributes, and put back into environments that were made the same way.

A vectorised environment is a chain of wrappers around one that steps; so is each environment in it. The state of a link
is its attributes: numbers, arrays, random generators. Environments with ``get_state()`` and ``set_state(state)`` say
themselves what their state is, MuJoCo's is its simulation's. What else cannot be written without a pickle cannot be put
back: then the environment begins a new episode.
"""

import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from sb3_softac.saving import plain
from sb3_softac.saving.files import SavedFileError

# Attributes that lead to another link, that say how an environment was made, or that only draw pictures.
NO_STATE = {
    *("env", "venv", "_tensor_episodes", "envs", "class_attributes", "remotes", "work_remotes", "processes"),
    *("spec", "_cached_spec", "metadata", "_metadata", "render_mode", "results_writer", "t_start"),
    *("screen", "surf", "clock", "isopen", "viewer", "renderer", "mujoco_renderer", "window"),
}
# Types of attributes that do not change.
CONSTANT = (types.FunctionType, types.MethodType, types.ModuleType, type, EnvSpec, ResultsWriter)


class State(NamedTuple):
    """State of a vectorised environment.

    :param links: of the chain, from the outermost: names of its classes, and its state
    :param missing: attributes that could not be read; where there are some, the environment begins a new episode
    """

    links: list[Any]
    missing: list[str]


# Reading


def read(env: VecEnv) -> State:
    """The state of a vectorised environment.

    :param env: with all its wrappers
    """
    missing: list[str] = []
    links = [[_classes_of(link), _read_vec_env(link, missing)] for link in _chain(env)]
    return State(links, missing)


def _chain(env: Any) -> Iterator[Any]:
    """An environment and all that it wraps."""
    yield env
    if isinstance(env, VecEnvWrapper):
        yield from _chain(env.venv)
    elif isinstance(env, gym.Wrapper):
        yield from _chain(env.env)


def _links(env: gym.Env) -> Iterator[gym.Env]:
    """The chain of one environment, down to the first link that says itself what its state is."""
    for link in _chain(env):
        yield link
        if has_hooks(link):
            return


def _read_vec_env(env: VecEnv, missing: list[str]) -> dict[str, Any]:
    state = _read_attributes(env, missing)
    if isinstance(env, DummyVecEnv):
        state["envs"] = [[_read_env(link, missing) for link in _links(each)] for each in env.envs]
    elif not isinstance(env, VecEnvWrapper) and hasattr(env, "remotes"):
        state["envs"] = _read_workers(env, missing)
    return state


def _read_workers(env: VecEnv, missing: list[str]) -> list[Any] | None:
    """States of environments in other processes, which only they can tell; an error there would end the process."""
    asked = next((name for name in ("state_or_reason", "get_state") if env.has_attr(name)), None)
    answers = [f"{type(env).__name__}; wrap each environment in `sb3_softac.Resumable`"]
    if asked is not None:
        answers = env.env_method(asked)
    reasons = [each for each in answers if isinstance(each, str)]
    missing.extend(reasons[:1])
    return None if reasons else answers


def _read_env(env: gym.Env, missing: list[str]) -> dict[str, Any]:
    state: dict[str, Any] = {"classes": _classes_of(env)}
    if has_hooks(env):
        try:
            return state | {"own": env.get_state()}  # type: ignore[attr-defined]
        except ValueError as error:  # of `Resumable`: nobody chose the random numbers of the episode
            missing.append(f"{type(env).__name__} ({error})")
            return state
    state |= _read_attributes(env, missing)
    if _is_mujoco(env):
        state["mujoco"] = {name: np.array(value) for name, value in _simulation_arrays(env)}
        state["mujoco_time"] = float(env.data.time)  # type: ignore[attr-defined]
    return state


def read_env_chain(env: gym.Env) -> list[Any]:
    """State of one environment and of its wrappers.

    :param env: with all its wrappers
    :raises ValueError: naming attributes that cannot be read
    """
    missing: list[str] = []
    states = [_read_env(link, missing) for link in _links(env)]
    if missing:
        raise ValueError(f"The state of {env} cannot be read, as it holds {', '.join(missing)}")
    return states


def has_hooks(env: Any) -> bool:
    """Whether an environment says itself what its state is.

    :param env: one link of a chain
    """
    if not all(callable(getattr(type(env), name, None)) for name in ("get_state", "set_state")):
        return False
    return len(inspect.signature(type(env).get_state).parameters) == 1  # of itself alone


def _is_mujoco(env: Any) -> bool:
    return type(getattr(env, "data", None)).__name__ == "MjData"


def _simulation_arrays(env: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name in dir(env.data):
        if not name.startswith("_"):
            value = getattr(env.data, name, None)
            if isinstance(value, np.ndarray) and value.dtype.kind in plain.NUMBER_KINDS:
                yield name, value


def _read_attributes(link: Any, missing: list[str]) -> dict[str, Any]:
    """Attributes of one link that can be written; the names of those that cannot go to ``missing``."""
    state: dict[str, Any] = {"attributes": {}, "spaces": {}}
    skipped = NO_STATE | ({"model", "data"} if _is_mujoco(link) else set())
    for name, each in vars(link).items():
        value = _on_host(each)
        if isinstance(value, spaces.Space):
            state["spaces"][name] = read_generators(value)
        elif name in skipped or isinstance(value, CONSTANT):
            continue
        elif plain.is_plain(value):
            state["attributes"][name] = value
        else:
            missing.append(f"{type(link).__name__}.{name} ({type(value).__name__})")
    return state


def _on_host(value: Any) -> Any:
    """A tensor, or the state of torch's random generator, as an array; anything else as it is."""
    if isinstance(value, th.Generator):
        return value.get_state().numpy()
    is_tensor = isinstance(value, th.Tensor) and value.dtype is not th.bfloat16  # numpy has no such type
    return value.detach().cpu().numpy() if is_tensor else value


def read_generators(space: spaces.Space) -> list[Any]:
    """Random states of a space and of those in it; None for one that has not been asked yet.

    :param space: any
    """
    own = space._np_random
    return [None if own is None else own.bit_generator.state, *map(read_generators, _parts(space))]


def _parts(space: spaces.Space) -> list[spaces.Space]:
    parts = getattr(space, "spaces", ())
    return list(parts.values() if isinstance(parts, Mapping) else parts)


# Writing


def restore(env: VecEnv, links: list[Any]) -> None:
    """Put a state into a vectorised environment that was made the same way.

    :param env: with all its wrappers
    :param links: of :class:`State`
    :raises ValueError: the environment has other wrappers, or another number of environments
    """
    chain = list(_chain(env))
    _check_chain([names for names, _ in links], chain)
    for link, (_, state) in zip(chain, links, strict=True):
        _restore_attributes(link, state)
        if isinstance(link, DummyVecEnv):
            for each, states in zip(link.envs, state["envs"], strict=True):
                restore_env(each, states)
        elif state.get("envs") is not None:
            for index, own in enumerate(state["envs"]):
                link.env_method("set_state", own, indices=index)


def restore_env(env: gym.Env, states: list[Any]) -> None:
    """Put a state into one environment that was made the same way.

    :param env: with all its wrappers
    :param states: of its links
    :raises ValueError: it has other wrappers
    """
    chain = list(_links(env))
    _check_chain([state["classes"] for state in states], chain)
    for link, state in zip(chain, states, strict=True):
        if "own" in state:
            link.set_state(state["own"])  # type: ignore[attr-defined]
            continue
        _restore_attributes(link, state)
        if "mujoco" in state:
            _restore_simulation(link, state)


def _classes_of(link: Any) -> list[str]:
    """Names of the class of a link, and of those that it is derived from, but for those of all links."""
    return [
        cls.__name__ for cls in type(link).__mro__ if cls not in (object, gym.Env, gym.Wrapper, VecEnv, VecEnvWrapper)
    ]


def _check_chain(classes: list[list[str]], chain: list[Any]) -> None:
    """Refuse an environment of other links; one may be derived from the other, as rl_zoo3 patches some."""
    given = [_classes_of(link) for link in chain]
    fits = len(given) == len(classes) and all(
        own[0] in other or other[0] in own for own, other in zip(given, classes, strict=True)
    )
    if not fits:
        was, is_now = (" of ".join(each[0] for each in names) for names in (classes, given))
        raise SavedFileError(f"the environment was {was}, but {is_now} was given; make it as it was made for the run")


def _restore_simulation(env: Any, state: Mapping[str, Any]) -> None:
    for name, value in state["mujoco"].items():
        own = getattr(env.data, name)
        # Contacts and constraints are as many as there are now; the next step computes them anew.
        if own.shape == value.shape and own.flags.writeable:
            own[...] = value
    env.data.time = state["mujoco_time"]


def _restore_attributes(link: Any, state: Mapping[str, Any]) -> None:
    for name, value in state["attributes"].items():
        own = vars(link).get(name)
        if isinstance(own, np.random.Generator) and isinstance(value, np.random.Generator):
            own.bit_generator.state = value.bit_generator.state  # others may hold it
        elif isinstance(own, th.Generator):
            own.set_state(th.tensor(value))
        elif isinstance(own, th.Tensor):
            own.data = th.tensor(value, device=own.device)
        elif isinstance(own, np.ndarray) and isinstance(value, np.ndarray) and own.shape == value.shape:
            own[...] = value
        else:
            setattr(link, name, value)
    for name, generators in state["spaces"].items():
        restore_generators(getattr(link, name), generators)


def restore_generators(space: spaces.Space, states: list[Any]) -> None:
    """Put back what :func:`read_generators` returned.

    :param space: of the same structure
    :param states: of it and of those in it
    """
    own, *others = states
    if own is not None:
        space.np_random.bit_generator.state = own
    for part, state in zip(_parts(space), others, strict=True):
        restore_generators(part, state)
