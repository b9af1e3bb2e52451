"""Types of events: what each weighs, whether it speaks for or against an item, and how it ages to the log's end."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.errors import CommonspaceWarning, InteractionsError, examples
from indexing.runtime.arguments import check_mapping, distinct_keys, is_number, shown, shown_number
from indexing.runtime.warn import warn

if TYPE_CHECKING:
    from retrieval.interactions.log_schema import Cleaned, LogRows

USUAL = "usual"
_SHOWN = 4  # types that a message names


@dataclass(frozen=True)
class EventType:
    """What one type of event means.

    Attributes:
        weight: How much it counts; below 0 it is a dislike, and 0 leaves it out.
        half_life_days: An event that is so much older than the end of the log counts half; it does not age when None,
            nor in a log without times. The ``times`` of requests are not read.
        expires_after_days: Older events are left out; none when None.
    """

    weight: float
    half_life_days: float | None = None
    expires_after_days: float | None = None

    def __str__(self) -> str:
        ages = {"half-life": self.half_life_days, "expires after": self.expires_after_days}
        aged = ", ".join(f"{how} {days:g} days" for how, days in ages.items() if days is not None)
        return f"{self.weight:g}" + (f" ({aged})" if aged else "")

    def __post_init__(self) -> None:
        if not is_number(self.weight, -1e6, 1e6):
            weight = shown_number(self.weight)
            raise InteractionsError(f"an event weighs {weight}; give a number, below 0 for a dislike")
        for name in ("half_life_days", "expires_after_days"):
            days = getattr(self, name)
            if days is not None and not (is_number(days, 0, 1e6) and days > 0):
                value = shown_number(days)
                raise InteractionsError(f"{name} is {value}; give a number of days above 0, or leave it out")


@dataclass(frozen=True)
class EventTypes:
    """The types of events of a log, by name.

    Attributes:
        types: Each with its meaning; the names as they are in the log.
    """

    types: Mapping[str, EventType]

    def __post_init__(self) -> None:
        if not any(kind.weight > 0 for kind in self.types.values()):
            raise InteractionsError(f"none of the events {examples(self.types)} weighs more than 0; give one that does")

    @classmethod
    def open(cls, given: "EventTable") -> "EventTypes":
        """Take a table of types, read it from a JSON file, or from text.

        >>> EventTypes.open("view=.1,hide=-2").types["hide"]
        EventType(weight=-2.0, half_life_days=None, expires_after_days=None)
        >>> EventTypes.open({"view": {"weight": 1, "half_life_days": 30}}).types["view"].half_life_days
        30

        Raises:
            InteractionsError: When it cannot be read, with the type that is at fault.
        """
        if isinstance(given, EventTypes):
            return given
        if isinstance(given, str) and given == USUAL:
            return USUAL_TYPES
        if isinstance(given, str) and "=" in given:
            return cls(_from_text(given))
        if isinstance(given, str | Path):
            given = _from_file(Path(given))
        table = check_mapping(given, "events", "{'view': 0.1, 'buy': 3, 'hide': -2}")
        return cls({name: _event_type(name, value) for name, value in table.items()})

    def __str__(self) -> str:
        return ", ".join(f"{name}={kind}" for name, kind in self.types.items())

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each type."""
        return {name: float(kind.weight) for name, kind in self.types.items()}

    @property
    def has_dislikes(self) -> bool:
        """Whether a type speaks against an item."""
        return any(kind.weight < 0 for kind in self.types.values())

    @property
    def changes_with_time(self) -> bool:
        """Whether an event counts otherwise later: it ages or expires, or a dislike may take it back."""
        ages = any(kind.half_life_days or kind.expires_after_days for kind in self.types.values())
        return ages or self.has_dislikes

    def aged(self, names: NDArray[np.str_], seconds: NDArray[np.int64], now: int) -> tuple[NDArray[np.float32], Mask]:
        """Give what is left of the weight of events by their age, as a factor, and which have expired.

        Args:
            names: (n,) the type of each.
            seconds: (n,) int64, when each was.
            now: The time from which age counts.
        """
        age = np.maximum(now - seconds, 0) / SECONDS_PER_DAY
        factor, expired = np.ones(len(age)), np.zeros(len(age), np.bool_)
        for name, kind in self.types.items():
            mask = names == name
            if kind.half_life_days is not None:
                factor[mask] = 0.5 ** (age[mask] / kind.half_life_days)
            if kind.expires_after_days is not None:
                expired |= mask & (age > kind.expires_after_days)
        return factor.astype(np.float32), expired

    def to_json(self) -> dict[str, dict[str, float]]:
        """Give the table as plain JSON values, which `open` reads."""
        given = {name: asdict(kind) for name, kind in self.types.items()}
        return {name: {key: value for key, value in kind.items() if value is not None} for name, kind in given.items()}


