"""Ids as text, however a table holds them: whole numbers are written without a decimal point."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from indexing.errors import InputError
from indexing.utf8 import require_utf8

_DECIMAL = re.compile(r"(-?\d+)\.0+")
_WHOLE = re.compile(r"-?\d+")


def id_texts(column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """Give ids as strings, null where there is none.

    Text stays as it is written. Floating and decimal numbers are taken where they are whole, which is how pandas keeps
    whole numbers beside missing ones, and databases those of a NUMBER column; what is not finite is missing.

    Raises:
        InputError: When the column holds something else, or a number that is not whole; names the first one.

    >>> id_texts(pa.array([7.0, None, float("nan")]), "item_id").to_pylist()
    ['7', None, None]
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if _is_text(kind):
        require_utf8(values, name)
    if pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_finite(values), values, None)
        _check_whole(values, pc.equal(pc.floor(values), values), name)
        return pc.cast(values, pa.int64(), safe=False).cast(pa.string())
    if pa.types.is_decimal(kind):
        values = values.cast(pa.decimal128(kind.precision, kind.scale)) if kind.bit_width < 128 else values
        _check_whole(values, pc.equal(pc.floor(values), values), name)
        return pa.array([None if one is None else str(int(one)) for one in values.to_pylist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        raise InputError(f"column {name!r} holds bytes ({kind}), which are no ids; write them as text")
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(f"column {name!r} of type {kind} cannot hold ids; give text or whole numbers")
    return values.cast(pa.string())


def without_point(ids: pa.Array) -> pa.Array | None:
    """Write ids without ``.0`` where all of them have it; None where they have not.

    That is how pandas writes whole numbers to text as soon as one of them is missing.

    >>> without_point(pa.array(["1.0", None, "12.0"])).to_pylist(), without_point(pa.array(["1.0", "2"]))
    (['1', None, '12'], None)
    """
    if ids.null_count == len(ids) or not pc.all(pc.match_substring_regex(ids, r"^-?\d+\.0$")).as_py():
        return None
    return pc.replace_substring_regex(ids, r"\.0$", "")


def other_spelling(item_id: str) -> str | None:
    """Give how else a whole number is written as an id, ``"1"`` for ``"1.0"`` and the other way round; None for others.

    >>> other_spelling("1.0"), other_spelling("1"), other_spelling("v1.0")
    ('1', '1.0', None)
    """
    if found := _DECIMAL.fullmatch(item_id):
        return found[1]
    return f"{item_id}.0" if _WHOLE.fullmatch(item_id) else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_whole(values: pa.Array, whole: pa.Array, name: str) -> None:
    """Check that numbers are whole, and small enough for that to be certain."""
    bad = pc.fill_null(pc.invert(whole), False)
    if pa.types.is_floating(values.type):
        bad = pc.or_(bad, pc.fill_null(pc.greater(pc.abs(values), 2.0**53), False))
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        raise InputError(
            f"column {name!r} of type {values.type} cannot hold ids: {values[row].as_py()} in row {row} (from 0) is no "
            "whole number that it can hold exactly; write ids as text"
        )
