"""Settings of training as plain JSON values, and back."""

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.runtime.arguments import check_choice, distinct_keys, is_number, shown, shown_number

Settings = TypeVar("Settings")
# Fields of earlier versions that cannot be set any more, each with the values at which it did nothing, or which are
# constants now; None where it never did anything. Stored settings are read without them.
_REMOVED: dict[str, dict[str, tuple[Any, ...] | None]] = {
    "FitConfig": {
        "depth": (200,),
        "search_loss": (0.02,),
        "exposure_growth": (3.0,),
        "refresh_passes": (0.25,),
        "replay": (1.0,),
    },
    "AdapterConfig": {
        "batch_size": (512,),
        "hard": (0,),
        "margin": None,
        "modality_dropout": (0.1,),
        "targets": (4,),
        "temperature": (0.07,),
        "uniform": (512,),
    },
    "AttentionConfig": {
        "ahead": (10,),
        "batch_size": (16,),
        "hidden_dropout": (0.1,),
        "most_steps": (1000,),
        "negatives": (4096,),
        "weight_decay": (1e-2,),
    },
    "NextItemsConfig": {
        "batch_size": (128,),
        "cuts": (3,),
        "feature_dropout": (0.5,),
        "half_lives": ([15.0, 3.0, 15.0], [1e9, 1e9, 1e9]),  # the second for a log without times, as is derived now
        "negatives": (8192,),
        "predicting": (0.02,),
    },
    "BehaviourConfig": {
        "content": (0.0,),
        "disliked": (0.3,),
        "early": (60.0,),
        "few": (2.0,),
        "half_life": (None,),
        "popular": (1.6,),
        "share": (0.3,),
    },
    "HeadConfig": {"weight_decay": (1e-2,)},
    "StageConfig": {"moments": None, "share": None, "new_items": (False,)},
    "TreesConfig": {"signs": ([],)},
}

# Fields of another name in earlier versions: the old name, and the new one.
_RENAMED: dict[str, dict[str, str]] = {
    "FitConfig": {"way": "split", "head": "reranker", "users": "user_model"},
    "AdapterConfig": {"most_steps": "max_steps", "stay": "anchor_weight", "held_out": "validation_fraction"},
    "AttentionConfig": {"longest": "max_length"},
    "NextItemsConfig": {"most_steps": "max_steps", "ahead": "num_targets"},
    "BehaviourConfig": {"closed": "ease_dims", "most_items": "max_ease_items", "doubt": "shrinkage"},
    "HeadConfig": {"networks": "ensemble_size", "least_steps": "min_steps"},
    "TreesConfig": {
        "leaves": "num_leaves",
        "rounds": "num_boost_round",
        "fewest": "min_data_in_leaf",
        "columns": "feature_fraction",
        "top": "lambdarank_truncation_level",
        "threads": "num_threads",
    },
    "SourcesConfig": {
        "neighbours": "num_neighbours",
        "most_items": "max_ease_items",
        "ahead": "window",
        "doubt": "shrinkage",
        "days": "recent_days",
    },
    "StageConfig": {"each": "candidates_per_source", "least": "min_relevance"},
    "PushLimits": {"least_users": "min_users", "least_share": "min_share"},
    "UserModel": {"least": "min_relevance"},
}


def settings_of(config_class: type[Settings], values: dict[str, Any], where: str = "") -> Settings:
    """Make a dataclass, nested ones included, from what `dataclasses.asdict` gave; missing fields have defaults.

    Names of earlier versions are mapped to the current ones. Removed fields are ignored if they had no effect, or the
    value that is now fixed.

    Raises:
        InputError: When there are no names with values, a name is unknown, or a value is refused.

    >>> from retrieval.training.config import BehaviourConfig
    >>> settings_of(BehaviourConfig, {"ridge": 3.0, "next_items": {"epochs": 2}}).next_items.epochs
    2
    """
    if not isinstance(values, dict):
        raise InputError(
            f"{where.removesuffix('.') or config_class.__name__} is {shown(values)}; give names and values"
        )
    hints, values = typing.get_type_hints(config_class), _without_removed(config_class, values, where)
    names = [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(names)):
        raise InputError(f"no such settings: {[where + name for name in unknown]}; there are {names}")
    try:
        return config_class(**{name: _read(hints[name], value, f"{where}{name}.") for name, value in values.items()})
    except TypeError as error:
        raise InputError(f"{where or config_class.__name__}: {error}") from error


