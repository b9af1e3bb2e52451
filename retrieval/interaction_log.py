"""What is wanted of a log, and the rows of it that can be used."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.errors import InteractionsError, examples
from indexing.types import Mask
from retrieval.interaction_values import (
    NO_TIME,
    UNITS,
    Times,
    plain,
    present,
    read_events,
    read_ids,
    read_times,
    read_weights,
)

SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64()), ("weight", pa.float32())]
)
_ALIASES = {
    "user_id": ("user", "userID"),
    "item_id": ("item", "itemID"),
    "timestamp": ("datetime", "time"),
    "weight": ("rating",),
    "event": ("event_type", "action", "behavior"),
}
_DAY = 86_400

Only = tuple[str, tuple[str, ...]]
"""A column and the values whose rows are kept, as in ``("split", ("train", "valid"))``."""

Events = Mapping[str, float]
"""What each type of event weighs, as in ``{"view": 1, "purchase": 5, "return": 0}``; rows that weigh 0 are dropped."""


@dataclass(frozen=True)
class InteractionColumns:
    """Which columns of a log hold what.

    A name left at its default may also be an alias: ``user`` or ``userID``, ``item`` or ``itemID``, ``datetime`` or
    ``time``, ``rating``, ``event_type`` or ``action`` or ``behavior``.

    Attributes:
        user_id: Who.
        item_id: With what.
        timestamp: When; None, or left out of the log, means that its rows stand in time order.
        weight: How much; None, or left out of the log, means that every interaction weighs 1.
        event: What kind of interaction; read only when weights of events are given.
    """

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str | None = "timestamp"
    weight: str | None = "weight"
    event: str = "event"

    def found_in(self, names: Sequence[str]) -> dict[str, str]:
        """Give the name in the log of each of the four that is there.

        Raises:
            InteractionsError: When a column that was asked for, or that no log can do without, is missing.
        """
        found = {}
        for one in SCHEMA.names:
            wanted = getattr(self, one)
            tried = self._tried(one)
            if match := next((name for name in tried if name in names), None):
                found[one] = match
            elif one in ("user_id", "item_id") or wanted not in (one, None):
                raise InteractionsError(
                    f"there is no column {' or '.join(map(repr, tried))}; the columns are {list(names)}; "
                    f"say which it is with InteractionColumns({one}=…)"
                )
        return found

    def event_in(self, names: Sequence[str]) -> str:
        """Give the name in the log of the column of events.

        Raises:
            InteractionsError: When there is none.
        """
        tried = self._tried("event")
        if match := next((name for name in tried if name in names), None):
            return match
        raise InteractionsError(
            f"there is no column {' or '.join(map(repr, tried))} of events to weigh; the columns are {list(names)}; "
            "say which it is with InteractionColumns(event=…)"
        )

    def _tried(self, one: str) -> list[str]:
        wanted = getattr(self, one)
        return [wanted, *(_ALIASES[one] if wanted == one else ())]


class Cleaned(NamedTuple):
    """What is usable of a log: the table, and how many rows were dropped and repaired, by reason."""

    table: pa.Table
    dropped: dict[str, int]
    repaired: dict[str, int]


@dataclass(frozen=True)
class Wish:
    """What a caller wants of a log.

    Attributes:
        columns: Which columns hold what.
        min_weight: Keep interactions of at least this weight.
        only: A column and the values whose rows are kept.
        source: What to call the log in a message.
        events: What each type of event weighs.
    """

    columns: InteractionColumns
    min_weight: float | None
    only: Only | None
    source: str
    events: Events | None = None

    def __post_init__(self) -> None:
        bad = [(name, weight) for name, weight in (self.events or {}).items() if not 0 <= weight < np.inf]
        if bad:
            raise InteractionsError(
                f"events cannot weigh {examples(bad)}; give 0 to leave them out, and less than half of the largest "
                "weight to what is disliked"
            )

    def needed(self, there: Sequence[str]) -> list[str]:
        """Give the columns to load, each once.

        Raises:
            InteractionsError: When one is missing, or there twice.
        """
        found = self.columns.found_in(there)
        if self.min_weight is not None and "weight" not in found and self.events is None:
            raise InteractionsError(f"min_weight needs a column of weights; the columns are {list(there)}")
        if self.only and self.only[0] not in there:
            raise InteractionsError(f"there is no column {self.only[0]!r}; the columns are {list(there)}")
        events = [self.columns.event_in(there)] if self.events is not None else []
        needed = list(dict.fromkeys([*found.values(), *events, *([self.only[0]] if self.only else [])]))
        if twice := [name for name in needed if list(there).count(name) > 1]:
            raise InteractionsError(f"{self.source} has more than one column {twice[0]!r}; rename one")
        return needed

    def clean(self, table: pa.Table, dropped: Counter[str] | None = None) -> Cleaned:
        """Keep the usable rows that were asked for, in time order.

        Args:
            table: The log; its other columns are ignored.
            dropped: Rows that were lost before, by reason.

        Raises:
            InteractionsError: When a column cannot hold what it should, or no rows are left.
        """
        lost = Counter(dropped or {})
        asked = self._asked(table)
        log = _Log.read(asked, self.columns.found_in(table.column_names))
        worth = np.ones(len(asked), np.float32)
        if self.events is not None:
            name = self.columns.event_in(table.column_names)
            worth = read_events(asked[name], name, self.events)
            with np.errstate(over="ignore", invalid="ignore"):  # what is no longer finite is dropped as such
                log = log._replace(weights=log.weights * worth)
        usable = log.usable(lost)
        if count := int(np.sum(usable & (worth == 0))):
            lost["event of weight 0"] += count
        usable &= worth != 0
        if self.min_weight is not None:
            usable &= log.weights >= np.float32(self.min_weight)
        kept = np.flatnonzero(usable)
        if not len(kept):
            raise InteractionsError(self._nothing_left(table, len(usable), lost))
        order = kept[np.argsort(log.times.seconds[kept], kind="stable")]
        arrays = [log.users.take(order), log.items.take(order), log.times.seconds[order], log.weights[order]]
        counts = np.bincount(log.times.unit[order], minlength=len(UNITS)).tolist()
        told = {f"time in {unit}": count for unit, count in zip(UNITS[1:], counts[1:], strict=True) if count}
        return Cleaned(pa.table(arrays, SCHEMA), dict(lost), told)

    def _asked(self, table: pa.Table) -> pa.Table:
        if self.only is None:
            return table
        name, values = self.only
        try:
            text = plain(table[name]).cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InteractionsError(f"column {name!r} cannot be compared with {values}: {error}") from error
        return table.filter(pc.is_in(text, value_set=pa.array(values, pa.string())))

    def _nothing_left(self, table: pa.Table, asked: int, lost: Counter[str]) -> str:
        wishes = [f"min_weight={self.min_weight}"] if self.min_weight is not None else []
        wishes += [f"only={self.only}"] if self.only else []
        return (
            f"{self.source} leaves no interactions: {len(table)} rows, {asked} asked for"
            f"{' by ' + ' and '.join(wishes) if wishes else ''}, dropped {dict(lost)}; "
            f"the columns read are {table.column_names}"
        )


class _Log(NamedTuple):
    users: pa.Array
    items: pa.Array
    weights: NDArray[np.float32]
    times: Times

    @classmethod
    def read(cls, table: pa.Table, names: dict[str, str]) -> "_Log":
        weights = np.ones(len(table), np.float32)
        if "weight" in names:
            weights = read_weights(table[names["weight"]], names["weight"])
        times = Times(np.zeros(len(table), np.int64), np.zeros(len(table), np.int64))
        if "timestamp" in names:
            times = read_times(table[names["timestamp"]], names["timestamp"])
        users, items = (read_ids(table[names[one]], names[one]) for one in ("user_id", "item_id"))
        return cls(users, items, weights, times)

    def usable(self, lost: Counter[str]) -> Mask:
        """Say which rows have no fault; count the others, a row with several faults for the first of them."""
        seconds = self.times.seconds
        latest = int(time.time()) + _DAY  # a day of grace for clocks and zones
        usable: Mask = np.ones(len(seconds), np.bool_)
        for reason, bad in (
            ("blank user_id", ~present(self.users)),
            ("blank item_id", ~present(self.items)),
            ("weight missing or not finite", ~np.isfinite(self.weights)),
            ("time missing or unreadable", seconds == NO_TIME),
            ("impossible time", (seconds < 0) | (seconds > latest)),
        ):
            if count := int(np.sum(usable & bad)):
                lost[reason] += count
            usable &= ~bad
        return usable
