"""Popularity is counted in one place: by all who learn, rank or measure with it."""

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.item_ids import ItemIds
from retrieval.evaluation.baselines import Popularity
from retrieval.evaluation.beyond_accuracy import InteractionCounts
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_popularity import interaction_counts, item_counts, recency_weights
from retrieval.ranking.features import ItemStatistics
from retrieval.training.behaviour.behaviour import popularity

ITEMS = ItemIds(["mug", "cup", "jar"])
LOG = Interactions.from_arrow(
    pa.table(
        {
            "user": ["ann", "bob", "ann", "bob"],
            "item": ["mug", "mug", "cup", "vase"],  # the catalogue has no vase
            "time": [day * SECONDS_PER_DAY for day in (0, 1, 2, 4)],
        }
    )
)


def test_rows_of_no_item_are_not_counted() -> None:
    assert item_counts(np.array([2, -1, 0, 2]), 4).tolist() == [1, 0, 2, 0]
    assert item_counts(np.array([2, -1, 0, 2]), 3, np.array([0.5, 9, 2, 0.25])).tolist() == [2, 0, 0.75]
    assert item_counts(np.empty(0, np.int64), 2).tolist() == [0, 0]


@pytest.mark.parametrize("start", [0, -40 * 365 * SECONDS_PER_DAY])  # also before 1970
def test_the_last_interaction_weighs_one(start: int) -> None:
    times = start + SECONDS_PER_DAY * np.array([1, 3, 0])
    np.testing.assert_allclose(recency_weights(times, 2.0), np.exp([-1, 0, -1.5]), rtol=1e-12)
    assert recency_weights(times[:0], 2.0).tolist() == []


def test_everybody_counts_alike() -> None:
    past = histories(LOG, ITEMS)
    expected = [2, 1, 0]
    assert interaction_counts(past, 3).tolist() == expected
    assert Popularity.fit(LOG, ITEMS).counts.tolist() == expected
    assert InteractionCounts.of(LOG, ITEMS).interactions.tolist() == expected
    assert ItemStatistics.of(past, 3).counts.tolist() == expected
    plain = popularity(past, 3, decay_days=1e12, early=1e12, disliked=1.0)
    np.testing.assert_allclose(plain, np.log1p(expected), rtol=1e-9)  # a decay so slow differs from none by rounding
    assert interaction_counts([], 3).tolist() == [0, 0, 0]


def test_a_decay_is_from_the_last_interaction_of_the_log() -> None:
    """Also when that is with an item that the catalogue lacks; `fit` sees histories of known items alone."""
    decayed = Popularity.fit(LOG, ITEMS, decay_days=2.0).counts
    np.testing.assert_allclose(decayed, [np.exp(-2) + np.exp(-1.5), np.exp(-1), 0], rtol=1e-12)
    learned = np.expm1(popularity(histories(LOG, ITEMS), 3, decay_days=2.0, early=1e12, disliked=1.0))
    np.testing.assert_allclose(learned, decayed * np.e, rtol=1e-9)  # from day 2 instead of day 4
