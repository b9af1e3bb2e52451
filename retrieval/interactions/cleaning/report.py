"""The report of cleaning: removed and changed interactions, by reason, as text and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

_SHOWN = 5


@dataclass(frozen=True)
class Removal:
    """What one reason took away.

    Attributes:
        rows: Interactions.
        users: Users who lost some.
        items: Items that lost some.
        examples: user_id and item_id of the first few.
    """

    rows: int
    users: int
    items: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Push:
    """A group of newcomers who agreed on an item.

    Attributes:
        item_id: The item.
        users: How many.
        expected: How many there would have been, were they like all others.
        start: When the first of them touched it, seconds since 1970 (UTC).
        user_ids: The first few.
    """

    item_id: str
    users: int
    expected: float
    start: int
    user_ids: tuple[str, ...]

    def __str__(self) -> str:
        day = datetime.fromtimestamp(self.start, UTC).date()
        return f"{self.item_id}: {self.users} newcomers from {day} on, where {self.expected:.1f} were expected"


@dataclass(frozen=True)
class PreparationReport:
    """What became of a log; ``kept`` and the rows of all that was ``removed`` add up to ``rows``.

    Attributes:
        rows: Interactions of the log.
        kept: Interactions that are left.
        users: How many users there were, and are left.
        items: How many items there were, and are left.
        timed: Whether the log has a clock; without times, rules that need them are skipped.
        removed: Removed interactions by reason; each counts once, for the first reason that applied.
        changed: Weights that were changed, by what was done.
        unreadable: Rows that were left out when the log was read, by reason; they are not among ``rows``.
        pushes: The groups that pushed an item.
        examples: The first value that was left out when the log was read, by reason.
    """

    rows: int
    kept: int
    users: tuple[int, int]
    items: tuple[int, int]
    timed: bool
    removed: Mapping[str, Removal]
    changed: Mapping[str, int]
    unreadable: Mapping[str, int]
    pushes: tuple[Push, ...]
    examples: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)

    def summary(self) -> dict[str, str]:
        """Give the report as texts by name."""
        texts = {
            "interactions": f"{self.kept} kept of {self.rows}",
            "users": f"{self.users[1]} kept of {self.users[0]}",
            "items": f"{self.items[1]} kept of {self.items[0]}",
        }
        if not self.timed:
            texts["times"] = "none that are dates: rates and pushes were not checked"
        for reason, count in self.unreadable.items():
            example = f"; {self.examples[reason]}" if reason in self.examples else ""
            texts[f"left out when read: {reason}"] = f"{count}{example}"
        for reason, what in self.removed.items():
            pairs = ", ".join(f"{user} {item}" for user, item in what.examples)
            texts[reason] = f"{what.rows} of {what.users} users on {what.items} items, as {pairs}"
        if "duplicate" in texts and not self.timed:  # without times repeated plays look like duplicates
            texts["duplicate"] += "; if each row is an event, count them with repeats sum"
        texts |= {f"changed: {what}": str(count) for what, count in self.changed.items()}
        if self.pushes:
            more = [f"and {len(self.pushes) - _SHOWN} more"] if len(self.pushes) > _SHOWN else []
            texts["pushes"] = "\n".join([*map(str, self.pushes[:_SHOWN]), *more])
        return texts
