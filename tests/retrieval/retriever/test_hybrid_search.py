"""Search by words and by both: fused as the formula says, filtered, explained, and tuned on judged queries."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from indexing.store.encode import EncodeConfig
from retrieval.candidates import Candidates, codes_for
from retrieval.cli.runs.words_weight import SHARES, TunedWeight, tune_weight
from retrieval.ranking.fusion import Fused, Rank, fuse
from retrieval.retriever.queries import Query
from retrieval.retriever.queries.hybrid_search import DEFAULT_WEIGHT, fuse_words, search_both
from retrieval.retriever.retriever import Retriever
from retrieval.retriever.search import SearchMode
from tests.cli_run import Run, runner
from tests.toy import ToyEncoder, toy_file

ITEMS = ItemIds(["a", "b", "c", "d", "e"])


def listed(rows: list[list[int]], source: str) -> Candidates:
    array = np.array(rows)
    scores = np.where(array >= 0, 9.0 - np.arange(array.shape[1]), -np.inf).astype(np.float32)
    queries = np.zeros((len(rows), 2), np.float32)
    return Candidates(queries, array, scores, ITEMS, source, sources=codes_for(array, source))  # type: ignore[arg-type]


LEFT, RIGHT = listed([[0, 1, 2], [3, -1, -1]], "content"), listed([[2, 3, 0], [-1, -1, -1]], "words")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hybrid")
    catalogue = Catalogue.from_parquet(toy_file(folder), columns=NamedColumns(words=("title", "item_id")))
    build_bundle(catalogue, ToyEncoder(), folder / "bundle", encode=EncodeConfig(32, workers=0))
    return folder / "bundle"


@pytest.fixture(scope="module")
def retriever(root: Path) -> Retriever:
    return Retriever.open(root, ToyEncoder())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", lambda *_, **__: ToyEncoder())
    return runner(capsys)


def test_an_item_gets_from_each_list_where_its_score_lies_between_the_lowest_and_the_highest() -> None:
    fused = fuse({"vector": LEFT, "words": RIGHT}, 4, {"vector": 0.4, "words": 0.6})
    # float32 holds seven digits of the sums; LEFT gives 1, 1/2 and 0 to a, b and c, and RIGHT to c, d and a
    assert {hit.item_id: hit.score for hit in fused[0]} == pytest.approx({"c": 0.6, "a": 0.4, "d": 0.3, "b": 0.2})
    assert [hit.source for hit in fused[0]] == ["words", "content", "words", "content"]
    assert fused.places_of(0)[0] == {"vector": Rank(3, 7.0), "words": Rank(1, 9.0)}
    assert {hit.item_id: hit.score for hit in fused[1]} == pytest.approx({"d": 0.4})  # a list of one gives it 1
    alike = replace(LEFT, scores=np.where(LEFT.rows >= 0, 5, -np.inf).astype(np.float32))
    assert [hit.score for hit in fuse({"vector": alike, "words": RIGHT}, 3)[0]] == [2.0, 1.0, 1.0]


def test_the_last_item_with_a_word_stands_above_those_without() -> None:
    fused = fuse_words(LEFT, RIGHT, 4, 0.5)
    # a list of words ends with 7 of at most 9, not with 0
    expected = {"a": 0.5 + 0.5 * 7 / 9, "c": 0.5, "d": 0.5 * 8 / 9, "b": 0.25}
    assert {hit.item_id: hit.score for hit in fused[0]} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, ["a", "b", "c"]), (1.0, ["c", "d", "a"]), (0.6, ["c", "a", "d", "b"])]
)
def test_a_weight_moves_between_the_lists(share: float, expected: list[str]) -> None:
    fused = fuse({"vector": LEFT, "words": RIGHT}, 5, {"vector": 1 - share, "words": share})
    assert [hit.item_id for hit in fused[0]] == expected


def test_places_follow_the_hits() -> None:
    fused = fuse({"vector": LEFT, "words": RIGHT}, 4)
    others = ItemIds(["e", "d", "c", "b", "a"])
    moved = fused.pointing_into(others).take(np.array([1, 0]))
    assert isinstance(moved, Fused)
    assert moved.places_of(0) == fused.places_of(1)
    assert moved.places_of(1) == fused.places_of(0)
    table = moved.top(2).to_arrow()
    assert table.column("words_rank").to_pylist() == [None, 3, 1]
    assert table.column("vector_score").to_pylist() == [9.0, 9.0, 7.0]


def test_words_find_what_is_written_and_vectors_find_what_is_near(retriever: Retriever) -> None:
    words = retriever.search(["blue-lamp", "red nothing"], k=20, mode="words")
    assert words.stage == "words"
    assert words[0][0].item_id == "blue-lamp"
    assert {hit.source for hit in words[0]} == {"words"}
    assert [hit.item_id for hit in words[1]] == [f"red-{shape}" for shape in ("mug", "shoe", "lamp", "book", "chair")]
    both = retriever.search(["blue lamp"], k=20, mode="hybrid")
    assert (both.stage, both[0][0].item_id, len(both[0])) == ("hybrid", "blue-lamp", 20)
    assert both.query_ids == ("0",)


@pytest.mark.parametrize("text", ["einer fuer alle", "?!", "красная кружка", "一只红杯"])
def test_where_no_item_has_a_word_the_vectors_order_alone(retriever: Retriever, text: str) -> None:
    words, vectors, both = (retriever.search([text], 20, mode=mode) for mode in ("words", "vector", "hybrid"))
    assert len(words[0]) == 0
    assert [hit.item_id for hit in both[0]] == [hit.item_id for hit in vectors[0]]
    assert {hit.source for hit in both[0]} == {"content"}


@pytest.mark.parametrize("mode", ["words", "hybrid"])
def test_filters_hold_for_words_too(retriever: Retriever, mode: str) -> None:
    found = retriever.search(["red shoe"], k=20, mode=mode, where="tags contains blue")  # type: ignore[arg-type]
    ids = [hit.item_id for hit in found[0]]
    assert ids[0] == "blue-shoe"
    assert all(item_id.startswith("blue-") for item_id in ids)
    assert len(ids) == {"words": 1, "hybrid": 5}[mode]


def test_all_weight_on_one_list_is_that_list(retriever: Retriever) -> None:
    texts = ["red shoe", "lamp"]
    vectors, words = (retriever.search(texts, 20, mode=mode) for mode in ("vector", "words"))
    for share, alone in ((0.0, vectors), (1.0, words)):
        fused = search_both(retriever.state, texts, 20, (), lambda k: retriever.search_texts(texts, k), share)
        assert [[hit.item_id for hit in hits] for hits in fused] == [[hit.item_id for hit in hits] for hits in alone]


def test_the_weight_is_the_best_on_judged_queries() -> None:
    weight, ndcg, held_out = tune_weight(LEFT, RIGHT, [{"c"}, {"d"}])
    assert held_out is None  # of so few queries none is held out
    assert weight == 0.9
    assert ndcg[0.0] == pytest.approx((1 / np.log2(4) + 1) / 2)  # c is the third, d the first
    assert ndcg[0.7] == ndcg[0.8] == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert ndcg[0.9] == pytest.approx(1)
    assert ndcg[1.0] == pytest.approx(1 / 2)  # words alone have no answer to the second query
    assert tune_weight(LEFT, RIGHT, [{"e"}, {"e"}]).weight == DEFAULT_WEIGHT
    with pytest.raises(ShapeError, match="1 judgements for lists of 2 and 2 queries"):
        tune_weight(LEFT, RIGHT, [{"a"}])


def test_a_chosen_weight_is_measured_on_queries_held_out_of_the_choice() -> None:
    rng, count = np.random.default_rng(1), 40
    left, right = (
        listed([rng.permutation(5)[:3].tolist() for _ in range(count)], name) for name in ("content", "words")
    )
    wanted = [{ITEMS[int(rng.integers(5))]} for _ in range(count)]
    tuned = tune_weight(left, right, wanted)
    values = np.zeros((len(SHARES), count))
    for place, share in enumerate(SHARES):
        fused = fuse_words(left, right, 10, share)
        for query, hits in enumerate(fused):
            rank = next((hit.rank for hit in hits if hit.item_id in wanted[query]), None)
            values[place, query] = 0 if rank is None else 1 / np.log2(1 + rank)
    assert list(tuned.ndcg.values()) == pytest.approx(values.mean(axis=1).tolist())
    fold_of, others = np.random.default_rng(0).permutation(count) % 5, []
    for query in range(count):
        means = values[:, fold_of != fold_of[query]].mean(axis=1)
        best = [share for share, mean in zip(SHARES, means, strict=True) if mean >= means.max() - 1e-12]
        others.append(values[SHARES.index(min(best, key=lambda share: abs(share - DEFAULT_WEIGHT))), query])
    held = tuned.held_out
    assert held is not None
    assert held.tuned == pytest.approx(np.mean(others))
    assert held[1:] == pytest.approx([tuned.ndcg[share] for share in (DEFAULT_WEIGHT, 0.0, 1.0)])
    assert held.tuned <= max(tuned.ndcg.values()) + 1e-12
    worse = TunedWeight(0.9, tuned.ndcg, held._replace(tuned=held.default - 0.01))
    assert worse.weight == DEFAULT_WEIGHT
    assert "share of the words: 0.7, the default, as a chosen one, here 0.9, did worse there" in worse.lines()[-1]
    assert TunedWeight(0.9, tuned.ndcg, held._replace(tuned=held.default)).weight == 0.9


@pytest.mark.parametrize("mode", ["vector", "words", "hybrid"])
def test_judged_texts_are_evaluated_by_each_mode(
    mode: SearchMode, root: Path, retriever: Retriever, tmp_path: Path, run: Run
) -> None:
    texts = ["blue lamp", "red-shoe", "lamp green", "white thing"]
    wanted = ["blue-lamp", "red-shoe", "green-lamp", "none"]
    judged = tmp_path / "judged.parquet"
    pq.write_table(pa.table({"text": texts, "item_id": wanted}), judged)
    asked = ("evaluate", root, "--queries", judged, "--mode", mode, "--num-candidates", 20)
    code, out, err = run(*asked, "--json")
    assert code == 0, err
    found = zip(retriever.search(texts, 20, mode=mode), wanted, strict=True)
    ranks = [next((hit.rank for hit in hits if hit.item_id == item_id), np.inf) for hits, item_id in found]
    shown = json.loads(out)
    assert shown["mode"] == mode
    assert shown["means"]["recall@1"] == np.mean([rank <= 1 for rank in ranks])
    assert shown["means"]["mrr@10"] == pytest.approx(np.mean([1 / rank if rank <= 10 else 0 for rank in ranks]))
    code, out, _ = run(*asked, "--save", tmp_path / "saved.json")
    assert f"to be found ({'retrieve' if mode == 'vector' else mode})" in out
    said = json.loads((tmp_path / "saved.json").read_text())["about"]["searched by"]
    assert said == {"hybrid": "vectors and words (share of the words 0.7)", "vector": "vectors"}.get(mode, mode)


def test_a_mode_goes_with_texts_and_the_breakdown_with_vectors(root: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("evaluate", root, "sample", "--mode", "words")
    assert (code, "--mode words is for texts: leave it out, or give --queries FILE" in err) == (2, True)
    code, _, err = run("evaluate", root, "--queries", tmp_path / "q.parquet", "--mode", "hybrid", "--breakdown")
    assert (code, "--breakdown is of the index of vectors" in err) == (2, True)


def test_the_command_line_searches_explains_and_tunes(root: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("search", root, "blue lamp", "--mode", "hybrid", "-k", "2", "--explain")
    assert code == 0
    assert len(re.findall(r"\d \(\d\.\d{3}\)", out)) >= 3  # "rank (score)" by vectors and by words
    code, out, _ = run("search", root, "blue lamp", "--mode", "hybrid", "-k", "1", "--json")
    hit = json.loads(out.splitlines()[0])
    assert (hit["item_id"], hit["vector_rank"], hit["words_rank"], hit["source"]) == ("blue-lamp", 1, 1, "words")
    judged = tmp_path / "judged.parquet"
    pq.write_table(pa.table({"text": ["blu lmp", "white book"], "item_id": ["blue-lamp", "white-book"]}), judged)
    code, out, error = run("words", root, "--columns", "title,tags", "--tune", judged)
    assert code == 0, error
    assert "ndcg@10 by share of the words: 0 " in error
    assert "not measured on held-out queries: there are fewer than 20" in error
    assert run("words", root, "--columns", "")[0] == 0
    code, _, error = run("search", root, "blue lamp", "--mode", "words")
    assert (code, "make one with `commonspace words" in error) == (1, True)
    code, _, error = run("search", root, "blue lamp", "--explain", "--mode", "words")
    assert (code, "leave out --out, --cross-encoder and --mode words" in error) == (2, True)
    code, _, error = run("search", root, "--image", tmp_path / "no.png", "--mode", "words")
    assert (code, "--mode words is for texts" in error) == (2, True)


def test_words_of_a_composed_query_are_its_texts(retriever: Retriever) -> None:
    query = Query.text("blue") + Query.text("lamp") - 0.5 * Query.item("red-mug")
    found = retriever.search([query], 20, mode="hybrid")
    assert isinstance(found, Fused)
    assert found[0][0].item_id == "blue-lamp"
    places = [at["words"].rank for at in found.places_of(0) if "words" in at]
    assert len(places) == len(retriever.search(["blue lamp"], 20, mode="words")[0])
    assert retriever.search([Query.text("lamp")], 4, mode="words")[0] == retriever.search(["lamp"], 4, mode="words")[0]
    with pytest.raises(InputError, match="query 1 has parts that words cannot find: item:red-mug; give texts"):
        retriever.search(["lamp", query], mode="words")
    with pytest.raises(InputError, match="query 0 has parts that words cannot find: item:red-mug"):
        retriever.search([Query.item("red-mug")], mode="hybrid")


def test_words_count_by_the_weights_of_their_texts(retriever: Retriever) -> None:
    blue, lamp = (
        {hit.item_id: hit.score for hit in retriever.search([text], 20, mode="words")[0]} for text in ("blue", "lamp")
    )
    found = retriever.search([Query.text("blue") + 4 * Query.text("lamp")], 20, mode="words")
    assert [hit.item_id for hit in found[0]][1].endswith("-lamp")
    expected = [0.25 * blue.get(hit.item_id, 0) + lamp.get(hit.item_id, 0) for hit in found[0]]
    np.testing.assert_allclose([hit.score for hit in found[0]], expected, rtol=1e-5)  # float32 sums in another order
    assert {hit.item_id for hit in found[0]} == {*blue, *lamp}
    alike = retriever.search([3 * Query.text("blue") + 3 * Query.text("lamp"), "blue lamp"], 20, mode="words")
    assert alike[0] == alike[1]
    hybrid = retriever.search([Query.text("blue") + 4 * Query.text("lamp")], 20, mode="hybrid")
    assert isinstance(hybrid, Fused)
    second = next(hit for hit, at in zip(hybrid[0], hybrid.places_of(0), strict=True) if at["words"].rank == 2)
    assert second.item_id.endswith("-lamp")


def test_lists_of_words_alone_are_neither_reranked_nor_judged(retriever: Retriever) -> None:
    found = retriever.search(["red mug", "blue lamp"], 5, mode="words")
    with pytest.raises(InputError, match="reranking needs the vectors of queries, and a search by words alone"):
        retriever.rerank(retriever.diversify(found))
    with pytest.raises(InputError, match="a verdict needs the vectors of queries"):
        retriever.verdicts(found)
    both = retriever.search(["red mug"], 5, mode="hybrid")
    assert retriever.rerank(both)[0][0].score > 0


def test_an_unknown_mode_and_a_bundle_without_words_are_refused(tmp_path: Path) -> None:
    bundle = build_bundle(
        Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "b", encode=EncodeConfig(32, workers=0)
    )
    plain = Retriever(bundle, ToyEncoder())
    for mode in ("words", "hybrid"):
        with pytest.raises(InputError, match="has no index of words; make one with"):
            plain.search(["red"], mode=mode)
    with pytest.raises(InputError, match="mode"):
        plain.search(["red"], mode="bm25")  # type: ignore[arg-type]
