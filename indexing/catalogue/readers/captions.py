"""Captions that anyone may have written: Unicode, or Windows-1252 by the same rule as in CSV."""

import codecs

from indexing.catalogue.readers.dialect import as_utf8

WESTERN = "Windows-1252"
# The longest first: that of UTF-16 is the beginning of that of UTF-32.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


class UnreadableCaption(ValueError):  # noqa: N818 - a verdict on one file, never an end
    """A caption whose encoding cannot be told, with the reason."""


def decode_caption(data: bytes, *, cut: bool = False) -> str | None:
    r"""Give a caption without marks, blank ends and carriage returns, or None where nothing is left.

    Args:
        data: The bytes of its file.
        cut: Whether these are only the first ones, which may end within a letter.

    Raises:
        UnreadableCaption: When they are neither UTF-8 nor Windows-1252 (see `as_utf8`), nor begin with the mark of
            another Unicode encoding.

    >>> decode_caption("\ufeffa red house\r\n".encode("utf-16-le"))
    'a red house'
    """
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark, "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data[len(mark) :], final=not cut)
    except UnicodeDecodeError as error:
        if not mark and is_western(data):
            return decode_caption(as_utf8(data)[0])
        place = len(mark) + error.start
        raise UnreadableCaption(f"not {encoding.upper()} at byte {place}, save it as UTF-8") from error
    if "\0" in text:
        raise UnreadableCaption("it holds NUL characters, save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip() or None


def is_western(data: bytes) -> bool:
    """Say whether a caption is read as Windows-1252.

    >>> is_western("café".encode("cp1252")), is_western("café".encode()), is_western("кот".encode("cp1251"))
    (True, False, False)
    """
    return as_utf8(data)[1] == WESTERN if not any(map(data.startswith, _MARKS)) else False
