"""A filter as a condition in SQL, for tables that are filtered where they are; it selects what a mask selects."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

import pyarrow as pa

from retrieval.filters.expressions import SETS, And, Compare, Expression, Not, Or, Where
from retrieval.filters.matching import as_expression, matching
from retrieval.filters.order import ORDERS
from retrieval.filters.values import attribute_type, typed


class _NoSqlError(Exception):
    """A part of a filter that SQL would not read as `matching` does."""


def to_sql(where: Where, schema: pa.Schema) -> str | None:
    """Write a filter as a condition in the SQL of LanceDB, of which a row that gives NULL is passed over.

    Comparisons of numbers, truth values, dates and times, texts for equality, and lists of texts or whole numbers can
    be written; the order of texts, parts of texts, and whatever else compares differently in SQL cannot.

    Args:
        where: The filter.
        schema: Names and types of the attributes.

    Returns:
        The condition; None where some part cannot be written. `matching` evaluates those.

    Raises:
        FilterError: As `matching`: for an unknown attribute, a value that cannot be compared, and the like.

    >>> schema = pa.schema({"year": pa.int64(), "genres": pa.list_(pa.string()), "title": pa.string()})
    >>> to_sql("year >= 1990 and not genres contains Drama", schema)
    "(CAST(`year` AS BIGINT) >= 1990) AND (NOT coalesce(array_has(`genres`, 'Drama'), false))"
    >>> to_sql("title contains star", schema) is None
    True
    """
    empty = schema.empty_table()
    expression = as_expression(empty, where)
    matching(empty, expression)  # refuses what no table of this schema can be asked
    try:
        return _sql(expression, empty)
    except _NoSqlError:
        return None


def _sql(expression: Expression, attributes: pa.Table) -> str:
    match expression:
        case And(parts):
            return " AND ".join(f"({_sql(part, attributes)})" for part in parts) or "true"
        case Or(parts):
            return " OR ".join(f"({_sql(part, attributes)})" for part in parts) or "false"
        case Not(part):  # also where a value is missing
            return f"NOT coalesce({_sql(part, attributes)}, false)"
        case Compare():
            return _comparison(expression, attribute_type(attributes, expression.attribute))
    raise _NoSqlError


def _comparison(compare: Compare, kind: pa.DataType) -> str:
    if "`" in compare.attribute:
        raise _NoSqlError
    column = f"`{compare.attribute}`"
    is_float = pa.types.is_float32(kind) or pa.types.is_float64(kind)
    if pa.types.is_float16(kind):
        raise _NoSqlError
    present = f"{column} IS NOT NULL AND NOT isnan({column})" if is_float else f"{column} IS NOT NULL"
    match compare.operator:
        case "is present":
            return present
        case "is missing":
            return f"NOT ({present})"
        case "contains":
            return f"array_has({column}, {_element(compare.value, kind)})"
        case operator if operator in SETS:
            if is_float:
                raise _NoSqlError
            values = [_literal(value, kind, operator) for value in compare.value]
            found = f"{_widened(column, kind)} IN ({', '.join(values)})" if values else "false"
            return f"{column} IS NOT NULL AND NOT ({found})" if operator == "not in" else found
        case operator:
            compared = f"{_widened(column, kind)} {operator} {_literal(compare.value, kind, operator)}"
            return f"{compared} AND NOT isnan({column})" if is_float else compared


def _widened(column: str, kind: pa.DataType) -> str:
    """Return a column in a type that holds whatever it is compared with."""
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return f"CAST({column} AS BIGINT)"
    return f"CAST({column} AS DOUBLE)" if pa.types.is_float32(kind) else column


def _element(value: Any, kind: pa.DataType) -> str:  # noqa: ANN401 - what a caller wrote
    if pa.types.is_list(kind) and kind.value_type in (pa.string(), pa.int64()):
        return _literal(value, kind.value_type, "=")
    raise _NoSqlError


def _literal(value: Any, kind: pa.DataType, operator: str) -> str:  # noqa: ANN401 - what a caller wrote
    """Write a value that is compared with an attribute of a type."""
    plain = typed(value, kind).as_py()
    write = next((write for fits, write in _WRITERS if fits(kind)), None)
    no_order = pa.types.is_boolean(kind) or pa.types.is_string(kind)  # texts are ordered as what they are meant as
    if write is None or (no_order and operator in ORDERS):
        raise _NoSqlError
    return write(plain, kind)


def _boolean(value: bool, _: pa.DataType) -> str:
    return "true" if value else "false"


def _integer(value: int, _: pa.DataType) -> str:
    if value <= -(2**63):  # which SQL reads as the negative of what is no whole number of 64 bits
        raise _NoSqlError
    return str(value)


def _floating(value: float, _: pa.DataType) -> str:
    if not isfinite(value):
        raise _NoSqlError
    return repr(value)


def _text(value: str, _: pa.DataType) -> str:
    if "\0" in value:
        raise _NoSqlError
    return "'" + value.replace("'", "''") + "'"


def _date(value: date, _: pa.DataType) -> str:
    return f"date '{value.isoformat()}'"


def _timestamp(value: datetime, kind: pa.DataType) -> str:
    if kind.unit != "us" or kind.tz not in (None, "UTC"):
        raise _NoSqlError
    if kind.tz is None:
        return f"timestamp '{value.isoformat(sep=' ', timespec='microseconds')}'"
    return f"timestamp '{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z'"


_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType], str]], ...] = (
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _integer),
    (lambda kind: pa.types.is_float32(kind) or pa.types.is_float64(kind), _floating),
    (pa.types.is_string, _text),
    (pa.types.is_date32, _date),
    (pa.types.is_timestamp, _timestamp),
)
