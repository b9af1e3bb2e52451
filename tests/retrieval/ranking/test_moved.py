"""Which features moved a hit: by hand for a linear head, and effects that are left out."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.ranking.explain import Explanation, with_features
from retrieval.ranking.heads import NeuralHead
from retrieval.ranking.second_stage import SecondStage
from scripts.benchmarks.rerank.stage_world import World

USERS, EACH = 6, 30


@pytest.fixture(scope="module")
def world() -> World:
    return World.of(4_000, 8, 300, seed=0)


@pytest.fixture(scope="module")
def stage(world: World) -> SecondStage:
    """Of a head that adds up its features."""
    width = len(world.features.features)
    linear = np.random.default_rng(0).normal(size=width).astype(np.float32)
    zero, one = np.zeros(width, np.float32), np.ones(width, np.float32)
    head = NeuralHead(zero, one, linear, np.zeros((width, 1), np.float32), zero[:1], zero[:1])
    return SecondStage(world.features, head, world.space.indexed)


@pytest.fixture(scope="module")
def ranked(world: World, stage: SecondStage) -> Candidates:
    found = world.candidates(USERS, EACH, seed=0)
    rows = found.rows.copy()
    rows[0, 20:] = -1
    scores = np.where(rows >= 0, found.scores, np.float32(-np.inf))
    histories, weights = list(found.histories), list(found.weights)
    histories[3], weights[3] = histories[3][:0], weights[3][:0]
    return stage.rerank(replace(found, rows=rows, scores=scores, histories=tuple(histories), weights=tuple(weights)))


def explanations(found: Candidates) -> list[list[Explanation]]:
    return [[Explanation(hit.item_id, hit.score, 0, 0, 0, ()) for hit in line] for line in found]


def test_a_linear_head_is_moved_by_how_far_each_group_is_from_the_mean(stage: SecondStage, ranked: Candidates) -> None:
    features = stage.features.of(ranked)
    assert np.abs(features).max() < 6  # the head cuts nothing off
    names = [one.group for one in stage.features.features]
    found = with_features(explanations(ranked), ranked, ranked, stage, max_items=4)
    assert (stage.features.statistics.counts[ranked.rows[ranked.rows >= 0]] == 0).any()
    assert isinstance(stage.head, NeuralHead)
    for line in (0, 1, 2, 4, 5):
        kept = ranked.rows[line] >= 0
        apart = (features[line] - features[line][kept].mean(axis=0)) * stage.head.linear
        for place, one in enumerate(found[line]):
            if stage.features.statistics.counts[ranked.rows[line, place]] == 0:
                assert not one.features
                continue
            groups = {name: float(apart[place, np.array(names) == name].sum()) for name in names}
            assert list(one.features) == sorted(groups, key=lambda name: -abs(groups[name]))[:4]
            assert dict(one.features) == pytest.approx({name: groups[name] for name in one.features}, abs=1e-4)
            assert "user" not in one.features
    assert len(found[0]) == 20
    assert all(not one.features for one in found[3])  # nobody's history: the head did not order these


def test_hits_that_were_cut_are_explained_among_all_that_the_head_ordered(
    stage: SecondStage, ranked: Candidates
) -> None:
    best, all_told = ranked.top(5), with_features(explanations(ranked), ranked, ranked, stage)
    among = with_features(explanations(best), best, ranked, stage)
    assert [line[:5] for line in all_told] == among
    assert any(one.features for one in among[1])
    with pytest.raises(InputError, match=r"query '0' were cut or changed since the head ordered them.*give among="):
        with_features(explanations(best), best, best, stage)  # among themselves they would have other features
    with pytest.raises(ShapeError, match="hits of 6 queries among candidates of 1"):
        with_features(explanations(best), best, ranked.take([0]), stage)
