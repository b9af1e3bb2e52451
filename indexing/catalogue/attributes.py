"""The columns of a source that become attributes: read in plain types, and what became of each other column."""

from collections.abc import Iterator
from itertools import count, islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from indexing.catalogue.attribute_types import WhyText, in_words, is_embedding, is_named_vector, plain_type
from indexing.catalogue.columns import Columns
from indexing.catalogue.readers.base import Reader

BATCH_ROWS = 4096
MAX_LIST_LENGTH = 64  # floating numbers; a longer list is a vector, and no set of values


class AttributeColumns:
    """The attributes of a source, looked at while they are read.

    Args:
        reader: The source.
        columns: Which of its columns matter.

    Attributes:
        types: Names and plain types of the attributes, text among them.
    """

    def __init__(self, reader: Reader, columns: Columns) -> None:
        names, left_out = columns.attribute_names(reader.schema)
        known = reader.notes.left_out
        self.types = {name: plain_type(reader.schema.field(name).type) for name in names if name not in known}
        self._left_out = left_out | {name: reason for name, reason in known.items() if name in {*names, *left_out}}
        self._reader = reader
        self._why = {name: WhyText() for name, kind in self.types.items() if pt.is_string(kind)}
        for name in columns.text:
            self._why.pop(name, None)

    def batches(self, limit: int | None = None) -> Iterator[dict[str, pa.Array]]:
        """Return the attributes of all readable rows, or of the first ones, a batch at a time."""
        numbers = (number for number in count() if number not in self._reader.malformed)
        for batch in self._reader.batches(list(self.types), BATCH_ROWS) if self.types else ():
            rows = list(islice(numbers, len(batch)))
            if limit is not None and rows[-1] >= limit:
                rows = [row for row in rows if row < limit]
                batch = batch.slice(0, len(rows))
            if not rows:
                return
            columns = {name: _plain(batch.column(name), kind) for name, kind in self.types.items()}
            for name, why in self._why.items():
                why.add(columns[name], rows)
            self._leave_out_vectors(columns)
            yield {name: columns[name] for name in self.types}

    def look(self, limit: int | None = None) -> None:
        """Read no more than what `as_text` and `left_out` depend on."""
        all_types = self.types
        self.types = {
            name: kind
            for name, kind in all_types.items()
            if name in self._why or (is_embedding(kind) and not is_named_vector(name, kind))
        }
        for _ in self.batches(limit):
            pass
        self.types = {name: kind for name, kind in all_types.items() if name not in self._left_out}

    @property
    def left_out(self) -> dict[str, str]:
        """Why each other column is no attribute, in the order of the source."""
        return {name: self._left_out[name] for name in self._reader.schema.names if name in self._left_out}

    def as_text(self) -> dict[str, str]:
        """Say why columns are text although most of their values are something else, for the rows that were read."""
        reasons = {name: why.reason() for name, why in self._why.items()}
        reasons_given = {name: reason for name, reason in reasons.items() if reason is not None}
        return reasons_given | {
            name: reason for name, reason in self._reader.notes.as_text.items() if name in self._why
        }

    def in_words(self) -> dict[str, str]:
        """Say what each attribute holds."""
        return {name: in_words(kind) for name, kind in self.types.items()}

    def _leave_out_vectors(self, columns: dict[str, pa.Array]) -> None:
        """Take long lists of floating numbers for vectors, which are of no use to filters and large."""
        for name, column in columns.items():
            kind = self.types[name]
            if is_embedding(kind) and not is_named_vector(name, kind):
                longest = pc.max(pc.list_value_length(column)).as_py() or 0
                if longest > MAX_LIST_LENGTH:
                    del self.types[name]
                    self._left_out[name] = (
                        f"a list of {longest} numbers is taken for a vector: call it {name}_vector to learn from it"
                    )


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pt.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if column.type == kind else column.cast(kind)


def attributes_in_words(schema: pa.Schema) -> dict[str, str]:
    """Say what each attribute of a bundle holds."""
    return {field.name: in_words(field.type) for field in schema if field.name != "item_id"}
