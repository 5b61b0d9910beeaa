"""Readers of single values: each checks and converts one, or refuses it and says what is allowed."""

import math
import numbers
import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

#: (name of the argument, value that the user gave) -> checked value; raises ValueError
Reader = Callable[[str, Any], Any]


#: in the single precision of networks and rewards; what is larger is infinite there
LARGEST = 3.4e38


@dataclass(frozen=True)
class Interval:
    """An interval of finite numbers.

    :param low: lower bound; minus infinity for none
    :param high: upper bound; infinity for none
    :param above: True: the lower bound itself is not allowed
    :param below: True: the upper bound itself is not allowed
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, number: float) -> bool:
        is_low = number < self.low or (self.above and number == self.low)
        is_high = number > self.high or (self.below and number == self.high)
        return abs(number) <= LARGEST and not is_low and not is_high

    def __str__(self) -> str:
        low, high = f"{self.low:g}", f"{self.high:g}"
        if math.isinf(self.high):
            return "that is finite" if math.isinf(self.low) else f"{'above' if self.above else 'of at least'} {low}"
        if math.isinf(self.low):
            return f"{'below' if self.below else 'of at most'} {high}"
        return f"{f'above {low},' if self.above else f'from {low}'} to {'below ' if self.below else ''}{high}"


FINITE = Interval()
POSITIVE = Interval(low=0.0, above=True)
NOT_NEGATIVE = Interval(low=0.0)
FRACTION = Interval(0.0, 1.0)
POSITIVE_FRACTION = Interval(0.0, 1.0, above=True)


def whole_number(name: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """Read a whole number within bounds; 1e6 counts as 1000000.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :param minimum: smallest value allowed
    :param maximum: largest value allowed; None for any
    :raises ValueError: for any other value
    """
    try:
        is_whole = isinstance(value, numbers.Real) and float(value).is_integer()
        number = int(value) if is_whole else operator.index(value)
    except (TypeError, OverflowError):
        number = None
    is_allowed = number is not None and number >= minimum and (maximum is None or number <= maximum)
    if number is None or not is_allowed or isinstance(value, bool):
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"`{name}` must be a whole number {bounds}, but {value!r} was given")
    return number


def number(name: str, value: Any, allowed: Interval = FINITE) -> float:
    """Read a finite number in an interval, also from a string: YAML reads ``1e-3`` as a string.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :param allowed: the interval
    :raises ValueError: for any other value
    """
    try:
        # Python reads 1_000 as 1000, which in "lin_1_000" would be two numbers.
        parsed = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor of many
        parsed = math.nan
    if parsed not in allowed:
        is_too_large = math.isfinite(parsed) and abs(parsed) > LARGEST
        size = f" and at most {LARGEST:g}, which single precision holds" if is_too_large else ""
        raise ValueError(f"`{name}` must be a number {allowed}{size}, but {value!r} was given")
    return parsed


def flag(name: str, value: Any) -> bool:
    """Read a switch: True or False. Other values are refused, although Python gives each of them a truth value.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :raises ValueError: a value that is not a bool
    """
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False, but {value!r} was given")
    return value


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """Read one of a few words.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :param allowed: the words
    :raises ValueError: for any other value
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"`{name}` must be one of {sorted(allowed)}, but {value!r} was given")
    return value


@dataclass(frozen=True)
class CheckedSchedule:
    """A user's schedule whose values are checked as a plain number would be.

    :param name: name of the argument, for the error message
    :param function: from the remaining progress (1 to 0) to a number
    :param allowed: the interval of its values
    """

    name: str
    function: Callable[[float], float]
    allowed: Interval

    def __call__(self, progress_remaining: float) -> float:
        """Value of the schedule.

        :param progress_remaining: remaining progress, from 1 to 0
        :raises ValueError: the value is outside the interval
        """
        at = f"its schedule at a remaining progress of {progress_remaining:g}"
        try:
            value = self.function(progress_remaining)
        except Exception as error:
            raise ValueError(f"`{self.name}`: {at} failed with {type(error).__name__}: {error}") from error
        try:
            return number(self.name, value, self.allowed)
        except ValueError as error:
            raise ValueError(f"{error} by {at}") from None


#: from the remaining progress (1 to 0) to a number
Schedule = CheckedSchedule | FloatSchedule


def schedule(name: str, value: Any, allowed: Interval) -> Schedule:
    """Read a schedule: a number, a callable of the remaining progress (from 1 to 0), or a linear one.

    A linear schedule is a string: ``"lin_<start>"``, as in the zoo, ends at 0; ``"lin_<start>_<end>"`` names its end.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :param allowed: the interval of the numbers
    :return: a schedule that can be pickled if ``value`` can
    :raises ValueError: for any other value
    """
    while isinstance(value, FloatSchedule):  # of a checkpoint, or of Stable-Baselines3
        value = value.value_schedule
    if isinstance(value, CheckedSchedule):
        value = value.function
    if isinstance(value, ConstantSchedule):
        value = value.val
    if isinstance(value, LinearSchedule):  # checked when it was parsed, or the user's own with an end of 0
        return FloatSchedule(value)
    if callable(value):
        return CheckedSchedule(name, value, allowed)
    if isinstance(value, str) and value.startswith("lin_"):
        bounds = [number(name, part, allowed) for part in value.removeprefix("lin_").split("_", 1)]
        # The zoo's spelling names no end. The end is 0, even where 0 itself is not allowed.
        start, end = bounds if len(bounds) == 2 else (*bounds, 0.0)
        return FloatSchedule(LinearSchedule(start, end, 1.0))
    try:
        return FloatSchedule(number(name, value, allowed))
    except ValueError as error:
        raise ValueError(
            f"{error}; a callable of the remaining progress (from 1 to 0), 'lin_<start>' and 'lin_<start>_<end>' are "
            "allowed too"
        ) from None


def number_or_schedule(name: str, value: Any, allowed: Interval) -> float | Schedule:
    """Read a number or a schedule: like :func:`schedule`, but a number stays a number.

    :param name: name of the argument, for the error message
    :param value: what the user gave
    :param allowed: the interval of the numbers
    :raises ValueError: for any other value
    """
    parsed = schedule(name, value, allowed)
    constant = parsed.value_schedule if isinstance(parsed, FloatSchedule) else None
    return constant.val if isinstance(constant, ConstantSchedule) else parsed


def value_at(value: float | Schedule, progress_remaining: float) -> float:
    """Value of a number or of a schedule at a moment of the training.

    :param value: result of :func:`number_or_schedule`
    :param progress_remaining: remaining progress, from 1 to 0
    """
    return value(progress_remaining) if callable(value) else value


def auto_number(name: str, value: Any) -> float | None:
    """Read the number in ``"auto_<number>"``; None for plain ``"auto"``.

    :param name: name of the argument, for the error message
    :param value: a string that starts with ``"auto"``
    :raises ValueError: any other string
    """
    if value == "auto":
        return None
    factor = value.removeprefix("auto_")
    if factor == value:
        raise ValueError(f"`{name}` must be 'auto', 'auto_<number>' or a number, but {value!r} was given")
    try:
        return number(name, factor, POSITIVE)
    except ValueError as error:
        raise ValueError(str(error).replace("above 0", "above 0 after 'auto_'")) from None


def is_auto(value: Any) -> bool:
    """Whether a value asks for ``"auto"`` or ``"auto_<number>"``."""
    return isinstance(value, str) and value.startswith("auto")
