"""Filters over attributes: expressions and their text form, evaluated once into a mask of rows."""

from retrieval.filters.expressions import And, Compare, Condition, Expression, Field, Not, Or, Where, field
from retrieval.filters.matching import UnknownValueWarning, allowed, matching, selected
from retrieval.filters.sql import to_sql
from retrieval.filters.text import parse_filter

__all__ = [
    "And",
    "Compare",
    "Condition",
    "Expression",
    "Field",
    "Not",
    "Or",
    "UnknownValueWarning",
    "Where",
    "allowed",
    "field",
    "matching",
    "parse_filter",
    "selected",
    "to_sql",
]
