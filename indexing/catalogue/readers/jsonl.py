"""Items from JSON lines; a line that is no object costs itself only."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexing.catalogue.columns import Columns, NamedColumns, id_name
from indexing.catalogue.readers.base import ReadingNotes, TableReader, file_of
from indexing.errors import CatalogueError
from indexing.media.remote_files import RemoteFile


def read_jsonl(path: Path | str | RemoteFile, columns: Columns | NamedColumns | None = None) -> TableReader:
    """Read a file with one JSON object a line.

    Args:
        path: The file.
        columns: The item_id column where it has another than the usual names.

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
    return objects_reader(str(path), rows, malformed, columns)


def objects_reader(
    name: str,
    rows: list[dict[str, Any]],
    malformed: dict[int, str] | None = None,
    columns: Columns | NamedColumns | None = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> TableReader:
    """Give objects, as JSON has them, as rows of a source.

    Args:
        name: Of the source.
        rows: The objects.
        malformed: Rows that are none, by their number, with the reason; `rows` has the others in their order.
        columns: The item_id column where it has another than the usual names.
        types: Of columns in which no object has a value.
    """
    malformed = dict(malformed or {})
    count = len(rows) + len(malformed)
    names = dict.fromkeys(key for row in rows for key in row)
    notes = ReadingNotes()
    ids = (columns.item_id if columns else None) or id_name(pa.schema([(key, pa.null()) for key in names]))
    if ids is not None:
        rows = _with_ids(rows, ids, malformed)
    numbers = [number for number in range(count) if number not in malformed]
    table = pa.table({key: _column(key, [row.get(key) for row in rows], numbers, notes) for key in names})
    for place, field in enumerate(table.schema):
        if types and field.name in types and table[place].null_count == len(table):
            table = table.set_column(place, field.name, pa.nulls(len(table), types[field.name]))
    return TableReader(name, table, malformed, notes=notes)


def _with_ids(rows: list[dict[str, Any]], name: str, malformed: dict[int, str]) -> list[dict[str, Any]]:
    """Set rows aside whose item_id is neither text nor a number, as it would become a text that nobody wrote."""
    kept = []
    numbers = (number for number in range(len(rows) + len(malformed)) if number not in malformed)
    bad_ids: dict[int, str] = {}
    for number, row in zip(numbers, rows, strict=True):
        value = row.get(name)
        if isinstance(value, bool | list | dict) or (isinstance(value, float) and not value.is_integer()):
            bad_ids[number] = f"item_id is neither text nor a whole number: {_shown(value)}"
        else:
            kept.append(row)
    malformed.update(bad_ids)
    return kept


def json_object(line: bytes) -> tuple[dict[str, Any], str | None]:
    """Return the object of a line, or what is wrong with the line.

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


def _column(name: str, values: list[Any], numbers: list[int], notes: ReadingNotes) -> pa.Array:
    """Return values as one Arrow column: strings where their types conflict, nulls where nothing compares them."""
    if all(value is None or _is_nested(value) for value in values) and any(value is not None for value in values):
        notes.left_out[name] = "objects and lists of lists cannot be compared; make columns of their values"
        return pa.nulls(len(values))
    try:
        if any(map(_is_nested, values)):  # of any depth, which Arrow would follow
            raise pa.ArrowInvalid("objects among other values")
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        kinds = [_kind(value) for value in values]
        commonest = Counter(kind for kind in kinds if kind).most_common(1)[0][0]
        position = next((position_ for position_, kind in enumerate(kinds) if kind and kind != commonest), None)
        if position is None:  # a whole number that is too large
            position = max(
                (position_ for position_, kind in enumerate(kinds) if kind),
                key=lambda position_: len(str(values[position_])),
            )
        notes.as_text[name] = f"because of {_shown(values[position])} in row {numbers[position]}"
        return pa.array([as_text(value) for value in values], pa.string())


def _is_nested(value: Any) -> bool:  # noqa: ANN401 - what JSON holds
    if isinstance(value, dict):
        return not (
            value and value.keys() <= {"bytes", "path"} and all(_is_leaf(element) for element in value.values())
        )
    return isinstance(value, list) and not all(
        _is_leaf(element) or (isinstance(element, dict) and not _is_nested(element)) for element in value
    )


def _is_leaf(value: Any) -> bool:  # noqa: ANN401 - what JSON holds
    return not isinstance(value, list | dict)


def _kind(value: Any) -> str | None:  # noqa: ANN401 - what JSON holds
    if value is None:
        return None
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _shown(value: Any) -> str:  # noqa: ANN401 - what JSON holds
    return repr(value)[:80] if _is_leaf(value) else f"a {type(value).__name__}"


def as_text(value: Any) -> str | None:  # noqa: ANN401 - what JSON holds
    """Return any JSON value as a string.

    >>> as_text(2.0), as_text(["a", "b"]), as_text({"a": True})
    ('2', 'a, b', '{"a": true}')
    """
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 2 and 2.0 are one id
    return value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
