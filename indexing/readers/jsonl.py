"""Items from JSON lines; a line that is no object costs itself only."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexing.errors import CatalogueError
from indexing.readers import TableReader, file_of


def read_jsonl(path: Path | str) -> TableReader:
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
            try:
                row = json.loads(line)
            except ValueError as error:  # also undecodable bytes
                malformed[number] = f"not JSON: {error}"
                continue
            if isinstance(row, dict):
                rows.append(row)
            else:
                malformed[number] = f"a JSON {type(row).__name__} instead of an object"
    if not rows:
        raise CatalogueError(f"{path} has no line with a JSON object")
    names = dict.fromkeys(name for row in rows for name in row)
    return TableReader(
        str(path), pa.table({name: _column([row.get(name) for row in rows]) for name in names}), malformed
    )


def _column(values: list[Any]) -> pa.Array:
    """Give values as one Arrow column; as strings where their types conflict."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = (v if isinstance(v, str) or v is None else json.dumps(v, ensure_ascii=False) for v in values)
        return pa.array(list(texts), pa.string())
