"""Logs as text: comma- and tab-separated files, and the .inter files of RecBole and MMRec."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from indexing.catalogue.readers.text_encoding import as_utf8
from indexing.errors import InteractionsError, examples
from indexing.media.files import no_file
from indexing.runtime.arguments import check_path
from retrieval.interactions.log_schema import Wish

# What RecBole writes behind a column's name, as in ``user_id:token``.
_HEAD = 2**16  # characters that the header is in
_TYPES = ("token", "token_seq", "float", "float_seq")


class Delimited(NamedTuple):
    """What is wanted of a file, as text; how many rows were lost, and how many were read otherwise than they stand."""

    table: pa.Table
    dropped: Counter[str]
    repaired: Counter[str]


def read_delimited(path: Path | str, wish: Wish, *, inter: bool = False) -> Delimited:
    """Read what is wanted of a file with a header, as text, and count the rows that do not fit the header.

    It is in UTF-8, or in what `as_utf8` tells apart.

    Args:
        path: Where it is. What separates its columns is told by its header.
        wish: What is wanted.
        inter: It is an .inter file: tabs, and perhaps types behind the names.

    Raises:
        InteractionsError: When it cannot be read, or lacks a column.
    """
    path = check_path(path)
    if problem := no_file(path):
        raise InteractionsError(problem)
    try:
        try:
            return _read(path, path, wish, inter=inter)
        except (UnicodeDecodeError, pa.ArrowInvalid):
            data, encoding = as_utf8(path.read_bytes())
            if encoding is None:
                data.decode()  # which says where it is no UTF-8
                raise
        found = _read(path, data, wish, inter=inter)
        return found._replace(repaired=Counter({f"read as {encoding}": len(found.table)}))
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        reason = _not_read(error) if isinstance(error, UnicodeDecodeError) else str(error)
        raise InteractionsError(f"{path} cannot be read as {'an .inter file' if inter else 'CSV'}: {reason}") from error


def _not_read(error: UnicodeDecodeError) -> str:
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"line {line} is not in {error.encoding.upper()} (byte {error.start}: {error.reason}); save it as UTF-8"


def _read(path: Path, source: Path | bytes, wish: Wish, *, inter: bool) -> Delimited:
    from pyarrow import csv as arrow_csv

    ragged: list[str] = []  # not a count: Arrow parses on several threads, and only appending is safe there

    def skip(_row: object) -> str:
        ragged.append("wrong number of columns")
        return "skip"

    opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with io.TextIOWrapper(opened, encoding="utf-8-sig", newline="") as file:
        separator, written = _header(file.read(_HEAD), path, wish, inter=inter)
    names = plain_names(written, path) if inter else written
    needed = {name: written[names.index(name)] for name in wish.needed(names)}
    table = arrow_csv.read_csv(
        pa.BufferReader(source) if isinstance(source, bytes) else source,
        parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip),
        # Everything as text: an id such as 007 must not become a number.
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(needed.values(), pa.string()), include_columns=list(needed.values())
        ),
    )
    return Delimited(table.rename_columns(list(needed)), Counter(ragged), Counter())


def _header(head: str, path: Path | str, wish: Wish, *, inter: bool) -> tuple[str, list[str]]:
    """Give what separates the columns, and their names: what parts the names that are wanted, or the most names."""
    if inter:
        return "\t", _names(head, "\t")
    usual = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    tried = {one: _names(head, one) for one in (usual, *(",", ";", "\t", "|"))}
    for separator, names in tried.items():
        try:
            wish.columns.found_in(names)
        except InteractionsError:
            continue
        return separator, names
    most = max(tried, key=lambda one: len(tried[one]))
    return most, tried[most]


def _names(head: str, separator: str) -> list[str]:
    return next(csv.reader(io.StringIO(head, newline=""), delimiter=separator), [])


def plain_names(header: Sequence[str], path: Path | str) -> list[str]:
    """Give the names of a header of an .inter file without their types.

    Raises:
        InteractionsError: When it is no such header.

    >>> plain_names(["user_id:token", "item_id:token", "rating:float"], "ml.inter")
    ['user_id', 'item_id', 'rating']
    """
    if len(header) < 2:
        raise InteractionsError(
            f"{path} has one column {examples(header)}; an .inter file is separated by tabs and has a header such as "
            "userID itemID rating timestamp, or user_id:token item_id:token timestamp:float"
        )
    parts = [name.partition(":") for name in header]
    if strange := [name for name, (_, colon, kind) in zip(header, parts, strict=True) if colon and kind not in _TYPES]:
        raise InteractionsError(f"{path} has columns {examples(strange)}; types are {', '.join(_TYPES)}")
    if several := [
        name
        for name, (plain, _, kind) in zip(header, parts, strict=True)
        if kind.endswith("_seq") and plain in ("user_id", "item_id", "timestamp", "rating")
    ]:
        raise InteractionsError(f"{path} has several values a row in {examples(several)}; give one interaction a row")
    return [plain for plain, _, _ in parts]