def read_settings(config_class: type[Settings], path: Path | str) -> Settings:
    """Read settings from a JSON file.

    Raises:
        InputError: When it cannot be read.
    """
    try:
        values = json.loads(Path(path).read_text(), object_pairs_hook=distinct_keys)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the settings in {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}, not the names and values of settings")
    return settings_of(config_class, values)


def write_settings(settings: Any, path: Path) -> None:  # noqa: ANN401 - any dataclass
    """Write settings to a JSON file, whole or not at all."""
    fsops.write_bytes(path, json.dumps(dataclasses.asdict(settings), indent=1).encode())


def _without_removed(config_class: type[Any], values: dict[str, Any], where: str) -> dict[str, Any]:
    removed = _REMOVED.get(config_class.__name__, {})
    values = _renamed(config_class, values, where)
    for name, idle in removed.items():
        if name in values and idle is not None and _as_stored(values[name]) not in idle:
            raise InputError(
                f"{where}{name} is {shown_number(values[name])}, and there is no such setting any more: leave it out"
            )
    return {name: value for name, value in values.items() if name not in removed}


def _as_stored(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _renamed(config_class: type[Any], values: dict[str, Any], where: str) -> dict[str, Any]:
    names = _RENAMED.get(config_class.__name__, {})
    if duplicates := [(old, new) for old, new in names.items() if old in values and new in values]:
        old, new = duplicates[0]
        raise InputError(f"{where}{old} is an older name of {where}{new}, and both are there: leave one out")
    return {names.get(name, name): value for name, value in values.items()}


def _read(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - a type and what should be of it
    hint_classes = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    inner = next((hint_class for hint_class in hint_classes if dataclasses.is_dataclass(hint_class)), None)
    if inner is not None and isinstance(value, dict):
        return settings_of(inner, value, where)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(value)
    return value


# Counts of what is there at all, and widths: of none nothing is learned.
_FROM_ONE = frozenset(
    {"batch_size", "candidates_per_source", "dims", "ease_dims", "ensemble_size", "epochs", "heads", "hidden", "layers",
     "max_ease_items", "max_length", "max_steps", "num_boost_round", "num_leaves", "num_neighbours"}
)  # fmt: skip
_SIGNED = frozenset({"min_relevance"})
# Tables as wide as this are held for every item and every batch.
_MOST = {"batch_size": 1_000_000, "ease_dims": 16_384, "dims": 16_384, "hidden": 65_536}


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
        inner = [number for number in typing.get_args(kind) if number is not Ellipsis]
        numbers = value if isinstance(value, tuple | list) else None
        if numbers is None or (Ellipsis not in typing.get_args(kind) and len(numbers) != len(inner)):
            raise InputError(f"{name} is {shown(value)}; give a list of numbers")
        for index, number in enumerate(numbers):
            _check_number(f"{name}[{index}]", name, number, whole=float not in inner)


def _check_number(name: str, short: str, value: object, *, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise InputError(f"{name} is {repr(value)[:80]}; give a {'whole ' if whole else ''}number")
    minimum: float = 1 if short in _FROM_ONE else -math.inf if short in _SIGNED else 0
    maximum = _MOST.get(short, math.inf)
    if not is_number(value, minimum, maximum):
        limits = f"from {minimum:g}" + ("" if math.isinf(maximum) else f" to {maximum:g}")
        raise InputError(f"{name} is {shown_number(value)}; give a finite number {limits}")
