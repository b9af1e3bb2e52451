"""What callers hand in, checked at the door: each error names the parameter, the value and what was expected.

Every check gives the value back, as what the rest of the code goes on with.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sized
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, examples

Kind = TypeVar("Kind")
Call = TypeVar("Call")
_MOST_SHOWN = 60


def shown(value: object) -> str:
    """Show a value and its type, cut to a line.

    >>> shown("x"), shown(None)
    ("'x' of type str", 'None of type NoneType')
    """
    try:
        told = " ".join(repr(value).split())
    except Exception:
        return f"of type {type(value).__name__}"
    return f"{told[:_MOST_SHOWN]}{'…' if len(told) > _MOST_SHOWN else ''} of type {type(value).__name__}"


def shown_number(value: object) -> str:
    """Show what should be a number: one as it is, anything else as `shown` does.

    >>> shown_number(-1), shown_number("many")
    ('-1', "'many' of type str")
    """
    return shown(value).removesuffix(f" of type {type(value).__name__}") if isinstance(value, Real) else shown(value)


def check_kind(value: object, kind: type[Kind], name: str, way: str) -> Kind:
    """Check that a value is of a class.

    Args:
        value: What was given.
        kind: What it must be; a protocol too, if it can be told at runtime.
        name: Of the parameter.
        way: What to give, in words.

    Raises:
        InputError: When it is of another.
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} is {shown(value)}; {way}")
    return value


def check_path(value: object, name: str = "path") -> Path:
    """Give where a file or folder is.

    Raises:
        InputError: When it is no path.

    >>> check_path("items.csv").suffix
    '.csv'
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes) or isinstance(os.fspath(value), bytes):
        raise InputError(f"{name} is {shown(value)}; give a path, as text or pathlib.Path")
    if "\0" in os.fspath(value):
        raise InputError(f"{name} is {shown(value)}, with a zero character, which no path has; give another")
    return Path(value)


def check_flag(value: object, name: str) -> bool:
    """Give a switch: True or False, or 1 or 0.

    Raises:
        InputError: When it is anything else, as ``"no"``, which Python would take for True.
    """
    if not isinstance(value, bool | np.bool_) and not (isinstance(value, Integral) and value in (0, 1)):
        raise InputError(f"{name} is {shown(value)}; give True or False")
    return bool(value)


def check_whole(value: object, name: str, least: int = 1) -> int:
    """Give a whole number, of Python or numpy.

    Raises:
        InputError: When it is none, or too small.

    >>> check_whole(np.int64(3), "k")
    3
    """
    if not is_whole(value, least):
        raise InputError(f"{name} is {shown_number(value)}, expected a whole number of at least {least}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def check_number(
    value: object, name: str, way: str, *, least: float = -math.inf, most: float = math.inf, above: float = -math.inf
) -> float:
    """Give a finite number.

    Args:
        value: What was given.
        name: Of the parameter.
        way: What to give, in words.
        least: The smallest that will do.
        most: The largest.
        above: What it must be more than.

    Raises:
        InputError: When it is none, or out of bounds.

    >>> check_number(1, "strength", "give a number from 0 to 1", least=0, most=1)
    1.0
    """
    if not is_number(value, least, most) or not value > above:  # type: ignore[operator]
        raise InputError(f"{name} is {shown_number(value)}; {way}")
    return float(value)  # type: ignore[arg-type]


def is_whole(value: object, least: int = 1) -> bool:
    """Whether a value is a whole number, of Python or numpy, that is large enough."""
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_) and int(value) >= least


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether a value is a finite number within bounds."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value) and least <= float(value) <= most
    except OverflowError:  # a whole number that no float holds
        return False


def check_limits(limits: object) -> None:
    """Check a dataclass all of whose fields are limits.

    Raises:
        InputError: When one is no number above 0.
    """
    for name, value in vars(limits).items():
        check_number(value, name, "give a number of more than 0", above=0)


def check_choice(value: object, name: str, choices: Iterable[Kind]) -> Kind:
    """Give one of several texts.

    Raises:
        InputError: When it is none of them.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        told = f"{value!r:.60}" if isinstance(value, str) else shown(value)
        raise InputError(f"{name} is {told}; give one of {', '.join(map(repr, known))}")
    return value


def plural(values: object, name: str) -> None:
    """Refuse a single value where a list is meant, a mapping, whose values would be lost, and a set, without an order.

    Raises:
        InputError: When it is one.
    """
    if isinstance(values, str | bytes):
        raise InputError(f"{name} is the single value {values!r:.60}; give a list, even of one: [{values!r:.60}]")
    if isinstance(values, Mapping | set | frozenset) or not _has_places(values):
        raise InputError(f"{name} is {shown(values)}, expected a list")


def check_names(values: object, name: str, *, ordered: bool = True) -> list[str]:
    """Give a list of texts.

    Args:
        values: What was given.
        name: Of the parameter.
        ordered: Their order tells something, so that a set will not do.

    Raises:
        InputError: When it is something else, or one of them is no text, with its position.

    >>> check_names(("recall@10",), "measures")
    ['recall@10']
    """
    if ordered or not isinstance(values, set | frozenset):
        plural(values, name)
    found: list[Any] = list(values)  # type: ignore[call-overload]
    for place, one in enumerate(found):
        if not isinstance(one, str):
            raise InputError(f"{name}[{place}] is {shown(one)}; give texts")
    return found


def check_iterable(values: object, name: str) -> Iterable[Any]:
    """Give what can be gone through.

    Raises:
        InputError: When it is something else.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes) or _is_single(values):
        raise InputError(f"{name} is {shown(values)}; give a list, even of one")
    return values


def check_call(value: Call, name: str) -> Call:
    """Give what is called as work goes on, or None.

    Raises:
        InputError: When it cannot be called.
    """
    if value is not None and not callable(value):
        raise InputError(f"{name} is {shown(value)}; give a function, or None")
    return value


def check_mapping(value: object, name: str, like: str) -> Mapping[str, Any]:
    """Give a mapping whose names are texts.

    Args:
        value: What was given.
        name: Of the parameter.
        like: An example of what to give.

    Raises:
        InputError: When it is something else.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is {shown(value)}; give names and values, as {like}")
    if strange := [one for one in value if not isinstance(one, str)]:
        raise InputError(f"{name} names {examples(strange)}; give names as texts, as in {like}")
    return value


def check_array(value: object, name: str, kind: type[np.generic], way: str) -> NDArray[Any]:
    """Give numbers as an array.

    Args:
        value: What was given: an array, or lists of numbers that are equally long.
        kind: Of the numbers.
        name: Of the parameter.
        way: What to give, in words.

    Raises:
        InputError: When not everything in it is a number that ``kind`` holds.

    >>> check_array([[1, 2]], "vectors", np.float32, "give (B, D) numbers").dtype
    dtype('float32')
    """
    try:
        given = np.asarray(value)
        fits = given.dtype.kind in ("iu" if issubclass(kind, np.integer) else "biuf") or not given.size
        if fits and not isinstance(value, str | bytes | Mapping):
            with np.errstate(over="ignore"):  # what a smaller kind cannot hold becomes infinity
                return given.astype(kind, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} is {shown(value)}; {way} ({error})") from error
    raise InputError(f"{name} is {shown(value)}; {way}")


def _has_places(values: object) -> bool:
    return isinstance(values, Sized) and isinstance(values, Iterable) and not _is_single(values)


def _is_single(values: object) -> bool:
    return getattr(values, "shape", None) == ()  # an array of one number looks like a list, and is none
