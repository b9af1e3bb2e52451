"""Features, heads and the stage: what they say, that batch and single agree, and that leaks are caught."""

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from indexing.arrays import unit
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError, MissingExtraError, TrainingError
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.ranking.features import ItemStatistics, taste_cosines, taste_weights
from retrieval.ranking.heads import NeuralHead, TreesHead
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import Popular, Source, TrainingLog, UserBatch, space_sources
from retrieval.training.cutoffs import cutoff_at
from retrieval.training.ranker.ranker import StageTrainer
from retrieval.training.ranker.sources import (
    check_recall,
    fit_ease,
    fit_next,
    fit_recent,
    recalls_of,
    weighted_bins,
)
from retrieval.training.ranker_config import HeadConfig, StageConfig, TreesConfig
from tests.agree import assert_best
from tests.retrieval.ranking.worlds import ITEMS, drawn, moment_of

COUNT = len(ITEMS)
VECTORS = unit(np.random.default_rng(3).normal(size=(COUNT, 8)).astype(np.float32))
VIEWS = {"text": np.where(np.arange(COUNT)[:, None] == 7, np.float32(0), VECTORS)}
SMALL = StageConfig(
    candidates_per_source=12,
    neural=HeadConfig(hidden=8, epochs=10, batch_size=16),
    trees=TreesConfig(num_boost_round=10, min_data_in_leaf=5),
)
HISTORIES = drawn(120)


def space_of(_: object) -> ItemSpace:
    return ItemSpace.of(VECTORS, UserModel())


def learner(config: StageConfig = SMALL) -> StageTrainer:
    return StageTrainer(ItemIds(ITEMS), VIEWS, space_of, config)


@pytest.fixture(scope="module")
def stage() -> SecondStage:
    one = learner()
    return one.stage(one.head([one.examples(moment_of(HISTORIES))])[0], HISTORIES)


def asked(count: int = 20) -> UserBatch:
    return UserBatch.after([past[:5] for past in HISTORIES[:count]])


def test_the_head_does_better_than_any_source(stage: SecondStage) -> None:
    at = learner()
    moment = moment_of(HISTORIES)
    features, _ = at.features(moment.histories)
    served = replace(stage, features=features)
    found = served.rerank(
        served.pool(moment.user_batch(served.features.statistics.now), at.items, SMALL.candidates_per_source)
    ).rows[:, :2]
    ours = np.mean([np.isin(later.rows, line).mean() for later, line in zip(moment.targets, found, strict=True)])
    for source in features.sources:
        alone = np.argsort(
            -np.nan_to_num(source.scores(moment.user_batch(served.features.statistics.now)), nan=-9), axis=1
        )
        tops = [line[~np.isin(line, past.rows)][:2] for line, past in zip(alone, moment.histories, strict=True)]
        found_alone = np.mean([np.isin(w.rows, top).mean() for w, top in zip(moment.targets, tops, strict=True)])
        assert ours >= found_alone, source.name


