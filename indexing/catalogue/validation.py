"""One pass over a source without its pictures, in which every row is judged."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.catalogue.arrow_values import python_values
from indexing.catalogue.attributes import AttributeColumns
from indexing.catalogue.cleaning import CleaningReport, clean_item_id, clean_text, file_value, reason_kind
from indexing.catalogue.columns import Columns
from indexing.catalogue.readers.base import Reader

BATCH_ROWS = 4096
NOTHING_TO_EMBED, OR_VECTOR = "neither text nor file", " nor vector"


@dataclass(frozen=True)
class Scan:
    """What a source holds.

    Attributes:
        attributes: One row per kept row: item_id, text columns and attributes in plain types.
        rejects: One row per rejected row: source_row, item_id, reason.
        report: The counts.
        kept: For each readable row whether it is kept.
        source_rows: For each kept row its number in the source.
    """

    attributes: pa.Table
    rejects: pa.Table
    report: CleaningReport
    kept: tuple[bool, ...]
    source_rows: tuple[int, ...]


@dataclass(frozen=True)
class _RowCheck:
    """What became of one row; ``problem`` is None when it is kept."""

    source_row: int
    item_id: str | None
    problem: str | None


def scan(reader: Reader, columns: Columns) -> Scan:
    """Judge every row of a source."""
    attribute_columns = AttributeColumns(reader, columns)
    repaired = Counter[str]()
    verdicts = _check_rows(reader, columns, repaired)
    kept = tuple(verdict.problem is None for verdict in verdicts)
    rejected = [_RowCheck(row, None, problem) for row, problem in reader.malformed.items()]
    rejected = sorted([*rejected, *(v for v in verdicts if v.problem)], key=lambda verdict: verdict.source_row)
    reasons = Counter(reason_kind(verdict.problem or "") for verdict in rejected)
    attributes = _table(attribute_columns, kept, [v.item_id for v in verdicts if v.problem is None])
    return Scan(
        attributes=attributes,
        rejects=pa.table(
            {
                "source_row": pa.array([verdict.source_row for verdict in rejected], pa.int64()),
                "item_id": pa.array([verdict.item_id for verdict in rejected], pa.string()),
                "reason": pa.array([verdict.problem for verdict in rejected], pa.string()),
            }
        ),
        report=CleaningReport(
            len(kept) + len(reader.malformed),
            sum(kept),
            dict(reasons),
            dict(repaired),
            dict(reader.left_out),
            attribute_columns.left_out,
            attribute_columns.as_text(),
            tuple(reader.notes.read_as),
        ),
        kept=kept,
        source_rows=tuple(verdict.source_row for verdict in verdicts if verdict.problem is None),
    )


class ItemIdChecker:
    """Judges item_ids in the order of their rows; remembers each to find those that come again."""

    def __init__(self, repaired: Counter[str]) -> None:
        self.first_row: dict[str, int] = {}
        self._repaired = repaired

    def judge(self, raw: object, row: int) -> tuple[str | None, str | None]:
        """Return an item_id as a string, and what is wrong with it."""
        item_id, problem = clean_item_id(raw, self._repaired)
        if problem is None and item_id is not None and self.first_row.setdefault(item_id, row) != row:
            problem = f"duplicate item_id: first in row {self.first_row[item_id]}"
        return item_id, problem


def _check_rows(reader: Reader, columns: Columns, repaired: Counter[str]) -> list[_RowCheck]:
    numbers = (number for number in count() if number not in reader.malformed)
    ids = ItemIdChecker(repaired)
    verdicts: list[_RowCheck] = []
    without_text: set[int] = set()
    for raw, fields in _ids_and_texts(reader, columns):
        number = next(numbers)
        item_id, problem = ids.judge(raw, number)
        if problem is None and clean_text(fields, repaired) is None:
            without_text.add(len(verdicts))
        verdicts.append(_RowCheck(number, item_id, problem))
    # Files are looked at only where there is no text, since reading them is most of the work.
    embeddable = _with_files(reader, columns) | _with_vector(reader, columns) if without_text else set()
    problem_text = NOTHING_TO_EMBED + (OR_VECTOR if columns.vectors else "")
    for position in without_text - embeddable:
        verdicts[position] = _RowCheck(verdicts[position].source_row, verdicts[position].item_id, problem_text)
    return verdicts


def _ids_and_texts(reader: Reader, columns: Columns) -> Iterator[tuple[Any, list[Any]]]:
    for batch in reader.batches(list(dict.fromkeys([columns.item_id, *columns.text])), BATCH_ROWS):
        texts = [python_values(batch.column(name)) for name in columns.text]
        for row, raw in enumerate(python_values(batch.column(columns.item_id))):
            yield raw, [text[row] for text in texts]


def _with_files(reader: Reader, columns: Columns) -> set[int]:
    """Places of the readable rows that name or hold a picture, a sound or a film."""
    positions: set[int] = set()
    if not columns.media:
        return positions
    position = 0
    for batch in reader.batches(list(columns.media), BATCH_ROWS // 16):
        for values in zip(*(python_values(batch.column(name)) for name in columns.media), strict=True):
            if any(map(_holds_file, values)):
                positions.add(position)
            position += 1
    return positions


def _holds_file(value: Any) -> bool:  # noqa: ANN401 - of a file
    return any(map(_holds_file, value)) if isinstance(value, list) else bool(file_value(value))


def _with_vector(reader: Reader, columns: Columns) -> set[int]:
    """Places of the readable rows that hold a precomputed vector, usable or not."""
    positions: set[int] = set()
    position = 0
    for batch in reader.batches(list(columns.vectors), BATCH_ROWS) if columns.vectors else ():
        has_vector = np.any([column.is_valid().to_numpy(zero_copy_only=False) for column in batch.columns], axis=0)
        positions.update((np.flatnonzero(has_vector) + position).tolist())
        position += len(batch)
    return positions


def _table(attribute_columns: AttributeColumns, kept: tuple[bool, ...], item_ids: list[str | None]) -> pa.Table:
    parts: dict[str, list[pa.Array]] = {name: [] for name in attribute_columns.types}
    start = 0
    for batch in attribute_columns.batches():
        size = len(next(iter(batch.values()), ()))
        mask = pa.array(kept[start : start + size], pa.bool_())
        start += size
        for name, column in batch.items():
            parts[name].append(pc.filter(column, mask))
        for name in parts.keys() - batch.keys():  # found to be of no use
            del parts[name]
    columns = {name: pa.chunked_array(parts[name], kind) for name, kind in attribute_columns.types.items()}
    return pa.table({"item_id": pa.array(item_ids, pa.string()), **columns})
