"""The columns that a log needs, and the rows of it that can be used."""

import time
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.catalogue.arrow_values import SECONDS_PER_DAY, python_value
from indexing.errors import InputError, InteractionsError, examples
from indexing.runtime.arguments import check_kind, check_names, check_number, shown
from retrieval.interactions.columns import (
    REPEATS,
    InteractionColumns,
    Repeats,
    column_error,
    default_repeats,
    distinct_pairs,
)
from retrieval.interactions.context import check_log_context, log_context
from retrieval.interactions.event_types import EventTable, EventTypes, UncountedRows, aged_from
from retrieval.interactions.parse_values import (
    NO_TIME,
    UNITS,
    Times,
    legible,
    present,
    read_events,
    read_ids,
    read_times,
    read_weights,
    stands_for_nobody,
    whole_users,
)

SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64()), ("weight", pa.float32())]
)
_MAX_CHECKED = 1000  # rows that are searched for an example

Only = tuple[str, tuple[str, ...]]
"""A column and the values whose rows are kept, as in ``("split", ("train", "valid"))``."""


class Cleaned(NamedTuple):
    """The usable rows of a log, how many rows were dropped and repaired by reason, and an example of each.

    ``repeats`` is what counts where a user has several interactions with one item. ``uncounted`` are all usable rows,
    where a part of them counts otherwise than in the whole.
    """

    table: pa.Table
    dropped: dict[str, int]
    repaired: dict[str, int]
    examples: dict[str, str]
    repeats: Repeats
    events: EventTypes | None = None
    unread_events: str = ""
    uncounted: UncountedRows | None = None


class ReadArguments(TypedDict, total=False):
    """How a log is read: the keyword arguments of `Interactions.open`, `from_parquet`, `from_csv`, and so on.

    Attributes:
        columns: Which columns hold what; found by their usual names when None.
        min_weight: Keep interactions of at least this weight, as in "ratings of 4 and more". It applies to the weight
            that is left after ``repeats``.
        only: A column and the values whose rows are kept, as in ``("split", ("train", "valid"))``.
        events: What each type of event means, as in ``{"view": 1, "purchase": 5, "hide": -2}``, or a JSON file; see
            `retrieval.interactions.event_types`. The row's own weight is multiplied by that of its type, where there
            is one; rows of weight 0 are dropped. One below 0 is a dislike: of a user's events with an item those
            since the last change between like and dislike count.
        default_events: What they mean where ``events`` is None and the log has a column of them: those that a bundle
            learned with, ``retriever.learned.event_types``.
        repeats: Which of several interactions of a user with an item counts: ``"last"``, as for ratings that were
            changed, ``"sum"`` or ``"max"``. When None, the last where the column of weights is named ``rating``,
            ``stars`` or ``overall``, the sum where it is named as counts are, as ``plays``, and else the largest.
        context: Columns of what held at each interaction, as ``["device"]``, which `fit` learns from. The time gives
            ``"utc_hour"`` and ``"utc_weekday"``.
    """

    columns: InteractionColumns | None
    min_weight: float | None
    only: Only | None
    events: EventTable | None
    default_events: EventTypes | None
    repeats: Repeats | None
    context: Sequence[str]


