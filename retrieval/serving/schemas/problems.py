"""What is wrong with a body, in words: of a field that is not known, which one may be meant."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag

from indexing.errors import did_you_mean

NUM_PROBLEMS = 3  # of a body, that a message names
NUM_NAMES = 8  # of fields that a message lists where none is near
ELSEWHERE = dict.fromkeys(("limit", "top_k", "topk", "n", "num", "size", "count"), "k")
ELSEWHERE |= {**dict.fromkeys(("q", "query"), "texts"), **dict.fromkeys(("filter", "filters"), "where")}
"""What fields are called in other systems."""
_KIND = re.compile(r"\[|^(constrained-)?(str|int|float|bool|bytes|list|dict)$")
_QUOTED = re.compile("'([^']*)'")
_OBJECTS = frozenset({"model_type", "model_attributes_type", "dict_type", "dataclass_type"})


def problems_in_words(problems: Sequence[Any], expected: Any = None) -> str:  # noqa: ANN401 - a type
    """Say what is wrong with a body, without the values that it has.

    Args:
        problems: As pydantic has them; the first part of the place says what was read, as ``"body"``. Names of an
            unknown field's siblings may be given by ``names``.
        expected: What the body should be, a model or a union of models: which fields there are.
    """
    places = [tuple(problem.get("loc", ()))[1:] for problem in problems]
    said = []
    for problem, place in zip(problems, places, strict=True):
        if _is_other_branch(place, places):
            continue
        shown, names = _followed(expected, place)
        words = _in_words(problem, names)
        said.append(f"{'.'.join(map(str, shown))}: {words}" if shown else words)
    said = list(dict.fromkeys(said))
    more = len(said) - NUM_PROBLEMS
    return "; ".join(said[:NUM_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _in_words(problem: Any, names: Sequence[str]) -> str:  # noqa: ANN401
    kind = problem.get("type")
    if kind == "extra_forbidden":
        return unknown_field(str(problem["loc"][-1]), problem.get("names", names))
    if kind == "literal_error" and isinstance(given := problem.get("input"), str):
        return str(problem["msg"]) + did_you_mean(given, _QUOTED.findall(problem["ctx"]["expected"]))
    if kind in _OBJECTS:
        return "give an object"
    return str(problem.get("msg", "")).removeprefix("Value error, ")


def unknown_field(name: str, names: Sequence[str]) -> str:
    """Say that there is no such field, and which one may be meant.

    >>> unknown_field("text", ["texts", "images", "k"])
    'there is no such field, did you mean `texts`?'
    >>> unknown_field("top_k", ["texts", "images", "k"])
    'there is no such field, did you mean `k`?'
    >>> unknown_field("x", ["anonymous", "known"])
    'there is no such field, there are anonymous, known'
    """
    near = difflib.get_close_matches(name.casefold(), names, n=1)
    near = near or [one for one in (ELSEWHERE.get(name.casefold(), ""),) if one in names]
    near = near or [one for one in names if len(name) > 2 and (name.casefold() in one or one in name.casefold())]
    if near:
        return f"there is no such field, did you mean `{near[0]}`?"
    return "there is no such field" + (f", there are {', '.join(names)}" if 0 < len(names) <= NUM_NAMES else "")


def _is_other_branch(place: tuple[Any, ...], places: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a problem is of another branch of a union than one that was read further.

    A query that is an object with a wrong part is not wrong for being no text.
    """
    *before, last = place or (None,)
    siblings = [one for one in places if list(one[: len(before)]) == before and len(one) > len(place)]
    return _is_kind(last) and any(one[len(before)] != last for one in siblings)


def _is_kind(part: object) -> bool:
    """Whether a part of a place is the name that pydantic gives to a branch of a union."""
    return isinstance(part, str) and _KIND.search(part) is not None


def _followed(expected: Any, place: tuple[Any, ...]) -> tuple[list[Any], list[str]]:  # noqa: ANN401
    """Give a place without the names of branches of unions, and the fields that there are where it ends."""
    models, shown = list(_models(expected)), list[Any]()
    names: list[str] = []
    for part in place:
        names = list(dict.fromkeys(name for _, model in models for name in model.model_fields))
        annotations = [model.model_fields[part].annotation for _, model in models if part in model.model_fields]
        branch = [one for one in models if part in one[0]]
        if annotations:
            models = [one for annotation in annotations for one in _models(annotation)]
        elif branch:
            models = branch
        if annotations or not (branch or _is_kind(part)):
            shown.append(part)
    return shown, names


def _models(expected: Any, tags: frozenset[Any] = frozenset()) -> Iterator[tuple[frozenset[Any], type[BaseModel]]]:  # noqa: ANN401
    """Give the models in a type, with the names that the places of problems have for each."""
    if isinstance(expected, type) and issubclass(expected, BaseModel):
        yield tags | {expected.__name__}, expected
    elif get_origin(expected) is Annotated:
        inner, *metadata = get_args(expected)
        yield from _models(inner, tags | {one.tag for one in metadata if isinstance(one, Tag)})
    else:
        for inner in get_args(expected):
            yield from _models(inner, tags)
