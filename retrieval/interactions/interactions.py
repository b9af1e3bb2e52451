"""What users did: one clean table in time order, whatever the log looked like."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.catalogue.readers.text_encoding import as_utf8
from indexing.errors import InputError, InteractionsError, examples
from indexing.media.files import no_file
from indexing.runtime.arguments import check_choice, check_kind, check_path, shown
from retrieval.interactions.columns import REPEATS, InteractionColumns, Repeats
from retrieval.interactions.log_schema import SCHEMA, Events, Only, Wish

__all__ = ["InteractionColumns", "Interactions"]


@dataclass(frozen=True)
class Interactions:
    """A log of interactions in time order; those of the same second keep the order of the log.

    Attributes:
        table: ``user_id: string, item_id: string, timestamp: int64, weight: float32``; times in seconds, UTC.
        dropped: How many rows could not be used, by reason. Rows that were not asked for are not counted.
        repaired: How many rows were used after a repair, by what was wrong.
        examples: The first value that was dropped and where it stood, by reason.
        repeats: What counts where a user has several interactions with one item: the last for ratings, of which
            those below half of the largest are dislikes; their sum; or the largest.

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

    def __post_init__(self) -> None:
        check_kind(
            self.table,
            pa.Table,
            "table",
            "open a file by Interactions.open(PATH), or read a table by from_arrow(TABLE)",
        )
        check_choice(self.repeats, "repeats", REPEATS)
        if not self.table.schema.equals(SCHEMA):
            raise InteractionsError(
                f"the columns are {self.table.schema.names} of types {self.table.schema.types}; "
                "read such logs with Interactions.from_arrow"
            )
        if np.any(np.diff(self.table["timestamp"].to_numpy()) < 0):
            raise InteractionsError("the rows are not in time order; read such logs with Interactions.from_arrow")
        for name in self.table.column_names:
            if count := self.table[name].null_count:
                raise InteractionsError(f"{count} rows have no {name}; read such logs with Interactions.from_arrow")
        if len(bad := np.flatnonzero(~np.isfinite(self.table["weight"].to_numpy()))):
            raise InteractionsError(
                f"{len(bad)} weights are not finite, the first is {self.table['weight'][int(bad[0])].as_py()} in row "
                f"{bad[0]} (from 0); read such logs with Interactions.from_arrow"
            )

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        columns: InteractionColumns | None = None,
        min_weight: float | None = None,
        only: Only | None = None,
        events: Events | None = None,
        repeats: Repeats | None = None,
    ) -> "Interactions":
        """Read a Parquet, CSV, tab-separated or .inter file, told apart by the suffix; see ``from_parquet``."""
        match check_path(path).suffix.lower():
            case ".parquet" | ".pq":
                read = cls.from_parquet
            case ".csv" | ".tsv":
                read = cls.from_csv
            case ".inter":
                read = cls.from_inter
            case suffix:
                raise InteractionsError(
                    f"{path} ends in {suffix!r}; interactions are read from .parquet, .csv, .tsv and .inter files"
                )
        return read(path, columns=columns, min_weight=min_weight, only=only, events=events, repeats=repeats)

    @classmethod
    def from_parquet(
        cls,
        path: Path | str,
        *,
        columns: InteractionColumns | None = None,
        min_weight: float | None = None,
        only: Only | None = None,
        events: Events | None = None,
        repeats: Repeats | None = None,
    ) -> "Interactions":
        """Read a Parquet file, or a folder of them.

        Args:
            path: Where it is.
            columns: Which columns hold what.
            min_weight: Keep interactions of at least this weight, as in "ratings of 4 and more".
            only: A column and the values whose rows are kept, as in ``("split", ("train", "valid"))``.
            events: What each type of event weighs, as in ``{"view": 1, "purchase": 5, "return": 0}``. It multiplies the
                row's own weight, where there is one; rows that weigh 0 are dropped.
            repeats: What counts where a user has several interactions with one item: ``"last"``, as for ratings that
                were changed, ``"sum"`` or ``"max"``. When None, the last where the column of weights is named
                ``rating``, ``stars`` or ``overall``, and else the largest. ``min_weight`` is asked of what counts.

        Raises:
            InteractionsError: When it is no table, lacks a column, has an event without a weight, or leaves no rows.
        """
        from pyarrow import parquet

        path = check_path(path)
        if problem := no_file(path):
            raise InteractionsError(problem)
        wish = Wish(_named(columns), min_weight, only, str(path), events, repeats)
        try:
            dataset = parquet.ParquetDataset(path)
            needed = wish.needed(dataset.schema.names)
            table = dataset.read(columns=needed)
        except (OSError, pa.ArrowException) as error:
            raise InteractionsError(f"{path} cannot be read as Parquet: {error}") from error
        return cls(*wish.clean(table))

    @classmethod
    def from_csv(
        cls,
        path: Path | str,
        *,
        columns: InteractionColumns | None = None,
        min_weight: float | None = None,
        only: Only | None = None,
        events: Events | None = None,
        repeats: Repeats | None = None,
    ) -> "Interactions":
        """Read a file with a header, in UTF-8, UTF-16 or Windows-1252; see ``from_parquet``.

        Its columns are separated by commas, semicolons, tabs or ``|``: by what parts the names of the columns.
        """
        wish = Wish(_named(columns), min_weight, only, str(path), events, repeats)
        return cls(*wish.clean(*read_delimited(path, wish)))

    @classmethod
    def from_inter(
        cls,
        path: Path | str,
        *,
        columns: InteractionColumns | None = None,
        min_weight: float | None = None,
        only: Only | None = None,
        events: Events | None = None,
        repeats: Repeats | None = None,
    ) -> "Interactions":
        """Read an .inter file of MMRec or RecBole: tabs, and a header as in ``userID`` or ``user_id:token``.

        Ids stay as they are written. Where MMRec numbers them, `indexing.exchange.read_mmrec` gives their names.
        The parts of MMRec are asked for by ``only=("x_label", ("0", "1"))``: 0 is train, 1 valid, 2 test. See
        ``from_parquet``.
        """
        wish = Wish(_named(columns), min_weight, only, str(path), events, repeats)
        return cls(*wish.clean(*read_delimited(path, wish, inter=True)))

    @classmethod
    def from_arrow(
        cls,
        table: pa.Table,
        *,
        columns: InteractionColumns | None = None,
        min_weight: float | None = None,
        only: Only | None = None,
        events: Events | None = None,
        repeats: Repeats | None = None,
    ) -> "Interactions":
        """Clean an Arrow table; see ``from_parquet``."""
        wish = Wish(_named(columns), min_weight, only, "the table", events, repeats)
        check_kind(table, pa.Table, "table", "give a pyarrow.Table, as pyarrow.Table.from_pandas makes")
        return cls(*wish.clean(table.select(wish.needed(table.column_names))))

    @property
    def has_times(self) -> bool:
        """Whether any row is later than another; else the order of the rows says nothing of what came first."""
        times = self.table["timestamp"]
        return len(times) > 0 and times[0] != times[-1]

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        users, items = (pc.count_distinct(self.table[name]).as_py() for name in ("user_id", "item_id"))
        lost = f", dropped {self.dropped}" if self.dropped else ""
        return f"<Interactions {len(self)} of {users} users on {items} items{lost}>"


def _named(columns: InteractionColumns | None) -> InteractionColumns:
    if columns is None:
        return InteractionColumns()
    check_kind(columns, InteractionColumns, "columns", "give InteractionColumns(…), or None")
    for name, value in vars(columns).items():
        may_lack = name in ("timestamp", "weight")
        if not isinstance(value, str) and not (may_lack and value is None):
            way = "give the name of a column" + (", or None for a log without" if may_lack else "")
            raise InputError(f"the column {name} is {shown(value)}; {way}")
    return columns


def require_log(interactions: object) -> None:
    """Check that a log is one.

    Raises:
        InputError: When it is something else, as a data frame.
    """
    if not isinstance(interactions, Interactions):
        raise InputError(
            f"interactions are a {type(interactions).__name__}; open a file by Interactions.open(PATH), or give a "
            "table by Interactions.from_arrow(pyarrow.Table.from_pandas(table))"
        )


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
