"""What a filter is made of: comparisons of attributes, joined by and, or, not.

    field("year") >= 1990
    (field("year") >= 1990) & (field("colour").is_in(["red", "blue"]) | ~field("tags").contains("sale"))

Expressions are values: they never change, compare by content, and print as the text that `parse_filter` reads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias, get_args

from indexing.arrays import Mask
from indexing.errors import FilterError

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "is missing", "is present"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
SETS = ("in", "not in")
UNARY = ("is missing", "is present")

Condition: TypeAlias = tuple[str, str, Any]
"""``(attribute, operator, value)``, as in ``("year", ">=", 1990)``."""


class Expression:
    """Something that holds for a row or does not; joined by ``&``, ``|`` and ``~``."""

    def __and__(self, other: "Expression") -> "And":
        return And((*_parts(self, And), *_parts(_checked(other), And)))

    def __or__(self, other: "Expression") -> "Or":
        return Or((*_parts(self, Or), *_parts(_checked(other), Or)))

    def __invert__(self) -> "Expression":
        return Not(self)

    def __bool__(self) -> bool:
        # `a and b` would silently drop a, and `1 < field("x") < 3` the first half.
        raise FilterError(
            "an expression is neither true nor false by itself: join with & | ~ and parentheses, not with and, or, "
            "not; write a range as field('year').between(1990, 1999)"
        )


@dataclass(frozen=True)
class Compare(Expression):
    """One comparison of an attribute; sets are tuples, and ``is missing`` and ``is present`` compare with nothing."""

    attribute: str
    operator: Operator
    value: Any = None

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise FilterError(f"operator {self.operator!r} is unknown; use one of {', '.join(OPERATORS)}")
        if self.operator in SETS:
            if isinstance(self.value, str | bytes) or not isinstance(self.value, Iterable):
                raise FilterError(
                    f"{self.attribute!r} {self.operator} {self.value!r}: give a list, even of one: [{self.value!r}]"
                )
            object.__setattr__(self, "value", tuple(self.value))

    def __str__(self) -> str:
        start = f"{_quoted(self.attribute)} {self.operator}"
        if self.operator in UNARY:
            return start
        if self.operator in SETS:
            return f"{start} ({', '.join(map(_literal, self.value))})"
        return f"{start} {_literal(self.value)}"


@dataclass(frozen=True)
class And(Expression):
    """Holds where every part holds."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " and ".join(map(_inner, self.parts))


@dataclass(frozen=True)
class Or(Expression):
    """Holds where some part holds."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " or ".join(map(_inner, self.parts))


@dataclass(frozen=True)
class Not(Expression):
    """Holds exactly where its part does not, also where a value is missing."""

    part: Expression

    def __str__(self) -> str:
        return f"not {_inner(self.part)}"


@dataclass(frozen=True, eq=False)
class Selection(Expression):
    """A filter that was evaluated, so that several stages need not evaluate it again; see `selected`.

    Attributes:
        mask: (N,) bool, the rows that it selects; None selects all.
    """

    mask: Mask | None


Where: TypeAlias = Expression | str | Condition | Sequence[Condition | Expression | str]
"""A filter: an expression, its text, a condition, or a list of these that all must hold."""


@dataclass(frozen=True, eq=False)
class Field:
    """An attribute by its name; comparing it gives an `Expression`. Made by `field`."""

    name: str

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, value: object) -> Compare:  # type: ignore[override]
        return Compare(self.name, "=", value)

    def __ne__(self, value: object) -> Compare:  # type: ignore[override]
        return Compare(self.name, "!=", value)

    def __lt__(self, value: Any) -> Compare:  # noqa: ANN401 - what fits the attribute
        return Compare(self.name, "<", value)

    def __le__(self, value: Any) -> Compare:  # noqa: ANN401
        return Compare(self.name, "<=", value)

    def __gt__(self, value: Any) -> Compare:  # noqa: ANN401
        return Compare(self.name, ">", value)

    def __ge__(self, value: Any) -> Compare:  # noqa: ANN401
        return Compare(self.name, ">=", value)

    def between(self, low: Any, high: Any) -> And:  # noqa: ANN401
        """From ``low`` to ``high``, both included."""
        return And((Compare(self.name, ">=", low), Compare(self.name, "<=", high)))

    def is_in(self, values: Iterable[Any]) -> Compare:
        """One of the values."""
        return Compare(self.name, "in", values)

    def not_in(self, values: Iterable[Any]) -> Compare:
        """Present, and none of the values."""
        return Compare(self.name, "not in", values)

    def contains(self, value: str) -> Compare:
        """A list with this element, or a text with these letters in it, of whatever case."""
        return Compare(self.name, "contains", value)

    def is_missing(self) -> Compare:
        """Without a value."""
        return Compare(self.name, "is missing")

    def is_present(self) -> Compare:
        """With a value."""
        return Compare(self.name, "is present")


def field(name: str) -> Field:
    """Name an attribute, to compare it.

    >>> print((field("year") >= 1990) & ~field("colour").is_in(["red", "blue"]))
    year >= 1990 and not colour in ("red", "blue")
    """
    return Field(name)


def _checked(other: object) -> Expression:
    if not isinstance(other, Expression):
        raise FilterError(f"{other!r} is no expression; put parentheses around comparisons: (field('a') > 1) & (…)")
    return other


def _parts(expression: Expression, kind: type[And] | type[Or]) -> tuple[Expression, ...]:
    return expression.parts if isinstance(expression, kind) else (expression,)


def _inner(part: Expression) -> str:
    return f"({part})" if isinstance(part, And | Or) else str(part)


def _quoted(name: str) -> str:
    plain = name.isidentifier() and name.lower() not in ("and", "or", "not", "in", "is", "contains")
    return name if plain else _literal(name)


def _literal(value: Any) -> str:  # noqa: ANN401 - what fits the attribute
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return repr(value.total_seconds())
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Decimal):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
