"""The words of the items of a generation: files of their index, and how that follows changes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.arrays import Rows
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import WORDS, WORDS_SETTINGS
from indexing.bundle.publish import Content
from indexing.catalogue.arrow_values import python_values
from indexing.catalogue.cleaning import clean_text
from indexing.catalogue.columns import can_be_text
from indexing.errors import InputError
from indexing.filesystem.checked_files import REPAIR_HINT, read_as, seal, unseal
from indexing.index.words.word_index import WordIndex
from indexing.runtime.arguments import check_names, check_number

_SCHEMA = {"columns": [str], "mean_length": float, "weight": (float,)}
PIECE = 100_000  # rows of which texts are made at once


@dataclass(frozen=True)
class WordSettings:
    """What the words of a bundle are, and how they count beside its vectors.

    Attributes:
        columns: Attributes whose texts are indexed, ``item_id`` among them when ids are searched.
        weight: Share of the words in a hybrid search, from 0 to 1, as tuned on judged queries; None where it was not.
    """

    columns: tuple[str, ...]
    weight: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(check_names(self.columns, "words")))
        if self.weight is not None:
            check_number(self.weight, "weight", "give a number from 0 to 1, or None", minimum=0, maximum=1)


def word_contents(attributes: pa.Table, settings: WordSettings) -> dict[str, Content]:
    """Index the words of items, one row of attributes each, and return the files of the generation.

    Raises:
        InputError: When a column is missing or holds no texts, or there is no word in any.
    """
    check_word_columns(attributes.schema, settings.columns)
    texts = texts_of(attributes, settings.columns, np.arange(len(attributes)))
    index = WordIndex.build(texts)
    stored = {"columns": list(settings.columns), "mean_length": index.mean_length, "weight": settings.weight}
    return {WORDS_SETTINGS: seal(stored), **{f"{WORDS}/{name}": content for name, content in index.contents().items()}}


def check_word_columns(schema: pa.Schema, columns: Sequence[str]) -> None:
    """Check that there are such columns, and that they hold texts or what can be written as one.

    Raises:
        InputError: When one is missing or holds something else.
    """
    for name in columns:
        if name not in schema.names:
            raise InputError(
                f"there is no attribute {name!r} whose words could be indexed; there are {schema.names[:20]}"
            )
        if not can_be_text(schema.field(name).type):
            raise InputError(f"{name!r} holds {schema.field(name).type}, which has no words; name columns of text")


def texts_of(attributes: pa.Table, columns: Sequence[str], rows: Rows) -> list[str]:
    """Return the text of each row, its columns joined; empty where there is none."""
    texts: list[str] = []
    selected = attributes.select(list(columns))
    for start in range(0, len(rows), PIECE):
        piece = selected.take(pa.array(rows[start : start + PIECE]))
        values = [python_values(column) for column in piece.columns]
        texts += [clean_text(fields, Counter()) or "" for fields in zip(*values, strict=True)]
    return texts


def word_settings(bundle: Bundle) -> WordSettings | None:
    """Return what the words of a bundle are; None where none are indexed.

    Raises:
        DamagedFileError: When that cannot be read.
    """
    stored = _read_settings(bundle)
    return None if stored is None else WordSettings(tuple(stored["columns"]), stored["weight"])


def _read_settings(bundle: Bundle) -> dict[str, Any] | None:
    return unseal(bundle.folder / WORDS_SETTINGS, _SCHEMA) if bundle.has(WORDS_SETTINGS) else None


def read_words(folder: Path, count: int) -> WordIndex:
    """Open the index of the words of so many items of a generation.

    Raises:
        DamagedFileError: When it cannot be read.
    """
    stored = unseal(folder / WORDS_SETTINGS, _SCHEMA)
    with read_as(str(folder / WORDS), REPAIR_HINT):
        index = WordIndex.read(folder / WORDS, stored["mean_length"])
        if index.count != count:
            raise ValueError(f"it holds {index.count} items of which the manifest names {count}")
        return index


def changed_words(bundle: Bundle, base: WordIndex, columns: Sequence[str]) -> WordIndex:
    """Return the index of the words of all rows of a bundle, with what was put in or updated since its generation."""
    first = len(bundle.generation.items)
    changed = set(range(first, len(bundle.items)))
    for batch in bundle.batches:
        if batch.updated is not None and set(columns) & set(batch.updated.column_names[1:]):
            updated = (bundle.items.row(item_id) for item_id in batch.updated.column("item_id").to_pylist())
            changed |= {row for row in updated if row is not None}
    rows = np.array(sorted(row for row in changed if bundle.is_live[row]), np.int64)
    return base.with_changes(rows, texts_of(bundle.attributes, columns, rows), len(bundle.items))
