"""From a log to a bundle that has learned: what users take together, beside what looks alike."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.diagnostics.health import examine
from indexing.encoders import load_encoder
from indexing.errors import InputError, ShapeError, TrainingError
from indexing.exchange import export_faiss
from retrieval import Interactions, Retriever, fit
from retrieval.fitting.exposure_limit import allowed_exposure
from retrieval.fitting.fitted_model import LEARNED_FILES
from retrieval.fitting.publish_gate import SmallerLogWarning
from retrieval.fitting.selection.validation import Gain
from retrieval.retriever.fallback.fill_short_lists import FallbackWarning
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.recommend import user_queries
from retrieval.training.ranker_config import StageConfig
from tests.agree import assert_best, assert_hits_agree
from tests.groups import CLOCK, CONTENT, COUNT, DIM, GROUPS, SIZE, SMALL, catalogue, group_of, items, log


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    report = fit(folder / "bundle", log(), SMALL)
    assert report.published == ("behaviour",), report
    assert report.refused == ""
    assert report.ndcg["behaviour"] > 2 * report.ndcg["frozen"]
    return folder / "bundle"


@pytest.fixture
def live(learned: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that may be changed."""
    shutil.copytree(learned, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_what_users_take_together_is_recommended(learned: Path) -> None:
    retriever = Retriever.load(learned)
    assert not retriever.status.degraded
    found = retriever.recommend([[f"i{SIZE * group:03}", f"i{SIZE * group + 1:03}"] for group in range(GROUPS)], 5)
    for group, line in enumerate(found):
        assert group_of([hit.item_id for hit in line]) == [group] * 5
        scores = retriever.indexed @ found.queries[group]
        assert [hit.score for hit in line] == pytest.approx([scores[int(hit.item_id[1:])] for hit in line], abs=1e-5)


def test_content_is_searched_as_before_learning(learned: Path) -> None:
    retriever = Retriever.load(learned)
    queries = np.random.default_rng(1).normal(size=(9, DIM)).astype(np.float32)
    stored = retriever.bundle.modality_vectors.vectors[next(iter(retriever.bundle.modality_vectors.vectors))]
    expected = queries @ unit(stored).T
    found = retriever.search_vectors(queries, 7)
    assert_best(found.rows, expected)
    np.testing.assert_allclose(found.scores, -np.sort(-expected, axis=1)[:, :7], atol=1e-5)
    (nearest,) = retriever.similar_items(["i007"], 3)
    cosines = np.sort(np.delete(CONTENT[:COUNT] @ CONTENT[7], 7))[::-1]
    np.testing.assert_allclose([hit.score for hit in nearest], cosines[:3], atol=2e-3)


def test_whoever_did_nothing_yet_gets_what_is_popular(learned: Path, tmp_path: Path) -> None:
    (found,) = Retriever.load(learned).recommend([[]], 10)
    counts = log().table["item_id"].value_counts().to_pylist()
    taken = {line["values"]: line["counts"] for line in counts}
    assert np.mean([taken[hit.item_id] for hit in found]) > 1.5 * np.mean(list(taken.values()))
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "plain")
    with pytest.warns(FallbackWarning, match="1 of 2 users have an empty history"):
        plain = Retriever.load(tmp_path / "plain").recommend([["i000"], []])
    assert [hit.source for hit in plain[1]] == ["newest"] * 10


def test_a_new_item_is_recommended_at_once_by_what_is_known_of_it(live: Path) -> None:
    retriever = Retriever.load(live)
    add(Bundle.open(live), catalogue(live.parent, items(range(COUNT, COUNT + 2), [3, 1])), load_encoder("vectors:"))
    after = retriever.latest()
    block = after.behaviour
    assert block is not None
    assert block.confidence[COUNT:].tolist() == [0, 0]
    best = after.recommend([["i072", "i073"]], COUNT)[0]
    ranks = {hit.item_id: hit.rank for hit in best}
    others = [rank for item_id, rank in ranks.items() if group_of([item_id])[0] not in (3, 5)]
    assert ranks["i120"] < min(others)
    assert ranks["i121"] > ranks["i120"]
    (found,) = after.recommend([["i120"]], 5)  # it says as much in a history
    assert group_of([hit.item_id for hit in found]) == [3] * 5


