"""The behaviour block is served as one inner product, and is the same after saving."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.arrays import unit
from indexing.errors import DamagedFileError, ShapeError
from retrieval.models.behaviour import Behaviour, QueryTower
from retrieval.models.features.item_features import FeatureMatrix
from retrieval.models.features.tfidf import SparseRows
from retrieval.models.item_space import ItemSpace
from retrieval.models.new_items import ColdStartModel
from retrieval.models.user_model import UserModel


def random_block(seed: int = 0, items: int = 30) -> Behaviour:
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    levels = np.array([1, 3, 5], np.float32)
    towers = (
        QueryTower(np.array([np.inf], np.float32), drawn(1, 3), np.zeros(4, np.float32)),
        QueryTower(np.array([2, 8], np.float32), drawn(2, 3), drawn(3), share=0.5),
    )
    predictor = ColdStartModel(drawn(4, 5), 0.3, drawn(4, 8 + 10), drawn(8 + 10), 2, drawn(3, 8 + 10))
    confidence = np.full(items, 0.5, np.float32)
    return Behaviour(drawn(items, 8), drawn(items, 10), confidence, levels, towers, predictor, 0.25, 2.0)


def test_one_inner_product_is_the_sum_of_what_each_part_says() -> None:
    block, rng = random_block(), np.random.default_rng(1)
    content = unit(rng.normal(size=(30, 6)).astype(np.float32))
    history, weights = np.array([4, 9, 2]), np.array([5, 2, 1], np.float32)
    taste = UserModel().taste(content, [history])
    scores = block.user_queries(taste, [history], [weights]) @ block.joined(content).T

    expected = 2.0 * taste[0] @ content.T + 0.25 * block.items[:, 7]
    first, second = block.towers
    # By hand: worth 5 is the last level, 2 half-way between the first two, 1 the first.
    worth = [np.array([row[2], (row[0] + row[1]) / 2, row[0]]) for row in (first.bin_weights[0], *second.bin_weights)]
    to_json = sum(worth[0][place] * block.context_factors[row, :4] for place, row in enumerate(history))
    expected += block.items[:, :4] @ (to_json / np.linalg.norm(to_json))
    to_json = second.start.astype(np.float64)
    for channel, half_life in enumerate((2, 8)):
        for place, row in enumerate(history):
            to_json = (
                to_json
                + worth[channel + 1][place]
                * 0.5 ** ((2 - place) / half_life)
                * block.context_factors[row, 4 + 3 * channel : 7 + 3 * channel]
            )
    expected += 0.5 * block.items[:, 4:7] @ (to_json / np.linalg.norm(to_json))
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4, atol=1e-4)


def test_text_search_scores_are_those_without_the_block() -> None:
    block, rng = random_block(), np.random.default_rng(1)
    content, texts = (unit(rng.normal(size=(n, 6)).astype(np.float32)) for n in (30, 7))
    np.testing.assert_allclose(block.padded(texts) @ block.joined(content).T, texts @ content.T, atol=1e-6)


def test_without_a_history_popularity_alone_decides() -> None:
    block = random_block()
    query = block.queries([np.empty(0, np.int64)])
    np.testing.assert_array_equal(query @ block.items.T, block.items[:, 7][None])


def test_an_empty_history_has_no_direction_in_any_tower() -> None:
    block, nothing = random_block(), np.empty(0, np.int64)  # whose second tower starts from a vector of its own
    user_histories = [nothing, np.array([4, 9]), nothing]
    to_json = block.tower_queries(user_histories)
    assert np.linalg.norm(to_json, axis=1).tolist() == pytest.approx(
        [0, 2**0.5, 0], abs=1e-6
    )  # 1 in each of two towers
    np.testing.assert_allclose(to_json[1], block.tower_queries(user_histories[1:2])[0], atol=1e-6)
    assert not block.tower_queries([nothing]).any()
    # What sources of a second stage ask for a new user: nothing of content and towers, and what is popular.
    space = ItemSpace.of(unit(np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)), UserModel(), block)
    weights = [np.full(len(past), 5, np.float32) for past in user_histories]
    alone = space.query_parts(user_histories, weights).unweighted
    assert alone[0].tolist() == alone[2].tolist() == [0.0] * 13 + [1.0]
    assert np.linalg.norm(alone[1, :6]) == pytest.approx(1, abs=1e-5)


def test_a_short_history_counts_as_far_as_its_length_says() -> None:
    whole, rng = random_block(), np.random.default_rng(2)
    block, new = replace(whole, history_shrinkage=2.0), rng.normal(size=(4, 8)).astype(np.float32)
    user_histories = [np.empty(0, np.int64), np.array([3]), np.array([3, 5]), np.arange(8)]
    tastes = rng.normal(size=(4, 6)).astype(np.float32)
    own = np.array([0, 1 - 0.5**0.5, 0.5, 1 - 0.5**4])[:, None]
    expected = own * whole.user_queries(tastes, user_histories)
    for asked_new, given in ((np.eye(8)[[7] * 4], None), (new, new)):
        rest = np.pad((1 - own) * asked_new, ((0, 0), (6, 0)))
        np.testing.assert_allclose(block.user_queries(tastes, user_histories, new=given), expected + rest, atol=1e-6)
    np.testing.assert_allclose(
        whole.queries(user_histories[1:], new=new[1:]), whole.queries(user_histories[1:]), atol=1e-6
    )


def test_order_matters_only_where_a_half_life_is_finite() -> None:
    block, forth, back = random_block(), np.array([1, 2, 3]), np.array([3, 2, 1])
    there, again = block.queries([forth, back])
    np.testing.assert_allclose(there[:4], again[:4], atol=1e-5)
    assert np.abs(there[4:7] - again[4:7]).max() > 0.01


def test_weights_must_fit() -> None:
    with pytest.raises(ShapeError, match="differ in length"):
        random_block().queries([np.array([1, 2])], [np.ones(3, np.float32)])


def test_saved_and_loaded_it_is_the_same() -> None:
    block = replace(random_block(), history_shrinkage=3.0)
    again = Behaviour.from_bytes(block.to_bytes())
    assert (again.popular, again.content, again.history_shrinkage) == (0.25, 2.0, 3.0)
    histories, weights = [np.array([4, 9, 2])], [np.array([5, 2, 1], np.float32)]
    np.testing.assert_array_equal(again.items, block.items)
    np.testing.assert_array_equal(again.confidence, block.confidence)
    np.testing.assert_array_equal(again.queries(histories, weights), block.queries(histories, weights))
    words = SparseRows(np.array([0, 2]), np.ones(2, np.float32), np.array([2, 0]), 3)
    described = FeatureMatrix(np.ones((2, 5), np.float32), 2, words)
    np.testing.assert_array_equal(again.predictor.predict(described), block.predictor.predict(described))


def test_parts_that_do_not_fit_are_refused() -> None:
    from safetensors.numpy import load, save

    tensors = load(random_block().to_bytes())
    with pytest.raises(DamagedFileError, match="7 dimensions"):
        Behaviour.from_bytes(save(tensors | {"items": np.ascontiguousarray(tensors["items"][:, :5])}))
    fewer = {"predictor.landmarks": np.ascontiguousarray(tensors["predictor.landmarks"][:3])}
    with pytest.raises(DamagedFileError, match="3 landmarks by weights of shape \\(4, 18\\)"):
        Behaviour.from_bytes(save(tensors | fewer))
    narrow = {"predictor.by_word": np.ascontiguousarray(tensors["predictor.by_word"][:, :5])}
    with pytest.raises(DamagedFileError, match="words of shape \\(3, 5\\)"):
        Behaviour.from_bytes(save(tensors | narrow))
    for name in ("few", "predictor.additive", "predictor.by_word"):  # as in earlier states
        del tensors[name]
    earlier = Behaviour.from_bytes(save(tensors))
    assert (earlier.history_shrinkage, earlier.predictor.additive, earlier.predictor.by_word) == (0, 0, None)
    del tensors["said"]
    with pytest.raises(DamagedFileError, match=r"behaviour block cannot be read .*said"):
        Behaviour.from_bytes(save(tensors))


def test_a_later_item_is_predicted_and_one_that_comes_again_keeps_its_users() -> None:
    block, described = random_block(), FeatureMatrix(np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32), 2)
    whole = block.followed_by(block.with_items(described, np.array([-1, 7, -1])))
    predicted = block.predictor.predict(described)
    np.testing.assert_array_equal(whole.items[31], block.items[7])
    np.testing.assert_array_equal(whole.context_factors[31], block.context_factors[7])
    np.testing.assert_allclose(whole.items[[30, 32]], predicted[[0, 2], :8], atol=1e-5)
    np.testing.assert_allclose(whole.context_factors[[30, 32]], predicted[[0, 2], 8:], atol=1e-5)
    np.testing.assert_array_equal(whole.confidence[30:], np.array([0, 0.5, 0], np.float32))
    history = [np.array([3, 31])]
    np.testing.assert_allclose(whole.queries(history), block.queries([np.array([3, 7])]), atol=1e-6)
    kept = whole.take(np.arange(33) != 7)
    np.testing.assert_allclose(kept.queries([np.array([3, 30])]), whole.queries(history), atol=1e-6)


def test_a_history_that_weighs_nothing_asks_for_what_is_popular() -> None:
    block = random_block()
    silent = replace(block, towers=tuple(replace(tower, share=0.0) for tower in block.towers), popular=0.0)
    np.testing.assert_array_equal(silent.queries([np.array([1, 2])]), block.queries([np.empty(0, np.int64)]))


def test_many_histories_at_once_are_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    block, rng = random_block(), np.random.default_rng(2)
    histories = [rng.integers(0, 30, length) for length in (3, 0, 1, 9, 0, 0, 4, 25, 2)]
    weights = [rng.uniform(0, 6, len(rows)).astype(np.float32) for rows in histories]
    alone = np.concatenate([block.queries([rows], [one]) for rows, one in zip(histories, weights, strict=True)])
    np.testing.assert_array_equal(alone[[1, 4, 5]], np.eye(8, dtype=np.float32)[[7, 7, 7]])
    for at_once in (1, 5, 10, 1000):
        monkeypatch.setattr("indexing.arrays.ITEMS_PER_BATCH", at_once)
        np.testing.assert_allclose(block.queries(histories, weights), alone, rtol=1e-6, atol=1e-7)
    assert block.queries([]).shape == (0, 8)
