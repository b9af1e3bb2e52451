"""Groups of near-duplicates and variants of a whole bundle: plain loops, a case by hand, and `commonspace doctor`."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing import Catalogue, build_bundle
from indexing.arrays import Vectors, unit
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.postprocess import duplicate_groups
from retrieval.postprocess.duplicate_groups import groups_by_content
from retrieval.postprocess.duplicates import collapsed
from tests.cli_run import runner


def twins(count: int = 300) -> Vectors:
    """Items of which some are a little apart from others, some further."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(count, 12)).astype(np.float32)
    copies = rng.integers(count // 3, size=count // 3)
    vectors[count // 3 : 2 * (count // 3)] = vectors[copies] + 0.1 * rng.normal(size=(count // 3, 12))
    return vectors


@pytest.mark.parametrize("threshold", [0.9, 0.98, 0.999])
def test_groups_are_what_collapsing_a_list_of_all_items_folds(threshold: float) -> None:
    vectors = twins()
    rows = np.arange(len(vectors))[None]
    items = ItemIds([f"i{row}" for row in range(len(vectors))])
    everything = Candidates(np.zeros((1, 12), np.float32), rows, np.zeros(rows.shape, np.float32), items, "retrieve")
    folded = collapsed(everything, vectors=vectors, min_similarity=threshold).folded[0]
    expected = {row: [row, *others.tolist()] for row, others in folded.items()}
    found = groups_by_content(vectors, threshold)
    assert {int(group[0]): group.tolist() for group in found.groups} == expected
    assert [len(group) for group in found.groups] == sorted(map(len, expected.values()), reverse=True)
    cosines = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(cosines, -1)
    assert found.with_twin == {one: int((cosines.max(axis=1) >= one).sum()) for one in found.with_twin}
    assert found.compared == len(vectors)


def test_of_a_large_catalogue_some_items_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicate_groups, "MAX_ITEMS", 100)
    monkeypatch.setattr(duplicate_groups, "MAX_LEADERS", 40)
    found = groups_by_content(np.repeat(np.eye(150, dtype=np.float32), 2, axis=0), seed=3)
    assert found.compared == 40
    assert 20 <= len(found.groups) <= 40
    assert all(group.tolist() == [group[0], group[0] + 1] and group[0] % 2 == 0 for group in found.groups)


def test_a_threshold_that_is_no_cosine_is_refused() -> None:
    with pytest.raises(InputError, match=r"min_similarity is 1\.5; give a cosine"):
        groups_by_content(twins(6), 1.5)


def test_doctor_lists_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = np.eye(6, dtype=np.float32)[[0, 1, 0, 2, 0, 1]]
    vectors[4] += 0.1 * np.eye(6, dtype=np.float32)[5]
    table = {
        "item_id": [*"abcdef"],
        "parent_id": ["p", "q", "p", None, None, "p"],
        "text_vector": pa.array(vectors.tolist(), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    build_bundle(Catalogue.open(tmp_path / "items.parquet"), load_encoder("vectors:"), tmp_path / "b")
    run = runner(capsys)
    code, out, _ = run("doctor", tmp_path / "b", "--group-by", "parent_id", "--json")
    assert code == 0
    content, parent = json.loads(out)["duplicate_groups"]
    assert content == {
        "by": "content",
        "groups": 2,
        "items": 5,
        "largest": 3,
        "compared": 6,
        "min_similarity": 0.98,
        "with_twin": {"0.9": 5, "0.95": 5, "0.98": 5, "0.99": 5, "0.999": 4},  # the one apart has 1 / sqrt(1.01)
        "examples": [["a", "c", "e"], ["b", "f"]],
    }
    assert parent == {
        "by": "parent_id", "groups": 1, "items": 3, "largest": 3, "compared": 6, "examples": [["a", "c", "f"]],
    }  # fmt: skip
    strict = json.loads(run("doctor", tmp_path / "b", "--min-similarity", "0.999", "--json")[1])["duplicate_groups"]
    assert [one["examples"] for one in strict] == [[["a", "c"], ["b", "f"]]]
    _, out, _ = run("doctor", tmp_path / "b", "--group-by", "parent_id")
    assert "groups by content of cosine 0.98 and more: 2, of 5 items" in out
    assert "groups by 'parent_id': 1, of 3 items" in out
    assert "a, c, e" in out
    code, _, err = run("doctor", tmp_path / "b", "--group-by", "shelf")
    assert code == 2
    assert "shelf" in err
