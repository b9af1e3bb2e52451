"""Settings of learning as plain JSON values, and back."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.runtime.arguments import shown, shown_number

Settings = TypeVar("Settings")
# Fields that there are no more, each with the values at which it did nothing, or None where it never did anything.
# Settings that were stored before are read without them.
_LEFT: dict[str, dict[str, tuple[Any, ...] | None]] = {
    "AdapterConfig": {"hard": (0,), "margin": None},
    "StageConfig": {"moments": None, "share": None, "new_items": (False,)},
    "TreesConfig": {"signs": ([], ())},
}


def settings_of(kind: type[Settings], values: dict[str, Any], where: str = "") -> Settings:
    """Make a dataclass, and those inside it, of what `dataclasses.asdict` gave; what is not there is as by default.

    Fields that there were in an earlier version are left out, where they did nothing.

    Raises:
        InputError: When there are no names with values, a name is unknown, or a value is refused.

    >>> from retrieval.training.config import BehaviourConfig
    >>> settings_of(BehaviourConfig, {"ridge": 3.0, "next_items": {"epochs": 2}}).next_items.epochs
    2
    """
    if not isinstance(values, dict):
        raise InputError(f"{where.removesuffix('.') or kind.__name__} is {shown(values)}; give names and values")
    hints, values = typing.get_type_hints(kind), _without_what_left(kind, values, where)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(names)):
        raise InputError(f"no such settings: {[where + name for name in unknown]}; there are {names}")
    try:
        return kind(**{name: _read(hints[name], value, f"{where}{name}.") for name, value in values.items()})
    except TypeError as error:
        raise InputError(f"{where or kind.__name__}: {error}") from error


def read_settings(kind: type[Settings], path: Path | str) -> Settings:
    """Read settings from a JSON file.

    Raises:
        InputError: When it cannot be read.
    """
    try:
        values = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the settings in {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}, not the names and values of settings")
    return settings_of(kind, values)


def write_settings(settings: Any, path: Path) -> None:  # noqa: ANN401 - any dataclass
    """Write settings to a JSON file, whole or not at all."""
    fsops.write_bytes(path, json.dumps(dataclasses.asdict(settings), indent=1).encode())


def _without_what_left(kind: type[Any], values: dict[str, Any], where: str) -> dict[str, Any]:
    left = _LEFT.get(kind.__name__, {})
    for name, idle in left.items():
        if name in values and idle is not None and values[name] not in idle:
            raise InputError(
                f"{where}{name} is {shown_number(values[name])}, and there is no such setting any more: leave it out"
            )
    return {name: value for name, value in values.items() if name not in left}


def _read(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - a type and what should be of it
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
    if inner is not None and isinstance(value, dict):
        return settings_of(inner, value, where)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(value)
    return value
