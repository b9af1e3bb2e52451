"""A bundle that was built, fitted and changed before the code was laid out anew answers as it did then."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import verify
from retrieval import Candidates, Retriever, compact
from tests.paths import ROOT

KEPT = ROOT / "tests" / "data" / "bundle_before_layout.tar.gz"
COUNT = 120
HISTORIES = [["i000", "i003"], ["i030", "i031", "i032", "i040", "i041", "i042"], []]
NEW = [("item_id", "in", [f"i{row}" for row in range(COUNT, COUNT + 4)])]
TOLERANCE = 1e-6  # and that part of a score: processors add up float32 in orders of their own


@pytest.fixture
def older(tmp_path: Path) -> Path:
    shutil.unpack_archive(KEPT, tmp_path, filter="data")
    return tmp_path


def answered(retriever: Retriever) -> dict[str, Candidates]:
    retrieved = retriever.recommend(HISTORIES, k=20, stages="retrieval")
    return {
        "all": retriever.recommend(HISTORIES, k=20),
        "retrieval": retrieved,
        "where": retriever.recommend(HISTORIES, k=20, where=[("shelf", "==", "shelf 1")]),
        "new": retriever.recommend(HISTORIES[:2], k=4, where=NEW),
        "similar": retriever.similar_items(["i000", "i121"], k=10),
        "rerank": retriever.rerank(retrieved),
    }


def assert_as_then(found: Candidates, then: list[list[tuple[str, float]]], tolerance: float = TOLERANCE) -> None:
    """Scores agree place by place, and so do items, but for neighbours whose scores are the same."""
    assert len(found) == len(then)
    for hits, before in zip(found, then, strict=True):
        scores = dict(before)
        assert [hit.score for hit in hits] == pytest.approx(
            [score for _, score in before], rel=5 * tolerance, abs=tolerance
        )
        assert {hit.item_id: scores[hit.item_id] for hit in hits} == pytest.approx(
            {hit.item_id: hit.score for hit in hits}, rel=5 * tolerance, abs=tolerance
        )


@pytest.fixture
def then(older: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((older / "answers.json").read_text())
    return found


def test_it_answers_as_it_did(older: Path, then: dict[str, Any]) -> None:
    found = answered(Retriever.load(older / "bundle"))
    assert found.keys() == then.keys()
    for name, candidates in found.items():
        assert_as_then(candidates, then[name])


def test_it_is_compacted_rolled_back_and_verified(older: Path, then: dict[str, Any]) -> None:
    root = older / "bundle"
    first, fitted = sorted(path.name for path in root.glob("gen-*"))
    before = Retriever.load(root)
    assert before.bundle.manifest.generation == fitted
    assert before.bundle.batches
    compact(root)
    folded = Retriever.load(root)
    assert not folded.bundle.batches
    assert list(folded.items) == [item_id for item_id in before.items if item_id not in ("i001", "i050")]
    for name in ("similar", "new"):
        assert_as_then(answered(folded)[name], then[name], 1e-5)
    verify(root)
    rollback(root, first)
    assert Retriever.load(root).behaviour is None
    rollback(root, fitted)
    assert Retriever.load(root).bundle.manifest.features == before.bundle.manifest.features
