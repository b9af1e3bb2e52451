"""Recommending by parts of vectors against recommending by all of them."""

from dataclasses import replace

import numpy as np

from indexing.index import FlatIndex
from indexing.item_ids import ItemIds
from retrieval.behaviour import Behaviour, Predictor, Tower
from retrieval.item_space import ItemSpace
from retrieval.judging import Judging
from retrieval.prepare import History
from retrieval.users import UserModel

COUNT, DIM, WIDTH = 50, 8, 5


def test_content_that_has_no_say_is_not_read_and_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    towers = (Tower(np.array([np.inf], np.float32), np.ones((1, 1), np.float32), np.zeros(WIDTH - 1, np.float32)),)
    items, said = (rng.normal(size=(COUNT, width)).astype(np.float32) for width in (WIDTH, WIDTH - 1))
    predictor = Predictor(np.zeros((1, 2 * WIDTH - 1), np.float32), np.zeros(2 * WIDTH - 1, np.float32))
    one = np.ones(1, np.float32)
    block = Behaviour(items, said, np.ones(COUNT, np.float32), one, towers, predictor, popular=0.3)
    content = rng.normal(size=(COUNT, DIM)).astype(np.float32)
    rows = [np.array([1, 7]), np.array([3])]
    pasts = [History("ann", past, past, np.ones(len(past), np.float32)) for past in rows]
    judging = Judging(ItemIds([f"i{number}" for number in range(COUNT)]), (), 10)
    for alpha in (0.0, 0.5):
        space = ItemSpace.of(content, UserModel(), replace(block, content=alpha))
        found = judging.recommend(space, pasts)
        queries = space.asked(rows, [past.weights for past in pasts])
        assert bool(queries[:, :DIM].any()) == bool(alpha)
        scores, order = FlatIndex(space.indexed).search(queries, COUNT)
        for line, seen in enumerate(rows):
            kept = ~np.isin(order[line], seen)
            assert found.rows[line].tolist() == order[line][kept][:10].tolist()
            np.testing.assert_allclose(found.scores[line], scores[line][kept][:10], rtol=1e-5)
        assert found.queries.shape == (2, DIM + WIDTH)
