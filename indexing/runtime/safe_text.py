"""Foreign text made harmless: what would command a terminal, or turn the order of letters round, is seen instead."""

import re

# Control characters (C0, DEL, C1), marks and overrides of the writing direction, line separators, lone surrogates.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SPACES = re.compile("\r\n|[\t\n]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def visible(text: object) -> str:
    r"""Give text in one line, with U+FFFD for every character that a terminal obeys instead of showing it.

    >>> visible("a\x1b[2Jb\tc")
    'a\ufffd[2Jb c'
    """
    return _UNSEEN.sub(REPLACEMENT, _SPACES.sub(" ", str(text)))


def escaped(json: str) -> str:
    r"""Write the same characters in the text of a JSON value as JSON's own escapes: the value stays what it is.

    >>> escaped('"a\x9b2Jb"')
    '"a\\u009b2Jb"'
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
