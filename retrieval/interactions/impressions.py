"""Impressions: which items were shown to which user, at which position of a list, and when."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.catalogue.arrow_values import SECONDS_PER_DAY, python_value
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.readers.arrow_tables import ArrowStream, arrow_table, is_table
from indexing.errors import InputError, InteractionsError
from indexing.filesystem.checked_files import content_hash
from indexing.runtime.arguments import check_kind, check_number, check_whole
from retrieval.interactions.columns import match_column, missing_column
from retrieval.interactions.histories import numbered
from retrieval.interactions.interactions import read_table, source_name
from retrieval.interactions.known_items import known_row
from retrieval.interactions.log_schema import LogRows
from retrieval.interactions.parse_values import legible, read_ids, read_weights

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("position", pa.int32()),
        ("timestamp", pa.int64()),
        ("request_id", pa.string()),
    ]
)
_NEEDED = ("user_id", "item_id", "position", "timestamp")
_MAX_POSITION = 1_000_000


@dataclass(frozen=True)
class ImpressionColumns:
    """Which columns of a table of impressions hold what.

    A name left at its default may also be a common one, as for `retrieval.interactions.columns.InteractionColumns`:
    ``rank`` or ``slot`` for positions, ``impression_id`` or ``list_id`` for requests.

    Attributes:
        user_id: To whom.
        item_id: The item that was shown.
        position: At which place of the list, from 1.
        timestamp: When.
        request_id: In which list; it may be missing.
    """

    user_id: str = "user_id"
    item_id: str = "item_id"
    position: str = "position"
    timestamp: str = "timestamp"
    request_id: str = "request_id"

    def __post_init__(self) -> None:
        if wrong := [name for name, value in vars(self).items() if not isinstance(value, str)]:
            raise InputError(f"the column {wrong[0]} is {getattr(self, wrong[0])!r}; give the name of a column")

    def names_in(self, names: Sequence[str]) -> dict[str, str]:
        """Give the name in the table of each column that is there.

        Raises:
            InteractionsError: When a column is missing, or several would do.
        """
        found = {}
        for one, wanted in vars(self).items():
            if match := match_column(one, wanted, names, _column_error):
                found[one] = match
            elif one in _NEEDED or wanted != one:
                raise _column_error(missing_column(one, wanted, names), one)
        return found

    def needed(self, names: Sequence[str]) -> list[str]:
        """Give the columns to load; see `names_in`."""
        return list(dict.fromkeys(self.names_in(names).values()))


@dataclass(frozen=True)
class Impressions:
    """Impressions in time order.

    Attributes:
        table: ``user_id: string, item_id: string, position: int32, timestamp: int64, request_id: string``; positions
            count from 1, times are in seconds, UTC, and ``request_id`` is null where it is not known.
        dropped: Number of rows that could not be used, by reason.
        repaired: Number of rows that were used after a repair, by reason.
        examples: The first dropped value and its row, by reason.

    >>> shown = pa.table({"user": ["ann", "ann"], "item": ["mug", "cup"], "rank": [1, 2], "time": [20, 20]})
    >>> Impressions.from_arrow(shown)
    <Impressions 2 of 2 items to 1 users, positions 1 to 2>
    """

    table: pa.Table
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_kind(
            self.table, pa.Table, "table", "open a file by Impressions.open(PATH), or read a table by from_arrow(TABLE)"
        )
        if not self.table.schema.equals(SCHEMA):
            raise InteractionsError(
                f"the columns of impressions are {self.table.schema.names} of types {self.table.schema.types}; read "
                "such tables with Impressions.from_arrow"
            )
        if np.any(np.diff(self.table["timestamp"].to_numpy()) < 0):
            raise InteractionsError("the impressions are not in time order; read such tables with from_arrow")
        for name in _NEEDED:
            if count := self.table[name].null_count:
                raise InteractionsError(f"{count} impressions have no {name}; read such tables with from_arrow")
        if len(self.table) and pc.min(self.table["position"]).as_py() < 1:
            raise InteractionsError("positions of impressions count from 1; read such tables with from_arrow")

    @classmethod
    def open(cls, path: Path | str | ArrowStream, columns: ImpressionColumns | None = None) -> "Impressions":
        """Read a Parquet, CSV, tab-separated or .inter file, told apart by the suffix, or a table in memory.

        Args:
            path: The file; of Parquet, also a folder of them. Or a table or query of a database
                (``postgresql://host/shop#shown``), a DataFrame of pandas or polars, or an Arrow table.
            columns: Which columns hold what; found by their usual names when None.

        Raises:
            InteractionsError: When it is no table, lacks a column, has a position that is no whole number from 1, or
                leaves no rows.
        """
        columns = _checked(columns)
        table, dropped, repaired, _ = read_table(path, columns, "impressions")
        return cls._cleaned(table, columns, source_name(path), dropped, repaired)

    @classmethod
    def from_arrow(cls, table: object, columns: ImpressionColumns | None = None) -> "Impressions":
        """Clean an Arrow table, or whatever gives an Arrow stream, as a DataFrame of polars or pandas; see `open`."""
        return cls.open(arrow_table(table, "the table of impressions"), columns)

    @classmethod
    def from_pandas(cls, frame: object, columns: ImpressionColumns | None = None) -> "Impressions":
        """Clean a pandas DataFrame; a named index is a column. See `open`.

        Raises:
            InputError: When an index without a name holds something else than whole numbers, as it may be the users.
        """
        return cls.from_arrow(frame, columns)

    @classmethod
    def _cleaned(
        cls,
        table: pa.Table,
        columns: ImpressionColumns,
        source: str,
        dropped: Counter[str] | None = None,
        repaired: Counter[str] | None = None,
    ) -> "Impressions":
        """Keep the usable rows, in time order."""
        names = columns.names_in(table.column_names)
        positions = _positions(legible(table[names["position"]], names["position"]), names["position"], source)
        rows = LogRows.read(
            table, {one: names[one] for one in ("user_id", "item_id", "timestamp")}, dropped or Counter()
        )
        rows.repaired += repaired or Counter()
        rows.leave_out_unusable()
        if not len(rows):
            shown = "".join(f"; {reason}: {example}" for reason, example in rows.examples.items())
            raise InteractionsError(
                f"{source} leaves no impressions: {len(table)} rows, dropped {dict(rows.lost)}{shown}"
            )
        requests = pa.nulls(len(rows), pa.string())
        if "request_id" in names:
            requests = read_ids(legible(table[names["request_id"]], names["request_id"]), names["request_id"])
            requests = requests.take(pa.array(rows.rows))
        cleaned = pa.table([rows.users, rows.items, positions[rows.rows], rows.times.seconds, requests], SCHEMA)
        return cls(cleaned, dict(rows.lost), rows.repairs(), rows.examples)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        users, items = (pc.count_distinct(self.table[name]).as_py() for name in ("user_id", "item_id"))
        dropped = f", dropped {self.dropped}" if self.dropped else ""
        return f"<Impressions {len(self)} of {items} items to {users} users, positions {self._range}{dropped}>"

    @property
    def _range(self) -> str:
        if not len(self):
            return "none"
        ends: dict[str, Any] = pc.min_max(self.table["position"]).as_py()
        return f"{ends['min']} to {ends['max']}"

    @property
    def latest(self) -> int:
        """The second of the last impression; 0 when there is none."""
        return int(self.table["timestamp"][-1].as_py()) if len(self) else 0

    def counts_for(self, user_id: str, items: ItemIds, at: int, days: float) -> dict[int, int]:
        """Count how often each item was shown to a user in the days up to a second, that second included.

        Args:
            user_id: Who; nothing was shown to a user without impressions.
            items: The items; impressions of other items are left out.
            at: Seconds since 1970.
            days: Length of the period.

        Returns:
            For each row of an item that was shown how often.

        Raises:
            InputError: For an argument that cannot be used.
        """
        check_kind(items, ItemIds, "items", "give the ids of a bundle, as retriever.items")
        at = min(check_whole(at, "at", 0), np.iinfo(np.int64).max)
        days = check_number(days, "days", "give a number of more than 0", above=0)
        rows = self._rows_of(user_id)
        times = self._times[rows]
        rows = rows[(times <= at) & (times > at - days * SECONDS_PER_DAY)]
        counts = Counter(self.table["item_id"].take(pa.array(rows)).to_pylist())
        known = ((known_row(items, item_id), count) for item_id, count in counts.items())
        return {row: count for row, count in known if row is not None}

    def digest(self) -> str:
        """Give a hash of the impressions, by which a job says what it read."""
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, SCHEMA) as writer:
            writer.write_table(self.table.combine_chunks())
        return content_hash(stream.getvalue().to_pybytes())

    def knows(self, user_id: str) -> bool:
        """Say whether anything was shown to a user."""
        return len(self._rows_of(user_id)) > 0

    def _rows_of(self, user_id: str) -> Rows:
        check_kind(user_id, str, "user_id", "give the name of a user as text")
        user_ids, starts, order = self._by_user
        place = int(np.searchsorted(user_ids, user_id)) if len(user_ids) else 0
        if place == len(user_ids) or user_ids[place] != user_id:
            return order[:0]
        return order[starts[place] : starts[place + 1]]

    @cached_property
    def _times(self) -> NDArray[np.int64]:
        times: NDArray[np.int64] = self.table["timestamp"].to_numpy()
        return times

    @cached_property
    def _by_user(self) -> tuple[NDArray[np.object_], Rows, Rows]:
        """The users in order, and where the rows of each start among the rows sorted by user."""
        numbers, names = numbered(self.table["user_id"])
        counts = np.bincount(numbers, minlength=len(names))
        return np.array(names, object), np.append(0, np.cumsum(counts)), np.argsort(numbers, kind="stable")


def as_impressions(given: "ImpressionsLike") -> Impressions:
    """Give impressions as such: some, or what `Impressions.open` reads.

    Raises:
        InputError: When they are something else.
        InteractionsError: When a table or file of them cannot be read.
    """
    if isinstance(given, Impressions):
        return given
    if isinstance(given, Path | str) or is_table(given):
        return Impressions.open(given)
    raise InputError(
        f"impressions are a {type(given).__name__}; give Impressions, a DataFrame, an Arrow table or the path of a file"
    )


ImpressionsLike: TypeAlias = Impressions | ArrowStream | Path | str
"""Impressions; or a table of them, the path of a file, or the URL of a database, with the usual names of columns."""


def _column_error(problem: str, column: str) -> InteractionsError:
    return InteractionsError(
        f"impressions: {problem}",
        python=f"say which it is with ImpressionColumns({column}=…)",
        cli=f"call it {column!r}",
    )


def _checked(columns: ImpressionColumns | None) -> ImpressionColumns:
    if columns is None:
        return ImpressionColumns()
    return check_kind(columns, ImpressionColumns, "columns", "give ImpressionColumns(…), or None")


def _positions(column: pa.Array, name: str, source: str) -> NDArray[np.int32]:
    """Give positions, (N,) int32.

    Raises:
        InteractionsError: When one is no whole number from 1; names the first row.
    """
    values = read_weights(column, name)
    with np.errstate(invalid="ignore"):
        bad: Mask = ~((values >= 1) & (values <= _MAX_POSITION) & (values == np.floor(values)))
    if len(rows := np.flatnonzero(bad)):
        row = int(rows[0])
        zero = (values[rows] == 0).any()
        way = "positions count from 1: add 1 to each" if zero else "correct these rows, or leave them out"
        raise InteractionsError(
            f"{source}: {len(rows)} of {len(values)} rows have a position that is no whole number from 1, the first is "
            f"{python_value(column[row])!r} in row {row} (from 0), column {name!r}; "
            f"{way}"
        )
    return values.astype(np.int32)
