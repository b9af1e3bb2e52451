"""What a job reads: users with what is known of them, some thousands at a time, and the lines that are set aside."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.interactions.known_items import known_row


@dataclass(frozen=True, eq=False)
class UserLines:
    """Users to answer, B of them.

    Attributes:
        names: Who they are.
        histories: B arrays of rows, oldest first.
        weights: How much each item of each history was liked; all alike when None.
        candidates: B arrays of rows to put in order, the best first; None when they are to be retrieved.
        scores: What retrieved them scored them with, (K,) float32 for each line; the exact inner product when None.
        profiles: A line of what is known of each beside the history; None when nothing is.
        min_relevance: Interactions of a smaller weight are dislikes; as the bundle has it when None.
        last: (B,) int64, the time of the last interaction in seconds since 1970, -1 for an empty history; None where
            it was not read.
        context: A line of what holds at the request of each; None when nothing is known of it.
    """

    names: tuple[str, ...]
    histories: tuple[Rows, ...]
    weights: tuple[Vectors, ...] | None = None
    candidates: tuple[Rows, ...] | None = None
    scores: tuple[Vectors, ...] | None = None
    profiles: pa.Table | None = field(default=None, kw_only=True)
    min_relevance: float | None = field(default=None, kw_only=True)
    last: NDArray[np.int64] | None = field(default=None, kw_only=True)
    context: pa.Table | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, lines: slice | NDArray[np.int64]) -> "UserLines":
        """Keep some of the users, in the order given."""
        numbers = np.arange(len(self))[lines].tolist()
        kept = (
            None if column is None else tuple(column[number] for number in numbers)
            for column in (self.weights, self.candidates, self.scores)
        )
        names, histories = (tuple(each[number] for number in numbers) for each in (self.names, self.histories))
        places, tables = pa.array(numbers, pa.int64()), (self.profiles, self.context)
        known, context = (None if table is None else table.take(places) for table in tables)
        last, least = None if self.last is None else self.last[numbers], self.min_relevance
        return UserLines(names, histories, *kept, profiles=known, min_relevance=least, last=last, context=context)

    def num_later(self, at: int | None) -> int:
        """Count the users with an interaction after a time; 0 without one."""
        return 0 if at is None or self.last is None else int((self.last > at).sum())


QUARANTINED = pa.schema([("line", pa.int64()), ("query_id", pa.string()), ("reason", pa.string())])


class Quarantined(NamedTuple):
    """A line that cannot be answered: where it is, whose, and why."""

    line: int
    query_id: str | None
    reason: str


@dataclass(frozen=True, eq=False)
class Chunk:
    """What is answered at once.

    Attributes:
        first: Its first line in the input.
        lines: How many lines of the input it is.
        users: Those that can be answered.
        quarantined: The others.
        unknown: How many items of histories and candidates were left out, for the bundle has none of them.
    """

    first: int
    lines: int
    users: UserLines
    quarantined: tuple[Quarantined, ...] = ()
    unknown: int = 0

    def quarantined_table(self) -> pa.Table:
        """Give the others as a table: ``line, query_id, reason``."""
        columns = zip(*self.quarantined, strict=True) if self.quarantined else ([], [], [])
        return pa.table(list(map(list, columns)), schema=QUARANTINED)


class Source(Protocol):
    """Where users come from, in an order that is always the same."""

    @property
    def items(self) -> ItemIds:
        """The items that rows of histories and candidates point into."""
        ...

    def __len__(self) -> int:
        """Count the lines."""
        ...

    def identity(self) -> dict[str, Any]:
        """Say as JSON what tells this input from another."""
        ...

    def check_times(self) -> None:
        """Check that it is known when users did the last interaction; raises an `InputError` where it is not."""
        ...

    def chunks(self, start: int, size: int, *, timed: bool = False) -> Iterator[Chunk]:
        """Give the users from a line on, so many at once; a chunk that began at that line begins there again.

        With ``timed`` the times of their last interactions are read.
        """
        ...


@dataclass(frozen=True, eq=False)
class Ragged:
    """A column of lists: all values, (T,), and the length of each of B lines, (B,) int64."""

    values: NDArray[Any]
    lengths: NDArray[np.int64]

    @property
    def line(self) -> NDArray[np.int64]:
        """(T,) int64, the line of each value."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def kept(self, mask: Mask) -> "Ragged":
        """Keep some of the values, (T,) bool."""
        return Ragged(self.values[mask], np.bincount(self.line[mask], minlength=len(self.lengths)))

    def any(self, mask: Mask) -> Mask:
        """Say which lines have a value that is marked: (B,) bool."""
        found: Mask = np.bincount(self.line[mask], minlength=len(self.lengths)) > 0
        return found

    def split(self) -> list[NDArray[Any]]:
        """Give the values of each line."""
        return np.split(self.values, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []

    def fitted(self, lengths: NDArray[np.int64], missing: float) -> NDArray[Any]:
        """Give the values for lines of these lengths, (B,): where a line has another, so many of one value instead."""
        fits = self.lengths == lengths
        values = np.full(int(lengths.sum()), missing, self.values.dtype)
        values[np.repeat(fits, lengths)] = self.values[np.repeat(fits, self.lengths)]
        return values

    @classmethod
    def of(cls, lists: pa.Array, values: NDArray[Any]) -> "Ragged":
        """Take the lengths of an Arrow array of lists, of which null is an empty one, with values for its flat form."""
        return cls(values, lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64))


