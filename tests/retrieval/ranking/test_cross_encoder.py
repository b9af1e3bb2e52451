"""Reranking by a cross-encoder: the order of its scores, pair by pair, nothing dropped, nothing read twice."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Rows, Vectors
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.models.features.item_texts import ItemTexts
from retrieval.ranking.cross_encoder import CrossEncoderReranker
from retrieval.retriever.retriever import Retriever
from tests.cli_run import json_lines, runner
from tests.tiny_models import tiny_cross_encoder
from tests.toy import ToyEncoder, toy_file

TEXTS = ["a", "bb", "", "dddd", "bb", "ffffff"]


class Lengths:
    """Scores a text by its length, the query's number times over, and remembers what it read."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        self.read += pairs
        return np.array([float(query) * len(text) for query, text in pairs], np.float32)


def texts_of(rows: Rows) -> list[str]:
    return [TEXTS[row] for row in rows]


def listed(rows: list[list[int]], names: Sequence[str]) -> Candidates:
    given = np.array(rows, np.int64)
    scores = np.where(given >= 0, -np.arange(given.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
    queries = np.zeros((len(given), 2), np.float32)
    return Candidates(queries, given, scores, ItemIds(list("012345")), "retrieve", tuple(names))


def test_the_order_is_that_of_the_model_by_hand() -> None:
    found = listed([[0, 2, 1, 3], [5, 4, 2, -1], [2, -1, -1, -1], [1, 4, 0, 3]], ["q", "r", "s", "again"])
    scorer = Lengths()
    reranker = CrossEncoderReranker(scorer, texts_of, {"q": "1", "r": "-1", "s": "1", "again": "1", "unused": "7"})
    ranked = reranker.rerank(found)
    assert ranked.rows.tolist() == [[3, 1, 0, 2], [4, 5, 2, -1], [2, -1, -1, -1], [3, 1, 4, 0]]
    just_below = float(np.nextafter(np.float32(-6), np.float32(-np.inf)))
    np.testing.assert_allclose(ranked.scores[0], [4, 2, 1, 1], atol=1e-6)  # what has no text is just below the lowest
    assert ranked.scores[1].tolist() == [-2, -6, just_below, -np.inf]
    assert ranked.scores[2].tolist() == [0, -np.inf, -np.inf, -np.inf]
    assert ranked.stage == "cross-encoder"
    assert ranked.query_ids == found.query_ids
    np.testing.assert_array_equal(np.sort(ranked.rows), np.sort(found.rows))
    assert len(scorer.read) == len(set(scorer.read)) == 5  # "1" with a, bb, dddd; "-1" with ffffff, bb
    with pytest.raises(InputError, match="the texts of queries 's' are not known"):
        CrossEncoderReranker(scorer, texts_of, {"q": "1", "r": "2", "again": "3"}).rerank(found)


def test_many_queries_are_read_in_blocks_and_alike_ones_once() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(6)[:4].tolist() for _ in range(300)]
    numbers = [str(1 + place % 100) for place in range(300)]
    names = [f"q{place}" for place in range(300)]
    scorer = Lengths()
    ranked = CrossEncoderReranker(scorer, texts_of, dict(zip(names, numbers, strict=True))).rerank(listed(rows, names))
    assert len(scorer.read) == len(set(scorer.read))
    for line, given in enumerate(rows):
        order = sorted(given, key=lambda row: -len(TEXTS[row]) * int(numbers[line]))  # stable, as the ranking is
        assert ranked.rows[line].tolist() == order
    assert len(CrossEncoderReranker(scorer, texts_of, {}).rerank(listed([[0]], ["q"]).take([]))) == 0


def test_a_bundle_is_searched_and_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = pytest.importorskip("sentence_transformers")
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "bundle")
    folder = tiny_cross_encoder(tmp_path / "model")
    retriever = Retriever.load(tmp_path / "bundle", ToyEncoder())
    assert ItemTexts(retriever.bundle)(np.array([5, 0])) == ["green shoe", "red mug"]
    model = library.CrossEncoder(str(folder), device="cpu")
    found = retriever.search_texts(["red mug", "two lamp"], k=8)
    expected = []
    for line, query in enumerate(["red mug", "two lamp"]):
        scores = {hit.item_id: float(model.predict((query, hit.item_id.replace("-", " ")))) for hit in found[line]}
        expected.append(sorted(scores.items(), key=lambda pair: -pair[1])[:3])
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.encoder_of", lambda bundle: ToyEncoder())
    options = ["--cross-encoder", str(folder), "--num-candidates", "8", "-k", "3", "--json"]
    _, printed, _ = runner(capsys)("search", tmp_path / "bundle", "red mug", "two lamp", *options)
    shown = json_lines(printed)
    best = [pair for pairs in expected for pair in pairs]
    assert [row["item_id"] for row in shown] == [item_id for item_id, _ in best]
    np.testing.assert_allclose([row["score"] for row in shown], [score for _, score in best], atol=1e-5)
    assert {row["stage"] for row in shown} == {"cross-encoder"}


def test_a_bundle_without_texts_has_none_to_read(tmp_path: Path) -> None:
    catalogue = Catalogue.from_parquet(toy_file(tmp_path), columns=NamedColumns(text=()))
    bundle = build_bundle(catalogue, ToyEncoder(), tmp_path / "bundle")
    with pytest.raises(InputError, match="has no texts of items; build it with a text column"):
        ItemTexts(bundle)