LATE_DAYS = 7.0  # between the last interactions of all others and those of users who are late
LATE_SHARE = 0.01  # of the users, and of the interactions, that may be late
LATE_RATE = 0.1  # of the interactions that a log usually has in so long
_MIN_USERS = 20


class LateTail(NamedTuple):
    """The interactions of few users that are far later than those of all others, as with a clock that is wrong.

    Attributes:
        end: When all others end, in seconds since 1970. What ages counts from there.
        interactions: How many are later.
        users: Of how many users.
        last: The time of the last one.
    """

    end: int
    interactions: int
    users: int
    last: int

    def __str__(self) -> str:
        end, last = (np.datetime64(time, "s").item().isoformat(" ") for time in (self.end, self.last))
        who = "1 user" if self.users == 1 else f"{self.users} users"
        return (
            f"{self.interactions} of the interactions, by {who}, are later than all others, which end at {end}; the "
            f"last is of {last}, {(self.last - self.end) / SECONDS_PER_DAY:.0f} days after that. They count as of that "
            "end, so that they alone are not what is recent; where a clock was wrong, correct these times or leave the "
            "rows out"
        )


def late_tail(times: NDArray[np.int64], users: pa.ChunkedArray | pa.Array) -> LateTail | None:
    """Find the few interactions after the end of a log from which popularity and trends must not age.

    Late are at most 1 % of the users (or one), with at most 1 % of the interactions, who come more than 7 days after
    all others, in a time in which the log usually has more than ten times as many. A log of fewer than 20 users, 100
    interactions or 7 days has none.

    Args:
        times: (n,) int64, ascending, in seconds since 1970.
        users: (n,) who.

    >>> times = np.append(np.arange(400) * 3600, 100 * SECONDS_PER_DAY)
    >>> late_tail(times, pa.array([f"u{row % 50}" for row in range(401)])).end // 3600
    399
    """
    most, gap = int(len(times) * LATE_SHARE), int(LATE_DAYS * SECONDS_PER_DAY)
    if not most or times[-1] - times[-most - 1] <= gap:
        return None
    count = pc.count_distinct(users).as_py()
    late_times, late_users = times[-most - 1 :].tolist(), users.slice(len(times) - most - 1).to_pylist()
    ends = sorted(dict(zip(late_users, late_times, strict=True)).values(), reverse=True)  # the last time of each
    for number in range(min(max(1, int(count * LATE_SHARE)), len(ends) - 1), 0, -1):
        end = ends[number]
        if count >= _MIN_USERS and ends[number - 1] - end > gap:
            before = int(np.searchsorted(times, end, side="right"))
            span = end - int(times[most])
            if span >= gap and len(times) - before < LATE_RATE * before * (ends[0] - end) / span:
                return LateTail(end, len(times) - before, number, ends[0])
    return None


