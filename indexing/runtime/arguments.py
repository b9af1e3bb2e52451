"""Checks of arguments. Each error names the parameter, the value and what was expected.

Every check returns the value in the type that the rest of the code uses.
"""

import functools
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sized
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, did_you_mean, examples
from indexing.runtime.safe_text import without_secrets
from indexing.runtime.warn import warn

Kind = TypeVar("Kind")
Call = TypeVar("Call")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_MAX_LENGTH = 60
_NO_NUMBERS = bool | np.bool_ | np.timedelta64  # Python and NumPy count them among numbers


def renamed_arguments(
    **names: str,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Let a function take keyword arguments by their former names too, with a `FutureWarning`.

    Args:
        names: By each former name the new one.

    >>> doubled = renamed_arguments(number="value")(lambda value: 2 * value)
    >>> doubled(value=2)
    4
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.wraps(function)
        def renamed(*args: Arguments.args, **keywords: Arguments.kwargs) -> Result:
            for former in [name for name in names if name in keywords]:
                new = names[former]
                if new in keywords:
                    raise TypeError(f"{former} is the former name of {new}, and both are given: leave {former} out")
                warn(f"{former} is called {new}; the next version takes that alone", FutureWarning)
                keywords[new] = keywords.pop(former)
            return function(*args, **keywords)

        return renamed

    return decorate


def shown(value: object) -> str:
    """Show a value and its type, shortened to one line.

    >>> shown("x"), shown(None)
    ("'x' of type str", 'None of type NoneType')
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:
        return f"of type {type(value).__name__}"
    return f"{text[:_MAX_LENGTH]}{'…' if len(text) > _MAX_LENGTH else ''} of type {type(value).__name__}"


def shown_number(value: object) -> str:
    """Show a number as it is, and any other value as `shown` does.

    >>> shown_number(-1), shown_number("many")
    ('-1', "'many' of type str")
    """
    return shown(value).removesuffix(f" of type {type(value).__name__}") if isinstance(value, Real) else shown(value)


def check_kind(value: object, kind: type[Kind], name: str, hint: str) -> Kind:
    """Check that a value is of a class.

    Args:
        value: What was given.
        kind: The class, or a protocol that is checked at run time.
        name: Name of the parameter.
        hint: What to give, in words.

    Raises:
        InputError: When it is of another.
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} is {shown(value)}; {hint}")
    return value


def check_path(value: object, name: str = "path") -> Path:
    """Check a path, and return it as `Path`.

    Raises:
        InputError: When it is no path.

    >>> check_path("items.csv").suffix
    '.csv'
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes) or isinstance(os.fspath(value), bytes):
        raise InputError(f"{name} is {shown(value)}; give a path, as text or pathlib.Path")
    if "\0" in os.fspath(value):
        raise InputError(f"{name} is {shown(value)}, with a zero character, which no path has; give another")
    if isinstance(value, os.PathLike) and (text := os.fspath(value)) != without_secrets(text):
        raise InputError(f"{name} is the URL of a database in a path; give it as text, where a database can be read")
    return Path(value)


# Also as pathlib leaves it: s3:/bucket.
URL = re.compile(r"(?:s3a?|gs|gcs|az|abfss?|adl|hf|https?|ftp|memory|file):/", re.IGNORECASE)


def check_local_path(value: object, name: str = "path") -> Path:
    """Check a path of this machine, and return it as `Path`.

    Raises:
        InputError: When it is no path, or a URL.

    >>> check_local_path("bundles/shop").name
    'shop'
    """
    path = check_path(value, name)
    if URL.match(str(value)):
        raise InputError(
            f"{name} is {str(value)!r}, a URL; give a path of this machine",
            python="push_bundle(folder, url) copies a bundle to object storage, and pull_bundle(url, folder) brings it",
            cli="`commonspace push FOLDER URL` copies a bundle to object storage, and `commonspace pull URL FOLDER` "
            "brings it",
            http="give a folder of the machine that the service runs on",
        )
    return path


def check_flag(value: object, name: str) -> bool:
    """Check a flag (True, False, 1 or 0), and return it as bool.

    Raises:
        InputError: When it is anything else, as ``"no"``, which Python would take for True.
    """
    if not isinstance(value, bool | np.bool_) and not (isinstance(value, Integral) and value in (0, 1)):
        raise InputError(f"{name} is {shown(value)}; give True or False")
    return bool(value)


def check_whole(value: object, name: str, minimum: int = 1) -> int:
    """Check a whole number, of Python or numpy, and return it as int.

    Raises:
        InputError: When it is none, or too small.

    >>> check_whole(np.int64(3), "k")
    3
    """
    if not is_whole(value, minimum):
        raise InputError(f"{name} is {shown_number(value)}, expected a whole number of at least {minimum}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def check_number(
    value: object,
    name: str,
    hint: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
) -> float:
    """Check a finite number, and return it as float.

    Args:
        value: What was given.
        name: Name of the parameter.
        hint: What to give, in words.
        minimum: The smallest value allowed.
        maximum: The largest value allowed.
        above: The value must be greater than this.

    Raises:
        InputError: When it is none, or out of bounds.

    >>> check_number(1, "strength", "give a number from 0 to 1", minimum=0, maximum=1)
    1.0
    """
    if not is_number(value, minimum, maximum) or not value > above:  # type: ignore[operator]
        raise InputError(f"{name} is {shown_number(value)}; {hint}")
    return float(value)  # type: ignore[arg-type]


def is_whole(value: object, minimum: int = 1) -> bool:
    """Whether a value is a whole number, of Python or numpy, that is large enough."""
    return isinstance(value, Integral) and not isinstance(value, _NO_NUMBERS) and int(value) >= minimum


def is_number(value: object, minimum: float = -math.inf, maximum: float = math.inf) -> bool:
    """Whether a value is a finite number within bounds."""
    if isinstance(value, _NO_NUMBERS) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value) and minimum <= float(value) <= maximum
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
    """Check that a text is one of several choices.

    Raises:
        InputError: When it is none of them.
    """
    allowed = list(choices)
    if not isinstance(value, str) or value not in allowed:
        description = f"{value!r:.60}" if isinstance(value, str) else shown(value)
        meant = did_you_mean(value, map(str, allowed)) if isinstance(value, str) else ""
        raise InputError(f"{name} is {description}{meant}; give one of {', '.join(map(repr, allowed))}")
    return value


def check_list(values: object, name: str) -> None:
    """Check that values are a list: no single value, no mapping (its values would be lost), no set (it has no order).

    Raises:
        InputError: When it is one of these.
    """
    if isinstance(values, str | bytes):
        raise InputError(f"{name} is the single value {values!r:.60}; give a list, even of one: [{values!r:.60}]")
    if isinstance(values, Mapping | set | frozenset) or not _is_sequence(values):
        raise InputError(f"{name} is {shown(values)}, expected a list")


def check_names(values: object, name: str, *, ordered: bool = True) -> list[str]:
    """Check a list of texts, and return it.

    Args:
        values: What was given.
        name: Name of the parameter.
        ordered: Whether their order matters, so that a set is refused.

    Raises:
        InputError: When it is something else, or one of them is no text, with its position.

    >>> check_names(("recall@10",), "measures")
    ['recall@10']
    """
    if ordered or not isinstance(values, set | frozenset):
        check_list(values, name)
    names: list[Any] = list(values)  # type: ignore[call-overload]
    for position, name_ in enumerate(names):
        if not isinstance(name_, str):
            raise InputError(f"{name}[{position}] is {shown(name_)}; give texts")
    return names


def check_iterable(values: object, name: str) -> Iterable[Any]:
    """Check that values can be iterated over.

    Raises:
        InputError: When it is something else.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes) or _is_scalar(values):
        raise InputError(f"{name} is {shown(values)}; give a list, even of one")
    return values


