"""Tables of arguments: dataclasses whose fields are rows, each with the function that reads its value."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from sb3_softac.settings.parsing import Interval, Reader, number, one_of, schedule, whole_number

TableT = TypeVar("TableT")


def row(read: Reader) -> Any:
    """A field of a table: one argument.

    :param read: function that checks and converts the user's value
    """
    return field(metadata={"read": read})


def names_of(table: type) -> tuple[str, ...]:
    """Names of the arguments of a table, in its order."""
    return tuple(each.name for each in fields(table))


def read_table(table: type[TableT], given: Mapping[str, Any]) -> TableT:
    """Check and convert every argument of a table.

    :param table: a dataclass of :func:`row` fields
    :param given: what the user gave, by the name of the argument; arguments of other tables are ignored
    :return: the table with the checked values
    :raises ValueError: naming the first wrong argument
    """
    return table(**{each.name: each.metadata["read"](each.name, given[each.name]) for each in fields(table)})  # type: ignore[arg-type]  # a dataclass


def read_given(table: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check and convert those arguments of a table that the user gave.

    :param table: a dataclass of :func:`row` fields
    :param given: what the user gave, by the name of the argument; arguments of other tables are ignored
    :return: checked values, by the name of the argument
    :raises ValueError: naming the first wrong argument
    """
    return {
        each.name: each.metadata["read"](each.name, given[each.name]) for each in fields(table) if each.name in given
    }


def whole(minimum: int = 1, maximum: int | None = None) -> Reader:
    """Reader of a whole number; see :func:`~sb3_softac.settings.parsing.whole_number`."""
    return lambda name, value: whole_number(name, value, minimum, maximum)


def number_in(allowed: Interval) -> Reader:
    """Reader of a number in an interval; see :func:`~sb3_softac.settings.parsing.number`."""
    return lambda name, value: number(name, value, allowed)


def schedule_in(allowed: Interval) -> Reader:
    """Reader of a schedule; see :func:`~sb3_softac.settings.parsing.schedule`."""
    return lambda name, value: schedule(name, value, allowed)


def word(allowed: Collection[str]) -> Reader:
    """Reader of one of a few words; see :func:`~sb3_softac.settings.parsing.one_of`."""
    return lambda name, value: one_of(name, value, allowed)


def optional(read: Reader) -> Reader:
    """Reader that accepts None, and leaves other values to another reader."""
    return lambda name, value: None if value is None else read(name, value)


def instance_of(kinds: type | tuple[type, ...], words: str) -> Reader:
    """Reader of an instance of given classes.

    :param kinds: the allowed classes
    :param words: description of the allowed values, for the error message
    """

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"`{name}` must be {words}, but {value!r} was given")
        return value

    return read


def subclass_of(kind: type, words: str, or_callable: bool = False) -> Reader:
    """Reader of a subclass of a given class.

    :param kind: the base class
    :param words: description of the allowed values, for the error message
    :param or_callable: True: a function that makes an object is allowed, too
    """

    def read(name: str, value: Any) -> Any:
        is_kind = issubclass(value, kind) if isinstance(value, type) else or_callable and callable(value)
        if not is_kind:
            raise ValueError(f"`{name}` must be {words}, but {value!r} was given")
        return value

    return read


def keyword_arguments(name: str, value: Any) -> dict[str, Any]:
    """Read a dict of keyword arguments and copy it; None counts as an empty dict.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: for any other value
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"`{name}` must be a dict of keyword arguments, but {value!r} was given")
    return dict(value)


def check_known(name: str, given: Iterable[str], function: Callable[..., Any], hidden: Collection[str] = ()) -> None:
    """Refuse keyword arguments that a function does not take.

    :param name: name of the argument that holds them, for the error message
    :param given: names of the keyword arguments
    :param function: the function that is to take them
    :param hidden: arguments of the function that users may not set
    :raises ValueError: naming the first unknown argument, and the known one that is spelt most alike
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.name not in (*hidden, "self")]
    for key in given:
        if key not in known:
            raise ValueError(f"`{name}` has the unknown key {key!r}; {did_you_mean(key, known)}")


def did_you_mean(given: str, known: Collection[str]) -> str:
    """End of an error message: the known name that is spelt most like a given one, or all known names."""
    nearest = get_close_matches(given, known, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"known are {sorted(known)}"
