"""One line a candidate: ``query_id, item_id, score``, the lines of a query one after the other."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.batch.input_rows import Chunk, Problems, Ragged, UserLines, check_items, item_rows, ordered_candidates
from retrieval.batch.tables import Tables, check_columns, number_column, text_column
from retrieval.batch.user_rows import take_rows
from retrieval.interactions.histories import LoggedHistories
from retrieval.retriever.query_inputs import check_has_times

NEEDED = ("query_id", "item_id")
PIECE = 65_536  # lines read at once


class FlatCandidates:
    """Candidates of users whose histories are in a log.

    Args:
        tables: Where the candidates are.
        histories: Of the users that the query_ids name.
        items: The items of the bundle.
        log: What tells the log from others.

    Raises:
        InputError: When a column is missing, or the histories are of other items; while reading, when a query comes
            back after others, which could only be put together by holding everything in memory.
    """

    def __init__(self, tables: Tables, histories: LoggedHistories, items: ItemIds, log: Mapping[str, Any]) -> None:
        check_columns(tables.schema, NEEDED, (), "candidates")
        check_items(histories.items, items, "the histories")
        self._columns = (*NEEDED, *(["score"] if "score" in tables.schema.names else []))
        self._tables, self._histories, self.items, self._log = tables, histories, items, dict(log)

    def __len__(self) -> int:
        return len(self._tables)

    def identity(self) -> dict[str, Any]:
        """Name the files of the candidates and the log."""
        return self._tables.identity() | {"log": self._log}

    def check_times(self) -> None:
        """Check that the log has times; raises an `InputError` where it has none."""
        check_has_times(self._histories)

    def chunks(self, start: int, size: int, *, timed: bool = False) -> Iterator[Chunk]:
        """Give the queries from a line on, so many at once."""
        seen = self._seen_before(start)
        waiting: pa.Table | None = None
        for piece in self._tables.pieces(self._columns, start, PIECE):
            waiting = piece if waiting is None else pa.concat_tables([waiting, piece]).combine_chunks()
            begins = _begins(text_column(waiting, "query_id"))
            done = 0
            while len(begins) - done > size:  # the last query may go on in the next piece
                yield self._chunk(waiting, start, begins[done : done + size + 1], seen, timed=timed)
                done += size
            waiting, start = waiting.slice(begins[done]), start + int(begins[done])
        if waiting is not None and len(waiting):
            begins = np.append(_begins(text_column(waiting, "query_id")), len(waiting))
            for done in range(0, len(begins) - 1, size):
                yield self._chunk(waiting, start, begins[done : done + size + 1], seen, timed=timed)

    def _seen_before(self, line: int) -> NDArray[np.bool_]:
        """Say which users had their turn before a line; only the names are read."""
        seen = np.zeros(len(self._histories) + 1, np.bool_)
        for piece in self._tables.pieces(("query_id",), 0, PIECE):
            if line <= 0:
                break
            seen[self._histories.numbers(text_column(piece, "query_id").slice(0, line).unique())] = True
            line -= len(piece)
        seen[-1] = False  # where those went who are not in the log
        return seen

    def _chunk(
        self, waiting: pa.Table, start: int, bounds: NDArray[np.int64], seen: NDArray[np.bool_], *, timed: bool
    ) -> Chunk:
        """Make a chunk of the queries that begin at all of some lines but the last, where the one after them begins."""
        first, lines = start + int(bounds[0]), int(bounds[-1] - bounds[0])
        table = waiting.slice(bounds[0], lines)
        names = text_column(waiting, "query_id").take(pa.array(bounds[:-1]))
        numbers = self._histories.numbers(names)
        self._check_new(names, numbers, seen, start + bounds[:-1])
        problems, lengths = Problems(), np.diff(bounds)
        problems.note(numbers < 0, "no history in the log")
        rows = Ragged(item_rows(text_column(table, "item_id"), self.items), lengths)
        scored = "score" in table.column_names  # else the exact inner product is taken, as retrieval would
        scores = number_column(table, "score") if scored else None
        found, told = ordered_candidates(rows, scores, problems)
        good = problems.good(len(names))
        kept = (None if one is None else take_rows(one, good) for one in (found, told))
        users = UserLines(
            tuple(names.take(pa.array(good)).to_pylist()),
            *self._histories.histories(numbers[good]),
            *kept,
            min_relevance=self._histories.min_relevance,
            last=self._histories.last_times(numbers[good]) if timed else None,
        )
        quarantined = problems.quarantined(start + bounds[:-1], names.to_pylist())
        return Chunk(first, lines, users, quarantined, int((rows.values < 0).sum()))

    def _check_new(
        self, names: pa.Array, numbers: NDArray[np.int64], seen: NDArray[np.bool_], lines: NDArray[np.int64]
    ) -> None:
        """Check that no user had a turn before, and note that these have had theirs."""
        for place, number in enumerate(numbers.tolist()):
            if number >= 0 and seen[number]:
                raise InputError(
                    f"query {names[place].as_py()!r} comes back in line {lines[place]} after other queries; sort the "
                    "candidates by query_id, so that each query's lines follow each other"
                )
            seen[number] = number >= 0


def _begins(names: pa.Array) -> NDArray[np.int64]:
    """Give the lines at which another name begins."""
    names = names.fill_null("")
    changed = pc.not_equal(names.slice(1), names.slice(0, max(len(names) - 1, 0)))
    return np.append(0, 1 + np.flatnonzero(changed.to_numpy(zero_copy_only=False))).astype(np.int64)
