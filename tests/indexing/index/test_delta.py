"""An index with changes answers as one built over the live rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.arrays import Mask
from indexing.errors import InputError
from indexing.index import FlatIndex
from indexing.index.backends.faiss import FaissIndex
from indexing.index.base import VectorIndex
from indexing.index.delta import DeltaIndex
from tests.agree import assert_lists_agree

DIM = 8


@pytest.mark.parametrize("kind", [FlatIndex, FaissIndex.flat, FaissIndex.hnsw])
@settings(max_examples=40)
@given(
    first=st.integers(1, 60),
    added=st.integers(0, 20),
    gone=st.floats(0, 1),
    allowed=st.none() | st.floats(0, 1),
    k=st.integers(1, 100),
    seed=st.integers(0, 99),
)
def test_it_agrees_with_brute_force(
    kind: type[FlatIndex], first: int, added: int, gone: float, allowed: float | None, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(first + added, DIM)).astype(np.float32)
    queries = rng.normal(size=(3, DIM)).astype(np.float32)
    is_live: Mask = rng.random(len(vectors)) >= gone
    allow: Mask | None = None if allowed is None else rng.random(len(vectors)) < allowed
    base: VectorIndex = kind(vectors[:first])
    found = DeltaIndex(base, vectors[first:], is_live).search(queries, k, allow)
    assert_lists_agree(found, FlatIndex(vectors).search(queries, k, is_live if allow is None else is_live & allow))


def test_it_is_not_saved(tmp_path: object) -> None:
    index = DeltaIndex(FlatIndex(np.eye(2, dtype=np.float32)), np.eye(2, dtype=np.float32), np.ones(4, np.bool_))
    with pytest.raises(InputError, match="compact the bundle"):
        index.save(tmp_path)  # type: ignore[arg-type]
