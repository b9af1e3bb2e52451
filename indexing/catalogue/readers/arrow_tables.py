"""Tables in memory: a pandas or polars DataFrame, an Arrow table, or whatever else gives an Arrow stream."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.types as pt

from indexing.catalogue.arrow_values import not_utf8
from indexing.catalogue.attribute_types import is_text, plain_type
from indexing.errors import InputError, examples

ACCEPTED = "give a pandas or polars DataFrame, a pyarrow.Table, or another object with __arrow_c_stream__"
_UNREADABLE = (pa.ArrowException, TypeError, ValueError, OverflowError)
_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


class ArrowStream(Protocol):
    """A table in memory that gives an Arrow stream: a DataFrame of pandas or polars, an Arrow table, and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the stream."""
        ...


def is_table(value: object) -> bool:
    """Whether a value is a table in memory: neither a path nor a list. A LazyFrame is one that `arrow_table` refuses.

    >>> is_table(pa.table({"item_id": ["mug"]})), is_table("items.csv")
    (True, False)
    """
    return (
        hasattr(value, "__arrow_c_stream__")
        or _is_frame(value, "pandas", "DataFrame")
        or _is_frame(value, "polars", "LazyFrame")
    )


def arrow_table(value: object, name: str = "the table") -> pa.Table:
    """Return a table in memory as an Arrow table of plain types: no dictionaries, views or UUIDs.

    A named index of a pandas DataFrame is a column of that name. One without a name is left out if it holds whole
    numbers, as the row numbers that a filter leaves do.

    Args:
        value: The table.
        name: For messages.

    Raises:
        InputError: When it is no table, a column name comes twice, a column holds values of several types, or a pandas
            index without a name holds something else than whole numbers.

    >>> arrow_table({"item_id": ["mug"]})
    Traceback (most recent call last):
        ...
    indexing.errors.InputError: the table is a dict; give a pandas or polars DataFrame, a pyarrow.Table, or another \
object with __arrow_c_stream__
    """
    if _is_frame(value, "pandas", "DataFrame"):
        table = _from_pandas(value, name)
    elif hasattr(value, "__arrow_c_stream__"):
        if _is_frame(value, "polars", "DataFrame"):
            _check_polars(value, name)
        try:
            table = pa.table(value)
        except _UNREADABLE as error:
            raise InputError(f"{name} cannot be read as an Arrow table: {error}") from error
    else:
        raise InputError(f"{name} is a {type(value).__name__}; {_hint(value)}")
    arrays = [_plain(column) for column in table.columns]
    return pa.Table.from_arrays(arrays, names=table.column_names)


def check_distinct(names: Sequence[str], name: str) -> None:
    """Check that no column name comes twice.

    Raises:
        InputError: When one does.
    """
    if repeated := [column_name for column_name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{name} has more than one column named {examples(repeated)}; rename or drop one")


def malformed_rows(table: pa.Table) -> dict[int, str]:
    """Return the rows with text that is not UTF-8, by number."""
    problems: dict[int, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if is_text(column.type) and len(column):
            for row in not_utf8(column.combine_chunks()):
                problems.setdefault(row, f"not UTF-8: column {name}")
    return problems


def _is_frame(value: object, library: str, kind: str) -> bool:
    """Whether a value is of a class of a library, which is not imported for that."""
    known = getattr(sys.modules.get(library), kind, None)
    return known is not None and isinstance(value, known)


def _hint(value: object) -> str:
    if _is_frame(value, "polars", "LazyFrame"):
        return "collect it first: frame.collect()"
    return ACCEPTED


def _check_polars(frame: Any, name: str) -> None:  # noqa: ANN401 - polars stays lazy
    """Refuse columns of Python objects, of which polars would give the addresses in memory."""
    if objects := [column for column, kind in frame.schema.items() if str(kind) == "Object"]:
        raise InputError(f"{name} holds Python objects in column {examples(objects)}; cast it to a type of polars")


def _from_pandas(frame: Any, name: str) -> pa.Table:  # noqa: ANN401 - pandas stays lazy
    if frame.columns.nlevels > 1:
        raise InputError(f"{name} has column names of {frame.columns.nlevels} levels; give each column one name")
    names = [str(column) for column in frame.columns]
    check_distinct(names, name)
    columns = {column: frame.iloc[:, position] for position, column in enumerate(names)}
    arrays = {}
    for column, series in (_index_columns(frame.index, columns, name) | columns).items():
        try:
            arrays[column] = pa.array(series, from_pandas=True)
        except _UNREADABLE as error:
            problem = _mixed(series, column) or f"column {column!r}: {error}"
            raise InputError(f"{name} cannot be read: {problem}") from error
    return pa.table(arrays)


def _index_columns(index: Any, columns: Mapping[str, Any], name: str) -> dict[str, Any]:  # noqa: ANN401 - of pandas
    """Return the levels of an index that are further columns."""
    if list(index.names) == [None] and index.inferred_type in ("integer", "empty"):
        return {}
    if None in index.names:
        raise InputError(
            f"{name} has an index without a name, which holds {examples(index[:4].tolist())}",
            python="name it, as in frame.rename_axis('item_id'), or drop it by frame.reset_index(drop=True)",
        )
    levels = {str(level): index.get_level_values(position).to_series() for position, level in enumerate(index.names)}
    for level, series in levels.items():
        if level in columns and series.tolist() != columns[level].tolist():
            raise InputError(f"{name} has a column and an index named {level!r}, which differ; rename or drop one")
    return {level: series for level, series in levels.items() if level not in columns}


def _mixed(series: Any, column: str) -> str | None:  # noqa: ANN401 - pandas stays lazy
    """Say in which row the values of a column change their type; None where they do not."""
    first: type | None = None
    for row, value in enumerate(series.tolist()):
        if value is None or value != value:
            continue
        first = first or type(value)
        if type(value) is not first:
            return (
                f"column {column!r} holds values of type {first.__name__}, but {value!r:.60} of type "
                f"{type(value).__name__} in row {row} (from 0); give values of one type"
            )
    return None


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pt.is_run_end_encoded(kind):
        return _plain(pa.chunked_array([pa.array(column.to_pylist(), kind.value_type)]))
    if pt.is_dictionary(kind):
        chunks = [_decoded(chunk) for chunk in column.chunks]
        return pa.chunked_array(chunks or [pa.array([], _VIEWS.get(kind.value_type, kind.value_type))])
    if isinstance(kind, pa.UuidType):
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if kind in _VIEWS:
        return column.cast(_VIEWS[kind])
    if is_text(kind) and plain_type(kind) != kind:
        return _as_plain_text(column, plain_type(kind))
    return column


def _decoded(chunk: pa.DictionaryArray) -> pa.Array:
    (values,) = _plain(pa.chunked_array([chunk.dictionary])).chunks or [pa.array([], pa.null())]
    return pa.DictionaryArray.from_arrays(chunk.indices, values).dictionary_decode()


def _as_plain_text(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowNotImplementedError:  # of lists of views, by the version of Arrow
        return pa.chunked_array([pa.array(column.to_pylist(), kind)])
