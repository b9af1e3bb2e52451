"""A bundle that is scanned by codes is built, changed, rolled back, exported, verified and repaired as any other."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle, served_vectors
from indexing.bundle.edits.edit import delete, upsert
from indexing.bundle.generation import INDEX
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import DamagedFileError
from indexing.exchange import export_faiss
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.retriever import Retriever
from tests.indexing.bundle.test_sharded_bundle import check, source
from tests.indexing.index.test_ivf import clustered

COUNT, DIM = 2200, 16
RECALL = 0.99


@pytest.fixture(autouse=True)
def codes_are_worth_it_although_the_catalogue_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.index.tuning.families.CODES_FROM", 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts, images = clustered(COUNT, 1, DIM), clustered(COUNT, 2, DIM)
    items = source(tmp_path / "items.parquet", [f"i{row}" for row in range(COUNT)], texts, images)
    build_bundle(Catalogue.from_parquet(items), load_encoder("vectors:"), tmp_path / "bundle")
    return tmp_path / "bundle"


def is_scanned_by_codes(root: Path) -> None:
    bundle = Bundle.open(root)
    info = bundle.manifest.index
    assert (info["kind"], info["family"], info["unmet"]) == ("faiss-ivf", "flat pq4 + fp32", [])
    assert set(info["recall"]) == {"text", "image", "history", "item"}
    assert min(info["recall"].values()) >= RECALL
    assert all(effort["lists"] == 1 for effort in info["efforts"].values())
    np.testing.assert_allclose(served_vectors(bundle), Retriever.load(root).vectors, atol=1e-5)
    check(root, RECALL)


def test_it_lives_through_changes(root: Path, tmp_path: Path) -> None:
    is_scanned_by_codes(root)
    first = Bundle.open(root).manifest.generation
    more = source(
        tmp_path / "more.parquet", [f"n{row}" for row in range(90)], clustered(90, 3, DIM), clustered(90, 4, DIM)
    )
    assert upsert(root, Catalogue.from_parquet(more), load_encoder(f"vectors:{DIM}")).added == 90
    delete(root, [f"i{row}" for row in range(0, 400, 2)])
    check(root, RECALL)
    compact(root)
    assert len(Bundle.open(root).items) == COUNT + 90 - 200
    is_scanned_by_codes(root)
    rollback(root, first)
    check(root, RECALL)
    assert verify(root) == []


def test_its_file_is_one_that_faiss_reads(root: Path, tmp_path: Path) -> None:
    assert export_faiss(Bundle.open(root), tmp_path / "out").kind == "faiss-ivf"
    queries = clustered(40, 7, DIM)
    scores, rows = faiss.read_index(str(tmp_path / "out" / "index.faiss")).search(queries, 10)
    wanted, wanted_rows = Bundle.open(root).index.search(queries, 10)
    assert (rows == wanted_rows).mean() > 0.99
    np.testing.assert_allclose(scores[rows == wanted_rows], wanted[rows == wanted_rows], rtol=1e-5)


def test_damage_is_found_and_mended(root: Path) -> None:
    path = Bundle.open(root).folder / INDEX
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.unlink()
    path.write_bytes(damaged)
    with pytest.raises(DamagedFileError, match=INDEX):
        Retriever.load(root)
    repair(root)
    is_scanned_by_codes(root)