def aged_from(times: NDArray[np.int64], users: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """Give the times of a log from which ages count: those of a late tail are the end of all others."""
    tail = late_tail(times, users)
    return times if tail is None else np.minimum(times, tail.end)


@dataclass(frozen=True, eq=False)
class UncountedRows:
    """The usable rows of a log before they were counted: by their age at its end, and by what a user did later.

    In a part of the log they count by the end of that part, and what came after it changes nothing.

    Attributes:
        counted: The table that was made of all of them.
        log: The rows, in time order.
        count: Counts some of them.
    """

    counted: pa.Table
    log: "LogRows"
    count: "Callable[[LogRows], Cleaned]"

    @property
    def table(self) -> pa.Table:
        """``user_id: string, item_id: string, timestamp: int64`` of all rows."""
        return pa.table({"user_id": self.log.users, "item_id": self.log.items, "timestamp": self.log.times.seconds})

    def part(self, mask: Mask) -> "Cleaned":
        """Count some of the rows alone."""
        rows = self.log.copy()
        rows.keep(mask)
        return self.count(rows)


class EventTypesWarning(CommonspaceWarning):
    """A log is read by types of events that the user did not name, or by others than a bundle learned with."""


@dataclass(frozen=True)
class LearnedEvents:
    """By which types of events the log that a bundle learned from was read.

    Attributes:
        types: None where it was read without any.
    """

    types: EventTypes | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "LearnedEvents | None":
        """Read it from what a manifest keeps of `fit`; None where nothing was learned, or by an earlier version."""
        if "events" not in record:
            return None
        return cls(None if record["events"] is None else EventTypes.open(record["events"]))

    def compare(self, events: EventTypes | None, *, unread: str, given: bool) -> None:
        """Warn where a log was read by types of events that the user did not name, or that `fit` did not have.

        Args:
            events: By which the log was read.
            unread: Its column of events that was not read; "" where it has none.
            given: Whether the user chose how it is read; else it is read as the bundle learned.
        """
        if text := self._difference(events, unread) if given else self._taken(events):
            warn(text, EventTypesWarning)

    def _taken(self, events: EventTypes | None) -> str:
        return "" if events is None else f"events weigh as in the log that the bundle learned from: {events}"

    def _difference(self, events: EventTypes | None, unread: str) -> str:
        if events == self.types:
            return ""
        if events is None:
            return (
                f"the column {unread!r} of the log was not read, and the bundle learned from events that weigh "
                f"{self.types}: read the log with default_events=retriever.learned.event_types"
                if unread
                else ""
            )
        return (
            f"events weigh otherwise than in the log that the bundle learned from: {_differences(events, self.types)}; "
            "fit the bundle anew from this log, or read it as that one, so that both count alike"
        )


def _differences(events: EventTypes, learned: EventTypes | None) -> str:
    """Name the first types that weigh otherwise than in the log that was learned from."""
    before = {} if learned is None else learned.types
    other = [name for name in dict.fromkeys([*events.types, *before]) if events.types.get(name) != before.get(name)]
    shown = [
        f"{name}={events.types.get(name, 'none')}" + ("" if learned is None else f" (there {before.get(name, 'none')})")
        for name in other[:_SHOWN]
    ]
    more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    return ", ".join(shown) + more + (", and that log was read without types of events" if learned is None else "")


EventTable: TypeAlias = EventTypes | Mapping[str, Any] | Path | str
"""Types by name with their weights or settings; a JSON file of them; text as ``view=.1,buy=3``; or ``usual``."""

USUAL_TYPES = EventTypes(
    {name: EventType(weight) for names, weight in (
        (("view", "pageview", "click", "impression_click", "detail"), 0.1),
        (("play", "listen", "watch", "read"), 0.5),
        (("like", "favourite", "favorite", "save", "wishlist", "bookmark"), 1.0),
        (("cart", "add_to_cart", "addtocart"), 1.0),
        (("share", "subscribe", "follow"), 2.0),
        (("buy", "purchase", "order", "transaction"), 3.0),
        (("remove_from_cart", "return", "refund"), 0.0),
        (("hide", "dislike", "not_interested", "report", "block"), -2.0),
    ) for name in names}
)  # fmt: skip
"""What events of common names weigh when nothing else is said: ``events="usual"``."""


def beside_usual(learned: EventTypes | None) -> EventTypes:
    """Give the types that were learned from, and usual ones beside these."""
    return USUAL_TYPES if learned is None else EventTypes({**USUAL_TYPES.types, **learned.types})


def _event_type(name: object, value: Any) -> EventType:  # noqa: ANN401 - checked here
    if not isinstance(name, str) or not name.strip():
        raise InteractionsError(f"a type of event is named {shown(name)}; give a text")
    if isinstance(value, EventType):
        return value
    settings = value if isinstance(value, Mapping) else {"weight": value}
    if strange := sorted(set(settings) - set(EventType.__dataclass_fields__)):
        allowed = ", ".join(EventType.__dataclass_fields__)
        raise InteractionsError(f"event {name!r} has {examples(strange)}; give {allowed}")
    if "weight" not in settings:
        raise InteractionsError(f"event {name!r} has no weight; give one, below 0 for a dislike")
    try:
        return EventType(**settings)
    except InteractionsError as error:
        raise InteractionsError(f"event {name!r}: {error}") from error


def _from_text(text: str) -> dict[str, EventType]:
    types: dict[str, EventType] = {}
    for part in text.split(","):
        name, equals, weight = part.rpartition("=")
        try:
            value = float(weight)
        except ValueError:
            equals = ""
        if not equals or not name.strip() or name.strip() in types:
            raise InteractionsError(
                f"cannot read {part!r} in {text!r}; write each type once, like view=.1,buy=3,hide=-2"
            )
        types[name.strip()] = _event_type(name.strip(), value)
    return types


def _from_file(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    way = 'expected a file such as {"view": 0.1, "buy": {"weight": 3, "half_life_days": 90}, "hide": -2}'
    try:
        return json.loads(path.read_text("utf-8"), object_pairs_hook=distinct_keys)
    except (OSError, ValueError) as error:
        raise InteractionsError(f"the table of events {path} cannot be read: {error}; {way}") from error
