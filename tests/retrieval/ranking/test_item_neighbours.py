"""Neighbours kept of the items that have any answer as a matrix with a line of every item."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from indexing.errors import DamagedFileError
from retrieval.ranking.sources import Neighbours, UserBatch, neighbour_scores, neighbour_table
from retrieval.training.ranker.sources import fit_sources
from retrieval.training.ranker_config import SourcesConfig
from tests.retrieval.ranking.test_stage import HISTORIES, space_of
from tests.retrieval.ranking.worlds import ITEMS

COUNT, WIDTH = 300, 7
LEVELS = np.array([1.0, 5.0], np.float32)


class Table(NamedTuple):
    """What each item says, in a line of every item; -1 and 0 pad."""

    rows: NDArray[np.int32]
    values: NDArray[np.float32]
    known: NDArray[np.bool_]

    @property
    def source(self) -> Neighbours:
        lines = neighbour_table(np.arange(len(self.rows)), self.rows, self.values, len(self.rows))
        return Neighbours("ease", *lines, self.known, 5.0, LEVELS, LEVELS / np.float32(5))

    def scores(self, batch: UserBatch) -> NDArray[np.float32]:
        """Sum all lines of each history, those that say nothing too, in the order of the history."""
        count, counts = len(self.known), self.source.counts(batch)
        scores = np.empty((len(batch), count), np.float32)
        for user, history in enumerate(batch.histories):
            start = sum(map(len, batch.histories[:user]))
            values = counts[start : start + len(history), None] * self.values[history]
            sums = np.bincount(self.rows[history].ravel() % (count + 1), values.ravel(), minlength=count + 1)
            scores[user] = sums[:count]
        scores[:, ~self.known] = np.nan
        return scores


def table_of(share: float, seed: int = 0) -> Table:
    """Draw what so many of the items say; of these, some lines are padded within, and some know no neighbour."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, COUNT, (COUNT, WIDTH)).astype(np.int32)
    rows[rng.random(COUNT) >= share] = -1
    values = np.where(rows >= 0, rng.normal(size=rows.shape), 0).astype(np.float32)
    return Table(rows, values, (rows >= 0).any(axis=1) | (rng.random(COUNT) < 0.1))


def users(count: int, seed: int = 1) -> UserBatch:
    rng = np.random.default_rng(seed)
    histories = [rng.choice(count, size, replace=False) for size in (1, 0, 40, 9, 25)]
    weights = [rng.choice([1.0, 3.0, 5.0], len(history)).astype(np.float32) for history in histories]
    return UserBatch(histories, weights, np.zeros(len(histories), np.int64))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.6, 1.0])
