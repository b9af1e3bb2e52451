"""Text of others made safe for a terminal: control characters and marks of writing direction become visible."""

import re

# Control characters (C0, DEL, C1), marks and overrides of the writing direction, line separators, lone surrogates.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SPACES = re.compile("\r\n|[\t\n]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def visible(text: object) -> str:
    r"""Return text in one line, with U+FFFD for every control character.

    >>> visible("a\x1b[2Jb\tc")
    'a\ufffd[2Jb c'
    """
    return _CONTROL.sub(REPLACEMENT, _SPACES.sub(" ", str(text)))


def escaped(json: str) -> str:
    r"""Write control characters in JSON text as JSON escapes, which leaves the value the same.

    >>> escaped('"a\x9b2Jb"')
    '"a\\u009b2Jb"'
    """
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", json)


# Also where a path made one slash of two; hints name USER.
_SERVER = re.compile(r"""(postgres(?:ql)?(?:\+\w+)?:/{1,2})(?:(?!USER@)[^\s'"]*@)?([^\s'"?#]*)(?:\?[^\s'"#]*)?""")
_FILE = re.compile(r"""(sqlite(?:\+\w+)?:/[^\s'"?#]*)\?[^\s'"#]*""")


def without_secrets(text: str) -> str:
    """Leave users, passwords and options out of the URLs of databases in a text, also of those read as paths.

    >>> without_secrets("postgresql:/ann:secret@host/shop?password=secret#items: there is no such file")
    'postgresql:/host/shop#items: there is no such file'
    """
    return _FILE.sub(r"\1", _SERVER.sub(r"\1\2", text))