def test_an_item_that_is_put_in_again_keeps_its_users_and_compaction_changes_no_answer(live: Path) -> None:
    bundle, encoder = Bundle.open(live), load_encoder("vectors:")
    before = Retriever.load(live).recommend([["i048", "i049"]], 8)[0]
    changed = items(range(48, 50)).set_column(1, "shelf", pa.array(["shelf 0", "shelf 4"]))
    upsert(bundle, catalogue(live.parent, changed), encoder)
    add(Bundle.open(live), catalogue(live.parent, items(range(COUNT, COUNT + 1), [2])), encoder)
    delete(Bundle.open(live), ["i119"])
    changes = Retriever.load(live)
    asked = [["i048", "i049"], ["i120"], ["i001", "i002", "i003"], []]
    answers = changes.recommend(asked, 12)
    same = [hit.item_id for hit in answers[0] if hit.item_id != "i120"][:6]
    assert same == [hit.item_id for hit in before][:6]
    compact(live)
    folded = Retriever.load(live)
    assert not folded.bundle.batches
    for line, again in zip(answers, folded.recommend(asked, 12), strict=True):
        assert_hits_agree(line, again, atol=1e-5)  # vectors of length 10 by two routines, folded in and beside


def test_a_lost_index_is_built_again_over_content_and_behaviour(live: Path) -> None:
    before = Retriever.load(live).recommend([["i000", "i001"]], 9)
    (live / Bundle.open(live).manifest.generation / "index.bin").unlink()
    assert "built again" in repair(live).done[0]
    after = Retriever.load(live).recommend([["i000", "i001"]], 9)
    np.testing.assert_array_equal(before.rows, after.rows)
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-6)


def test_a_hit_is_explained_by_dropping_each_item_of_the_history(learned: Path) -> None:
    retriever = Retriever.load(learned)
    history = ["i024", "i025", "i080"]
    found = retriever.recommend([history, ["i000"]], 4)
    first, second = retriever.explain(found)
    rows = retriever.items.rows(history)
    for hit, explanation in zip(found[0], first, strict=True):
        row = retriever.items.rows([hit.item_id])[0]
        assert explanation.content + explanation.behaviour + explanation.popularity == pytest.approx(
            hit.score, abs=1e-5
        )
        for item_id, effect in explanation.history:
            fewer = np.array([one for one in rows if one != retriever.items.rows([item_id])[0]])
            without = float(user_queries(retriever.state, [fewer])[0] @ retriever.indexed[row])
            assert effect == pytest.approx(hit.score - without, abs=1e-4)
        assert [effect for _, effect in explanation.history] == sorted(
            (e for _, e in explanation.history), reverse=True
        )
        assert explanation.history[-1][0] == "i080"  # of another group
    for explanation in second:
        ((item_id, effect),) = explanation.history
        assert item_id == "i000"
        assert effect == pytest.approx(explanation.content + explanation.behaviour, abs=1e-6)
    with pytest.raises(InputError, match="only recommendations"):
        retriever.explain(retriever.similar_items(["i000"]))


def test_an_explanation_has_the_stages_and_the_modalities(learned: Path) -> None:
    retriever = Retriever.load(learned)
    found = retriever.recommend([["i024", "i025"], ["i000"]], 6)
    for line, hits in enumerate(retriever.explain(found)):
        assert [explanation.stages for explanation in hits] == [{"retrieve": hit.score} for hit in found[line]]
    ranked = retriever.rerank(found)
    frozen = retriever.bundle.modality_vectors
    for line, hits in enumerate(retriever.explain(ranked)):
        before = {hit.item_id: hit.score for hit in found[line]}
        for explanation, hit in zip(hits, ranked[line], strict=True):
            assert explanation.item_id == hit.item_id
            assert explanation.stages["retrieve"] == explanation.score == pytest.approx(before[hit.item_id], abs=1e-5)
            assert explanation.stages["exact"] == hit.score
            one = frozen.take(retriever.items.rows([hit.item_id]))
            there = [str(modality) for modality in one.vectors if one.exists[modality][0]]
            assert sum(explanation.modalities.values()) == pytest.approx(1, abs=1e-6)
            assert sorted(explanation.modalities) == sorted(there)
            assert list(explanation.modalities.values()) == sorted(explanation.modalities.values(), reverse=True)


def test_weights_must_fit_histories(learned: Path) -> None:
    with pytest.raises(ShapeError, match="one weight for each item"):
        Retriever.load(learned).recommend([["i000", "i001"]], weights=[[1.0]])


