"""What would be shown out of proportion is held back by the same number in every list of the second stage."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load

from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.fitting.selection.score_penalties import score_penalties, shares_of
from retrieval.ranking.explain import Explanation, with_features
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import UserBatch
from tests.retrieval.ranking.test_stage import HISTORIES, SMALL, VIEWS, asked, learner, space_of
from tests.retrieval.ranking.worlds import ITEMS, moment_of

COUNT, BACK = len(ITEMS), 1.5  # standard deviations
IDLE = np.full(20, 3.0, np.float32)


@pytest.fixture(scope="module")
def stage() -> SecondStage:
    one = learner(SMALL)
    head = one.head([one.examples(moment_of(HISTORIES))])[0]
    return replace(one.stage(head, HISTORIES), returning=head)


def batch(stage: SecondStage, idle: Vectors | None = None) -> UserBatch:
    return replace(asked(), times=np.full(20, stage.features.statistics.now), idle=idle)


def lists_of(stage: SecondStage, served: str, *, pooled: bool = False) -> Candidates:
    """Answer twenty users by the head of visits, by that of users who return, or by none, as short histories are."""
    stage = replace(stage, min_history=99) if served == "none" else stage
    asks = batch(stage, IDLE if served == "returning" else None)
    if pooled:  # without queries
        return stage.rerank(stage.pool(asks, ItemIds(ITEMS), 10))
    return stage.recommend(asks, ItemIds(ITEMS))


def held(stage: SecondStage, row: int, *, plain: bool = False) -> SecondStage:
    penalties = np.zeros(COUNT, np.float32)
    penalties[row] = BACK
    return replace(stage, penalties=penalties, plain_penalties=plain)


def best_row(found: Candidates) -> int:
    return int(np.bincount(found.rows[:, 0], minlength=COUNT).argmax())


def assert_lowered(found: Candidates, before: Candidates, row: int, penalties: NDArray[np.floating]) -> None:
    """The same lists, in which one item has lost so much of its score, (B,)."""
    for query in range(len(before)):
        rows = before.rows[query][before.rows[query] >= 0]
        scores = before.scores[query][: len(rows)].astype(np.float64)
        scores[rows == row] -= penalties[query]
        order = np.argsort(-scores, kind="stable")
        np.testing.assert_array_equal(found.rows[query, : len(rows)], rows[order])
        # float32 scores, whose standard deviation is taken in float32 too
        np.testing.assert_allclose(found.scores[query, : len(rows)], scores[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("served", ["head", "returning", "none"])
def test_a_score_is_lowered_by_standard_deviations_of_its_list(stage: SecondStage, served: str, pooled: bool) -> None:
    before = lists_of(stage, served, pooled=pooled)
    row = best_row(before)
    spreads = np.array([scores[rows >= 0].std() for scores, rows in zip(before.scores, before.rows, strict=True)])
    found = lists_of(held(stage, row), served, pooled=pooled)
    assert_lowered(found, before, row, BACK * spreads)
    assert (found.rows[:, 0] == row).sum() < (before.rows[:, 0] == row).sum()


@pytest.mark.parametrize("served", ["head", "returning", "none"])
def test_a_stage_of_an_earlier_version_holds_back_as_it_did(stage: SecondStage, served: str) -> None:
    before = lists_of(stage, served)
    row = best_row(before)
    data = held(stage, row, plain=True).to_bytes()
    assert "held" in load(data)
    read = SecondStage.from_bytes(data, space_of(None), VIEWS)
    assert read.plain_penalties
    of_lists = 0.0 if served == "none" else BACK  # the head's scores as they are, and no others
    assert_lowered(lists_of(read, served), before, row, np.full(20, of_lists))


def test_a_stored_stage_holds_back_alike(stage: SecondStage) -> None:
    one = held(stage, best_row(lists_of(stage, "none")))
    data = one.to_bytes()
    assert "held" not in load(data)  # which earlier versions would subtract from scores
    read = SecondStage.from_bytes(data, space_of(None), VIEWS)
    for served in ("head", "none"):
        first, second = lists_of(one, served), lists_of(read, served)
        np.testing.assert_array_equal(first.rows, second.rows)
        np.testing.assert_array_equal(first.scores, second.scores)


def test_hits_that_were_held_back_are_explained_by_what_the_head_says(stage: SecondStage) -> None:
    before = lists_of(stage, "head")
    row = best_row(before)
    after = lists_of(held(stage, row), "head")
    explanations = [
        with_features(
            [[Explanation(hit.item_id, hit.score, 0, 0, 0, ()) for hit in line] for line in found], found, found, one
        )
        for one, found in ((stage, before), (held(stage, row), after))
    ]
    for first, second in zip(*explanations, strict=True):
        assert {hit.item_id: hit.features for hit in first}.keys() == {hit.item_id for hit in second}
        effects = {hit.item_id: hit.features for hit in first}
        for hit in second:
            assert hit.features == pytest.approx(effects[hit.item_id], abs=1e-4)
    assert any(hit.features for line in explanations[1] for hit in line)


@pytest.mark.parametrize("scale", [1.0, 250.0])
def test_penalties_bring_a_share_down_to_the_bound_whatever_the_scale_of_scores(scale: float) -> None:
    rng, items, allowed = np.random.default_rng(0), ItemIds([f"i{row}" for row in range(60)]), np.full(60, 0.5)
    rows = np.array([[0, *1 + rng.permutation(59)[:24]] for _ in range(40)])  # the first is in all forty lists
    raw = -np.sort(-rng.normal(size=rows.shape), axis=1).astype(np.float32)
    lists = Candidates(np.zeros((40, 2), np.float32), rows, np.float32(scale) * raw, items, "rerank")
    penalties = score_penalties(lists, allowed)
    assert penalties is not None
    assert np.flatnonzero(penalties).tolist() == [0]
    spreads = lists.scores.std(axis=1, keepdims=True)
    lowered = lists.reordered(lists.scores - (penalties[rows] * spreads).astype(np.float32), "rerank")
    assert shares_of(lowered)[0] <= 0.5
    less = lists.reordered(lists.scores - (0.9 * penalties[rows] * spreads).astype(np.float32), "rerank")
    assert shares_of(less)[0] > 0.5  # no more is taken than it needs
