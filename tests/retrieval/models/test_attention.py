"""What a history says as a whole: by hand, nothing of what comes later, and each history by itself."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from indexing.errors import DamagedFileError
from retrieval.models.attention import Attention, Layer, interpolated_rows
from retrieval.models.behaviour import Behaviour
from retrieval.models.features.item_features import FeatureMatrix
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.ranking.sources.base import UserBatch
from retrieval.ranking.sources.inner_product import space_sources
from tests.retrieval.models.test_behaviour import random_block

LEVELS = np.array([1, 3, 5], np.float32)
WIDE = 4


def random_attention(seed: int = 0, *, said: int = 10, asked: int = 7, heads: int = 2, layers: int = 2) -> Attention:
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    made = [
        Layer(
            drawn(WIDE, 3 * WIDE),
            drawn(WIDE, WIDE),
            np.array([2.0, 9.0], np.float32)[:heads],
            drawn(WIDE, 6),
            drawn(6),
            drawn(6, WIDE),
        )
        for _ in range(layers)
    ]
    return Attention(drawn(said, WIDE), drawn(3, WIDE), tuple(made), drawn(WIDE, asked), max_length=12, share=0.5)


def attending_block() -> Behaviour:
    return replace(random_block(), attention=random_attention())


def layer(qkv: float, half_life: float) -> Layer:
    """Two numbers, one head that asks with what it sees, so many times, and tells it as it is."""
    one = np.eye(2, dtype=np.float32)
    expand, contract = np.array([[0], [1]], np.float32), np.array([[2, 0]], np.float32)
    heads = np.array([half_life], np.float32)
    return Layer(
        np.concatenate([qkv * one, one, one], axis=1), one, heads, expand, np.array([0.5], np.float32), contract
    )


def test_two_items_by_hand() -> None:
    inputs, both = np.array([[1, -1], [-1, 1]], np.float32), (np.array([0]), np.array([2]))
    # Alike but for the distance: 1 and 1/2, so 2/3 and 1/3 of (-1, 1) and (1, -1). The first adds itself: (2, -2).
    # Of the standard states (1, -1) and (-1, 1) the network reads the second number and a half: 0 and 1.5, twice that.
    near = layer(0.0, half_life=1.0).states(inputs, *both)
    np.testing.assert_allclose(near, np.array([[2, -2], [-4 / 3 + 3, 4 / 3]]), atol=1e-4)
    # Near or far alike, by what it is: the second asks for (-1, 1), which the first answers by -2 and itself by 2.
    own = np.exp(2 / np.sqrt(2)) / (np.exp(2 / np.sqrt(2)) + np.exp(-2 / np.sqrt(2)))
    alike = layer(1.0, half_life=np.inf).states(inputs, *both)
    np.testing.assert_allclose(alike, np.array([[2, -2], [-1 - own + (1 - own) + 3, 1 + own - (1 - own)]]), atol=1e-4)


def test_an_item_of_a_level_between_two_has_what_is_between() -> None:
    table = np.array([[0, 1], [4, 1], [0, 3]], np.float32)
    found = interpolated_rows(np.array([0, 1, 2, 5, 4.5, 9], np.float32), LEVELS, table)
    np.testing.assert_allclose(found, np.array([[0, 1], [0, 1], [2, 1], [0, 3], [1, 2.5], [0, 3]]), atol=1e-6)
    np.testing.assert_array_equal(
        interpolated_rows(np.array([1, 7], np.float32), LEVELS[:1], table[:1]), [[0, 1], [0, 1]]
    )


def test_what_comes_later_changes_no_state() -> None:
    attention, rng = random_attention(), np.random.default_rng(1)
    said, weights = rng.normal(size=(9, 10)).astype(np.float32), rng.uniform(1, 5, 9).astype(np.float32)
    whole = attention.states(said, weights, LEVELS, np.array([9]))
    other = said.copy()
    other[6:] = rng.normal(size=(3, 10))
    changed = attention.states(other, weights, LEVELS, np.array([9]))
    np.testing.assert_allclose(changed[:6], whole[:6], atol=1e-5)
    assert np.abs(changed[6:] - whole[6:]).min(axis=1).max() > 1e-3
    for length in range(1, 9):
        alone = attention.states(said[:length], weights[:length], LEVELS, np.array([length]))
        np.testing.assert_allclose(alone, whole[:length], atol=1e-5)
    earlier = said.copy()
    earlier[0] = rng.normal(size=10)
    assert np.abs(attention.states(earlier, weights, LEVELS, np.array([9]))[8] - whole[8]).max() > 1e-3


def test_a_query_does_not_depend_on_who_else_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    block, rng = attending_block(), np.random.default_rng(2)
    histories = [rng.integers(0, 30, length) for length in (3, 0, 1, 9, 0, 25, 2)]
    weights = [rng.uniform(0, 6, len(rows)).astype(np.float32) for rows in histories]
    alone = np.concatenate([block.queries([rows], [one]) for rows, one in zip(histories, weights, strict=True)])
    np.testing.assert_array_equal(alone[[1, 4]], np.eye(8, dtype=np.float32)[[7, 7]])  # nothing but popularity
    for at_once in (1, 5, 1000):
        monkeypatch.setattr("indexing.arrays.ITEMS_PER_BATCH", at_once)
        np.testing.assert_allclose(block.queries(histories, weights), alone, atol=1e-5)


def test_it_is_added_to_what_the_towers_ask_for() -> None:
    block = attending_block()
    attention, plain, rows = block.attention, replace(block, attention=None), np.array([4, 9, 2])
    assert attention is not None
    weights = np.array([5, 2, 1], np.float32)
    added = block.queries([rows], [weights]) - plain.queries([rows], [weights])
    expected = attention.queries(block.context_factors[rows], weights, LEVELS, np.array([3]))
    np.testing.assert_allclose(added, np.pad(expected, ((0, 0), (0, 1))), atol=1e-5)
    assert np.abs(added[0, :7]).min() > 1e-3
    silent = replace(block, attention=replace(attention, share=0.0))
    np.testing.assert_allclose(silent.queries([rows], [weights]), plain.queries([rows], [weights]), atol=1e-6)
    disliked = block.queries([rows], [np.array([1, 2, 1], np.float32)])
    assert np.abs(disliked - block.queries([rows], [weights]))[0, :7].max() > 1e-2


def test_a_query_is_made_of_the_state_of_the_last_item() -> None:
    rng = np.random.default_rng(4)
    said, weights = rng.normal(size=(9, 10)).astype(np.float32), rng.uniform(1, 5, 9).astype(np.float32)
    lengths = np.array([3, 1, 5])
    for layers in (1, 2):
        attention = random_attention(layers=layers)
        states: NDArray[np.float64] = attention.states(said, weights, LEVELS, lengths)[[2, 3, 8]].astype(np.float64)
        deviation = np.sqrt(states.var(axis=1, keepdims=True) + 1e-5)
        expected = 0.5 * ((states - states.mean(axis=1, keepdims=True)) / deviation) @ attention.output_weights
        np.testing.assert_allclose(attention.queries(said, weights, LEVELS, lengths), expected, atol=1e-5)


def test_only_the_last_items_are_read() -> None:
    attention, said = random_attention(), np.random.default_rng(3).normal(size=(40, 10)).astype(np.float32)
    weights = np.full(40, 2, np.float32)
    both = attention.queries(said, weights, LEVELS, np.array([25, 15]))
    for line, part in enumerate((said[13:25], said[28:])):
        alone = attention.queries(part, weights[:12], LEVELS, np.array([12]))
        np.testing.assert_allclose(both[line], alone[0], atol=1e-5)


def test_saved_and_loaded_it_is_the_same() -> None:
    block, histories = attending_block(), [np.array([4, 9, 2]), np.array([7])]
    again = Behaviour.from_bytes(block.to_bytes())
    np.testing.assert_array_equal(again.queries(histories), block.queries(histories))
    assert again.to_bytes() == block.to_bytes()
    assert Behaviour.from_bytes(random_block().to_bytes()).attention is None


def test_an_item_that_comes_later_is_read_as_it_is_predicted() -> None:
    block, described = (
        attending_block(),
        FeatureMatrix(np.random.default_rng(2).normal(size=(1, 5)).astype(np.float32), 2),
    )
    whole = block.followed_by(block.with_items(described, np.array([-1])))
    predicted, weights = block.predictor.predict(described)[:, 8:], np.array([5], np.float32)
    assert whole.attention is not None
    added = whole.queries([np.array([30])], [weights]) - replace(whole, attention=None).queries(
        [np.array([30])], [weights]
    )
    np.testing.assert_allclose(
        added[0, :7], whole.attention.queries(predicted, weights, LEVELS, np.array([1]))[0], atol=1e-5
    )


def test_parts_that_do_not_fit_are_refused() -> None:
    block = attending_block()
    attention = block.attention
    assert attention is not None
    first, second = attention.layers
    for broken in (
        replace(attention, input_weights=attention.input_weights[:-1].copy()),
        replace(attention, output_weights=attention.output_weights[:, :-1].copy()),
        replace(attention, liked=attention.liked[:-1].copy()),
        replace(attention, layers=(first, replace(second, contract=second.contract[:-1].copy()))),
        replace(attention, layers=(first, replace(second, half_lives=np.ones(3, np.float32)))),
        replace(attention, max_length=0),
        replace(attention, layers=()),
    ):
        with pytest.raises(DamagedFileError, match="attention of a behaviour block"):
            Behaviour.from_bytes(replace(block, attention=broken).to_bytes())


def test_a_tower_alone_is_asked_without_it() -> None:
    content, histories = np.eye(30, 6, dtype=np.float32), [np.array([4, 9, 2])]
    spaces = [ItemSpace.of(content, UserModel(), block) for block in (attending_block(), random_block())]
    asked = UserBatch(histories, [np.array([5, 2, 1], np.float32)], np.zeros(1, np.int64))
    with_it, without = ({one.name: one.scores(asked) for one in space_sources(space)} for space in spaces)
    np.testing.assert_array_equal(with_it["closed"], without["closed"])
    np.testing.assert_array_equal(with_it["next_items"], without["next_items"])
    assert np.abs(with_it["retrieval"] - without["retrieval"]).max() > 1e-2


def test_popularity_is_a_source_for_everybody_alike() -> None:
    block = attending_block()
    space = ItemSpace.of(np.eye(30, 6, dtype=np.float32), UserModel(), block)
    histories = [np.array([4, 9, 2]), np.empty(0, np.int64)]
    weights = [np.array([5, 5, 5], np.float32), np.empty(0, np.float32)]
    early = next(one for one in space_sources(space) if one.name == "early")
    found = early.scores(UserBatch(histories, weights, np.zeros(2, np.int64)))
    expected = block.popularity_queries(1) @ block.items.T  # what somebody who has done nothing is answered with
    np.testing.assert_allclose(found, np.repeat(expected, 2, axis=0), rtol=1e-6)