@dataclass(frozen=True)
class ReadOptions:
    """How a log is read; checked.

    Attributes:
        source: The name of the log, for messages.
        columns: As in `ReadArguments`, as are all others.

    Raises:
        InputError: When ``columns`` or ``min_weight`` are of another type.
        InteractionsError: When another option cannot be used.
    """

    source: str
    columns: InteractionColumns | None = None
    min_weight: float | None = None
    only: Only | None = None
    events: EventTable | None = None
    repeats: Repeats | None = None
    default_events: EventTypes | None = None
    context: Sequence[str] = ()

    def __post_init__(self) -> None:
        if repeated := set(SCHEMA.names) & set(check_names(self.context, "context")):
            raise InputError(
                f"context names {examples(sorted(repeated))}, which the log has anyway; name other columns"
            )
        if self.columns is not None:
            check_kind(self.columns, InteractionColumns, "columns", "give InteractionColumns(…), or None").check()
        if self.events is not None:
            object.__setattr__(self, "events", EventTypes.open(self.events))
        if self.default_events is not None:
            check_kind(self.default_events, EventTypes, "default_events", "give EventTypes, or None")
        if self.repeats is not None and (not isinstance(self.repeats, str) or self.repeats not in REPEATS):
            raise InteractionsError(f"repeats={shown(self.repeats)} is none of {', '.join(map(repr, REPEATS))}")
        if self.min_weight is not None:
            check_number(self.min_weight, "min_weight", "give a number, or None")
        if self.only is not None:
            self._check_only(self.only)

    def _check_only(self, only: object) -> None:
        way = "give a column and values, as ('split', ('train', 'valid'))"
        if not isinstance(only, tuple | list) or len(only) != 2 or not isinstance(only[0], str):
            raise InteractionsError(f"only is {shown(only)}; {way}")
        check_names(only[1], f"the values of {only[0]!r}", ordered=False)

    @property
    def log_columns(self) -> InteractionColumns:
        """Which columns hold what."""
        return self.columns or InteractionColumns()

    def types_in(self, names: Sequence[str]) -> EventTypes | None:
        """Give the types of events by which a log of such columns is read.

        Raises:
            InteractionsError: When several columns could be that of events.
        """
        if self.events is not None:
            return EventTypes.open(self.events)
        return self.default_events if self.default_events is not None and self.log_columns.has_events(names) else None

    def needed(self, names: Sequence[str]) -> list[str]:
        """Give the columns to load, each once, of the columns of the log.

        Raises:
            InteractionsError: When one is missing, or there twice.
        """
        found, types = self.log_columns.names_in(names), self.types_in(names)
        if self.min_weight is not None and "weight" not in found and types is None:
            raise column_error(f"a minimum weight needs a column of weights; the columns are {list(names)}", "weight")
        if self.only and self.only[0] not in names:
            raise InteractionsError(f"there is no column {self.only[0]!r}; the columns are {list(names)}")
        events = [self.log_columns.event_in(names)] if types is not None else []
        context = check_log_context(self.context, names, {name: field for field, name in found.items()})
        needed = list(dict.fromkeys([*found.values(), *events, *([self.only[0]] if self.only else []), *context]))
        if repeated := [name for name in needed if list(names).count(name) > 1]:
            raise InteractionsError(f"{self.source} has more than one column {repeated[0]!r}; rename one")
        return needed

    def clean(
        self,
        table: pa.Table,
        dropped: Counter[str] | None = None,
        repaired: Counter[str] | None = None,
        names: Sequence[str] = (),
    ) -> Cleaned:
        """Keep the usable rows, in time order.

        Args:
            table: The log; its other columns are ignored.
            dropped: Rows that were lost before, by reason.
            repaired: Rows that were read otherwise than they stand, by how.
            names: All columns of the log, where the table has some of them.

        Raises:
            InteractionsError: When a column cannot hold what it should, or no rows are left.
        """
        found, types = self.log_columns.names_in(table.column_names), self.types_in(table.column_names)
        repeats = self.repeats or ("max" if types is not None else default_repeats(found.get("weight", "")))
        log = LogRows.read(table, found, Counter(dropped or {}))
        log.repaired += repaired or Counter()
        log.keep(self._selected(table))
        selected = len(log)
        if types is not None:
            name = self.log_columns.event_in(table.column_names)
            hint = "" if self.events is not None else "; these are the types of events that the bundle learned with"
            log.weigh(*read_events(legible(table[name], name).take(log.rows), name, types, hint))
        log.leave_out_unusable()
        unread = "" if types is not None else self.log_columns.unread_events(names)
        return self._counted(log, table, types, repeats, unread, selected)

    def _counted(
        self,
        log: "LogRows",
        table: pa.Table,
        types: EventTypes | None,
        repeats: Repeats,
        unread: str,
        selected: int | None,
    ) -> Cleaned:
        """Count usable rows by their age and by what came later.

        Raises:
            InteractionsError: When nothing is left of the ``selected`` rows; not when None.
        """
        before = log.copy() if types is not None and types.changes_with_time else None
        if types is not None:
            log.age(types)
        log.keep_once(repeats)
        if self.min_weight is not None:
            log.keep(log.weights >= np.float32(self.min_weight))
        if not len(log) and selected is not None:
            raise InteractionsError(self._nothing_left(table, selected, log))
        rows, context = log.table(), log_context(table, self.context, log.rows, log.times.seconds)
        for name, values in zip(self.context, context, strict=True):
            rows = rows.append_column(name, values)
        uncounted = None
        if before is not None:
            again = partial(self._counted, table=table, types=types, repeats=repeats, unread=unread, selected=None)
            uncounted = UncountedRows(rows, before, again)
        return Cleaned(rows, dict(log.lost), log.repairs(), log.examples, repeats, types, unread, uncounted)

    def _selected(self, table: pa.Table) -> Mask:
        if self.only is None:
            return np.ones(len(table), np.bool_)
        name, values = self.only
        try:
            text = legible(table[name], name).cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InteractionsError(f"column {name!r} cannot be compared with {values}: {error}") from error
        selected: Mask = pc.is_in(text, value_set=pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
        return selected

    def _nothing_left(self, table: pa.Table, selected: int, log: "LogRows") -> str:
        read = f"the columns read are {table.column_names}"
        if not len(table):
            return f"{self.source} has no rows; {read}"
        conditions = [f"a weight of {self.min_weight:g} and more"] if self.min_weight is not None else []
        conditions += [f"{self.only[0]} of {examples(self.only[1])}"] if self.only else []
        condition_text = f", conditions: {' and '.join(conditions)}" if conditions else ""
        shown = "".join(f"; {reason}: {example}" for reason, example in log.examples.items())
        dropped = f"dropped {', '.join(f'{count} ({reason})' for reason, count in log.lost.items()) or 'none'}"
        found = f"{len(table)} rows, {selected} selected, {dropped}{condition_text}"
        return f"{self.source} leaves no interactions: {found}; {read}{shown}"


class LogRows:
    """The rows of a log while it is cleaned, (n,) each, and counts of the dropped ones.

    Attributes:
        columns: The columns as they were, by field.
        rows: Their rows in the log.
        lost: How many were dropped, by reason.
        repaired: How many were used after a repair.
        examples: The first value that was dropped, by reason.
    """

    def __init__(self, columns: dict[str, pa.Array], users: pa.Array, items: pa.Array, times: Times) -> None:
        self.columns, self.users, self.items, self.times = columns, users, items, times
        self.rows = np.arange(len(users))
        self.types: NDArray[np.str_] = np.full(len(users), "")
        self.weights = self.event_weights = np.ones(len(users), np.float32)
        self.lost: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    @classmethod
    def read(cls, table: pa.Table, names: dict[str, str], lost: Counter[str]) -> "LogRows":
        """Read the columns of a table, as named by what they hold; ``lost`` rows were dropped before."""
        columns = {one: legible(table[name], name) for one, name in names.items()}
        users, items = (read_ids(columns[one], names[one]) for one in ("user_id", "item_id"))
        users, repaired = whole_users(users)
        times = read_times(columns["timestamp"], names["timestamp"]) if "timestamp" in names else Times.none(len(table))
        log = cls(columns, users, items, times)
        log.lost += lost
        log.repaired += Counter({"user_id written with .0": repaired})
        if "weight" in names:
            log.weights = read_weights(columns["weight"], names["weight"])
        return log

    def __len__(self) -> int:
        return len(self.rows)

    def copy(self) -> "LogRows":
        """Give the same rows, whose counts go on apart."""
        other = copy(self)
        other.lost, other.repaired, other.examples = Counter(self.lost), Counter(self.repaired), dict(self.examples)
        return other

    def keep(self, mask: Mask) -> None:
        """Keep some rows."""
        self.pick(np.flatnonzero(mask))

    def pick(self, positions: Rows) -> None:
        """Keep these rows, in this order."""
        self.users, self.items = self.users.take(positions), self.items.take(positions)
        self.times = Times(*(part[positions] for part in self.times))
        self.weights, self.rows = self.weights[positions], self.rows[positions]
        self.event_weights = self.event_weights[positions]
        self.types = self.types[positions]

    def weigh(self, event_weights: NDArray[np.float32], types: NDArray[np.str_]) -> None:
        """Multiply weights by those of types of events; rows of weight 0 are dropped later."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinite weights are dropped later
            self.weights = self.weights * event_weights
        self.event_weights, self.types = event_weights, types

    def age(self, events: EventTypes, end: int = 0) -> None:
        """Decay weights by the age of events at the later ``end`` of a log; keep the last of likes and dislikes."""
        now = max(end, int(aged_from(self.times.seconds, self.users).max(initial=0)))
        factor, expired = events.aged(self.types, self.times.seconds, now)
        self.weights = self.weights * factor
        if count := int(expired.sum()):
            self.lost["event expired"] += count
        self.keep(~expired)
        if events.has_dislikes:
            self.keep(~self._taken_back())

    def _taken_back(self) -> Mask:
        """Mark events that a later one of the same pair, with the other sign, takes back; rows are in time order."""
        users, items = (ids.dictionary_encode() for ids in (self.users, self.items))
        pairs = users.indices.to_numpy().astype(np.int64) * max(len(items.dictionary), 1) + items.indices.to_numpy()
        _, pair = np.unique(pairs, return_inverse=True)
        last = np.zeros(int(pair.max(initial=-1)) + 1, np.int64)
        np.maximum.at(last, pair, np.arange(len(pair)))
        taken_back: Mask = np.sign(self.weights) != np.sign(self.weights[last[pair]])
        if count := int(taken_back.sum()):
            self.repaired["taken back by a later event"] += count
        return taken_back

    def leave_out_unusable(self) -> None:
        """Keep the valid rows, in time order; count the others by their first fault."""
        seconds, latest = self.times.seconds, int(time.time()) + SECONDS_PER_DAY  # a day of grace for clocks and zones
        usable: Mask = np.ones(len(self), np.bool_)
        for reason, column, invalid in (
            ("blank user_id", "user_id", ~present(self.users)),
            ("user_id that stands for nobody", "user_id", stands_for_nobody(self.users)),
            ("blank item_id", "item_id", ~present(self.items)),
            ("weight missing or not finite", "weight", ~np.isfinite(self.weights)),
            ("time missing or unreadable", "timestamp", seconds == NO_TIME),
            ("impossible time", "timestamp", (seconds < 0) | (seconds > latest)),
            ("event of weight 0", "", self.event_weights == 0),
        ):
            if count := int(np.sum(usable & invalid)):
                self.lost[reason] += count
                self._add_example(reason, column, np.flatnonzero(usable & invalid))
            usable &= ~invalid
        self.pick(self.times.order(np.flatnonzero(usable)))

    def keep_once(self, repeats: Repeats) -> None:
        """Keep the last rating of an item, or the sum of its weights; all events stay, as their order is read."""
        if repeats == "max":
            return
        users, items = (ids.dictionary_encode() for ids in (self.users, self.items))
        pairs = users.indices.to_numpy().astype(np.int64) * max(len(items.dictionary), 1) + items.indices.to_numpy()
        positions, weights = distinct_pairs(pairs, self.weights, repeats, self.rows)
        if more := len(self) - len(positions):
            repairs = self.lost if repeats == "last" else self.repaired
            repairs["changed by a later rating" if repeats == "last" else "added to a later one"] += more
        self.pick(positions)
        self.weights = weights

    def table(self) -> pa.Table:
        """Give the rows as a table."""
        return pa.table([self.users, self.items, self.times.seconds, self.weights], SCHEMA)

    def repairs(self) -> dict[str, int]:
        """Count repairs."""
        counts = np.bincount(self.times.unit, minlength=len(UNITS)).tolist()
        units = {f"time in {unit}": count for unit, count in zip(UNITS[1:], counts[1:], strict=True) if count}
        return {reason: count for reason, count in self.repaired.items() if count} | units

    def _add_example(self, reason: str, column: str, positions: Rows) -> None:
        """Record the first value of a fault, preferably one that is not missing."""
        if column not in self.columns:
            return
        rows = self.rows[positions[:_MAX_CHECKED]]
        values = [python_value(self.columns[column][row]) for row in rows.tolist()]  # `take` lacks string views
        first = next((position for position, value in enumerate(values) if value is not None), 0)
        self.examples[reason] = f"the first is {values[first]!r} in row {rows[first]} (from 0)"
