"""What is shown out of proportion to its audience is found."""

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.fitting.exposure_limit import allowed_exposure, exposure_problem, most_exposed
from retrieval.fitting.selection.temporal_split import temporal_split
from retrieval.interactions.histories import History


def done(user: str, *rows: int, start: int = 0) -> History:
    times = start + np.arange(len(rows))
    return History(user, np.array(rows, np.int64), times, np.ones(len(rows), np.float32))


def test_the_item_that_most_exceeds_its_audience_is_named() -> None:
    items = ItemIds(["hit", "niche", "pushed", *(f"other {n}" for n in range(97))])
    rows = np.array([[0, 2], [0, 2], [0, 1], [0, -1]])
    queries = np.zeros((4, 2), np.float32)
    found = Candidates(queries, rows, np.zeros(rows.shape, np.float32), items, "retrieve")
    # All four users know the hit, one of eight the others: the pushed one is in half of the lists.
    histories = [done(f"u{n}", 0) for n in range(6)] + [done("v", 0, 1), done("w", 2)]
    shown = most_exposed(found, allowed_exposure(histories, 100, growth=3.0, floor=0.1))
    assert (shown.item_id, shown.share, shown.allowed) == ("pushed", 0.5, 0.375)
    assert "'pushed' would be in 50% of all top-10 lists, where its audience warrants 38%" in exposure_problem(shown)
    assert exposure_problem(most_exposed(found, allowed_exposure(histories, 100, growth=4.0, floor=0.1))) == ""
    assert exposure_problem(most_exposed(found, allowed_exposure(histories, 100, growth=3.0, floor=0.5))) == ""


@pytest.mark.parametrize(
    ("count", "growth", "lists", "allowed", "refused"),
    [(200, 3.0, 5, 0.15, False), (200, 3.0, 7, 0.15, True), (100, 3.0, 7, 0.3, False), (400, 2.0, 3, 0.05, True)],
)
def test_what_nobody_has_met_may_be_shown_as_often_as_if_all_were_shown_alike(
    count: int, growth: float, lists: int, allowed: float, refused: bool
) -> None:
    # Everybody has met the first item, nobody the last. Shown alike, each of 200 items is in one list of ten in 20.
    items = ItemIds([*(f"other {n}" for n in range(count - 1)), "unseen"])
    rows = np.array([[0, count - 1 if line < lists else -1] for line in range(40)])
    found = Candidates(np.zeros((40, 2), np.float32), rows, np.zeros(rows.shape, np.float32), items, "retrieve")
    shown = most_exposed(found, allowed_exposure([done(f"u{n}", 0) for n in range(40)], count, 0.01, growth))
    assert (shown.item_id, shown.share, shown.allowed) == ("unseen", lists / 40, allowed)
    assert bool(exposure_problem(shown)) == refused


@pytest.mark.parametrize(
    ("length", "parts"), [(4, (4, 0, 0)), (5, (3, 1, 1)), (10, (8, 1, 1)), (11, (7, 2, 2)), (100, (80, 10, 10))]
)
def test_each_history_is_cut_for_itself(length: int, parts: tuple[int, int, int]) -> None:
    (found,) = temporal_split([done("u", *range(length))], "user")
    assert (len(found.train), len(found.valid), len(found.test)) == parts
    assert [*found.before_test.rows, *found.test.rows] == list(range(length))


def test_all_histories_are_cut_at_the_same_moments() -> None:
    histories = [done("old", *range(7)), done("both", 7, 8, start=6), done("new", 9, start=9)]
    old, both, new = temporal_split(histories, "time")
    # The times are 0 to 6, 6, 7 and 9: seven tenths and nine tenths of the way are at 6 and 7.2.
    assert (old.train.rows.tolist(), old.valid.rows.tolist(), old.test.rows.tolist()) == ([0, 1, 2, 3, 4, 5], [6], [])
    assert (len(both.train), both.valid.rows.tolist()) == (0, [7, 8])
    assert new.test.rows.tolist() == [9]
    assert new.test.after(9).rows.tolist() == []
    assert new.test.after(8).rows.tolist() == [9]
