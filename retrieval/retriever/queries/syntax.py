"""Composed queries as text: ``2:golden retriever + ./pool.jpg - fruit``; see docs/how-to/search.md for the grammar."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from indexing.errors import InputError
from indexing.runtime.arguments import check_kind, check_list
from retrieval.retriever.queries.query import Query

_WEIGHT = re.compile(r"(\d+(?:\.\d*)?|\.\d+):")
_KINDS = {"text:": Query.text, "image:": Query.image, "audio:": Query.audio, "item:": Query.item}
_PATHS = ("./", "../", "/", "~/")
_QUOTES = "'\""
_ATTACHED = re.compile(r"[+-][^\s+-]")


class _Word(NamedTuple):
    """A run of characters without a space, or a whole term; ``quoted`` are the positions of its literal characters."""

    text: str
    position: int
    literal: tuple[bool, ...]


def parse_query(text: str) -> Query:
    r"""Read a composed query from one text.

    Raises:
        InputError: When it cannot be read, with the position in the text, counted from 1.

    >>> parse_query("2:golden retriever + ./pool.jpg - fruit")
    2 * Query.text('golden retriever') + Query.image('./pool.jpg') - Query.text('fruit')
    >>> parse_query("'salt + pepper' - item:mug-3")
    Query.text('salt + pepper') - Query.item('mug-3')
    """
    check_kind(text, str, "query", "give a text, as '2:golden retriever - fruit'")
    words = _split(text)
    for word in words:
        if _ATTACHED.match(word.text) and not word.literal[0]:
            raise InputError(
                f"{word.text!r} at position {word.position} of {text!r}: put a space after the sign, or put the text "
                "into quotes where it belongs to it"
            )
    terms: list[_Word] = []
    for word in words:
        if terms and not _is_sign(word) and not _is_sign(terms[-1]):
            before = terms.pop()
            word = _Word(f"{before.text} {word.text}", before.position, (*before.literal, True, *word.literal))
        terms.append(word)
    return _sum(terms, text)


def parse_words(words: Sequence[str]) -> Query:
    """Read a composed query from the words of a command line, of which each is a sign or a term.

    The shell has read the quotes, so none are read here.

    Raises:
        InputError: When they cannot be read, with the position in the words joined by spaces, counted from 1.

    >>> parse_words(["2:golden retriever", "+", "./pool.jpg", "-", "fruit"])
    2 * Query.text('golden retriever') + Query.image('./pool.jpg') - Query.text('fruit')
    """
    check_list(words, "words")
    terms, position = [], 1
    for word in words:
        terms.append(_Word(word, position, (False,) * len(word)))
        position += len(word) + 1
    return _sum(terms, " ".join(words))


def _split(text: str) -> list[_Word]:
    """Split at spaces outside of quotes; a backslash takes the next character as it is."""
    words: list[_Word] = []
    characters: list[str] = []
    literal: list[bool] = []
    start, quote, opened, position = 0, "", 0, 0
    while position < len(text):
        character = text[position]
        if not characters and not quote and not character.isspace():
            start = position
        if character == "\\":
            if position + 1 == len(text):
                raise InputError(f"nothing follows the backslash at position {position + 1} of {text!r}; double it")
            position += 1
            characters, literal = [*characters, text[position]], [*literal, True]
        elif quote:
            if character == quote:
                quote = ""
            else:
                characters, literal = [*characters, character], [*literal, True]
        elif character in _QUOTES and _opens(characters, literal):
            quote, opened = character, position
        elif character.isspace():
            words += [_Word("".join(characters), start + 1, tuple(literal))] if characters else []
            characters, literal = [], []
        else:
            characters, literal = [*characters, character], [*literal, False]
        position += 1
    if quote:
        raise InputError(f"the quote at position {opened + 1} of {text!r} is not closed; close it, or write \\{quote}")
    return [*words, _Word("".join(characters), start + 1, tuple(literal))] if characters else words


def _opens(characters: list[str], literal: list[bool]) -> bool:
    """Say whether a quote opens: at the start of a term or after a colon; within a word it is an apostrophe."""
    return not characters or (characters[-1] == ":" and not literal[-1])


def _is_sign(word: _Word) -> bool:
    return word.text in ("+", "-") and not word.literal[0]


def _sum(terms: Sequence[_Word], text: str) -> Query:
    query: Query | None = None
    sign: _Word | None = None
    for word in terms:
        if _is_sign(word):
            if sign is not None:
                raise InputError(f"two signs follow each other at position {word.position} of {text!r}; leave one out")
            sign = word
            continue
        if query is not None and sign is None:
            raise InputError(f"a sign is missing before {word.text!r} at position {word.position} of {text!r}")
        term = _term(word, text)
        term = -term if sign is not None and sign.text == "-" else term
        query, sign = term if query is None else query + term, None
    if sign is not None:
        raise InputError(f"nothing follows the sign at position {sign.position} of {text!r}; give a text, or leave it")
    if query is None:
        raise InputError(f"{text!r} has nothing to search for; give a text, as '2:golden retriever - fruit'")
    return query


def _term(word: _Word, text: str) -> Query:
    """Read ``[weight:][kind:]value``; literal characters, quoted or escaped, are never a weight or a kind."""
    value, weight = word.text, 1.0
    plain = word.literal.index(True) if True in word.literal else len(value)
    if (found := _WEIGHT.match(value, 0, plain)) is not None:
        weight, value = float(found[1]), value[found.end() :]
        plain -= found.end()
    kind = next((kind for kind in _KINDS if value.startswith(kind) and plain >= len(kind)), "")
    if not kind and value.startswith(_PATHS) and plain > 0:
        kind, value = "image:", f"image:{value}"
    value = value.removeprefix(kind) if kind else value
    if not value.strip():
        position = word.position + len(word.text) - len(value)
        raise InputError(f"nothing stands at position {position} of {text!r}; give a text, a path or an item_id")
    return weight * _KINDS[kind or "text:"](value)