def test_a_recommendation_makes_the_queries_of_its_users_once(
    stage: SecondStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    queries = ItemSpace.query_parts

    def counted(space: ItemSpace, histories: Sequence[np.ndarray], *rest: object) -> object:
        made.append(len(histories))
        return queries(space, histories, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ItemSpace, "query_parts", counted)
    batch = asked()
    pool = stage.pool(batch, ItemIds(ITEMS), 10)
    assert made == [len(batch)]
    np.testing.assert_array_equal(pool.queries, stage.queries(asked()))


def test_a_stored_stage_ranks_alike(stage: SecondStage) -> None:
    late = replace(asked(), times=np.full(20, stage.features.statistics.now))  # a stored one serves later users
    pool = stage.pool(late, ItemIds(ITEMS), 10)
    read = SecondStage.from_bytes(stage.to_bytes(), space_of(None), VIEWS)
    first, second = stage.rerank(pool), read.rerank(pool)
    np.testing.assert_array_equal(first.rows, second.rows)
    with pytest.raises(DamagedFileError, match=r"knows 40 items, the bundle 39"):
        SecondStage.from_bytes(stage.to_bytes(), ItemSpace.of(VECTORS[:39], UserModel()), VIEWS)
    with pytest.raises(DamagedFileError, match="cannot be read"):
        SecondStage.from_bytes(b"nothing of the kind", space_of(None), VIEWS)


def test_one_by_one_is_as_all_at_once_and_padding_changes_nothing(stage: SecondStage) -> None:
    pool = stage.pool(asked(), ItemIds(ITEMS), 10)
    together = stage.features.of(pool)
    for line in range(len(pool)):
        alone = pool.take([line])
        kept = alone.rows[0] >= 0
        shorter = replace(alone, rows=alone.rows[:, kept], scores=alone.scores[:, kept])
        np.testing.assert_allclose(stage.features.of(shorter)[0], together[line][kept], rtol=1e-4, atol=1e-5)
    assert not together[pool.rows < 0].any()


def test_ranks_and_spreads_are_those_of_the_list(stage: SecondStage) -> None:
    rows = np.array([[3, 11, 25, 8]])
    found = Candidates(
        np.zeros((1, 0), np.float32), rows, -np.arange(4.0)[None].astype(np.float32), ItemIds(ITEMS), "x"
    )
    found = replace(found, histories=(np.array([1, 2]),), weights=(np.array([5, 1], np.float32),))
    names = list(map(str, stage.features.features))
    features = stage.features.of(found)[0]
    one = next(source for source in stage.features.sources if source.name == "popular")
    logs = one.scores(UserBatch.of(found, 3.0, 0))[0, rows[0]]
    np.testing.assert_allclose(features[:, names.index("popular_z")], (logs - logs.mean()) / logs.std(), rtol=1e-4)
    order = (logs[:, None] < logs).sum(axis=1)
    np.testing.assert_allclose(features[:, names.index("popular_rank")], np.log1p(order), rtol=1e-5)
    shuffled = stage.features.of(replace(found, rows=rows[:, ::-1]))[0][::-1]
    np.testing.assert_allclose(shuffled, features, atol=1e-5)


def test_short_histories_have_the_order_of_retrieval(stage: SecondStage) -> None:
    late = np.full(20, stage.features.statistics.now)
    both = UserBatch.after([past[: 2 + 3 * (line % 2)] for line, past in enumerate(HISTORIES[:20])])
    few = replace(stage, min_history=5)
    pool = few.pool(replace(both, times=late), ItemIds(ITEMS), 10)
    found, by_head = few.rerank(pool), stage.rerank(pool)
    space = space_of(None)
    scores = space.user_queries(both.histories, both.weights) @ space.indexed.T
    for line in range(20):
        if line % 2:  # five items
            np.testing.assert_array_equal(found.rows[line], by_head.rows[line])
            continue
        rows = pool.rows[line][pool.rows[line] >= 0]
        pooled = np.where(np.isin(np.arange(COUNT), rows), scores[line], -np.inf)
        assert_best(found.rows[[line], : len(rows)], pooled[None])
        assert not few.ordered_by_head(found)[line].any()
    assert not np.array_equal(found.rows[::2], by_head.rows[::2])
    assert SecondStage.from_bytes(few.to_bytes(), space, VIEWS).min_history == 5


def test_tastes_are_means_of_what_was_liked_and_disliked() -> None:
    one = UserBatch([np.array([4, 2, 9])], [np.array([5, 1, 3], np.float32)], np.zeros(1, np.int64))
    recent = 0.5 ** (np.array([2, 1, 0]) / 15)
    liked, disliked = VECTORS[4] * 2 * recent[0], VECTORS[2] * 2 * recent[1]
    taste = VECTORS[[4, 2, 9]].T @ (recent * [5, 1, 3])
    expected = [VECTORS[6] @ vector / np.linalg.norm(vector) for vector in (taste, liked, disliked, VECTORS[9])]
    found = taste_cosines(VECTORS, taste_weights(one, 3.0), np.array([[6]]))
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-4, atol=1e-6)


