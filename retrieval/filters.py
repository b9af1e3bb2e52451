"""Filters over attributes: conditions that all must hold, evaluated once into a mask of rows."""

import difflib
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.errors import FilterError
from indexing.types import Mask

Condition: TypeAlias = tuple[str, str, Any]
"""``(attribute, operator, value)``, as in ``("year", ">=", 1990)``."""

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
OPERATORS = (*_COMPARE, "in", "not in", "contains")
_TEXT = re.compile(r"\s*([^=<>!]+?)\s*(!=|<=|>=|=|<|>|\bnot in\b|\bin\b|\bcontains\b)\s*(.+?)\s*")


def matching(attributes: pa.Table, where: Sequence[Condition]) -> Mask:
    """Say which rows satisfy every condition: (N,) bool. A missing value satisfies none.

    >>> table = pa.table({"year": [1995, 2001, None], "genres": [["Comedy"], ["Drama"], ["Comedy", "Drama"]]})
    >>> matching(table, [("year", ">=", 1990), ("genres", "contains", "Comedy")]).tolist()
    [True, False, False]

    Raises:
        FilterError: For an unknown attribute or operator, or a value that cannot be compared.
    """
    mask: Mask = np.ones(len(attributes), np.bool_)
    for condition in where:
        mask &= _one(attributes, condition)
    return mask


def _one(attributes: pa.Table, condition: Condition) -> Mask:
    try:
        name, comparison, value = condition
    except (TypeError, ValueError):
        raise FilterError(f"condition {condition!r} is not (attribute, operator, value)") from None
    if name not in attributes.column_names:
        close = difflib.get_close_matches(name, attributes.column_names) or attributes.column_names
        raise FilterError(f"there is no attribute {name!r}; did you mean one of {close[:8]}?")
    column = attributes.column(name).combine_chunks()
    try:
        found = _compare(column, comparison, value)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, OverflowError) as error:
        raise FilterError(
            f"cannot apply {comparison!r} {value!r} to {name!r} of type {column.type}: {error}"
        ) from error
    mask: Mask = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    return mask


def _compare(column: pa.Array, comparison: str, value: Any) -> pa.Array:  # noqa: ANN401
    is_list = pa.types.is_list(column.type)
    if comparison == "contains" and is_list:
        inside = pc.equal(pc.list_flatten(column), pa.scalar(value, column.type.value_type))
        hit = np.unique(pc.list_parent_indices(column).to_numpy()[pc.fill_null(inside, False).to_numpy(False)])
        return pa.array(np.isin(np.arange(len(column)), hit))
    if is_list:
        raise FilterError(f"a list can only be asked what it contains: use ('…', 'contains', {value!r})")
    if comparison == "contains":
        return pc.match_substring(column, str(value), ignore_case=True)
    if comparison in ("in", "not in"):
        among = pc.is_in(column, value_set=pa.array(list(value), column.type))
        return among if comparison == "in" else pc.and_(pc.invert(among), pc.is_valid(column))
    if comparison not in _COMPARE:
        raise FilterError(f"operator {comparison!r} is unknown; use one of {', '.join(OPERATORS)}")
    return _COMPARE[comparison](column, pa.scalar(value, column.type))


def parse_condition(text: str, attributes: pa.Table) -> Condition:
    """Read a condition as typed on a command line, with the value in the attribute's own type.

    >>> parse_condition("year >= 1990", pa.table({"year": [1995]}))
    ('year', '>=', 1990)
    >>> parse_condition("colour in red, blue", pa.table({"colour": ["red"]}))
    ('colour', 'in', ['red', 'blue'])

    Raises:
        FilterError: When it cannot be read.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise FilterError(f"cannot read the condition {text!r}; write it like 'year >= 1990' or 'colour in red, blue'")
    name, comparison, value = match.groups()
    if name not in attributes.column_names:
        return name, comparison, value  # `matching` says what is wrong
    kind = attributes.schema.field(name).type
    kind = kind.value_type if pa.types.is_list(kind) else kind
    values = [part.strip() for part in value.split(",")] if comparison in ("in", "not in") else [value]
    try:
        typed = pa.array(values, pa.string()).cast(kind).to_pylist()
    except pa.ArrowInvalid as error:
        raise FilterError(f"{value!r} in {text!r} is not of type {kind}, which {name!r} has") from error
    return name, comparison, typed if comparison in ("in", "not in") else operator.itemgetter(0)(typed)