def test_what_is_in_force_stays_when_it_does_better_on_what_came_since(live: Path) -> None:
    both = log(start=CLOCK, each=14)
    before = both.table.filter(pa.array(both.table["timestamp"].to_numpy() < CLOCK + 8000))
    assert fit(live, Interactions.from_arrow(before), SMALL).refused == ""
    old = Bundle.open(live).manifest
    report = fit(live, both, replace(SMALL, behaviour=None))
    assert "the published parts do better" in report.refused
    assert report.generation == old.generation == Bundle.open(live).manifest.generation
    assert report.ndcg["published, on new interactions"] > report.ndcg["new, on new interactions"]
    again = fit(live, both, SMALL)
    assert (again.refused, again.published) == ("", ("behaviour",))
    assert Bundle.open(live).manifest.learned["until"] == max(both.table["timestamp"].to_pylist())


def test_what_was_learned_before_and_did_not_pass_now_is_gone(live: Path) -> None:
    report = fit(live, log(), replace(SMALL, behaviour=None))
    assert report.published == ()
    names = {record.name for record in Bundle.open(live).manifest.files}
    assert not names & set(LEARNED_FILES) - {"index.bin", "promise.safetensors"}


def test_too_few_users_are_refused(live: Path) -> None:
    fewer = pytest.warns(SmallerLogWarning, match=r"the log has 32 interactions, .* were trained on 720")
    with pytest.raises(TrainingError, match="only 4 users"), fewer:
        fit(live, log(4), SMALL)


def test_an_item_that_would_be_everywhere_is_not_published(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "retrieval.fitting.fit.allowed_exposure",
        lambda histories, *_: allowed_exposure(histories, COUNT, 0.01, growth=0.1),
    )
    before = Bundle.open(live).manifest.generation
    report = fit(live, log(), SMALL)
    assert "its audience warrants" in report.refused
    assert report.exposure is not None
    assert report.exposure.share > report.exposure.allowed
    assert Bundle.open(live).manifest.generation == report.generation == before


def test_when_nothing_helps_what_is_in_force_stays(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Bundle.open(live).manifest.generation
    monkeypatch.setattr(
        "retrieval.fitting.selection.validation.Validation.gain", lambda *_: Gain(90, 0.2, 0.21, 0.01, 0.0, 0.02)
    )
    report = fit(live, log(), SMALL)
    assert report.refused.startswith("no trained part helps")
    assert (report.generation, report.published, report.current) == (before, (), ("behaviour",))
    assert Bundle.open(live).manifest.generation == before


def test_one_part_that_cannot_be_learned_does_not_stop_the_others(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise TrainingError("too few")

    monkeypatch.setattr("retrieval.training.ranker.ranker.StageTrainer.head", none)
    report = fit(live, log(), replace(SMALL, reranker=StageConfig()))
    assert (report.published, report.notes) == (("behaviour",), {"reranker": "too few"})


def test_a_log_without_a_clock_cannot_tell_what_came_since(live: Path) -> None:
    assert Bundle.open(live).manifest.learned["until"] is None  # its times are seconds of 1970
    table = log().table
    late = pa.array(table["timestamp"].to_numpy() + 1_700_000_000)
    real = table.set_column(table.schema.get_field_index("timestamp"), "timestamp", late)
    fit(live, Interactions.from_arrow(real), SMALL)
    assert Bundle.open(live).manifest.learned["until"] == int(late.to_numpy().max())


def test_what_cannot_teach_is_refused(live: Path) -> None:
    columns = {name: log().table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")}
    weights = [1.0] * 5 + [-1.0] + [1.0] * (len(columns["user_id"]) - 6)
    with pytest.raises(InputError, match=r"1 interactions weigh less than nothing.*-1.0"):
        fit(live, Interactions.from_arrow(pa.table({**columns, "weight": weights})), SMALL)
    with pytest.raises(InputError, match=r"split is 'users', did you mean 'user'.; give one of 'both', 'user', 'time'"):
        fit(live, log(), replace(SMALL, split="users"))  # type: ignore[arg-type]


def test_health_looks_at_content(learned: Path) -> None:
    names = {finding.name for finding in examine(Bundle.open(learned))}
    assert names


def test_an_exported_index_says_how_long_queries_are(learned: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(learned)
    report = export_faiss(retriever.bundle, tmp_path / "faiss")
    assert (report.dim, report.content_dim) == (retriever.indexed.shape[1], DIM)
    assert report.learned == ("behaviour",)
