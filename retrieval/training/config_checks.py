"""Settings are checked before anything is learned: numbers of the right kind, within what can be learned with."""

import dataclasses
import math
import types
import typing
from typing import Any, Literal

from indexing.errors import InputError
from indexing.runtime.arguments import check_choice, is_number, shown, shown_number

# Counts of what is there at all, and widths: of none nothing is learned.
_FROM_ONE = frozenset(
    {"batch_size", "closed", "cuts", "depth", "dims", "each", "epochs", "heads", "hidden", "layers", "leaves",
     "most_items", "most_steps", "neighbours", "networks", "rounds", "targets"}
)  # fmt: skip
_SIGNED = frozenset({"least"})
# Tables as wide as this are held for every item and every batch.
_MOST = {"batch_size": 1_000_000, "closed": 16_384, "dims": 16_384, "hidden": 65_536, "depth": 1_000_000}


def check_settings(settings: Any, where: str = "") -> None:  # noqa: ANN401 - any dataclass
    """Check the numbers of a dataclass of settings, and of those inside it.

    Raises:
        InputError: When one is of another kind, not finite, or out of its limits.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), f"{where}{field.name}"
        kinds = typing.get_args(hints[field.name]) if isinstance(hints[field.name], types.UnionType) else ()
        kinds = kinds or (hints[field.name],)
        if value is None and type(None) in kinds:
            continue
        if any(dataclasses.is_dataclass(kind) for kind in kinds):
            if not dataclasses.is_dataclass(value):
                raise InputError(f"{name} is {repr(value)[:80]}; give settings, as {{}} for those by default")
            check_settings(value, f"{name}.")
        elif float in kinds or int in kinds:
            _check_number(name, field.name, value, whole=float not in kinds)
        else:
            _check_other(name, value, kinds[0])


def _check_other(name: str, value: object, kind: Any) -> None:  # noqa: ANN401 - a type
    """Check a switch, one of several texts, or so many numbers."""
    if kind is bool and not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; give True or False")
    if typing.get_origin(kind) is Literal:
        check_choice(value, name, typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        inner = [one for one in typing.get_args(kind) if one is not Ellipsis]
        numbers = value if isinstance(value, tuple | list) else None
        if numbers is None or (Ellipsis not in typing.get_args(kind) and len(numbers) != len(inner)):
            raise InputError(f"{name} is {shown(value)}; give a list of numbers")
        for place, one in enumerate(numbers):
            _check_number(f"{name}[{place}]", name, one, whole=float not in inner)


def _check_number(name: str, short: str, value: object, *, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise InputError(f"{name} is {repr(value)[:80]}; give a {'whole ' if whole else ''}number")
    least: float = 1 if short in _FROM_ONE else -math.inf if short in _SIGNED else 0
    most = _MOST.get(short, math.inf)
    if not is_number(value, least, most):
        limits = f"from {least:g}" + ("" if math.isinf(most) else f" to {most:g}")
        raise InputError(f"{name} is {shown_number(value)}; give a finite number {limits}")
