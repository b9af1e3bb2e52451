"""Which types of columns can be compared, and are attributes; what people call them, and why others are none."""

import pyarrow as pa
import pyarrow.types as pt

VECTOR = "_vector"  # how the names of columns of vectors end

_SCALARS = (
    (pt.is_boolean, "true or false"),
    (pt.is_integer, "whole number"),
    (pt.is_floating, "number"),
    (pt.is_decimal, "number"),
    (pt.is_date, "date"),
    (pt.is_timestamp, "time and date"),
    (pt.is_time, "time of day"),
    (pt.is_duration, "duration"),
)
_LEFT_OUT = (
    (pt.is_struct, "objects cannot be compared; make a column of each of their fields"),
    (pt.is_map, "maps cannot be compared; make a column of each of their keys"),
    (pt.is_null, "no row has a value"),
    (pt.is_nested, "only lists of single values can be compared"),
)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type holds lists, of a fixed length or not."""
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text: strings, or lists of them."""
    if pt.is_list(kind) or pt.is_large_list(kind):
        return is_text(kind.value_type)
    if pt.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_vector(kind: pa.DataType) -> bool:
    """Whether a type holds vectors: lists of numbers, of a fixed length or not."""
    return is_list(kind) and bool(pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type))


def is_embedding(kind: pa.DataType) -> bool:
    """Whether a type holds vectors of floating numbers."""
    return is_vector(kind) and bool(pt.is_floating(kind.value_type))


def is_named_vector(name: str, kind: pa.DataType) -> bool:
    """Whether a column is an attribute that is a vector: lists of floating numbers under a name with ``_vector``."""
    return name.endswith(VECTOR) and is_embedding(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a type holds numbers, decimal ones among them."""
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))


def is_scalar(kind: pa.DataType) -> bool:
    """Whether a type holds single values that filters can compare."""
    kind = plain_type(kind)
    return bool(pt.is_string(kind)) or any(fits(kind) for fits, _ in _SCALARS)


def is_plain(kind: pa.DataType) -> bool:
    """Whether filters can use a type: text, numbers, booleans, dates, times, durations, and lists of these.

    >>> [is_plain(kind) for kind in (pa.decimal128(9, 2), pa.list_(pa.int8()), pa.struct({"a": pa.int8()}))]
    [True, True, False]
    """
    kind = plain_type(kind)
    return is_scalar(kind.value_type) if pt.is_list(kind) else is_scalar(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Give the plain form of a type: no dictionaries, no large, view or fixed-size variants.

    >>> plain_type(pa.dictionary(pa.int8(), pa.large_string())), plain_type(pa.list_(pa.int8(), 2))
    (DataType(string), ListType(list<item: int8>))
    """
    if pt.is_dictionary(kind):
        return plain_type(kind.value_type)
    if is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return pa.string() if is_text(kind) else kind


def in_words(kind: pa.DataType) -> str:
    """Say what an attribute of a type holds.

    >>> in_words(pa.decimal128(9, 2)), in_words(pa.list_(pa.string()))
    ('number', 'list of text')
    """
    kind = plain_type(kind)
    if pt.is_list(kind):
        return f"list of {in_words(kind.value_type)}"
    return next((words for fits, words in _SCALARS if fits(kind)), "text" if pt.is_string(kind) else str(kind))


def why_left_out(kind: pa.DataType) -> str:
    """Say why a column of a type that is not plain is no attribute.

    >>> why_left_out(pa.binary())
    'binary cannot be compared'
    """
    told = next((words for fits, words in _LEFT_OUT if fits(kind)), None)
    return told or f"{kind} cannot be compared"
