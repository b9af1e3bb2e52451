"""JSON lines: a line that is no object costs itself only, and mixed types become text."""

import json
from pathlib import Path

import pytest

from indexing.catalogue.readers.base import TableReader
from indexing.catalogue.readers.jsonl import read_jsonl
from indexing.errors import CatalogueError


def read(folder: Path, *lines: bytes) -> TableReader:
    (folder / "items.jsonl").write_bytes(b"\n".join(lines))
    return read_jsonl(folder / "items.jsonl")


def rows_of(reader: TableReader) -> list[dict[str, object]]:
    return [row for batch in reader.batches(reader.schema.names, 2) for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{broken", "not JSON: "),
        (b"[1]", "a JSON list instead of an object"),
        (b"null", "a JSON NoneType instead of an object"),
        (b'{"item_id": "\xff"}', "not JSON: "),
        (b'{"title": "cut in two \\ud83d"}', "not JSON: "),
        (b'{"\\ud83d": 1}', "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b'{"n": ' + b"9" * 5_000 + b"}", "not JSON: "),
    ],
)
def test_a_bad_line_costs_itself_only(tmp_path: Path, line: bytes, problem: str) -> None:
    reader = read(tmp_path, b'{"item_id": "a"}', line, b"", b'{"item_id": "b"}')
    assert rows_of(reader) == [{"item_id": "a"}, {"item_id": "b"}]
    assert list(reader.malformed) == [1]
    assert reader.malformed[1].startswith(problem)


def test_escapes_and_a_byte_order_mark(tmp_path: Path) -> None:
    reader = read(tmp_path, b'\xef\xbb\xbf{"item_id": "a", "title": "\\ud83d\\ude80 caf\\u00e9"}')
    assert rows_of(reader) == [{"item_id": "a", "title": "🚀 café"}]
    assert not reader.malformed


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, None, 2.5], [1.0, None, 2.5]),
        ([1, "two", 3.0, True], ["1", "two", "3", "true"]),
        (["a", ["b", "c"]], ["a", "b, c"]),
        (["a", {"b": [1]}], ["a", '{"b": [1]}']),
        ([10**30, 1], [str(10**30), "1"]),
        ([["a"], None], [["a"], None]),
    ],
)
def test_types_that_conflict_become_text(tmp_path: Path, values: list[object], column: list[object]) -> None:
    reader = read(tmp_path, *(json.dumps({"v": value}).encode() for value in values))
    assert [row["v"] for row in rows_of(reader)] == column


def test_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="has no line with a JSON object"):
        read(tmp_path, b"", b"[]")