def test_items_without_neighbours_take_no_line_and_change_no_score(share: float) -> None:
    table, batch = table_of(share), users(COUNT)
    source, expected = table.source, table.scores(batch)
    assert len(source.rows) == len(source.values) == np.count_nonzero((table.rows >= 0).any(axis=1))
    np.testing.assert_array_equal(source.scores(batch), expected)
    candidates = np.random.default_rng(2).integers(0, COUNT, (len(batch), 50))
    given = np.take_along_axis(expected, candidates, axis=1)
    np.testing.assert_array_equal(source.scores(batch, candidates), given)
    np.testing.assert_array_equal(neighbour_scores([source, source], batch, candidates), [given, given])
    best = source.best(batch, batch.histories, 10)
    for user, scores in enumerate(table._replace(known=np.ones(COUNT, np.bool_)).scores(batch)):
        scores[batch.histories[user]] = 0
        order = [row for row in np.argsort(-scores, kind="stable").tolist() if scores[row] > 0]
        assert [row for row in best[user].tolist() if row >= 0] == order[:10]


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_neighbours_are_carried_as_a_line_of_every_item_is(share: float) -> None:
    table, rng = table_of(share), np.random.default_rng(3)
    keep = np.concatenate([rng.random(COUNT) < 0.7, np.ones(60, np.bool_)])
    gone = np.flatnonzero(~keep[:COUNT])
    origins = np.concatenate([gone[:40], np.full(20, -1)])  # 40 items were put in again, 20 are new
    old_rows = np.concatenate([np.arange(COUNT), origins])[keep]
    new_rows = {int(old): new for new, old in enumerate(old_rows) if old >= 0}
    rows = np.full((len(old_rows), WIDTH), -1, np.int32)
    values = np.zeros(rows.shape, np.float32)
    for new, old in enumerate(old_rows):
        for place in range(WIDTH if old >= 0 else 0):
            if (neighbour := new_rows.get(int(table.rows[old, place]), -1)) >= 0:
                rows[new, place], values[new, place] = neighbour, table.values[old, place]
    expected = Table(rows, values, (old_rows >= 0) & table.known[old_rows])
    carried, batch = table.source.carried(origins, keep), users(len(old_rows))
    np.testing.assert_array_equal(carried.scores(batch), expected.scores(batch))
    assert carried.tensors().keys() == expected.source.tensors().keys()
    for name, tensor in expected.source.tensors().items():
        np.testing.assert_array_equal(carried.tensors()[name], tensor, err_msg=name)


def test_an_item_that_is_there_twice_is_stored_twice() -> None:
    """As while a replaced item and its successor are both kept: a file has one line of each item."""
    table = table_of(0.3)
    origins = np.flatnonzero((table.rows >= 0).any(axis=1))[:3]
    carried = table.source.carried(origins, np.ones(COUNT + 3, np.bool_))
    stored = carried.tensors()
    assert len(stored["rows"]) == np.count_nonzero(stored["says"]) == len(table.source.rows) + 3
    np.testing.assert_array_equal(stored["values"][-3:], table.values[origins])
    batch = users(COUNT + 3)
    np.testing.assert_array_equal(Neighbours.read("ease", stored).scores(batch), carried.scores(batch))


def test_neighbours_are_read_from_what_earlier_versions_stored() -> None:
    """A flag of each item, and the lines of those that say anything."""
    table, batch = table_of(0.4), users(COUNT)
    says: NDArray[np.bool_] = np.logical_or.reduce(table.rows >= 0, axis=1)
    stored: dict[str, NDArray[np.generic]] = {
        "says": says,
        "rows": table.rows[says],
        "values": table.values[says],
        "known": table.known,
    }
    stored |= {"levels": LEVELS, "worth": LEVELS / np.float32(5), "half_life": np.array([5.0])}
    np.testing.assert_array_equal(Neighbours.read("ease", stored).scores(batch), table.scores(batch))
    for name, tensor in table.source.tensors().items():
        np.testing.assert_array_equal(tensor, stored[name], err_msg=name)


@pytest.mark.parametrize("part", ["rows", "values", "says", "known"])
def test_arrays_of_other_lengths_are_damage(part: str) -> None:
    stored = table_of(0.4).source.tensors()
    with pytest.raises(DamagedFileError, match="source 'ease' stores"):
        Neighbours.read("ease", stored | {part: stored[part][1:] if part != "says" else np.logical_not(stored[part])})


def test_learned_sources_hold_lines_of_the_items_that_ease_knows_alone() -> None:
    config = SourcesConfig(num_neighbours=5, max_ease_items=3)
    sources = [one for one in fit_sources(HISTORIES, space_of(None), config) if isinstance(one, Neighbours)]
    assert len(sources) == 4
    for source in sources:
        lines = np.sort(source.table_rows[source.table_rows >= 0])
        assert lines.tolist() == list(range(len(source.rows))), source.name
        assert (source.rows >= 0).any(axis=1).all(), source.name
        assert len(source.table_rows) == len(ITEMS), source.name
        assert len(source.rows) <= (3 if source.name != "next" else len(ITEMS)), source.name
