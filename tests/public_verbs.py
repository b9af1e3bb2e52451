"""Every public verb of `indexing` and `retrieval`, and values that are wrong for almost every argument."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Unpack, get_args, get_origin

import numpy as np

import indexing
import retrieval

# What the project makes and others read: nobody else calls their constructors.
MADE_HERE = {
    *("Bundle", "Catalogue", "CommonspaceError", "EditReport", "EncoderInfo", "Evaluation"),
    *("FitReport", "Hit", "Interactions", "Item", "Medium", "Profiles"),
}
PROTOCOLS = {"Encoder", "Reranker"}  # what others write


@dataclass(frozen=True)
class Verb:
    """A function, a constructor or a method.

    Attributes:
        name: As ``Retriever.recommend``.
        function: What is called; for a method of an instance, by the name of its class first.
        of: The class whose instance has it; None for functions, constructors and class methods.
        parameters: Whether each must be given.
    """

    name: str
    function: Callable[..., object]
    of: str | None
    parameters: dict[str, bool]


def verbs() -> Iterator[Verb]:
    """Give every public function, constructor and method that takes an argument."""
    for module in (indexing, retrieval):
        for name in module.__all__:
            exported: Any = getattr(module, name)
            if name in PROTOCOLS or (inspect.isclass(exported) and issubclass(exported, Enum)):
                continue
            if name not in MADE_HERE:
                yield _verb(name, exported)
            for method in dir(exported) if inspect.isclass(exported) else ():
                found = inspect.getattr_static(exported, method)
                function = getattr(exported, method)
                if method.startswith("_") or not inspect.isroutine(function) or not _is_ours(function):
                    continue
                bound = isinstance(found, classmethod | staticmethod)
                verb = _verb(f"{name}.{method}", function, None if bound else name)
                if verb.parameters:
                    yield verb


def _is_ours(function: object) -> bool:
    return str(getattr(function, "__module__", "")).split(".")[0] in ("indexing", "retrieval")


def _verb(name: str, function: Callable[..., object], of: str | None = None) -> Verb:
    parameters = list(inspect.signature(function).parameters.values())[1 if of else 0 :]
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    required = {one.name: one.default is one.empty for one in named}
    for one in parameters:
        if one.kind is one.VAR_KEYWORD and get_origin(one.annotation) is Unpack:
            required |= dict.fromkeys(get_args(one.annotation)[0].__optional_keys__, False)
    return Verb(name, function, of, required)


class Thing:
    """Nothing that anything takes."""


THING = Thing()


def wrong_values() -> list[Any]:
    """Give values of many kinds, each wrong for most parameters; some are right for a few."""
    return [
        *(THING, None, True, 3, -1, 2.5, float("nan"), 10**400, "", "x", "\0", b"x", np),
        *({}, {"a": 1}, {3: None}, [], (), {1}, [None], [3], ["x"], ["x", "y"], [b"x"], [{}], [{"i001": 5}]),
        *([["x"]], [[3]], [[None]], [["i001"], None], [[10**400]], [[float("nan")]], [[1.0], "x"]),
        *(np.zeros(3, np.float32), np.zeros((2, 2), np.float32), np.array(3), np.array(["x"]), np.array([object()])),
        (one for one in ["x"]),
    ]
