"""A bundle whose vectors and ids stay in files answers as one that is in memory, before and after changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.bundle.edits.edit import delete, upsert
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.filesystem.id_table import MappedIds
from indexing.store.lazy_rows import LazyRows
from retrieval import Candidates, Retriever
from retrieval.retriever.learned_parts import compact, repair
from tests.indexing.bundle.test_older_layout import HISTORIES, answered, assert_as_then, older, then

__all__ = ["older", "then"]  # fixtures
TOLERANCE = 1e-5  # sums of other blocks of rows


@pytest.fixture
def from_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leave everything in files from then on."""

    def leave() -> None:
        monkeypatch.setattr("indexing.store.lazy_rows.IN_MEMORY_BYTES", 0)
        monkeypatch.setattr("indexing.bundle.generation.MANY_ITEMS", 0)

    return leave


def more_answers(retriever: Retriever) -> dict[str, Candidates]:
    pool = retriever.pool(HISTORIES[:2])
    return answered(retriever) | {
        "both": retriever.similar_items(["i000", "i060"], k=10, by="both"),
        "behaviour": retriever.similar_items(["i000", "i060"], k=10, by="behaviour"),
        "complements": retriever.complements([["i000", "i003"]], k=5),
        "diverse": retriever.diversify(retriever.recommend(HISTORIES, k=20), 5, max_similarity=0.9),
        "collapsed": retriever.collapse(retriever.recommend(HISTORIES, k=20), 5, min_similarity=0.99),
        "newest": retriever.top_items("newest", 5),
        "pool": retriever.rerank(pool),
        "vectors": retriever.search_vectors(np.eye(retriever.vectors.shape[1], dtype=np.float32)[:2], 5),
    }


def hits_of(found: dict[str, Candidates]) -> dict[str, Any]:
    return {name: [[(hit.item_id, hit.score) for hit in hits] for hits in one] for name, one in found.items()}


def assert_alike(found: dict[str, Candidates], expected: dict[str, Any]) -> None:
    for name, one in found.items():
        assert_as_then(one, expected[name], TOLERANCE)


def test_one_that_learned_answers_as_in_memory(older: Path, from_files: Callable[[], None]) -> None:
    root = older / "bundle"
    repair(root)
    expected = hits_of(more_answers(Retriever.open(root)))
    explained = Retriever.open(root)
    reasons = explained.explain(explained.recommend(HISTORIES, k=5))
    from_files()
    retriever = Retriever.open(root, check="background")
    retriever.bundle.generation.checks.wait()
    assert isinstance(retriever.indexed, LazyRows)
    assert isinstance(retriever.behaviour and retriever.behaviour.items, LazyRows)
    assert isinstance(retriever.items._table, MappedIds)
    assert_alike(more_answers(retriever), expected)
    again = retriever.explain(retriever.recommend(HISTORIES, k=5))
    for hits, hits_before in zip(again, reasons, strict=True):
        for hit, before in zip(hits, hits_before, strict=True):
            assert dict(hit.history) == pytest.approx(dict(before.history), abs=1e-5)
    content = np.asarray(retriever.vectors)[retriever.bundle.is_live]
    np.testing.assert_allclose(retriever.centre, content.mean(axis=0), atol=1e-6)


def test_changes_are_followed_and_folded_in(older: Path, from_files: Callable[[], None], tmp_path: Path) -> None:
    root, encoder = older / "bundle", load_encoder("vectors:")
    compact(root)
    whole = Retriever.open(root)
    rows = whole.bundle.attributes.slice(3, 4).to_pylist()
    frozen = whole.bundle.modality_vectors
    vectors = frozen.vectors[frozen.modalities[0]][3:7].astype(np.float32)
    name = next(iter(whole.bundle.manifest.columns["vectors"]))
    lines = [
        json.dumps(row | {"item_id": item_id, name: (vector + 0.1).tolist()})
        for row, item_id, vector in zip(rows, ["i003", "new-1", "new-2", "i050"], vectors, strict=True)
    ]
    (tmp_path / "more.jsonl").write_text("\n".join(lines))
    opened = [whole]
    from_files()
    opened.append(Retriever.open(root, check="lazy"))
    upsert(root, Catalogue.from_jsonl(tmp_path / "more.jsonl"), encoder)
    opened = [each.latest() for each in opened]
    delete(root, ["i010", "new-1"])
    opened = [each.latest() for each in opened]
    opened.append(Retriever.open(root))
    assert not isinstance(opened[0].indexed, LazyRows)
    assert isinstance(opened[1].indexed, LazyRows)
    expected = hits_of(more_answers(opened[0]))
    assert any("new-2" in str(one) for one in expected.values())
    for retriever in opened[1:]:
        assert_alike(more_answers(retriever), expected)
        np.testing.assert_allclose(retriever.centre, opened[0].centre, atol=1e-6)
    before = hits_of({"similar": opened[0].similar_items(["i000", "new-2"], 10)})
    compact(root)
    assert_alike({"similar": opened[1].latest().similar_items(["i000", "new-2"], 10)}, before)
