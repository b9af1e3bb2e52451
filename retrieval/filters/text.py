r"""Filters as text, as typed on a command line.

    filter     = both { "or" both }
    both       = one { "and" one }
    one        = "not" one | "(" filter ")" | comparison
    comparison = name ( = | == | != | < | <= | > | >= | contains ) value
               | name [ "not" ] "in" ( value { "," value } | "(" [ value { "," value } ] ")" )
               | name "is" ( "missing" | "present" )

Names and values are words as they stand, or quoted (``"navy, blue"``, ``'navy, blue'``; ``\\`` before a quote or
backslash) where they hold parentheses, commas, quotes, comparison signs or the words above. Keywords have any case.
"""

import re
from typing import NamedTuple, NoReturn

import pyarrow as pa

from indexing.errors import FilterError
from retrieval.filters.expressions import OPERATORS, And, Compare, Expression, Not, Operator, Or
from retrieval.filters.values import attribute_type, from_text

MAX_LENGTH, MAX_DEPTH = 1_000_000, 50
_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign>!=|<=|>=|==|[=<>(),])|(?P<word>[^\s"'(),=<>!][^\s"(),=<>!]*)""",
    re.DOTALL,
)
_SIGNS: dict[str, Operator] = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words


def parse_filter(text: str, attributes: pa.Table) -> Expression:
    """Read a filter, with values in the attributes' own types.

    >>> table = pa.table({"year": [1995], "colour": ["red"]})
    >>> parse_filter("year >= 1990 and not colour in red, navy blue", table)  # doctest: +NORMALIZE_WHITESPACE
    And(parts=(Compare(attribute='year', operator='>=', value=1990),
        Not(part=Compare(attribute='colour', operator='in', value=('red', 'navy blue')))))

    Raises:
        FilterError: When it cannot be read, saying where, or names no attribute of the table.
    """
    return _Parser(text, attributes).filter()


class _Parser:
    def __init__(self, text: str, attributes: pa.Table) -> None:
        if len(text) > MAX_LENGTH:
            raise FilterError(f"the filter has {len(text)} characters, more than {MAX_LENGTH}; give it from Python")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise FilterError(f"the filter {text[:80]!r} holds half a character; give text that is Unicode")
        self._text, self._attributes, self._at, self._depth = text, attributes, 0, 0
        self._tokens = self._split()

    def filter(self) -> Expression:
        expression = self._disjunction()
        if self._next.kind != "end":
            self._refuse("expected 'and', 'or' or the end" + _QUOTE)
        return expression

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self._text):
            if self._text[at].isspace():
                at += 1
                continue
            match = _TOKEN.match(self._text, at)
            if match is None:
                self._refuse("this quote is never closed" if self._text[at] in "\"'" else "this sign is unknown", at)
            tokens.append(_Token(match.lastgroup or "", match.group(), at, match.end()))
            at = match.end()
        return [*tokens, _Token("end", "", len(self._text), len(self._text))]

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _taken(self, *words: str) -> bool:
        """Take the next token if it is one of the words or signs, and say whether it was."""
        if self._next.is_word(*words) or (self._next.kind == "sign" and self._next.text in words):
            self._at += 1
            return True
        return False

    def _disjunction(self) -> Expression:
        parts = [self._conjunction()]
        while self._taken("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Expression:
        parts = [self._factor()]
        while self._taken("and"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _factor(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"nested deeper than {MAX_DEPTH} levels")
        expression: Expression
        if self._taken("not"):
            expression = Not(self._factor())
        elif self._taken("("):
            expression = self._disjunction()
            if not self._taken(")"):
                self._refuse("expected ')'" + _QUOTE)
        else:
            expression = self._comparison()
        self._depth -= 1
        return expression

    def _comparison(self) -> Compare:
        token = self._next
        name = self._value("the name of an attribute", ("in", "not", "is", "contains", "and", "or"))
        operator = self._operator(name)
        try:
            kind = attribute_type(self._attributes, name)
        except FilterError as error:
            self._refuse(str(error), token.start)
        if operator in ("is missing", "is present"):
            return Compare(name, operator)
        kind = kind.value_type if pa.types.is_list(kind) else kind
        if operator in ("in", "not in"):
            return Compare(name, operator, self._set(name, kind))
        return Compare(name, operator, self._typed(name, kind))

    def _operator(self, name: str) -> Operator:
        token = self._take()
        if token.kind == "sign" and token.text in _SIGNS:
            return _SIGNS[token.text]
        if token.is_word("contains"):
            return "contains"
        if token.is_word("in"):
            return "in"
        if token.is_word("not") and self._taken("in"):
            return "not in"
        if token.is_word("is") and self._taken("missing"):
            return "is missing"
        if token.is_word("is") and self._taken("present"):
            return "is present"
        return self._refuse(f"expected, after the name {name!r:.40}, one of {', '.join(OPERATORS)}", token.start)

    def _set(self, name: str, kind: pa.DataType) -> tuple[object, ...]:
        bracketed = self._taken("(")
        if bracketed and self._taken(")"):
            return ()
        values = [self._typed(name, kind, in_set=True)]
        while self._taken(","):
            values.append(self._typed(name, kind, in_set=True))
        if bracketed and not self._taken(")"):
            self._refuse("expected ',' or ')'" + _QUOTE)
        return tuple(values)

    def _typed(self, name: str, kind: pa.DataType, *, in_set: bool = False) -> object:
        start = self._next.start
        text = self._value(f"a value for {name!r:.40}", ("and", "or"), commas=not in_set)
        try:
            return from_text(text, kind)
        except FilterError as error:
            self._refuse(f"{error}, as {name!r} holds", start)

    def _value(self, expected: str, end_words: tuple[str, ...], *, commas: bool = False) -> str:
        """Take a quoted text, or words up to where they end, as they stand."""
        first = self._next
        if first.kind == "quoted":
            return re.sub(r"\\(.)", r"\1", self._take().text[1:-1], flags=re.DOTALL)
        while (self._next.kind in ("word", "quoted") and not self._next.is_word(*end_words)) or (
            commas and self._next is not first and self._next.text == ","
        ):
            self._at += 1
        if self._next is first:
            self._refuse(f"expected {expected}" + _QUOTE)
        return self._text[first.start : self._tokens[self._at - 1].end]

    def _refuse(self, problem: str, at: int | None = None) -> NoReturn:
        at = self._next.start if at is None else at
        start = max(0, at - 30)
        excerpt = re.sub(r"\s", " ", self._text[start : at + 30])
        raise FilterError(
            f"cannot read the filter at character {at + 1}: {problem}\n    {excerpt}\n    {' ' * (at - start)}^"
        )


_QUOTE = "; quote what holds signs, commas or the words and, or, not, in"
