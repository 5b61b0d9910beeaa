"""Settings of a model: read from its attributes, and read again only after a change."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.type_aliases import TrainFreq

from sb3_softac.settings import arguments
from sb3_softac.settings.arguments import EngineSettings, RunSettings, SetUpSettings, UpdateSettings
from sb3_softac.settings.rows import names_of, read_table

#: attributes of Stable-Baselines3 that have another name than the argument that they hold
ATTRIBUTES = {"stats_window_size": "_stats_window_size"}
#: every argument that has a row
ARGUMENTS = tuple(name for table in arguments.TABLES.values() for name in names_of(table))
_ATTRIBUTES_OF_ARGUMENTS = tuple((name, ATTRIBUTES.get(name, name)) for name in ARGUMENTS)
#: types whose checked value replaces the user's own in the attribute; other attributes keep what the user gave
_PLAIN = (bool, int, float, str, type(None), tuple, TrainFreq)


@dataclass(frozen=True)
class Settings:
    """Checked values of all arguments of a model.

    :param update: arguments that decide the operations of one gradient step
    :param engine: arguments that decide how a gradient step is computed
    :param run: arguments that are read during a run
    :param set_up: arguments that decide the structure of networks and replay buffer
    """

    update: UpdateSettings
    engine: EngineSettings
    run: RunSettings
    set_up: SetUpSettings

    def values(self) -> dict[str, Any]:
        """Checked value of each argument, by its name."""
        tables = (self.update, self.engine, self.run, self.set_up)
        return {field.name: getattr(table, field.name) for table in tables for field in fields(table)}


def check_arguments(given: Mapping[str, Any]) -> None:
    """Refuse arguments that are wrong for every environment.

    :param given: every argument, by its name
    :raises ValueError: naming the first wrong argument
    """
    for table in arguments.TABLES.values():
        read_table(table, given)


def read_settings(
    given: Mapping[str, Any], observation_space: spaces.Space, action_space: spaces.Space, n_envs: int
) -> Settings:
    """Check and convert every argument.

    :param given: what the user gave, by the name of the argument
    :param observation_space: observation space of the environment
    :param action_space: action space of the environment
    :param n_envs: number of environments
    :return: the checked values
    :raises ValueError: naming the wrong argument
    """
    variant = read_table(SetUpSettings, given).variant
    target = arguments.read_target_entropy("target_entropy", given["target_entropy"], action_space, observation_space)
    given = {
        **given,
        "ent_coef": arguments.read_ent_coef("ent_coef", given["ent_coef"], variant),
        "target_entropy": target,
    }
    settings = Settings(**{name: read_table(table, given) for name, table in arguments.TABLES.items()})
    arguments.check_combinations(settings.values(), action_space, n_envs)
    arguments.check_dict_observations(settings.values(), observation_space)
    return settings


class Attributes:
    """Watches the attributes of a model that hold its arguments, and reads them again after a change.

    Attributes are compared by identity, which is fast: every call of ``train()`` asks, and a user changes an argument
    by an assignment. The entries of dicts of keyword arguments are compared, too. After reading, an attribute holds the
    plain number or word that the user's value stands for.

    :param model: holds the arguments, the spaces and the number of environments
    :raises ValueError: naming the wrong argument; then no attribute has changed
    """

    def __init__(self, model: Any) -> None:
        self._take(model, read_settings(given_in(model), *_environment(model)))

    def _take(self, model: Any, settings: Settings) -> None:
        for name, value in plain_values(settings).items():
            setattr(model, ATTRIBUTES.get(name, name), value)
        #: the settings at the last reading
        self.settings = settings
        self._given = given_in(model)
        self._seen = _flat(self._given)

    def up_to_date(self, model: Any, check: Callable[[Settings, set[str]], None]) -> tuple[Settings, set[str]]:
        """Current settings, and the names of the arguments that were changed since the last call.

        :param model: the model of the constructor, or a copy of it
        :param check: refuses new settings, given the names of the arguments that were changed, by a ValueError
        :raises ValueError: naming an argument that was changed to a wrong value, or that cannot be changed; then
            nothing has changed
        """
        given = given_in(model)
        now = _flat(given)
        if len(now) == len(self._seen) and all(map(operator.is_, now, self._seen)):
            return self.settings, set()
        changed = {name for name, value in given.items() if self._given[name] is not value}
        settings = read_settings(given, *_environment(model))
        check_set_up(self.settings.set_up, settings.set_up)
        check(settings, changed)
        self._take(model, settings)
        return settings, changed


def _environment(model: Any) -> tuple[spaces.Space, spaces.Space, int]:
    return model.observation_space, model.action_space, model.n_envs


def given_in(model: Any) -> dict[str, Any]:
    """Attributes of a model that hold its arguments, by the name of the argument.

    :param model: a SoftAC
    """
    return {name: getattr(model, attribute) for name, attribute in _ATTRIBUTES_OF_ARGUMENTS}


def _flat(given: Mapping[str, Any]) -> list[Any]:
    """All values in one list, followed by the keys and values of those that are dicts."""
    kwargs = [value for value in given.values() if isinstance(value, dict)]
    return [*given.values(), *[each for value in kwargs for pair in value.items() for each in pair]]


def plain_values(settings: Settings) -> dict[str, Any]:
    """Arguments with a plain value, a number or a word, which a model may hold in place of what the user gave.

    Schedules are left out, so an attribute keeps ``"lin_2"``. So is a target entropy that depends on the action mask.

    :param settings: settings of a model
    :return: plain values, by the name of the argument
    """
    values = settings.values()
    target = values["target_entropy"]
    values["target_entropy"] = target.offset if target.factor == 0.0 else target
    return {name: value for name, value in values.items() if isinstance(value, _PLAIN)}


#: advice for users who change an argument of the set-up
_CHANGED_BY = {
    "seed": "call `set_random_seed()`",
    "device": "pass `device` to `load()`",
    "buffer_size": "pass it to `load()`, whose replay buffer is empty",
}


def check_set_up(before: SetUpSettings, now: SetUpSettings) -> None:
    """Refuse a change of an argument that decides the structure of networks or replay buffer.

    :param before: values at the set-up
    :param now: values of the attributes now
    :raises ValueError: naming the changed argument
    """
    for name in names_of(SetUpSettings):
        was, is_now = getattr(before, name), getattr(now, name)
        if was is not is_now and was != is_now:
            advice = _CHANGED_BY.get(name, f"make a new model, or pass `{name}` to `load()`")
            raise ValueError(
                f"`{name}` was {was!r} when the model was set up, and cannot be changed to {is_now!r} later; {advice}"
            )
