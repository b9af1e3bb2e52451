"""Items from JSON lines; a line that is no object costs itself only."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexing.errors import CatalogueError
from indexing.readers import TableReader, file_of
from indexing.readers.urls import Remote


def read_jsonl(path: Path | str | Remote) -> TableReader:
    """Read a file with one JSON object a line.

    Raises:
        CatalogueError: When no line is one.
    """
    rows: list[dict[str, Any]] = []
    malformed: dict[int, str] = {}
    with file_of(path).open("rb") as file:
        number = -1
        for line in file:
            if not line.strip():
                continue
            number += 1
            row, problem = json_object(line)
            if problem:
                malformed[number] = problem
            else:
                rows.append(row)
    if not rows:
        raise CatalogueError(f"{path} has no line with a JSON object")
    names = dict.fromkeys(name for row in rows for name in row)
    return TableReader(
        str(path), pa.table({name: _column([row.get(name) for row in rows]) for name in names}), malformed
    )


def json_object(line: bytes) -> tuple[dict[str, Any], str | None]:
    """Give the object of a line, or what is wrong with the line.

    >>> json_object(b"[1]")
    ({}, 'a JSON list instead of an object')
    """
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            return {}, f"a JSON {type(row).__name__} instead of an object"
        if b"\\u" in line:  # half of a surrogate pair, as left by a text cut in two, is no Unicode
            json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # a ValueError also for undecodable bytes
        return {}, f"not JSON: {error}"
    return row, None


def _column(values: list[Any]) -> pa.Array:
    """Give values as one Arrow column; as strings where their types conflict."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([as_text(value) for value in values], pa.string())


def as_text(value: Any) -> str | None:  # noqa: ANN401 - what JSON holds
    """Give any JSON value as a string.

    >>> as_text(2.0), as_text(["a", "b"]), as_text({"a": True})
    ('2', 'a, b', '{"a": true}')
    """
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 2 and 2.0 are one id
    return value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