@dataclass(eq=False)
class Problems:
    """Why lines of a chunk cannot be answered; of several reasons the first that was noted."""

    reasons: dict[int, str] = field(default_factory=dict)

    def note(self, mask: Mask, reason: str) -> None:
        """Quarantine lines, (B,) bool."""
        for line in np.flatnonzero(mask).tolist():
            self.reasons.setdefault(line, reason)

    def good(self, count: int) -> NDArray[np.int64]:
        """Give the lines, of so many, that nothing was noted of."""
        return np.array([line for line in range(count) if line not in self.reasons], np.int64)

    def quarantined(self, first: NDArray[np.int64], names: list[str | None]) -> tuple[Quarantined, ...]:
        """Give what was noted: (B,) int64, where each line is in the input, and B names."""
        return tuple(Quarantined(int(first[line]), names[line], why) for line, why in sorted(self.reasons.items()))


def item_rows(item_ids: pa.Array, items: ItemIds) -> Rows:
    """Give the row of each item_id of an Arrow array, -1 where there is none: each name is looked up once.

    >>> item_rows(pa.array(["cup", "jug", "mug", None, "cup"]), ItemIds(["mug", "cup"])).tolist()
    [1, -1, 0, -1, 1]
    """
    coded = item_ids.dictionary_encode()
    found = (known_row(items, item_id) for item_id in coded.dictionary.to_pylist())
    rows = np.array([-1 if row is None else row for row in found] + [-1], np.int64)
    numbered: Rows = rows[coded.indices.fill_null(len(rows) - 1).to_numpy(zero_copy_only=False)]
    return numbered


def check_items(given: ItemIds, items: ItemIds, what: str) -> None:
    """Check that rows of users point into the items of the bundle that answers.

    Raises:
        InputError: When they point into others.
    """
    if given is not items and given != items:
        raise InputError(
            f"{what} were read for another state of the bundle, or for another bundle; make the source anew, with the "
            "items of the retriever that answers"
        )


def ordered_candidates(
    rows: Ragged, scores: NDArray[np.float32] | None, problems: Problems
) -> tuple[Ragged, Ragged | None]:
    """Leave out candidates that the bundle lacks (-1), and put the best score first; equal ones keep their order.

    Args:
        rows: The candidates of B lines.
        scores: (T,), one for each of them.
        problems: Where lines are noted that cannot be used.
    """
    problems.note(rows.lengths == 0, "no candidates")
    if scores is not None:
        problems.note(rows.any(~np.isfinite(scores)), "a score that is no finite number")
        scores = np.nan_to_num(scores)
    known = rows.values >= 0
    problems.note(~rows.any(known), "no candidate is an item of this bundle")
    rows, scores = rows.kept(known), None if scores is None else scores[known]
    place, most = rows.line, 1 + int(rows.values.max(initial=0))
    pairs = np.sort(place * most + rows.values)
    twice = np.zeros(len(rows.lengths), np.bool_)
    twice[pairs[1:][pairs[1:] == pairs[:-1]] // most] = True
    problems.note(twice, "the same candidate twice")
    if scores is None:
        return rows, None
    order = np.lexsort((-scores, place))
    return Ragged(rows.values[order], rows.lengths), Ragged(scores[order], rows.lengths)
