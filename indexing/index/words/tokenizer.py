"""Cut texts into the tokens of an index of words: words, compounds as one word too, and n-grams of characters.

Case, accents and width do not count. A compound as ``SKU-123`` is the words ``sku`` and ``123``, and ``sku123``. In
Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer, pairs of characters take the place of words, as in Lucene's
CJKBigramFilter.
"""

import re
import unicodedata
from typing import NamedTuple

_JOINERS = "-_./'&"
_ASCII = {code: " " for code in range(128) if not chr(code).isalnum() and chr(code) not in _JOINERS}
_COMPOUND = re.compile(rf"[^\s{re.escape(_JOINERS)}]+(?:[{re.escape(_JOINERS)}][^\s{re.escape(_JOINERS)}]+)*")
_PART = re.compile(rf"[^\s{re.escape(_JOINERS)}]+")
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\U00020000-\U0003ffff"  # CJK
)
_RUN = re.compile(rf"[{_SPACELESS}]+|[^{_SPACELESS}]+")
_ANY_SPACELESS = re.compile(rf"[{_SPACELESS}]")
_ACCENTS = range(202, 241)  # classes of the marks above and below letters; vowel signs of other scripts are no accents


class QueryTokens(NamedTuple):
    """The tokens of a query.

    Attributes:
        words: Words without digits, which may be misspelt.
        exact: Words with digits, compounds and n-grams, which stand for themselves.
    """

    words: list[str]
    exact: list[str]


def item_tokens(text: str) -> list[str]:
    """Cut the text of an item into tokens.

    >>> item_tokens("Nike T-Shirt, SKU-123 Café")
    ['nike', 't', 'shirt', 'tshirt', 'sku', '123', 'sku123', 'cafe']
    >>> item_tokens("绿茶")
    ['绿', '茶', '绿茶']
    """
    tokens: list[str] = []
    for compound in _COMPOUND.findall(_folded(text)):
        parts = _PART.findall(compound)
        for part in parts:
            if part.isascii() or not _ANY_SPACELESS.search(part):
                tokens.append(part)
            else:
                for run in _RUN.findall(part):
                    tokens += [*run, *_pairs(run)] if _ANY_SPACELESS.match(run) else [run]
        if len(parts) > 1:
            tokens.append("".join(parts))
    return tokens


def query_tokens(text: str) -> QueryTokens:
    """Cut the text of a query into tokens.

    >>> query_tokens("nike SKU-123")
    QueryTokens(words=['nike', 'sku'], exact=['123', 'sku123'])
    >>> query_tokens("绿茶")
    QueryTokens(words=[], exact=['绿茶'])
    """
    words: list[str] = []
    exact: list[str] = []
    for compound in _COMPOUND.findall(_folded(text)):
        parts = _PART.findall(compound)
        for part in parts:
            for run in _RUN.findall(part):
                if _ANY_SPACELESS.match(run):
                    exact += _pairs(run) or [run]
                else:
                    (exact if any(map(str.isdigit, run)) else words).append(run)
        if len(parts) > 1:
            exact.append("".join(parts))
    return QueryTokens(words, exact)


def spelling_grams(word: str) -> list[str]:
    """Give the pairs of characters of a word and its ends, by which words of similar spelling are found.

    >>> spelling_grams("nike")
    ['^n', 'ni', 'ik', 'ke', 'e$']
    """
    return _pairs(f"^{word}$")


def _pairs(run: str) -> list[str]:
    return [run[start : start + 2] for start in range(len(run) - 1)]


def _folded(text: str) -> str:
    """Give a text without case, accents and signs, but for those that join the parts of a compound."""
    if text.isascii():
        return text.lower().translate(_ASCII)
    text = unicodedata.normalize("NFKD", text.casefold().replace("\u2019", "'"))
    text = "".join(c for c in text if unicodedata.combining(c) not in _ACCENTS)
    text = unicodedata.normalize("NFC", text)
    return "".join(c if c in _JOINERS or unicodedata.category(c)[0] in "LNM" else " " for c in text)
