"""One line a user: ``user_id``, ``history``, and what more there is (``weights``, ``candidates``, ``scores``)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.batch.input_rows import Chunk, Problems, Ragged, UserLines, item_rows, ordered_candidates
from retrieval.batch.tables import Tables, check_columns, list_column, text_column
from retrieval.interactions.columns import last_of_each
from retrieval.interactions.histories import LoggedHistories
from retrieval.interactions.parse_values import plain, read_times
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.query_inputs import check_has_times
from retrieval.retriever.recommend import context_columns, default_weight
from retrieval.retriever.retriever import Retriever

LISTS = ("history", "weights", "candidates", "scores")
LAST_TIME = "last_time"
NO_ID = "no user_id"
NO_LAST_TIME = f"a history, but no {LAST_TIME} that can be read"
NOTHING_LIKED = "nothing in the history was liked, and this bundle has not learned what is popular"
NOTHING_POPULAR = "an empty history, and this bundle has not learned what is popular"


class ListedUsers:
    """Users of a table with one line each.

    The columns are ``user_id``; ``history``, item_ids, oldest first, where null is an empty one; if there are any,
    ``weights`` of these, where null means all alike; where the bundle has learned from profiles, the attributes that it
    reads; the columns of the context that its second stage has learned; and for reranking ``candidates``, item_ids,
    with ``scores`` if there are any. Users who are asked for at a time have ``last_time``, when they did the last
    interaction, as times of a log are written.

    Args:
        tables: Where they are.
        retriever: Of the bundle that answers.
        given: Whether candidates are given, or to be retrieved.

    Raises:
        InputError: When a column is missing, or holds something else.
    """

    def __init__(self, tables: Tables, retriever: Retriever, *, given: bool = False) -> None:
        needed = ("user_id", "history", *(("candidates",) if given else ()))
        check_columns(tables.schema, needed, LISTS, "lines of one user each")
        wanted = ("user_id", *(LISTS if given else LISTS[:2]))
        self.tables, self.retriever, self.given = tables, retriever, given
        self._columns = [name for name in wanted if name in tables.schema.names]
        self._known = taste.columns_in(tables.schema) if (taste := retriever.learned.profiles) else []
        self._context = [name for name in context_columns(retriever.state) if name in tables.schema.names]

    @property
    def items(self) -> ItemIds:
        """Those of the bundle."""
        return self.retriever.items

    def __len__(self) -> int:
        return len(self.tables)

    def identity(self) -> dict[str, Any]:
        """Name the files."""
        return self.tables.identity() | {"given": self.given}

    def check_times(self) -> None:
        """Check that there is a column of times.

        Raises:
            InputError: When there is none.
        """
        if LAST_TIME not in self.tables.schema.names:
            raise InputError(
                f"the lines of users have no column {LAST_TIME!r}, which says when each did the last interaction, but "
                f"{self.tables.schema.names}",
                python="add it, or give no time of the request: users are then answered as in a visit",
                cli="add it, or leave out --at: users are then answered as in a visit",
            )

    def chunks(self, start: int, size: int, *, timed: bool = False) -> Iterator[Chunk]:
        """Give the users from a line on, so many at once."""
        columns = dict.fromkeys([*self._columns, *self._known, *self._context, *([LAST_TIME] if timed else [])])
        for table in self.tables.pieces([*columns], start, size):
            yield self._chunk(table, start, timed=timed)
            start += len(table)

    def _chunk(self, table: pa.Table, first: int, *, timed: bool) -> Chunk:
        problems, names = Problems(), text_column(table, "user_id")
        problems.note(is_blank(names), NO_ID)
        past, liked, unknown = self._history(table, problems)
        rows: Ragged | None = None
        scores: Ragged | None = None
        if self.given:
            rows, scores, more = self._candidates(table, problems)
            unknown += more
        last = _last_times(table, past, problems) if timed else None
        good = problems.good(len(table))
        columns = (None if one is None else take_rows(one, good) for one in (liked, rows, scores))
        known, context = (
            table.select(chosen).take(pa.array(good)) if chosen else None for chosen in (self._known, self._context)
        )
        ids = tuple(names.take(pa.array(good)).to_pylist())
        last = None if last is None else last[good]
        users = UserLines(ids, take_rows(past, good), *columns, profiles=known, last=last, context=context)
        quarantined = problems.quarantined(first + np.arange(len(table)), names.to_pylist() if problems.reasons else [])
        return Chunk(first, len(table), users, quarantined, unknown)

    def _history(self, table: pa.Table, problems: Problems) -> tuple[Ragged, Ragged | None, int]:
        """Give histories and weights, and how many items of them were left out."""
        items, behaviour = self.retriever.items, self.retriever.behaviour
        lists = list_column(table, "history", pa.string())
        past = Ragged.of(lists, item_rows(lists.flatten(), items))
        liked = None
        if "weights" in table.column_names:
            given = list_column(table, "weights", pa.float32())
            weights = Ragged.of(given, given.flatten().to_numpy(zero_copy_only=False))
            absent = given.is_null().to_numpy(zero_copy_only=False)
            problems.note(~absent & (weights.lengths != past.lengths), "not as many weights as items in the history")
            problems.note(weights.any(~np.isfinite(weights.values)), "a weight that is no finite number")
            liked = Ragged(weights.fitted(past.lengths, default_weight(self.retriever.state)), past.lengths)
        known = past.values >= 0
        problems.note((past.lengths > 0) & ~past.any(known), "no item of the history is in this bundle")
        if behaviour is None and self.given:  # nothing to order candidates by
            problems.note(past.lengths == 0, NOTHING_POPULAR)
        counted = known.copy()
        counted[known] = last_of_each(past.values[known], past.kept(known).lengths)
        liked = None if liked is None else liked.kept(counted)
        if behaviour is None and self.given and liked is not None:
            nothing = [len(one) > 0 and not self.retriever.users.is_liked(one).any() for one in liked.split()]
            problems.note(np.array(nothing, np.bool_), NOTHING_LIKED)
        return past.kept(counted), liked, int((~known).sum())

    def _candidates(self, table: pa.Table, problems: Problems) -> tuple[Ragged, Ragged | None, int]:
        """Give candidates with scores, the best first, and how many were left out."""
        lists = list_column(table, "candidates", pa.string())
        rows = Ragged.of(lists, item_rows(lists.flatten(), self.retriever.items))
        unknown = int((rows.values < 0).sum())
        if "scores" not in table.column_names:
            return *ordered_candidates(rows, None, problems), unknown
        given = list_column(table, "scores", pa.float32())
        told = Ragged.of(given, given.flatten().to_numpy(zero_copy_only=False))
        found = ordered_candidates(rows, told.fitted(rows.lengths, 0.0), problems)
        problems.note(told.lengths != rows.lengths, "not as many scores as candidates")
        return *found, unknown


def _last_times(table: pa.Table, past: Ragged, problems: Problems) -> NDArray[np.int64]:
    """Give the time of the last interaction of each line, (B,) int64; -1 for an empty history."""
    seconds = read_times(plain(table.column(LAST_TIME)), LAST_TIME).seconds
    problems.note((past.lengths > 0) & (seconds < 0), NO_LAST_TIME)  # also NO_TIME, and what is before 1970
    return np.where(past.lengths > 0, seconds, -1)


def is_blank(names: pa.Array) -> Mask:
    """Say which names are missing or blank: (B,) bool."""
    filled = pc.equal(pc.utf8_trim_whitespace(names.fill_null("")), "")
    mask: Mask = filled.to_numpy(zero_copy_only=False)
    return mask


def take_rows(column: Ragged, lines: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Give the values of some of the lines."""
    found = column.split()
    return tuple(found[line] for line in lines.tolist())


