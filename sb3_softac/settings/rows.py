"""Tables of arguments: dataclasses whose fields are the rows, each with the function that reads its value."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from sb3_softac.settings.parsing import Interval, Reader, number, one_of, schedule, whole_number

TableT = TypeVar("TableT")


def row(read: Reader) -> Any:
    """One argument of a table.

    :param read: from what a user gave to what it means
    """
    return field(metadata={"read": read})


def names_of(table: type) -> tuple[str, ...]:
    """The arguments of a table, in its order."""
    return tuple(each.name for each in fields(table))


def read_table(table: type[TableT], given: Mapping[str, Any]) -> TableT:
    """Every argument of a table, as what it means.

    :param table: a dataclass of :func:`row` fields
    :param given: what the user gave, by the name of the argument; others may be in it
    :raises ValueError: naming the first argument that is wrong
    """
    return table(**{each.name: each.metadata["read"](each.name, given[each.name]) for each in fields(table)})  # type: ignore[arg-type]  # a dataclass


def read_given(table: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a table that a user gave, as what they mean.

    :param table: a dataclass of :func:`row` fields
    :param given: what the user gave, by the name of the argument; others may be in it
    :raises ValueError: naming the first argument that is wrong
    """
    return {
        each.name: each.metadata["read"](each.name, given[each.name]) for each in fields(table) if each.name in given
    }


def whole(minimum: int = 1, maximum: int | None = None) -> Reader:
    """A row of :func:`~sb3_softac.settings.parsing.whole_number`."""
    return lambda name, value: whole_number(name, value, minimum, maximum)


def number_in(allowed: Interval) -> Reader:
    """A row of :func:`~sb3_softac.settings.parsing.number`."""
    return lambda name, value: number(name, value, allowed)


def schedule_in(allowed: Interval) -> Reader:
    """A row of :func:`~sb3_softac.settings.parsing.schedule`."""
    return lambda name, value: schedule(name, value, allowed)


def word(allowed: Collection[str]) -> Reader:
    """A row of :func:`~sb3_softac.settings.parsing.one_of`."""
    return lambda name, value: one_of(name, value, allowed)


def optional(read: Reader) -> Reader:
    """A row that may be None, too."""
    return lambda name, value: None if value is None else read(name, value)


def instance_of(kinds: type | tuple[type, ...], words: str) -> Reader:
    """An object of one of some classes.

    :param kinds: the classes
    :param words: what they are, for the message
    """

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"`{name}` must be {words}, but {value!r} was given")
        return value

    return read


def subclass_of(kind: type, words: str, or_callable: bool = False) -> Reader:
    """A class that is derived from another one.

    :param kind: the other one
    :param words: what it is, for the message
    :param or_callable: a function that makes an object will do, too
    """

    def read(name: str, value: Any) -> Any:
        is_kind = issubclass(value, kind) if isinstance(value, type) else or_callable and callable(value)
        if not is_kind:
            raise ValueError(f"`{name}` must be {words}, but {value!r} was given")
        return value

    return read


def keyword_arguments(name: str, value: Any) -> dict[str, Any]:
    """A copy of a dict of keyword arguments; None counts as an empty one.

    :param name: of the argument, for the message
    :param value: what the user gave
    :raises ValueError: anything else
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"`{name}` must be a dict of keyword arguments, but {value!r} was given")
    return dict(value)


def check_known(name: str, given: Iterable[str], function: Callable[..., Any], hidden: Collection[str] = ()) -> None:
    """Refuse keyword arguments that a function does not take, with the nearest one that it does.

    :param name: of the argument that holds them, for the message
    :param given: their names
    :param function: takes them
    :param hidden: arguments of the function that are not the user's to give
    :raises ValueError: naming the first unknown one
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.name not in (*hidden, "self")]
    for key in given:
        if key not in known:
            raise ValueError(f"`{name}` has the unknown key {key!r}; {did_you_mean(key, known)}")


def did_you_mean(given: str, known: Collection[str]) -> str:
    """The known name that is nearest to a given one, or all of them, as the end of a message."""
    nearest = get_close_matches(given, known, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"known are {sorted(known)}"
