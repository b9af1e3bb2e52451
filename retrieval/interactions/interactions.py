"""A log of interactions, read from a file or table into one clean table in time order."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.arrays import Mask
from indexing.catalogue.readers.arrow_tables import ArrowStream, arrow_table, check_distinct, is_table
from indexing.catalogue.readers.sql import SqlTable, is_sql_url, read_sql
from indexing.catalogue.readers.text_encoding import as_utf8
from indexing.errors import InputError, InteractionsError, ShapeError, examples
from indexing.media.files import no_file
from indexing.runtime.arguments import check_array, check_choice, check_kind, check_path, shown
from retrieval.interactions.columns import REPEATS, InteractionColumns, Repeats
from retrieval.interactions.event_types import EventTypes, LearnedEvents, UncountedRows
from retrieval.interactions.log_schema import SCHEMA, ReadArguments, ReadOptions

__all__ = ["InteractionColumns", "Interactions"]


@dataclass(frozen=True)
class Interactions:
    """A log of interactions in time order; those of the same second keep the order of the log.

    Attributes:
        table: ``user_id: string, item_id: string, timestamp: int64, weight: float32``; times in seconds, UTC; and a
            column of text for each of `context_columns`.
        dropped: Number of rows that could not be used, by reason. Rows that ``only`` leaves out are not counted.
        repaired: Number of rows that were used after a repair, by reason.
        examples: The first dropped value and its row, by reason.
        repeats: Which of several interactions of a user with an item counts: the last, for ratings, of which those
            below half of the largest are dislikes; their sum; or the largest.
        events: What its types of events mean, where that was said; of such a log weights below 0 are dislikes.
        unread_events: Its column of events that was not read, as nobody said what they mean; "" where it has none.
        uncounted: The rows before events aged; None where age changes nothing. See `part`.

    Example:
        >>> log = pa.table({"user": ["ann", "bob", ""], "item": ["mug", "cup", "cup"], "time": [20, 10, 5]})
        >>> interactions = Interactions.from_arrow(log)
        >>> interactions
        <Interactions 2 of 2 users on 2 items, dropped {'blank user_id': 1}>
        >>> interactions.table["user_id"].to_pylist()
        ['bob', 'ann']
    """

    table: pa.Table
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    repeats: Repeats = "max"
    events: EventTypes | None = None
    unread_events: str = ""
    uncounted: UncountedRows | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_kind(
            self.table,
            pa.Table,
            "table",
            "open a file by Interactions.open(PATH), or read a table by from_arrow(TABLE)",
        )
        check_choice(self.repeats, "repeats", REPEATS)
        schema = self.table.schema
        if schema.names[: len(SCHEMA)] != SCHEMA.names or not pa.schema(list(schema)[: len(SCHEMA)]).equals(SCHEMA):
            raise InteractionsError(
                f"the columns are {self.table.schema.names} of types {self.table.schema.types}; "
                "read such logs with Interactions.from_arrow"
            )
        check_distinct(self.table.column_names, "the log")
        if np.any(np.diff(self.table["timestamp"].to_numpy()) < 0):
            raise InteractionsError("the rows are not in time order; read such logs with Interactions.from_arrow")
        for name in self.table.column_names:
            if count := self.table[name].null_count:
                raise InteractionsError(f"{count} rows have no {name}; read such logs with Interactions.from_arrow")
        if len(invalid := np.flatnonzero(~np.isfinite(self.table["weight"].to_numpy()))):
            raise InteractionsError(
                f"{len(invalid)} weights are not finite, the first is "
                f"{self.table['weight'][int(invalid[0])].as_py()} in row {invalid[0]} (from 0); "
                "read such logs with Interactions.from_arrow"
            )

    @classmethod
    def open(cls, path: Path | str | ArrowStream, **options: Unpack[ReadArguments]) -> "Interactions":
        """Read a Parquet, CSV, tab-separated or .inter file, told apart by the suffix, or a table in memory.

        Args:
            path: The file; of Parquet, also a folder of them. Or a table or query of a database
                (``postgresql://host/shop#clicks``), a DataFrame of pandas or polars, or an Arrow table.
            **options: The columns and the rows that are read; see `retrieval.interactions.log_schema.ReadArguments`.

        Raises:
            InteractionsError: When it is no table, lacks a column, has an event without a weight, or leaves no rows.
        """
        reader = ReadOptions(source_name(path), **options)
        return cls(*reader.clean(*read_table(path, reader, "interactions")))

    @classmethod
    def from_parquet(cls, path: Path | str, **options: Unpack[ReadArguments]) -> "Interactions":
        """Read a Parquet file, or a folder of them; see `open`."""
        reader = ReadOptions(str(path), **options)
        return cls(*reader.clean(*_read_parquet(check_path(path), reader)))

    @classmethod
    def from_csv(cls, path: Path | str, **options: Unpack[ReadArguments]) -> "Interactions":
        """Read a file with a header, in UTF-8, UTF-16 or Windows-1252; see `open`.

        The separator is a comma, semicolon, tab or ``|``: the one with which the header has the needed columns.
        """
        reader = ReadOptions(str(path), **options)
        return cls(*reader.clean(*read_delimited(path, reader)))

    @classmethod
    def from_inter(cls, path: Path | str, **options: Unpack[ReadArguments]) -> "Interactions":
        """Read an .inter file of MMRec or RecBole: tabs, and a header as in ``userID`` or ``user_id:token``.

        Ids stay as they are written. Where MMRec numbers them, `indexing.exchange.read_mmrec` gives their names.
        ``only=("x_label", ("0", "1"))`` reads parts of MMRec: 0 is train, 1 valid, 2 test. See `open`.
        """
        reader = ReadOptions(str(path), **options)
        return cls(*reader.clean(*read_delimited(path, reader, inter=True)))

    @classmethod
    def from_arrow(cls, table: object, **options: Unpack[ReadArguments]) -> "Interactions":
        """Clean an Arrow table, or whatever gives an Arrow stream, as a DataFrame of polars or pandas; see `open`."""
        reader = ReadOptions("the table", **options)
        return cls(*reader.clean(*_needed_part(arrow_table(table), reader)))

    @classmethod
    def from_pandas(cls, frame: object, **options: Unpack[ReadArguments]) -> "Interactions":
        """Clean a pandas DataFrame; a named index is a column. See `open`.

        Raises:
            InputError: When an index without a name holds something else than whole numbers, as it may be the users.
        """
        return cls.from_arrow(frame, **options)

    @property
    def rows(self) -> pa.Table:
        """Users, items and times of the rows of which `part` takes some: those of the table, or before events aged."""
        return self.table if self._uncounted is None else self._uncounted.table

    @property
    def _uncounted(self) -> UncountedRows | None:
        """The rows before events aged, unless the table was changed since."""
        return None if self.uncounted is None or self.uncounted.counted is not self.table else self.uncounted

    def part(self, mask: Mask) -> "Interactions":
        """Keep some of the `rows`. Events age until the end of the part, and no later event takes one back."""
        hint = f"give a truth value for each of {len(self.rows)} rows"
        if check_array(mask, "mask", np.bool_, hint).shape != (len(self.rows),):
            raise ShapeError(f"mask is {shown(mask)}; {hint}")
        if (uncounted := self._uncounted) is None:
            return replace(self, table=self.table.filter(pa.array(mask)))
        return Interactions(*uncounted.part(mask))

    @property
    def context_columns(self) -> list[str]:
        """The columns of what held at each interaction, as the device; see `ReadArguments`."""
        return list(self.table.column_names[len(SCHEMA) :])

    @property
    def has_times(self) -> bool:
        """Whether any row is later than another; else the order of the rows says nothing of what came first."""
        times = self.table["timestamp"]
        return len(times) > 0 and times[0] != times[-1]

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        users, items = (pc.count_distinct(self.table[name]).as_py() for name in ("user_id", "item_id"))
        dropped = f", dropped {self.dropped}" if self.dropped else ""
        return f"<Interactions {len(self)} of {users} users on {items} items{dropped}>"


def read_as_learned(given: Any, learned: LearnedEvents | None) -> Interactions:  # noqa: ANN401 - a kind of table
    """Give a log by the types of events that a bundle learned with, and warn where one was read otherwise.

    Args:
        given: A log, which stays as it was read; or the path of one, or a table.
        learned: Of the bundle; None where it has learned nothing, or by an earlier version.
    """
    is_read = isinstance(given, Interactions)
    default = None if learned is None else learned.types
    log = given if isinstance(given, Interactions) else Interactions.open(given, default_events=default)
    if learned is not None:
        learned.compare(log.events, unread=log.unread_events, given=is_read)
    return log


def as_interactions(given: object, learned: LearnedEvents | None = None) -> Interactions:
    """Give a log as `Interactions`: one, or a table in memory; see `read_as_learned`.

    Raises:
        InputError: When it is something else.
    """
    if isinstance(given, Interactions) or is_table(given):
        return read_as_learned(given, learned)
    raise InputError(
        f"interactions are a {type(given).__name__}; open a file by Interactions.open(PATH), or give a DataFrame or an "
        "Arrow table"
    )


_HEAD = 2**16  # characters that hold the header
# Types that RecBole writes after the name of a column, as in ``user_id:token``.
_TYPES = ("token", "token_seq", "float", "float_seq")


class TableOptions(Protocol):
    """Which columns of a table are read, by its names."""

    def needed(self, names: Sequence[str]) -> list[str]:
        """Give the columns to load; raises an `InteractionsError` when one is missing."""


class ReadTable(NamedTuple):
    """The needed columns of a source; how many rows were dropped and repaired, by reason; and all of its columns."""

    table: pa.Table
    dropped: Counter[str]
    repaired: Counter[str]
    names: list[str]


def source_name(source: Path | str | ArrowStream) -> str:
    """Name a source for messages, without the secrets that the URL of a database may hold.

    >>> source_name("postgresql://ann:secret@host/shop#clicks")
    'postgresql://host/shop#clicks'
    """
    if is_table(source):
        return "the table"
    return str(SqlTable.parse(str(source))) if is_sql_url(source) else str(source)


def read_table(source: Path | str | ArrowStream, options: TableOptions, what: str) -> ReadTable:
    """Read the needed columns of a file, told apart by its suffix, of a table in memory, or of a database.

    Args:
        source: The path; or a table or query of a database; or a DataFrame or an Arrow table.
        options: The columns to read.
        what: What the rows are, for messages.

    Raises:
        InteractionsError: When it is no table, or lacks a column.
    """
    if is_table(source):
        return _needed_part(arrow_table(source, f"the table of {what}"), options)
    if is_sql_url(source):
        return _needed_part(read_sql(SqlTable.parse(str(source))), options)
    path = check_path(source)
    match path.suffix.lower():
        case ".parquet" | ".pq":
            return _read_parquet(path, options)
        case ".csv" | ".tsv":
            return read_delimited(path, options)
        case ".inter":
            return read_delimited(path, options, inter=True)
        case suffix:
            raise InteractionsError(
                f"{path} ends in {suffix!r}; {what} are read from .parquet, .csv, .tsv and .inter files"
            )


def _needed_part(table: pa.Table, options: TableOptions) -> ReadTable:
    names = table.column_names
    return ReadTable(table.select(options.needed(names)), Counter(), Counter(), names)


def _read_parquet(path: Path, options: TableOptions) -> ReadTable:
    from pyarrow import parquet

    if problem := no_file(path):
        raise InteractionsError(problem)
    try:
        dataset = parquet.ParquetDataset(path)
        names = dataset.schema.names
        return ReadTable(dataset.read(columns=options.needed(names)), Counter(), Counter(), names)
    except (OSError, pa.ArrowException) as error:
        raise InteractionsError(f"{path} cannot be read as Parquet: {error}") from error


def read_delimited(path: Path | str, options: TableOptions, *, inter: bool = False) -> ReadTable:
    """Read the needed columns of a delimited file as text, and count the rows that do not fit the header.

    The file is in UTF-8, or in an encoding that `as_utf8` detects.

    Args:
        path: The file. Its separator is found from its header.
        options: The columns and rows to read.
        inter: Whether it is an .inter file: with tabs, and perhaps types after the names.

    Raises:
        InteractionsError: When it cannot be read, or lacks a column.
    """
    path = check_path(path)
    if problem := no_file(path):
        raise InteractionsError(problem)
    try:
        try:
            return _read(path, path, options, inter=inter)
        except (UnicodeDecodeError, pa.ArrowInvalid):
            data, encoding = as_utf8(path.read_bytes())
            if encoding is None:
                data.decode()  # which says where it is no UTF-8
                raise
        decoded = _read(path, data, options, inter=inter)
        return decoded._replace(repaired=Counter({f"read as {encoding}": len(decoded.table)}))
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        reason = _bad_line(error) if isinstance(error, UnicodeDecodeError) else str(error)
        raise InteractionsError(f"{path} cannot be read as {'an .inter file' if inter else 'CSV'}: {reason}") from error


def _bad_line(error: UnicodeDecodeError) -> str:
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"line {line} is not in {error.encoding.upper()} (byte {error.start}: {error.reason}); save it as UTF-8"


def _read(path: Path, source: Path | bytes, options: TableOptions, *, inter: bool) -> ReadTable:
    from pyarrow import csv as arrow_csv

    ragged: list[str] = []  # not a count: Arrow parses on several threads, and only appending is safe there

    def skip(_row: object) -> str:
        ragged.append("wrong number of columns")
        return "skip"

    opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with io.TextIOWrapper(opened, encoding="utf-8-sig", newline="") as file:
        separator, written = _header(file.read(_HEAD), path, options, inter=inter)
    names = plain_names(written, path) if inter else written
    needed = {name: written[names.index(name)] for name in options.needed(names)}
    table = arrow_csv.read_csv(
        pa.BufferReader(source) if isinstance(source, bytes) else source,
        parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip),
        # Everything as text: an id such as 007 must not become a number.
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(needed.values(), pa.string()), include_columns=list(needed.values())
        ),
    )
    return ReadTable(table.rename_columns(list(needed)), Counter(ragged), Counter(), names)


def _header(head: str, path: Path | str, options: TableOptions, *, inter: bool) -> tuple[str, list[str]]:
    """Give the separator and the names of the header.

    The separator is the first with which the header has the needed columns, else the one with most names.
    """
    if inter:
        return "\t", _names(head, "\t")
    usual = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    names_by_separator = {separator: _names(head, separator) for separator in (usual, *(",", ";", "\t", "|"))}
    for separator, names in names_by_separator.items():
        try:
            options.needed(names)
        except InteractionsError:
            continue
        return separator, names
    return max(names_by_separator.items(), key=lambda pair: len(pair[1]))


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
    if unknown := [name for name, (_, colon, kind) in zip(header, parts, strict=True) if colon and kind not in _TYPES]:
        raise InteractionsError(f"{path} has columns {examples(unknown)}; types are {', '.join(_TYPES)}")
    if sequences := [
        name
        for name, (plain, _, kind) in zip(header, parts, strict=True)
        if kind.endswith("_seq") and plain in ("user_id", "item_id", "timestamp", "rating")
    ]:
        raise InteractionsError(f"{path} has several values a row in {examples(sequences)}; give one interaction a row")
    return [plain for plain, _, _ in parts]