def test_facts_are_counted_by_hand() -> None:
    facts = ItemStatistics.of([HISTORIES[0]], COUNT)
    row, weight = int(HISTORIES[0].rows[2]), float(HISTORIES[0].weights[2])
    usual = float(HISTORIES[0].weights.mean())
    when = np.array([HISTORIES[0].timestamps[2] + 86_400])
    popularity, liked, age, trust = facts.at(when, np.array([[row]]))[0, 0].tolist()
    assert popularity == pytest.approx(np.log(2 / (8 / COUNT + 1)), rel=1e-5)
    assert liked == pytest.approx((weight - usual) / 11, abs=1e-6)
    assert age == pytest.approx(np.log(2))
    assert trust == pytest.approx(1 / 11)


def test_several_networks_are_their_mean() -> None:
    rng = np.random.default_rng(0)

    def network() -> NeuralHead:
        shapes = [(4,), (4, 3), (3,), (3,)]
        linear, w1, b1, w2 = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
        return NeuralHead(np.zeros(4, np.float32), np.ones(4, np.float32), linear, w1, b1, w2)

    heads, features = [network(), network()], rng.normal(size=(5, 6, 4)).astype(np.float32)
    mean = np.mean([head.score(features) for head in heads], axis=0)
    np.testing.assert_allclose(NeuralHead.averaged(heads).score(features), mean, rtol=1e-4, atol=1e-5)


def test_items_that_nobody_has_met_keep_the_place_of_retrieval_unless_the_head_should_judge(stage: SecondStage) -> None:
    pool = stage.pool(asked(), ItemIds(ITEMS), 10)
    facts = replace(
        stage.features.statistics, counts=np.where(np.arange(COUNT) % 5, stage.features.statistics.counts, 0)
    )
    kept = replace(stage, features=replace(stage.features, statistics=facts))
    judged = replace(kept, new_items=True)
    found, by_head = kept.rerank(pool), judged.rerank(pool)
    retrieved = stage.features.sources[0].scores(asked())
    moved = 0
    for line, (rows, head) in enumerate(zip(found.rows, by_head.rows, strict=True)):
        there = pool.rows[line][pool.rows[line] >= 0]
        served = there[np.argsort(-retrieved[line, there], kind="stable")]
        new = np.flatnonzero(facts.counts[served] == 0)
        same = np.isin(rows, served[new])  # they keep their places, one that ties with another but for rounding
        assert np.flatnonzero(same).tolist() == new.tolist()
        np.testing.assert_allclose(retrieved[line, rows[new]], retrieved[line, served[new]], atol=1e-5)
        assert [row for row in rows if facts.counts[row]] == [row for row in head if facts.counts[row]]
        assert (np.diff(found.scores[line, : len(there)]) <= 0).all()
        moved += int((head[new] != served[new]).sum())
    assert moved
    shuffled = pool.reordered(np.random.default_rng(0).random(pool.rows.shape, np.float32), "shuffled")
    np.testing.assert_array_equal(kept.rerank(shuffled).rows, found.rows)
    for one in (kept, judged):
        assert SecondStage.from_bytes(one.to_bytes(), space_of(None), VIEWS).new_items == one.new_items
    assert isinstance(stage.head, NeuralHead)
    indifferent = replace(stage.head, linear=0 * stage.head.linear, w2=0 * stage.head.w2)
    alike = replace(kept, head=indifferent)
    few = pool.top(4)
    together, without = alike.rerank(few), (facts.counts[few.rows] > 0).all(axis=1)
    assert 0 < without.sum() < len(few)
    np.testing.assert_array_equal(together.rows[without], few.rows[without])  # whoever else asks
    for line in range(len(few)):
        np.testing.assert_array_equal(alike.rerank(few.take([line])).rows[0], together.rows[line])
    nobody = replace(
        pool, queries=pool.queries[:, :0], histories=tuple(rows[:0] for rows in pool.histories), weights=()
    )
    np.testing.assert_array_equal(kept.rerank(nobody).rows, pool.rows)


def test_trees_learn_are_stored_as_text_and_are_missed_politely(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightgbm")
    one = learner(replace(SMALL, head="trees"))
    grown = one.stage(one.head([one.examples(moment_of(HISTORIES))])[0], HISTORIES)
    assert isinstance(grown.head, TreesHead)
    pool = grown.pool(replace(asked(), times=np.full(20, grown.features.statistics.now)), one.items, 10)
    read = SecondStage.from_bytes(grown.to_bytes(), space_of(None), VIEWS)
    np.testing.assert_array_equal(read.rerank(pool).rows, grown.rerank(pool).rows)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtraError, match=r"\.\[trees\]"):
        TreesHead(grown.head.text)


