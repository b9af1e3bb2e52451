"""How the bytes of a CSV file are meant: their encoding, and what separates the columns."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Collection

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
HEAD = 1 << 20  # bytes in which the header is looked for
_MARKS = (  # those of UTF-32 begin like those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# A Western letter inside or at the end of a word, a dash, quote or sign that stands alone.
_WESTERN = re.compile(
    rb"(?<=[A-Za-z])[\xc0-\xd6\xd8-\xf6\xf8-\xff](?![\x80-\xff])|[\xc0-\xd6\xd8-\xf6\xf8-\xff](?=[a-z])"
)
_SIGNS = re.compile(rb"(?<![\x80-\xff])[\x80\x85\x91-\x97\x99\xa3\xa7\xa9\xab\xae\xb0\xbb](?![\x80-\xff])")


def as_utf8(data: bytes) -> tuple[bytes, str | None]:
    """Give data in UTF-8, and what it was in before, where it was in something else.

    UTF-16 and UTF-32 are known by the mark at their start. Data without one sequence of UTF-8 in which each other byte
    is a letter of a Western word, or a common sign, is in Windows-1252; other data is left as it is.

    Raises:
        UnicodeDecodeError: When it is not in what its mark says.

    >>> as_utf8("café".encode("cp1252")) == ("café".encode(), "Windows-1252")
    True
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding).encode(), encoding.upper()
    if data.isascii() or _SEQUENCE.search(data):
        return data, None
    rest = _SIGNS.sub(b"", _WESTERN.sub(b"", data))
    return (data.decode("cp1252").encode(), "Windows-1252") if rest.isascii() and rest != data else (data, None)


def separator_of(data: bytes, suffix: str, fits: Callable[[Collection[str]], bool]) -> tuple[str, list[str]]:
    """Give what separates the columns, and their names: what parts names that fit, or else the most names."""
    lines = io.StringIO(data[:HEAD].decode("utf-8", "replace").removeprefix("\ufeff"), newline="")
    usual = "\t" if suffix == ".tsv" else ","
    tried: dict[str, list[str]] = {}
    for one in dict.fromkeys((usual, *SEPARATORS)):
        lines.seek(0)
        tried[one] = _names(lines, one)
    return next(
        ((one, names) for one, names in tried.items() if len(names) > 1 and fits(names)),
        max(tried.items(), key=lambda pair: len(pair[1])),
    )


def _names(lines: io.StringIO, separator: str) -> list[str]:
    try:
        return next((row for row in csv.reader(lines, delimiter=separator) if row), [])
    except csv.Error:  # a field too long to be a name
        return []
