"""Values of Python as a service reads them: composed queries, files, filters, times, and numbers of NumPy."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from indexing.errors import InputError
from indexing.media.images import to_rgb
from indexing.runtime.arguments import check_list, shown
from retrieval.filters.expressions import OPERATORS, Compare, Expression, Selection, Where
from retrieval.retriever.queries.query import Query, QueryPart

Picture: TypeAlias = Image.Image | bytes | Path | str
"""A PIL image, the bytes of a file, or the path of one on this machine."""

Sound: TypeAlias = bytes | Path | str
"""The bytes of a file, or the path of one on this machine."""

AnyQuery: TypeAlias = str | Query | Mapping[str, Any]
"""A text, a composed query, or the parts of one as the service reads them."""


def to_json(body: Mapping[str, Any]) -> bytes:
    """Write the body of a request; values of NumPy, dates and files become what JSON has for them.

    Raises:
        InputError: When a number is not finite, or JSON has nothing for a value.
    """
    return f"{{{', '.join(_field(name, value) for name, value in body.items())}}}".encode()


def _field(name: str, value: Any) -> str:  # noqa: ANN401 - what a caller gave
    try:
        value = conditions(value) if name == "where" else value
        return f"{json.dumps(name)}: {json.dumps(value, allow_nan=False, default=_plain)}"
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name} cannot be sent: {error}; give finite numbers") from error


def queries_field(queries: Sequence[AnyQuery]) -> dict[str, Any]:
    """Give the field of queries: texts where all are, composed queries otherwise."""
    check_list(queries, "queries")
    if all(isinstance(query, str) for query in queries):
        return {"texts": list(queries)}
    return {"queries": [_composed(query, place) for place, query in enumerate(queries)]}


def picture_bytes(picture: Picture) -> bytes:
    """Give a picture as the bytes of a file; a PIL image becomes a PNG, without loss.

    Raises:
        InputError: When it is none, or its file cannot be read.
    """
    if not isinstance(picture, Image.Image):
        return file_bytes(picture, "a picture", "a PIL image, the bytes of a file, or the path of one")
    file = io.BytesIO()
    pixels = to_rgb(picture)
    Image.frombytes("RGB", pixels.size, pixels.tobytes()).save(file, "PNG", compress_level=1)  # pixels alone
    return file.getvalue()


def file_bytes(given: Any, what: str, hint: str = "the bytes of a file, or the path of one") -> bytes:  # noqa: ANN401
    """Give the bytes of a file.

    Raises:
        InputError: When it cannot be read, or is none.
    """
    if isinstance(given, bytes):
        return given
    if not isinstance(given, str | Path):
        raise InputError(f"{what} is {shown(given)}; give {hint}")
    try:
        return Path(given).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{what} cannot be read from {shown(str(given))}: {error}; give {hint}") from error


def filter_texts(where: Where) -> list[str]:
    """Give filters as texts, for the parameters of a path."""
    return [one if isinstance(one, str) else str(Compare(*one)) for one in conditions(where)]


def conditions(where: Where) -> list[str | list[Any]]:
    """Give filters as the service reads them: texts, and ``[attribute, operator, value]``.

    Raises:
        InputError: When one is no filter.
    """
    if isinstance(where, str | Expression):
        where = [where]
    if not isinstance(where, Sequence) or isinstance(where, bytes):
        raise InputError(f"where is {shown(where)}; give an expression, its text, or a list of conditions")
    if isinstance(where, tuple) and len(where) > 1 and isinstance(where[1], str) and where[1] in (*OPERATORS, "=="):
        where = [where]  # a single condition
    return [_condition(one) for one in where]


def _condition(given: Any) -> str | list[Any]:  # noqa: ANN401 - what a caller wrote
    if isinstance(given, str):
        return given
    if isinstance(given, Selection):
        raise InputError("a filter that was evaluated belongs to its bundle; give the expression that it was made of")
    if isinstance(given, Compare):
        value = list(given.value) if isinstance(given.value, tuple) else given.value
        return [given.attribute, given.operator, *([] if given.operator.startswith("is ") else [value])]
    if isinstance(given, Expression):
        return str(given)
    if isinstance(given, list | tuple) and len(given) > 1:
        return [given[0], "=" if given[1] == "==" else given[1], *given[2:]]
    raise InputError(f"condition {shown(given)} is not (attribute, operator, value)")


def _composed(query: Any, place: int) -> Any:  # noqa: ANN401 - what a caller wrote
    if isinstance(query, str):
        query = Query.text(query)
    if isinstance(query, Query):
        return {"parts": [_part(part) for part in query.parts]}
    if isinstance(query, Mapping):
        return query
    raise InputError(f"queries[{place}] is {shown(query)}; give a text, a Query, or a mapping with its parts")


def _part(part: QueryPart) -> dict[str, Any]:
    value = part.value
    if part.kind == "image":
        value = picture_bytes(value)
    elif part.kind == "audio":
        value = file_bytes(value, "a sound")
    return {part.kind: value, "weight": part.weight}


def _plain(value: Any) -> Any:  # noqa: ANN401 - what a caller gave
    if isinstance(value, np.datetime64) or (isinstance(value, np.ndarray) and value.dtype.kind == "M"):
        return value.astype(str).tolist()
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Image.Image | Path):
        value = picture_bytes(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise InputError(f"{shown(value)} cannot be sent; give texts, numbers, lists and mappings")