class LogUsers:
    """Every user of a log; who did nothing with an item of the bundle has an empty history.

    Args:
        histories: What they did.
        identity: What tells the log from others.
        profiles: What is known of them beside it, if anything.
    """

    def __init__(
        self, histories: LoggedHistories, identity: Mapping[str, Any], profiles: Profiles | None = None
    ) -> None:
        self._histories, self._identity, self._profiles = histories, dict(identity), profiles

    @property
    def items(self) -> ItemIds:
        """Those that the histories are of."""
        return self._histories.items

    def __len__(self) -> int:
        return len(self._histories)

    def identity(self) -> dict[str, Any]:
        """Tell the log from others, and say how many users without a history are answered too."""
        new = int((self._histories.lengths == 0).sum())
        return {**self._identity, "new": new} if new else self._identity

    def check_times(self) -> None:
        """Check that the log has times; raises an `InputError` where it has none."""
        check_has_times(self._histories)

    def chunks(self, start: int, size: int, *, timed: bool = False) -> Iterator[Chunk]:
        """Give the users from one on, so many at once."""
        for first in range(start, len(self), size):
            numbers = np.arange(first, min(first + size, len(self)))
            names = tuple(self._histories.names.take(pa.array(numbers)).to_pylist())
            known = self._profiles.of(names) if self._profiles else None
            users = UserLines(
                names,
                *self._histories.histories(numbers),
                profiles=known,
                min_relevance=self._histories.min_relevance,
                last=self._histories.last_times(numbers) if timed else None,
            )
            yield Chunk(first, len(numbers), users)
