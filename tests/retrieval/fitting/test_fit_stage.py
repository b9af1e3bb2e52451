"""The second stage in `fit`: what it learns from, what it orders, and what it must not have seen."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete
from indexing.encoders import load_encoder
from retrieval import Interactions, Retriever, fit
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.part_training import fit_ranker, returning_users
from retrieval.fitting.part_training.fit_ranker import TrainedStage
from retrieval.fitting.part_training.returning_users import train_for_returning
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.selection.temporal_split import TemporalSplit, temporal_split
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.fitting.steps import WINDOWS, window_name
from retrieval.interactions.histories import History, histories
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.features import StageFeatures
from retrieval.ranking.heads import ScoringHead
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import Source, TrainingLog
from retrieval.retriever.learned_parts import compact
from retrieval.training.cutoffs import Cutoff
from retrieval.training.ranker.neural_head import Examples
from retrieval.training.ranker.ranker import StageTrainer
from retrieval.training.ranker.sources import fit_ease, fit_sources, weighted_bins
from retrieval.training.ranker_config import SourcesConfig
from tests.agree import assert_hits_agree
from tests.groups import CLOCK, COUNT, SMALL, STAGE, catalogue, items, log, walks


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A bundle that has learned nothing yet."""
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    return tmp_path / "bundle"


def recorded_examples(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cutoff, StageFeatures]]:
    """Record what heads are trained on."""
    trained_on: list[tuple[Cutoff, StageFeatures]] = []
    examples = StageTrainer.examples

    def kept(self: StageTrainer, moment: Cutoff, features: StageFeatures | None = None) -> Examples:
        assert features is not None
        trained_on.append((moment, features))
        return examples(self, moment, features)

    monkeypatch.setattr(StageTrainer, "examples", kept)
    return trained_on


def test_a_second_stage_orders_what_is_recommended_and_follows_changes(live: Path, tmp_path: Path) -> None:
    report = fit(live, walks(), replace(SMALL, reranker=STAGE))
    assert report.published == ("behaviour", "reranker"), report
    assert report.ndcg["reranker"] > report.ndcg["behaviour"]
    retriever = Retriever.load(live)
    found = retriever.rerank(retriever.recommend([["i000", "i003"], []], k=20))
    assert found.stage == "rerank"
    first = found.take([0])
    (best,), (every,) = retriever.explain(first.top(3), among=first), retriever.explain(first)
    for few, many in zip(best, every[:3], strict=True):  # reckoned for three or for twenty: numbers differ in rounding
        assert (few.item_id, [name for name, _ in few.history]) == (many.item_id, [name for name, _ in many.history])
        for one, other in ((few.stages, many.stages), (few.features, many.features), (few.modalities, many.modalities)):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert all(one.features for one in best)
    later = catalogue(tmp_path, items(range(COUNT, COUNT + 4), [0, 0, 1, 1]))
    add(live, later, load_encoder("vectors:"))
    delete(live, ["i001"])
    changed = Retriever.load(live)
    recommended = changed.recommend([["i000", "i003"]], k=20, stages="retrieval")
    ranked = changed.recommend([["i000", "i003"]], k=20)
    new = {f"i{number:03}" for number in range(COUNT, COUNT + 4)}
    places = [[hit.rank for hit in one[0] if hit.item_id in new] for one in (recommended, ranked)]
    assert places[0] == places[1]  # nobody has met them: recommended at once, the others are ordered around them
    assert places[0]
    compact(live)
    folded = Retriever.load(live)
    again = folded.rerank(folded.recommend([["i000", "i003"]], k=20))
    # The mean of all content, which tastes are centred by, is no longer that of deleted items too.
    assert_hits_agree(ranked[0], again[0], atol=0.05)