def check_call(value: Call, name: str) -> Call:
    """Check a callback, or None.

    Raises:
        InputError: When it cannot be called.
    """
    if value is not None and not callable(value):
        raise InputError(f"{name} is {shown(value)}; give a function, or None")
    return value


def check_mapping(value: object, name: str, example: str) -> Mapping[str, Any]:
    """Check a mapping whose keys are texts.

    Args:
        value: What was given.
        name: Name of the parameter.
        example: An example of what to give.

    Raises:
        InputError: When it is something else.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is {shown(value)}; give names and values, as {example}")
    if non_texts := [key for key in value if not isinstance(key, str)]:
        raise InputError(f"{name} names {examples(non_texts)}; give names as texts, as in {example}")
    return value


def check_array(value: object, name: str, kind: type[np.generic], hint: str) -> NDArray[Any]:
    """Check numbers, and return them as an array.

    Args:
        value: What was given: an array, or lists of numbers that are equally long.
        kind: Type of the numbers.
        name: Name of the parameter.
        hint: What to give, in words.

    Raises:
        InputError: When not everything in it is a number that ``kind`` holds.

    >>> check_array([[1, 2]], "vectors", np.float32, "give (B, D) numbers").dtype
    dtype('float32')
    """
    try:
        array = np.asarray(value)
        fits = array.dtype.kind in ("iu" if issubclass(kind, np.integer) else "biuf") or not array.size
        if fits and not isinstance(value, str | bytes | Mapping):
            with np.errstate(over="ignore"):  # a number too large for the type becomes infinity
                return array.astype(kind, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} is {shown(value)}; {hint} ({error})") from error
    raise InputError(f"{name} is {shown(value)}; {hint}")


def _is_sequence(values: object) -> bool:
    return isinstance(values, Sized) and isinstance(values, Iterable) and not _is_scalar(values)


def _is_scalar(values: object) -> bool:
    return getattr(values, "shape", None) == ()  # an array without dimensions has a length in name only


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dictionary, for ``object_pairs_hook`` of `json.loads`, which keeps the last of two.

    Raises:
        InputError: When a key is there twice.
    """
    counts = Counter(key for key, _ in pairs)
    if repeated := [key for key, count in counts.items() if count > 1]:
        raise InputError(f"the key {repeated[0]!r} comes {counts[repeated[0]]} times in one object; give it once")
    return dict(pairs)
