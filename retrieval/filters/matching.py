"""Which rows a filter selects.

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
from indexing.errors import FilterError
from retrieval.filters.expressions import OPERATORS, And, Compare, Expression, Not, Or, Where
from retrieval.filters.order import COMPARE, ORDERS, ordered_text
from retrieval.filters.text import parse_filter
from retrieval.filters.values import attribute_type, typed

# What a filter may cost: each comparison reads a whole column.
DEEPEST, MOST_COMPARISONS, MOST_VALUES = 50, 1000, 100_000


def matching(attributes: pa.Table, where: Where) -> Mask:
    """Say which rows satisfy a filter, or every one of a list of filters: (N,) bool.

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
    """Say which rows satisfy a filter, as `matching` does; None when nothing is asked, so that no row is looked at."""
    return None if where is None or (isinstance(where, list | tuple) and not where) else matching(attributes, where)


def as_expression(attributes: pa.Table, where: Where) -> Expression:
    """Give a filter, however it is written, as an expression.

    Raises:
        FilterError: When it cannot be read.
    """
    if isinstance(where, Expression):
        return where
    if isinstance(where, str):
        return parse_filter(where, attributes)
    if isinstance(where, Mapping):
        wanted = ", ".join(f"({name!r}, '=', {value!r})" for name, value in list(where.items())[:3])
        raise FilterError(
            f"a filter is no dictionary: {repr(where)[:80]}; write it as a list of conditions: [{wanted}]"
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
        if depth > DEEPEST:
            raise FilterError(f"the filter is nested deeper than {DEEPEST} levels; join with one & or | many parts")
        match expression:
            case Compare():
                return self._comparison(expression)
            case Not(part):
                return ~self.mask(part, depth + 1)
            case And(parts):
                found = np.ones(len(self._attributes), np.bool_)
                for part in parts:
                    found &= self.mask(part, depth + 1)
                return found
            case Or(parts):
                found = np.zeros(len(self._attributes), np.bool_)
                for part in parts:
                    found |= self.mask(part, depth + 1)
                return found
            case _:
                raise FilterError(f"{repr(expression)[:80]} is no filter; make one with field('…')")

    def _comparison(self, compare: Compare) -> Mask:
        if next(self._compared) > MOST_COMPARISONS:
            raise FilterError(f"the filter has more than {MOST_COMPARISONS} comparisons; use 'in' for many values")
        kind = attribute_type(self._attributes, compare.attribute)
        column = comparable(self._attributes.column(compare.attribute))
        present = pc.invert(pc.is_null(column, nan_is_null=True))
        try:
            if compare.operator in ORDERS and pa.types.is_string(kind):
                found = ordered_text(self._attributes, compare, kind)
            else:
                found = _compare(column, present, compare, kind)
        except (FilterError, pa.ArrowException, OverflowError) as error:
            what = f"{compare.operator!r} {repr(compare.value)[:80]} to {compare.attribute!r}"
            raise FilterError(f"cannot apply {what} of type {kind}: {error}") from error
        mask: Mask = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return mask


def comparable(column: pa.ChunkedArray) -> pa.Array:
    """Give a column in a type that Arrow compares: half floats as floats, which hold each of them."""
    whole = column.combine_chunks()
    if pa.types.is_list(whole.type) and pa.types.is_float16(whole.type.value_type):
        return whole.cast(pa.list_(pa.float32()))
    return whole.cast(pa.float32()) if pa.types.is_float16(whole.type) else whole


def _compare(column: pa.Array, present: pa.Array, compare: Compare, kind: pa.DataType) -> pa.Array:
    value = compare.value
    is_list = pa.types.is_list(kind)
    match compare.operator:
        case "is present":
            return present
        case "is missing":
            return pc.invert(present)
        case "contains" if is_list:
            return _lists_with(column, value, kind)
        case _ if is_list:
            raise FilterError(f"a list can only be asked what it contains: use (…, 'contains', {repr(value)[:80]})")
        case "contains" if not pa.types.is_string(kind):
            raise FilterError("only texts and lists contain something; use =, < or in")
        case "contains":
            return pc.match_substring(column, typed(value, kind).as_py(), ignore_case=True)
        case "in":
            return _among(column, value, kind)
        case "not in":
            return pc.and_(pc.invert(_among(column, value, kind)), present)
        case "=" | "!=" | "<" | "<=" | ">" | ">=" as comparison:
            return pc.and_(COMPARE[comparison](column, typed(value, kind)), present)
        case _:
            assert_never(compare.operator)


def _among(column: pa.Array, values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if len(values) > MOST_VALUES:
        raise FilterError(f"a set of {len(values)} values is larger than {MOST_VALUES}; split it")
    scalars = [typed(value, kind) for value in values]
    if not scalars:
        return pa.array(np.zeros(len(column), np.bool_))
    if pa.types.is_decimal(kind):  # of which each has a precision of its own
        wanted = {scalar.as_py() for scalar in scalars}
        return pa.array([value in wanted for value in column.to_pylist()], pa.bool_())
    wide = scalars[0].type
    return pc.is_in(column.cast(wide), value_set=pa.array(scalars, wide))


def _lists_with(column: pa.Array, value: Any, kind: pa.DataType) -> pa.Array:  # noqa: ANN401 - what fits the elements
    elements = pc.list_flatten(column)
    inside = pc.fill_null(pc.equal(elements, typed(value, kind.value_type)), False).to_numpy(False)
    found = np.zeros(len(column), np.bool_)
    found[pc.list_parent_indices(column).to_numpy()[inside]] = True
    return pa.array(found)
