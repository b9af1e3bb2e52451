"""Indexes of families that are built no longer are opened and searched as before: files made by the version before."""

from pathlib import Path

import numpy as np
import pytest

from indexing.index import load_index
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams
from tests.paths import ROOT

FILES = ROOT / "tests" / "data" / "former_families"
VECTORS = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
K = 10
# What was found of the exact best ten by the version that built them, and how far a score may lie from the exact one.
FOUND = {
    "ivf_rabitq_fp16": ("faiss-ivf", 0.99, 0.01),
    "ivf_rabitq_sq8": ("faiss-ivf", 0.98, 0.1),
    "ivf_pq4_sq4": ("faiss-ivf", 0.89, 1.0),
    "ivf_fp16": ("faiss-ivf", 0.99, 0.01),
    "flat_sq4": ("faiss-flat", 0.89, 1.0),
}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_former_index_opens_and_finds_what_it_found(name: str, tmp_path: Path) -> None:
    kind, share, error = FOUND[name]
    index = load_index(FILES / f"{name}.faiss", kind)
    assert isinstance(index, FaissIndex | IvfIndex)
    if isinstance(index, IvfIndex):
        assert index.effort == SearchParams(lists=index.lists, candidates=100 if index.refined else 0)
    products = QUERIES @ VECTORS.T
    exact = np.argsort(-products, axis=1, kind="stable")[:, :K]
    scores, rows = index.search(QUERIES, K)
    assert np.mean([len(set(a) & set(b)) / K for a, b in zip(rows.tolist(), exact.tolist(), strict=True)]) >= share
    np.testing.assert_allclose(scores, np.take_along_axis(products, rows, axis=1), atol=error)
    allow = np.arange(len(VECTORS)) % 2 == 0
    rows = index.search(QUERIES, K, allow)[1]
    assert (rows % 2 == 0).all()
    np.testing.assert_allclose(index.vectors, VECTORS, atol=0.5 if "sq4" in name else 0.05)
    index.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (FILES / f"{name}.faiss").read_bytes()
