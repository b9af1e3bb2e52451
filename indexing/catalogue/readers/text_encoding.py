"""How the bytes of CSV files and captions are meant: their encoding, and what separates the columns."""

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
    """Return data in UTF-8, and what it was in before, where it was in something else.

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
    """Return what separates the columns, and their names: what parts names that fit, or else the most names."""
    lines = io.StringIO(data[:HEAD].decode("utf-8", "replace").removeprefix("\ufeff"), newline="")
    usual = "\t" if suffix == ".tsv" else ","
    tried: dict[str, list[str]] = {}
    for candidate in dict.fromkeys((usual, *SEPARATORS)):
        lines.seek(0)
        tried[candidate] = _names(lines, candidate)
    return next(
        ((candidate, names) for candidate, names in tried.items() if len(names) > 1 and fits(names)),
        max(tried.items(), key=lambda pair: len(pair[1])),
    )


def _names(lines: io.StringIO, separator: str) -> list[str]:
    try:
        return next((row for row in csv.reader(lines, delimiter=separator) if row), [])
    except csv.Error:  # a field too long to be a name
        return []


WESTERN = "Windows-1252"
# The longest first: that of UTF-16 is the beginning of that of UTF-32.
_CAPTION_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


class UnreadableCaption(ValueError):  # noqa: N818 - a verdict on one file, never an end
    """A caption whose encoding cannot be told, with the reason."""


def decode_caption(data: bytes, *, cut: bool = False) -> str | None:
    r"""Return a caption without marks, blank ends and carriage returns, or None where nothing is left.

    Args:
        data: The bytes of its file.
        cut: Whether these are only the first ones, which may end within a letter.

    Raises:
        UnreadableCaption: When they are neither UTF-8 nor Windows-1252 (see `as_utf8`), nor begin with the mark of
            another Unicode encoding.

    >>> decode_caption("\ufeffa red house\r\n".encode("utf-16-le"))
    'a red house'
    """
    mark = next((mark for mark in _CAPTION_MARKS if data.startswith(mark)), b"")
    encoding = _CAPTION_MARKS.get(mark, "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data[len(mark) :], final=not cut)
    except UnicodeDecodeError as error:
        if not mark and is_western(data):
            return decode_caption(as_utf8(data)[0])
        position = len(mark) + error.start
        raise UnreadableCaption(f"not {encoding.upper()} at byte {position}, save it as UTF-8") from error
    if "\0" in text:
        raise UnreadableCaption("it holds NUL characters, save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip() or None


def is_western(data: bytes) -> bool:
    """Say whether a caption is read as Windows-1252.

    >>> is_western("café".encode("cp1252")), is_western("café".encode()), is_western("кот".encode("cp1251"))
    (True, False, False)
    """
    return as_utf8(data)[1] == WESTERN if not any(map(data.startswith, _CAPTION_MARKS)) else False
