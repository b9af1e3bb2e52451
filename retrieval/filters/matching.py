"""Evaluating a filter: the mask of the rows that it selects.

A missing value satisfies no comparison, ``!=`` and ``not in`` included; NaN counts as missing. ``not`` selects exactly
what its part does not, rows with missing values included: there is no third answer as in SQL.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.arrays import Mask
from indexing.errors import CommonspaceWarning, FilterError, examples
from indexing.runtime.warn import warn
from retrieval.filters.expressions import OPERATORS, SETS, And, Compare, Expression, Not, Or, Selection, Where
from retrieval.filters.order import COMPARE, ORDERS, ordered_text
from retrieval.filters.text import parse_filter
from retrieval.filters.values import attribute_type, known_values, typed

# Limits on the cost of a filter: each comparison reads a whole column.
MAX_DEPTH, MAX_COMPARISONS, MAX_VALUES = 50, 1000, 100_000


def matching(attributes: pa.Table, where: Where) -> Mask:
    """Give the mask of the rows that satisfy a filter, or every one of a list of filters: (N,) bool.

    Warns with `UnknownValueWarning` where an attribute is compared with a value that no row has.

    >>> table = pa.table({"year": [1995, 2001, None], "genres": [["Comedy"], ["Drama"], ["Comedy", "Drama"]]})
    >>> matching(table, [("year", ">=", 1990), ("genres", "contains", "Comedy")]).tolist()
    [True, False, False]
    >>> matching(table, "year > 2000 or not genres contains Drama").tolist()
    [True, True, False]

    Raises:
        FilterError: For text that cannot be read, an unknown attribute or operator, a value that cannot be compared, or
            a filter that is too deep or too large.
    """
    return _Evaluation(attributes).mask(as_expression(attributes, where))


def allowed(attributes: pa.Table, where: Where | None) -> Mask | None:
    """Give the mask of a filter, as `matching` does; None for an empty filter, which selects all rows."""
    if isinstance(where, Selection):
        return where.mask
    return None if where is None or (isinstance(where, list | tuple) and not where) else matching(attributes, where)


def selected(attributes: pa.Table, where: Where | None) -> Selection:
    """Evaluate a filter once, for all stages that are asked with it."""
    return Selection(allowed(attributes, where))


def as_expression(attributes: pa.Table, where: Where) -> Expression:
    """Give a filter in any of its forms as an expression.

    Raises:
        FilterError: When it cannot be read.
    """
    if isinstance(where, Expression):
        return where
    if isinstance(where, str):
        return parse_filter(where, attributes)
    if isinstance(where, Mapping):
        conditions = ", ".join(f"({name!r}, '=', {value!r})" for name, value in list(where.items())[:3])
        raise FilterError(
            f"a filter is no dictionary: {repr(where)[:80]}; write it as a list of conditions: [{conditions}]"
        )
    if not isinstance(where, Sequence) or isinstance(where, bytes):
        raise FilterError(f"{repr(where)[:80]} is no filter; give an expression, its text, or a list of conditions")
    if isinstance(where, tuple) and len(where) > 1 and isinstance(where[1], str) and where[1] in (*OPERATORS, "=="):
        where = [where]  # a single condition
    return And(tuple(_part(attributes, part) for part in where))


def _part(attributes: pa.Table, part: Any) -> Expression:  # noqa: ANN401 - what a caller wrote
    if isinstance(part, Expression | str):
        return as_expression(attributes, part)
    try:
        name, operator, *value = part
    except (TypeError, ValueError):
        name, operator, value = None, None, []
    unary = isinstance(operator, str) and operator.startswith("is ")
    if not isinstance(name, str) or not isinstance(operator, str) or len(value) != 1 - unary:
        raise FilterError(f"condition {repr(part)[:80]} is not (attribute, operator, value)")
    return Compare(name, "=" if operator == "==" else operator, *value)  # type: ignore[arg-type]


class _Evaluation:
    """One filter over one table."""

    def __init__(self, attributes: pa.Table) -> None:
        self._attributes = attributes
        self._compared = count(1)

    def mask(self, expression: Expression, depth: int = 1) -> Mask:
        if depth > MAX_DEPTH:
            raise FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels; join with one & or | many parts")
        match expression:
            case Compare():
                return self._comparison(expression)
            case Selection(chosen):
                return np.ones(len(self._attributes), np.bool_) if chosen is None else chosen.copy()
            case Not(part):
                return ~self.mask(part, depth + 1)
            case And(parts):
                mask = np.ones(len(self._attributes), np.bool_)
                for part in parts:
                    mask &= self.mask(part, depth + 1)
                return mask
            case Or(parts):
                mask = np.zeros(len(self._attributes), np.bool_)
                for part in parts:
                    mask |= self.mask(part, depth + 1)
                return mask
            case _:
                raise FilterError(f"{repr(expression)[:80]} is no filter; make one with field('…')")

    def _comparison(self, compare: Compare) -> Mask:
        if next(self._compared) > MAX_COMPARISONS:
            raise FilterError(f"the filter has more than {MAX_COMPARISONS} comparisons; use 'in' for many values")
        kind = attribute_type(self._attributes, compare.attribute)
        column = comparable(self._attributes.column(compare.attribute))
        present = pc.invert(pc.is_null(column, nan_is_null=True))
        try:
            if compare.operator in ORDERS and pa.types.is_string(kind):
                selected = ordered_text(self._attributes, compare, kind)
            else:
                selected = _compare(column, present, compare, kind)
        except (FilterError, pa.ArrowException, OverflowError) as error:
            comparison = f"{compare.operator!r} {repr(compare.value)[:80]} to {compare.attribute!r}"
            raise FilterError(f"cannot apply {comparison} of type {kind}: {error}") from error
        mask: Mask = pc.fill_null(selected, False).to_numpy(zero_copy_only=False)
        if compare.operator in ("=", "in", "!=", "not in") or _in_list(compare, kind):
            negated = compare.operator in ("!=", "not in")
            has_value = present.to_numpy(zero_copy_only=False) & ~mask if negated else mask
            if not has_value.any():
                _warn_unknown_value(compare, column)
        return mask


class UnknownValueWarning(CommonspaceWarning):
    """A filter compares an attribute with a value that no item has."""


def _in_list(compare: Compare, kind: pa.DataType) -> bool:
    return compare.operator == "contains" and bool(pa.types.is_list(kind))


def _warn_unknown_value(compare: Compare, column: pa.Array) -> None:
    """Warn that no item has the value, or any of the values, that an attribute is compared with."""
    values = compare.value if compare.operator in SETS else (compare.value,)
    if values and len(column):
        effect = "excludes" if compare.operator in ("!=", "not in") else "finds"
        warn(
            f"no item has {examples(values)} in {compare.attribute!r}, so {str(compare)[:80]!r} {effect} nothing; "
            f"{known_values(column, values[0])}",
            UnknownValueWarning,
        )


def comparable(column: pa.ChunkedArray) -> pa.Array:
    """Give a column in a type that Arrow compares: half floats as 32-bit floats."""
    array = column.combine_chunks()
    if pa.types.is_list(array.type) and pa.types.is_float16(array.type.value_type):
        return array.cast(pa.list_(pa.float32()))
    return array.cast(pa.float32()) if pa.types.is_float16(array.type) else array


def _compare(column: pa.Array, present: pa.Array, compare: Compare, kind: pa.DataType) -> pa.Array:
    value = compare.value
    is_list = pa.types.is_list(kind)
    match compare.operator:
        case "is present":
            return present
        case "is missing":
            return pc.invert(present)
        case "contains" if is_list:
            return _list_contains(column, value, kind)
        case _ if is_list:
            raise FilterError(f"a list can only be asked what it contains: use (…, 'contains', {repr(value)[:80]})")
        case "contains" if not pa.types.is_string(kind):
            raise FilterError("only texts and lists contain something; use =, < or in")
        case "contains":
            return pc.match_substring(column, typed(value, kind).as_py(), ignore_case=True)
        case "in":
            return _is_in(column, value, kind)
        case "not in":
            return pc.and_(pc.invert(_is_in(column, value, kind)), present)
        case "=" | "!=" | "<" | "<=" | ">" | ">=" as comparison:
            return pc.and_(COMPARE[comparison](column, typed(value, kind)), present)
        case _:
            assert_never(compare.operator)


def _is_in(column: pa.Array, values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if len(values) > MAX_VALUES:
        raise FilterError(f"a set of {len(values)} values is larger than {MAX_VALUES}; split it")
    scalars = [typed(value, kind) for value in values]
    if not scalars:
        return pa.array(np.zeros(len(column), np.bool_))
    if pa.types.is_decimal(kind):  # each scalar has a precision of its own
        value_set = {scalar.as_py() for scalar in scalars}
        return pa.array([value in value_set for value in column.to_pylist()], pa.bool_())
    scalar_type = scalars[0].type
    return pc.is_in(column.cast(scalar_type), value_set=pa.array(scalars, scalar_type))


def _list_contains(column: pa.Array, value: Any, kind: pa.DataType) -> pa.Array:  # noqa: ANN401 - what fits the elements
    elements = pc.list_flatten(column)
    is_equal = pc.fill_null(pc.equal(elements, typed(value, kind.value_type)), False).to_numpy(False)
    mask = np.zeros(len(column), np.bool_)
    mask[pc.list_parent_indices(column).to_numpy()[is_equal]] = True
    return pa.array(mask)
