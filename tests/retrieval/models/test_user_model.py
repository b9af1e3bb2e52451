"""The taste of a history, by hand."""

import numpy as np

from indexing.arrays import unit
from retrieval.models.user_model import UserModel

VECTORS = unit(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
CENTRE = np.full(4, 0.1, np.float32)
HISTORIES = [np.array([0, 3, 5]), np.array([2])]


def test_recent_items_count_more() -> None:
    found = UserModel(half_life=1).taste(VECTORS, HISTORIES, CENTRE)
    mean = (0.25 * VECTORS[0] + 0.5 * VECTORS[3] + VECTORS[5]) / 1.75
    np.testing.assert_allclose(found, unit(np.stack([mean, VECTORS[2]]) - CENTRE), atol=1e-6)


def test_liked_items_count_more_and_disliked_ones_not_at_all() -> None:
    liked = [np.array([3, -2, 1], np.float32), np.array([0], np.float32)]
    found = UserModel(half_life=1).taste(VECTORS, HISTORIES, CENTRE, liked)
    mean = (3 * 0.25 * VECTORS[0] + VECTORS[5]) / 1.75
    np.testing.assert_allclose(found, unit(np.stack([mean, VECTORS[2]]) - CENTRE), atol=1e-6)


def test_where_all_or_nothing_is_liked_items_count_alike() -> None:
    model = UserModel(half_life=2, longest=2)
    for level in (0.0, 4.0):
        liked = [np.full(len(past), level, np.float32) for past in HISTORIES]
        np.testing.assert_allclose(
            model.taste(VECTORS, HISTORIES, CENTRE, liked), model.taste(VECTORS, HISTORIES, CENTRE), atol=1e-6
        )


def test_only_the_last_items_are_read_with_how_they_were_liked() -> None:
    liked = [np.array([9, 1, 2], np.float32), np.array([1], np.float32)]
    found = UserModel(half_life=1e9, longest=2).taste(VECTORS, HISTORIES, CENTRE, liked)
    mean = (VECTORS[3] + 2 * VECTORS[5]) / 3
    np.testing.assert_allclose(found[0], unit((mean - CENTRE)[None])[0], atol=1e-6)
