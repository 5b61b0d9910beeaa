"""Parsing of what users pass: every refusal says what was given, what is allowed and what to do."""

import math
import numbers
import operator
from collections.abc import Callable, Collection
from typing import Any

from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule


def positive_int(name: str, value: Any, minimum: int = 1) -> int:
    """Whole number of at least ``minimum``; 1e6 counts as 1000000.

    :param name: of the argument, for the message
    :param value: what the user gave
    :param minimum: smallest value allowed
    :raises ValueError: anything else
    """
    try:
        is_whole = isinstance(value, numbers.Real) and float(value).is_integer()
        number = int(value) if is_whole else operator.index(value)
    except (TypeError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise ValueError(f"`{name}` must be a whole number of at least {minimum}, but {value!r} was given")
    return number


def bounded_float(name: str, value: Any, allowed: str, is_allowed: Callable[[float], bool]) -> float:
    """A finite number in a range; numbers in a string (YAML reads ``1e-3`` as one) count.

    :param name: of the argument, for the message
    :param value: what the user gave
    :param allowed: the range in words, for the message
    :param is_allowed: the range
    :raises ValueError: anything else
    """
    try:
        # Python reads 1_000 as 1000, which in "lin_1_000" would be two numbers.
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and is_allowed(number)):
        raise ValueError(f"`{name}` must be a number {allowed}, but {value!r} was given")
    return number


def flag(name: str, value: Any) -> bool:
    """A switch.

    :param name: of the argument
    :param value: as the user gave it
    :raises ValueError: anything but a bool, of which every other would count as one or the other
    """
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False, but {value!r} was given")
    return value


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """One of a few words.

    :param name: of the argument, for the message
    :param value: what the user gave
    :param allowed: the words
    :raises ValueError: anything else
    """
    if value not in tuple(allowed):
        raise ValueError(f"`{name}` must be one of {sorted(allowed)}, but {value!r} was given")
    return value


def schedule(name: str, value: Any, allowed: str, is_allowed: Callable[[float], bool]) -> FloatSchedule:
    """A number, a callable of the remaining progress (1 to 0), or linear.

    Linear is the zoo's ``"lin_<start>"``, down to 0, or ``"lin_<start>_<end>"``.

    :param name: of the argument, for the message
    :param value: what the user gave
    :param allowed: the range of the numbers in words, for the message
    :param is_allowed: the range of the numbers
    :return: a schedule that can be pickled if ``value`` can
    :raises ValueError: anything else
    """
    if callable(value):
        return FloatSchedule(value)
    if isinstance(value, str) and value.startswith("lin_"):
        numbers = [bounded_float(name, part, allowed, is_allowed) for part in value.removeprefix("lin_").split("_", 1)]
        # The zoo's spelling names no end: it is 0, which need not be allowed itself.
        start, end = numbers if len(numbers) == 2 else (*numbers, 0.0)
        return FloatSchedule(LinearSchedule(start, end, 1.0))
    try:
        return FloatSchedule(bounded_float(name, value, allowed, is_allowed))
    except ValueError as error:
        raise ValueError(
            f"{error}; a callable of the remaining progress (from 1 to 0), 'lin_<start>' and 'lin_<start>_<end>' are "
            "allowed too"
        ) from None


def learning_rate(name: str, value: Any) -> FloatSchedule:
    """A learning rate: :func:`schedule` of numbers of at least 0."""
    return schedule(name, value, "of at least 0", lambda rate: rate >= 0.0)


def number_or_schedule(
    name: str, value: Any, allowed: str, is_allowed: Callable[[float], bool]
) -> float | FloatSchedule:
    """As :func:`schedule`, but a number stays a number, for the user to read and to change."""
    parsed = schedule(name, value, allowed, is_allowed)
    constant = parsed.value_schedule
    return constant.val if isinstance(constant, ConstantSchedule) else parsed


def value_at(value: Any, progress_remaining: float) -> float:
    """The value of a number or a schedule.

    :param value: from :func:`number_or_schedule`
    :param progress_remaining: from 1 to 0
    """
    return value(progress_remaining) if callable(value) else value


def auto_number(name: str, value: Any) -> float | None:
    """The number in ``"auto_<number>"``, None for plain ``"auto"``.

    :param name: of the argument, for the message
    :param value: a string that starts with ``"auto"``
    :raises ValueError: another string
    """
    if value == "auto":
        return None
    number = value.removeprefix("auto_")
    if number == value:
        raise ValueError(f"`{name}` must be 'auto', 'auto_<number>' or a number, but {value!r} was given")
    return bounded_float(name, number, "above 0 after 'auto_'", lambda x: x > 0.0)


def is_auto(value: Any) -> bool:
    """Whether a value asks for ``"auto"`` or ``"auto_<number>"``."""
    return isinstance(value, str) and value.startswith("auto")