def test_a_head_that_is_worse_on_short_histories_leaves_them_to_retrieval(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = fit(live, walks(), replace(SMALL, reranker=STAGE))
    assert report.short["1-3"]["reranker"] >= report.short["1-3"]["retrieval"] > 0
    reranker = Retriever.load(live).reranker
    assert isinstance(reranker, SecondStage)
    assert reranker.min_history == 1
    mean, judged = Validation.mean, list[float]()

    def worse(self: Validation, found: Candidates, wanted: Sequence[History], measure: str) -> float:
        value = mean(self, found, wanted, measure)
        if {len(history) for history in found.histories} != {1, 2, 3}:
            return value
        judged.append(value)  # retrieval, then the reranker
        return value if len(judged) % 2 else 0.0

    monkeypatch.setattr(Validation, "mean", worse)
    report = fit(live, walks(users=220), replace(SMALL, reranker=STAGE))
    assert "reranker" in report.published
    retriever = Retriever.load(live)
    assert isinstance(retriever.reranker, SecondStage)
    assert len(judged) == 2
    assert retriever.reranker.min_history == 4
    found = retriever.recommend([["i000", "i003"], [f"i{row:03}" for row in range(5)]], 20, stages="retrieval")
    ranked = retriever.rerank(found)
    np.testing.assert_array_equal(ranked.rows[0], found.rows[0])
    assert not np.array_equal(ranked.rows[1], found.rows[1])
    short, long = retriever.explain(ranked)
    assert (any(one.features for one in short), all(one.features for one in long)) == (False, True)


def test_a_head_learns_from_earlier_moments_with_sources_that_knew_no_later(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on = recorded_examples(monkeypatch)
    report = fit(live, walks(), replace(SMALL, reranker=STAGE))
    assert "reranker" in report.published
    assert [len(moment.histories) for moment, _ in trained_on] == [200, 200]
    # Of 12 steps the last two judge and the two before them teach; a head that passed learns from the last too.
    assert [{(len(past), len(later)) for past, later in zip(*moment[:2], strict=True)} for moment, _ in trained_on] == [
        {(8, 2)},
        {(10, 2)},
    ]
    for moment, features in trained_on:
        pairs = {(past.user_id, row) for past in moment.histories for row in past.rows.tolist()}
        for source in features.sources:
            assert source.training_log is not None
            assert len(source.training_log.pairs) == len(pairs), source.name
            assert set(source.training_log.holds(moment.histories)) == pairs, source.name


def test_a_head_that_is_to_serve_new_users_learns_from_those_who_came_in_the_middle(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = walks().table.to_pydict()
    steps, users = np.repeat(np.arange(12), 200), np.tile(np.arange(200), 12)  # a log is sorted by time
    late = 10_000 + 20 * (users - 150) + 100 * steps
    table["timestamp"] = np.where(users < 150, 1000 * steps + users, late).tolist()
    log = Interactions.from_arrow(pa.table(table))
    config = replace(SMALL, reranker=replace(STAGE, new_users=True), split="time")
    trained_on: list[Cutoff] = []
    examples = StageTrainer.examples

    def kept(self: StageTrainer, moment: Cutoff, features: StageFeatures | None = None) -> Examples:
        trained_on.append(moment)
        return examples(self, moment, features)

    monkeypatch.setattr(StageTrainer, "examples", kept)
    assert "reranker" in fit(live, log, config).published
    moment = trained_on[0]
    new = [line for line, past in enumerate(moment.histories) if not len(past)]
    assert 10 < len(new) < 50
    assert len(set(moment.times.tolist())) == 1  # all ask at once, before what they look for
    assert max(past.timestamps[-1] for past in moment.histories if len(past)) <= moment.times[0]
    assert moment.times[0] < min(later.timestamps[0] for later in moment.targets)
    stage = Retriever.load(live).reranker
    assert isinstance(stage, SecondStage)
    assert stage.min_history == 0


def test_a_source_that_has_seen_the_targets_is_named_by_fit(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = histories(log(), Bundle.open(live).items)

    def planted(user_histories: Sequence[History], space: ItemSpace, config: SourcesConfig) -> tuple[Source, ...]:
        training_log = TrainingLog.of(everything, len(space.indexed))
        seen = fit_ease("oracle", everything, weighted_bins(everything)[1], 9, config, training_log)
        return (*fit_sources(user_histories, space, config), seen)

    monkeypatch.setattr("retrieval.training.ranker.ranker.fit_sources", planted)
    report = fit(live, log(), replace(SMALL, reranker=STAGE))
    assert report.published == ("behaviour",)
    assert "source 'oracle' was trained on" in report.notes["reranker"]


def test_what_fit_reports_is_what_recommend_gives(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published as they were judged, the parts answer the users who judged with the very lists that were judged."""

    def as_judged(
        trainer: Trainer, passed: FittedModel, staged: TrainedStage, cuts: Sequence[TemporalSplit]
    ) -> ScoringHead:
        return trainer.stage_trainer().head(staged.examples)[0]  # the same bits from the same examples

    monkeypatch.setattr("retrieval.fitting.part_training.part_selection.retrain_with_last_part", as_judged)
    monkeypatch.setattr(Trainer, "retrain", lambda self, passed, *_, **__: passed)
    report = fit(live, walks(), replace(SMALL, reranker=STAGE, exposure_floor=1.0))
    assert "reranker" in report.published
    retriever = Retriever.load(live)
    cuts = temporal_split(histories(walks(), retriever.items), "user")
    assert len(cuts) == report.users
    found = retriever.recommend(
        [[retriever.items[row] for row in one.before_test.rows] for one in cuts],
        10,
        user_ids=[one.before_test.user_id for one in cuts],
        weights=[one.before_test.weights.tolist() for one in cuts],
    )
    wanted = [[retriever.items[row] for row in one.test.rows] for one in cuts]
    measured = evaluate(replace(found, learned=None), wanted, measures=["ndcg@10"])
    assert round(measured.means["ndcg@10"], 4) == report.ndcg["reranker"]


def test_each_window_is_learned_from_what_everybody_did_before_it_and_judged_by_earlier_windows(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = walks(users=220).table
    steps, users = np.repeat(np.arange(12), 220), np.tile(np.arange(220), 12)  # a log is sorted by time
    times = CLOCK + 1000 * steps + users + 5000 * (users >= 100)
    log = Interactions.from_arrow(
        table.set_column(table.schema.get_field_index("timestamp"), "timestamp", pa.array(times))
    )
    trained_on, trained = recorded_examples(monkeypatch), list[tuple[str, int]]()
    train_head = fit_ranker.train_head

    def counted(trainer: Trainer, examples: list[Examples], part_of_log: str) -> ScoringHead:
        trained.append((part_of_log, len(examples)))
        return train_head(trainer, examples, part_of_log)

    for module in (fit_ranker, returning_users):
        monkeypatch.setattr(module, "train_head", counted)
    report = fit(live, log, replace(SMALL, reranker=STAGE, split="both"))
    end, length = int(times.max()) + 1, 0.6 * np.ptp(times) / 3  # of less than 70 days
    edges = np.array([end - round(length * left) for left in (3, 2, 1, 0)])
    windows = [(cutoff, known) for cutoff, known in trained_on if not cutoff.visiting]
    active = [np.unique(users[(times >= start) & (times < end)]) for start, end in pairwise(edges.tolist())]
    assert [len(cutoff.histories) for cutoff, _ in windows] == [len(found) for found in active]
    for (cutoff, features), start in zip(windows, edges[:-1].tolist(), strict=True):
        assert {int(at) for at in cutoff.times} == {start - 1}
        for source in features.sources:
            assert source.training_log is not None
            assert len(source.training_log.pairs) == int((times < start).sum()), source.name
    assert trained[2:] == [(window_name(3, 3), 2), (WINDOWS, 3)]  # after the head of visits
    assert report.in_time is not None
    has_history = [np.unique(users[times < start]) for start in edges[:-1].tolist()]
    returning = [np.intersect1d(*both) for both in zip(active, has_history, strict=True)]
    assert report.in_time.users == sum(len(found) for found in returning[2:])
    reranker = Retriever.load(live).reranker
    assert isinstance(reranker, SecondStage)
    assert (reranker.returning is not None) == (report.in_time.low > 0)
    assert reranker.leaves_returning == (report.in_time.low <= 0)


@pytest.mark.filterwarnings("ignore::retrieval.ranking.published_heads.ReturningUsersWarning")
def test_users_who_return_have_a_head_where_it_surely_gains(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = walks(users=220).table
    steps, users = np.repeat(np.arange(12), 220), np.tile(np.arange(220), 12)
    place = table.schema.get_field_index("timestamp")
    log = Interactions.from_arrow(table.set_column(place, "timestamp", pa.array(CLOCK + 86_400 * steps + users)))
    better, worse = (Gain(200, 0.1, 0.2, 0.1, low, 0.2) for low in (0.05, -0.05))
    found = []
    for gain, gain_of_new in ((better, better), (better, worse), (worse, better)):
        with monkeypatch.context() as patched:
            patched.setattr(
                "retrieval.fitting.part_training.part_selection.train_for_returning",
                lambda *args, gains=(gain, gain_of_new): train_for_returning(*args)._replace(
                    gain=gains[0], gain_of_new=gains[1]
                ),
            )
            report = fit(live, log, replace(SMALL, reranker=STAGE, split="both"))
        assert report.in_time == gain
        retriever = Retriever.load(live)
        reranker = retriever.reranker
        assert isinstance(reranker, SecondStage)
        noted = {name.split()[0] for name in report.notes if name.endswith("users")}
        found.append((reranker.returning is not None, reranker.leaves_returning, noted))
        returns = retriever.recommend(log, 5, user_ids=["w000"], times=CLOCK + 86_400 * 20)
        sources = [lists.to_arrow()["source"][0].as_py() for lists in (returns, retriever.recommend([[]], 5))]
        assert (sources[0] == "second stage") == (gain is better)
        assert (sources[1] == "second stage") == (gain is better and gain_of_new is better)
    assert found == [(True, False, set()), (True, False, {"new"}), (False, True, {"returning", "new"})]
    fast = fit(live, log, replace(SMALL, reranker=STAGE, split="both", effort="fast"))
    assert fast.in_time is None


def test_lists_that_are_served_keep_the_bound_that_fit_judged(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = np.full(COUNT, 0.14)  # the most shown item would be in 17.5 % of the lists
    monkeypatch.setattr("retrieval.fitting.fit.allowed_exposure", lambda *_: allowed)
    report = fit(live, walks(), replace(SMALL, reranker=STAGE))
    assert (report.refused, report.published) == ("", ("behaviour", "reranker"))
    assert report.held_back
    retriever = Retriever.load(live)
    found = retriever.recommend(walks(), 10)
    shares = np.bincount(found.rows[found.rows >= 0].ravel(), minlength=COUNT) / len(found)
    assert report.exposure is not None
    assert (round(float(shares.max()), 4), report.exposure.allowed) == (report.exposure.share, 0.14)
    assert shares.max() <= 0.14
    stage = retriever.reranker
    assert isinstance(stage, SecondStage)
    free = replace(stage, penalties=None).rerank(retriever.pool(walks())).top(10)
    assert np.bincount(free.rows.ravel(), minlength=COUNT).max() / len(free) > 0.14


def test_where_the_head_of_visits_does_not_help_no_head_is_trained_on_windows(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = iter(["", "no better"])  # of the behaviour block, and of the second stage
    monkeypatch.setattr("retrieval.fitting.part_training.part_selection.why_not_published", lambda _gain: next(reasons))
    table = walks(users=220).table
    days = CLOCK + 86_400 * np.repeat(np.arange(12), 220) + np.tile(np.arange(220), 12)
    place = table.schema.get_field_index("timestamp")
    days_log = Interactions.from_arrow(table.set_column(place, "timestamp", pa.array(days)))
    seen: list[tuple[str, str]] = []
    config = replace(SMALL, reranker=STAGE, split="both", prepare=None)
    report = fit(live, days_log, config, progress=lambda step: seen.append((step.part, step.trained_on)))
    assert (report.published, report.notes["reranker"]) == (("behaviour",), "no better")
    assert report.in_time is None
    in_windows = [step for step in dict.fromkeys(seen) if "window" in step[1]]
    assert in_windows == [("behaviour", window_name(1, 3))]  # which selects the query weights for returning users
