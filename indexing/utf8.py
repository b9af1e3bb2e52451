"""Texts whose bytes are no UTF-8: the readers of Parquet trust what a file claims, and Python raises much later."""

import pyarrow as pa

from indexing.errors import InputError
from indexing.python_values import python_value


def not_utf8(column: pa.Array) -> list[int]:
    r"""Give the places of the texts, or lists of texts, whose bytes are no UTF-8.

    >>> not_utf8(pa.array([b"red", b"caf\xe9"]).view(pa.string()))
    [1]
    """
    decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        decoded.validate(full=True)
    except pa.ArrowInvalid:
        return [place for place in range(len(decoded)) if not _is_text(decoded[place])]
    return []


def require_utf8(column: pa.Array | pa.ChunkedArray, name: str) -> None:
    """Check that texts are UTF-8.

    Raises:
        InputError: When one is not; names the first.
    """
    start = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        if bad := not_utf8(chunk):
            raise InputError(f"column {name!r} has text that is not UTF-8 in row {start + bad[0]} (from 0); mend it")
        start += len(chunk)


def _is_text(value: pa.Scalar) -> bool:
    try:
        python_value(value)
    except UnicodeDecodeError:
        return False
    return True


def marked(column: pa.Array) -> pa.Array:
    r"""Give texts, or lists of texts, with U+FFFD where their bytes are no UTF-8.

    >>> marked(pa.array([b"red", b"caf\xe9"]).view(pa.string())).to_pylist()
    ['red', 'caf\ufffd']
    """
    if not not_utf8(column):
        return column
    as_bytes = pa.list_(pa.binary()) if pa.types.is_list(column.type) else pa.binary()
    return pa.array([_replaced(value) for value in column.cast(as_bytes).to_pylist()], column.type)


def _replaced(value: bytes | list[bytes | None] | None) -> str | list[str | None] | None:
    if isinstance(value, list):
        return [None if part is None else part.decode(errors="replace") for part in value]
    return None if value is None else value.decode(errors="replace")