def test_a_source_that_has_seen_the_targets_is_named() -> None:
    def leaky(histories: Sequence[History], space: ItemSpace) -> list[Source]:
        seen = Popular("oracle", np.zeros(COUNT, np.float32), TrainingLog.of(HISTORIES, COUNT))
        return [*space_sources(space, TrainingLog.of([], COUNT)), seen]

    one = replace(learner(), fit_sources=leaky)
    with pytest.raises(TrainingError, match=r"source 'oracle' was trained on 120 of the targets.*'u000'"):
        one.examples(moment_of(HISTORIES))
    with pytest.raises(TrainingError, match="source 'retrieval' has no training log"):
        replace(one, fit_sources=lambda _, space: space_sources(space)).examples(moment_of(HISTORIES))


def test_a_source_that_lies_about_its_past_does_too_well() -> None:
    moment = moment_of(HISTORIES)
    honest = fit_ease(
        "ease", moment.histories, weighted_bins(moment.histories)[1], 9, SMALL.sources, TrainingLog.of([], COUNT)
    )
    recall = recalls_of([honest], *moment[:2], COUNT)[0]
    check_recall("ease", recall, recall)
    with pytest.raises(TrainingError, match=r"'oracle' finds 90% .* 20% in the later .*a longer log helps"):
        check_recall("oracle", 0.9, 0.2)


@pytest.mark.parametrize("at_once", [1, 7 * COUNT, 2**24])
def test_recalls_are_those_of_users_one_by_one(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.ranking.sources.pool.MAX_SCORES", at_once)
    moment = moment_of(HISTORIES)
    sources: list[Source] = [
        fit_ease(
            "ease", moment.histories, weighted_bins(moment.histories)[1], 9, SMALL.sources, TrainingLog.of([], COUNT)
        ),
        Popular("popular", np.log1p(np.arange(COUNT, dtype=np.float32))),
    ]
    expected = np.zeros(2)
    for past, later in zip(moment.histories, moment.targets, strict=True):
        for place, source in enumerate(sources):
            scores = np.nan_to_num(source.scores(UserBatch.after([past]))[0], nan=-1e9)
            scores[past.rows] = -np.inf
            best = set(np.argsort(-scores, kind="stable")[:20].tolist())
            expected[place] += np.mean([row in best for row in later.rows.tolist()]) / len(moment.histories)
    np.testing.assert_allclose(recalls_of(sources, *moment[:2], COUNT), expected)


def test_moments_at_a_second_show_nothing_later() -> None:
    cut, end = 1_700_000_000 + 3600 * 2000, 1_700_000_000 + 3600 * 3000
    moment = cutoff_at(HISTORIES, cut, end)
    assert max(int(past.timestamps.max()) for past in moment.histories if len(past)) < cut
    wanted = np.concatenate([later.timestamps for later in moment.targets])
    assert cut <= wanted.min()
    assert wanted.max() < end
    assert (moment.times == cut - 1).all()
    assert all(len(past) == 0 for past in moment.active(new=True).histories if len(past) == 0)
    assert all(len(past) for past in moment.active().histories)


def test_every_source_says_the_same_in_a_batch(stage: SecondStage) -> None:
    several = asked()
    for source in stage.features.sources:
        alone = np.concatenate([source.scores(several[line : line + 1]) for line in range(len(several))])
        np.testing.assert_allclose(source.scores(several), alone, rtol=1e-4, atol=1e-5, err_msg=source.name)


def test_learned_sources_have_books() -> None:
    training_log = TrainingLog.of(HISTORIES, COUNT)
    for source in (
        fit_ease("ease", HISTORIES, weighted_bins(HISTORIES)[1], 9, SMALL.sources, training_log),
        fit_next(HISTORIES, COUNT, SMALL.sources, training_log),
        fit_recent(HISTORIES, COUNT, 14, training_log),
    ):
        assert source.training_log is training_log
