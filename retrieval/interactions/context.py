"""The context of interactions and requests: what held at the moment, such as the device or the hour."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import filterfalse, pairwise, takewhile
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.readers.arrow_tables import arrow_table, check_distinct, is_table
from indexing.errors import CommonspaceWarning, InputError, InteractionsError, ShapeError, examples
from indexing.runtime.arguments import check_list, check_mapping
from indexing.runtime.warn import warn
from retrieval.interactions.user_profiles import in_order_of

ContextLike: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Any
"""The context of requests: a mapping for all, as ``{"device": "phone"}``, or one for each; or a table of such rows."""

ContextColumns: TypeAlias = Mapping[str, tuple[str, ...]]
"""The values of each column of the context, as text, most frequent first; of numbers the ranges first, ascending."""

DERIVED = ("utc_hour", "utc_weekday")  # columns that the time gives where there is none of that name
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MAX_VALUES = 32  # of a column that are learned, the most frequent ones
NUM_RANGES = 10  # of a column of more numbers than these
MAX_WORDS = 11  # of such a column, as "none"
MAX_WHOLE = 2**53  # floats below are whole numbers without gaps
UNKNOWN = -1
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)  # not 007, a name
_RANGE = re.compile(r"\((\S+), (\S+)[\])]")


class ContextWarning(CommonspaceWarning):
    """A request has a context that nothing was learned of."""


@dataclass(frozen=True, eq=False)
class Context:
    """The context of n interactions or requests.

    Attributes:
        columns: The known values of each of C columns.
        codes: (n, C) int16, positions among these values; -1 where the value is missing, or none of them.
    """

    columns: ContextColumns
    codes: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> "Context":
        return Context(self.columns, self.codes[rows])

    def in_columns(self, columns: ContextColumns) -> "Context":
        """Give the same context by other columns and values; what these lack is unknown."""
        if columns is self.columns or dict(columns) == dict(self.columns):
            return self
        codes = np.full((len(self), len(columns)), UNKNOWN, np.int16)
        names = list(self.columns)
        for place, (name, values) in enumerate(columns.items()):
            if name in self.columns:
                position = {value: code for code, value in enumerate(values)}
                new = np.array([*(position.get(value, UNKNOWN) for value in self.columns[name]), UNKNOWN], np.int16)
                codes[:, place] = new[self.codes[:, names.index(name)]]
        return Context(columns, codes)

    @classmethod
    def of_log(cls, table: pa.Table, names: Sequence[str]) -> "Context | None":
        """Read columns of text of a log, of each the most frequent values; None without a column.

        A column of numbers, more than 32 different ones, is read in ten ranges that as many interactions are in, so
        that a number of a request means what those near it meant. A number that would fill a range, and a word that
        stands for none, are values of their own beside them.

        >>> log = pa.table({"device": ["phone", "tv", "phone", ""]})
        >>> context = Context.of_log(log, ["device"])
        >>> dict(context.columns), context.codes.ravel().tolist()
        ({'device': ('phone', 'tv')}, [0, 1, 0, -1])
        """
        if not names:
            return None
        columns = {name: _values(table[name]) for name in names}
        return cls(columns, context_codes(table, columns))


def joined_context(parts: Sequence[tuple[Context | None, int]]) -> Context | None:
    """Put contexts of so many rows each below each other, by the columns of the first; unknown where there is none."""
    columns = next((context.columns for context, _ in parts if context is not None), None)
    if columns is None:
        return None
    unknown = np.int16(UNKNOWN)
    codes = [
        np.full((count, len(columns)), unknown) if context is None else context.in_columns(columns).codes
        for context, count in parts
    ]
    return Context(columns, np.concatenate(codes))


def _values(column: pa.ChunkedArray) -> tuple[str, ...]:
    """Give the values of a column to learn: the most frequent ones, or ranges of many numbers."""
    counts = column.value_counts()
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    ordered = sorted(((value, count) for value, count in pairs if value), key=lambda pair: (-pair[1], pair[0]))
    words = [value for value, _ in ordered if not _NUMBER.fullmatch(value)]
    texts: dict[float, str] = {}
    numbers: Counter[float] = Counter()
    for value, count in ordered:
        if _NUMBER.fullmatch(value):
            texts.setdefault(float(value), value)
            numbers[float(value)] += count
    are_names = len(words) > MAX_WORDS or any(character.isdigit() for word in words for character in word)
    if len(numbers) <= MAX_VALUES or are_names:
        return tuple(value for value, _ in ordered[:MAX_VALUES])
    usual, left = [], numbers.total()
    for number, count in numbers.most_common(MAX_VALUES - NUM_RANGES - len(words)):
        if count * NUM_RANGES <= left:  # of those that are left it fills no range
            break
        usual.append(number)
        left -= numbers.pop(number)
    return (*_ranges(np.repeat([*numbers], [*numbers.values()])), *(texts[number] for number in usual), *words)


def _ranges(numbers: NDArray[np.float64]) -> tuple[str, ...]:
    """Give ranges that as many numbers are in.

    >>> _ranges(np.arange(100.0))[:2]
    ('(-inf, 9]', '(9, 19]')
    """
    edges = np.quantile(numbers, np.arange(1, NUM_RANGES) / NUM_RANGES, method="lower")
    texts = ["-inf", *dict.fromkeys(f"{edge:.12g}" for edge in edges), "inf"]
    return tuple(f"({low}, {high}{')' if high == 'inf' else ']'}" for low, high in pairwise(texts))


def range_edges(values: Sequence[str]) -> NDArray[np.float64] | None:
    """Give the upper edges of the ranges of a column, without the last; None where its values begin with no ranges.

    >>> range_edges(("(-inf, 2]", "(2, 7.5]", "(7.5, inf)", "none")), range_edges(("phone", "desk"))
    (array([2. , 7.5]), None)
    """
    found = [*takewhile(bool, map(_RANGE.fullmatch, values))]
    if len(found) < 2 or not found[0] or found[0][1] != "-inf" or not found[-1] or found[-1][2] != "inf":
        return None
    return np.array([float(match[2]) for match in found[:-1] if match])


def context_codes(table: pa.Table, columns: ContextColumns) -> NDArray[np.int16]:
    """Give the positions of the texts of a table among the values of each column: (n, C) int16, -1 for unknown ones."""
    codes = np.full((len(table), len(columns)), UNKNOWN, np.int16)
    for place, (name, values) in enumerate(columns.items()):
        if name in table.column_names:
            texts = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
            codes[:, place] = _codes_of(texts.dictionary, values)[texts.indices.to_numpy()]
    return codes


def _codes_of(texts: pa.Array, values: Sequence[str]) -> NDArray[np.int16]:
    """Give the positions of n distinct texts among the values of a column: (n,) int16; a number is in its range."""
    found = pc.index_in(texts, value_set=pa.array(values, pa.string())).fill_null(UNKNOWN)
    codes: NDArray[np.int16] = found.to_numpy(zero_copy_only=False).astype(np.int16)
    if (edges := range_edges(values)) is None:
        return codes
    listed = texts.to_pylist()
    at = np.array([place for place, text in enumerate(listed) if text and _NUMBER.fullmatch(text)], np.int64)
    numbers = np.array([float(listed[place]) for place in at.tolist()])
    codes[at] = np.searchsorted(edges, numbers, side="left")
    for code, value in enumerate(values):
        if _NUMBER.fullmatch(value):
            codes[at[numbers == float(value)]] = code
    return codes


def rare_values(table: pa.Table, names: Sequence[str]) -> dict[str, int]:
    """Count the values of each column of a log that are left out, because others are more frequent."""
    counts = {name: pc.count_distinct(table[name].filter(pc.not_equal(table[name], ""))).as_py() for name in names}
    return {
        name: count - MAX_VALUES
        for name, count in counts.items()
        if count > MAX_VALUES and range_edges(_values(table[name])) is None
    }


def context_texts(values: pa.ChunkedArray | pa.Array, name: str) -> pa.ChunkedArray | pa.Array:
    """Give values as text, "" for missing ones and NaN; whole numbers without a point, as ``5`` for 5.0.

    Raises:
        InputError: When they cannot be text, as lists, or one is infinite.
    """
    try:
        if pt.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pt.is_floating(values.type):
            values = _number_texts(values, name)
        return pc.utf8_trim_whitespace(values.cast(pa.string()).fill_null(""))
    except (pa.ArrowException, AttributeError) as error:
        raise InputError(f"the column {name!r} of the context cannot be read as text: {error}") from error


def _number_texts(values: pa.ChunkedArray | pa.Array, name: str) -> pa.ChunkedArray | pa.Array:
    values = values.cast(pa.float32()) if pt.is_float16(values.type) else values  # Arrow computes little on half
    values = pc.if_else(pc.is_nan(values), None, values)
    if (row := pc.index(pc.is_inf(values).fill_null(False), True).as_py()) >= 0:
        raise InputError(
            f"the column {name!r} of the context is {values[row].as_py()} in row {row} (from 0); leave it empty where "
            "it is unknown"
        )
    wide = values.cast(pa.float64())  # others hold no MAX_WHOLE
    is_whole = pc.and_(pc.equal(pc.floor(wide), wide), pc.less(pc.abs(wide), MAX_WHOLE)).fill_null(False)
    whole = pc.if_else(is_whole, wide, None).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(whole, values.cast(pa.string()))


def derived_context(name: str, times: NDArray[np.int64]) -> pa.Array:
    """Give the hour of the day, from 0 to 23, or the day of the week, of times in seconds since 1970, in UTC.

    >>> derived_context("utc_weekday", np.array([0, 86_400])).to_pylist()
    ['thursday', 'friday']
    """
    if name == DERIVED[0]:
        return pa.array((times % SECONDS_PER_DAY // 3600).astype(str).tolist(), pa.string())
    days = (times // SECONDS_PER_DAY + _EPOCH_WEEKDAY) % len(WEEKDAYS)
    return pa.array([WEEKDAYS[day] for day in days.tolist()], pa.string())


def check_log_context(wanted: Sequence[str], names: Sequence[str], read: Mapping[str, str]) -> list[str]:
    """Give the columns of a log to read for its context; those that the time gives need none.

    Args:
        wanted: Names of the context.
        names: The columns of the log.
        read: What columns are read as, such as ``{"item": "item_id"}``.

    Raises:
        InteractionsError: When one is missing, or is read as something else: the item is what is to be recommended.
    """
    check_distinct(wanted, "context")
    has_times = "timestamp" in read.values()
    for name in wanted:
        if name in read:
            raise InteractionsError(
                f"the column {name!r} of the context is the {read[name]} of the log, which nobody knows at a request",
                python="name others by context=[…]",
                cli="name others with --context-columns",
                http="name others in `context`",
            )
        if name not in names and not (name in DERIVED and has_times):
            hint = ", and no times that would tell it" if name in DERIVED else ""
            raise InteractionsError(
                f"there is no column {name!r} for the context{hint}; the columns are {list(names)}",
                python="name others by context=[…]",
                cli="name others with --context-columns",
                http="name others in `context`",
            )
    return [name for name in wanted if name in names]


def log_context(table: pa.Table, wanted: Sequence[str], rows: Rows, times: NDArray[np.int64]) -> list[pa.Array]:
    """Give the columns of the context, as text, of some rows of a log with their times."""
    taken = pa.array(rows)
    return [
        context_texts(table[name], name).take(taken) if name in table.column_names else derived_context(name, times)
        for name in wanted
    ]


def request_context(
    given: ContextLike | None,
    columns: ContextColumns,
    times: NDArray[np.int64] | None,
    count: int,
    user_ids: Sequence[str] = (),
) -> Context | None:
    """Read the context of ``count`` requests by the columns that were learned; None where nothing is known of it.

    What was not learned is neutral, with a `ContextWarning`. The hour and the day of the week are those of the time of
    the request, where it is known and they are not given.

    Args:
        given: One mapping for all requests, one for each, or a table; None where nothing is said.
        columns: The columns that were learned, and their values; none at all where nothing was.
        times: (B,) int64, seconds since 1970 in UTC, or None.
        count: B.
        user_ids: Names of the users, by which a table with a column ``user_id`` is read.

    Raises:
        InputError: When it is no mapping, list of mappings or table, a value cannot be read, or a table has other
            users.
        ShapeError: When there are more or fewer rows than requests.
    """
    table = None if given is None else _request_table(given, count, user_ids, columns)
    if table is not None and (unlearned := [name for name in table.column_names if name not in columns]):
        learned = f"what was learned is {list(columns)}" if columns else "no context was learned"
        warn_of_context(
            f"the context has {examples(unlearned)}, which is ignored: {learned}; `fit` learns columns of the log"
        )
    if not columns:
        return None
    parts = {} if table is None else {name: table[name] for name in table.column_names if name in columns}
    for name in DERIVED:
        if name in columns and name not in parts and times is not None:
            parts[name] = derived_context(name, times)
    if not parts:
        return None
    texts = pa.table({name: context_texts(values, name) for name, values in parts.items()})
    context = Context(columns, context_codes(texts, columns))
    for place, (name, values) in enumerate(columns.items()):
        if name in texts.column_names:
            missed = texts[name].filter(pa.array(context.codes[:, place] == UNKNOWN))
            if rare := [value for value in missed.unique().to_pylist() if value]:
                edges = range_edges(values)
                words = [] if edges is None else [*filterfalse(_NUMBER.fullmatch, values[len(edges) + 1 :])]
                known = examples(values, MAX_VALUES) if edges is None else "numbers" + " and " * bool(words)
                known += examples(words) if words else ""
                warn_of_context(f"nothing was learned of {examples(rare)} of {name!r}, only of {known}")
    return context


def _request_table(given: ContextLike, count: int, user_ids: Sequence[str], columns: ContextColumns) -> pa.Table:
    if is_table(given):
        table = arrow_table(given, "the table of the context")
        check_distinct(table.column_names, "the table of the context")
        table = in_order_of(table, user_ids, "the table of the context", columns)
        _check_count(len(table), count)
        return table
    if not isinstance(given, Mapping):
        check_list(given, "context")
    rows = [given] * count if isinstance(given, Mapping) else list(given)
    for place, row in enumerate(rows):
        check_mapping(row, f"context[{place}]", "{'device': 'phone'}")
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({str(name): _array(str(name), [row.get(name) for row in rows]) for name in names})
    _check_count(len(rows), count)  # a table without columns has no rows
    return table


def _check_count(rows: int, count: int) -> None:
    if rows != count:
        raise ShapeError(f"{rows} rows of context for {count} users; give one for all, or one for each")


def _array(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise InputError(f"the column {name!r} of the context has values of several kinds: {error}") from error
    except OverflowError as error:
        raise InputError(f"the column {name!r} of the context has a number that is too large: {error}") from error


def warn_of_context(text: str) -> None:
    """Warn that a context, or a part of it, is ignored."""
    warn(text, ContextWarning)
