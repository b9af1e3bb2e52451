"""An index in shards is tuned for every kind of query to the goals that were set, and says what it keeps in memory."""

from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.errors import InputError, VectorError
from indexing.index import FlatIndex, IndexConfig, build_index, load_index, recall
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import ShardedIndex
from indexing.index.base import TunableIndex
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.index.tuning.efforts import cost
from indexing.index.tuning.families import SHARDED, SHARDED_ON_DISK, shortlist
from tests.indexing.index.test_ivf import clustered

COUNT, DIM = 10_200, 16
MEMORY = 520_000  # a shard of half of it holds 5,909 rows of 44 bytes


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 1, DIM)


@pytest.fixture(scope="module", params=[False, True], ids=["in memory", "on disk"])
def built(request: pytest.FixtureRequest, vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goals") / "index.bin"
    config = IndexConfig(kind="sharded", max_memory=MEMORY, on_disk=request.param, min_recall=0.9)
    rng = np.random.default_rng(5)
    near = vectors[:300] + 0.01 * rng.normal(size=(300, DIM)).astype(np.float32)
    queries = {"near": near, "far": clustered(300, 2, DIM) - 2 * vectors.mean(axis=0)}
    index, report = build_index(vectors, config, queries, path)
    assert isinstance(index, ShardedIndex)
    assert isinstance(index, TunableIndex)
    assert len(index.shards) == 2
    assert report.family == ("sharded pq8 + fp16" if request.param else "sharded pq4 + fp16")
    assert report.target_met
    for kind, asked in queries.items():
        checking = asked[1::2]  # which did not choose
        assert recall(index, FlatIndex(vectors), checking, 10, kind=kind) == pytest.approx(
            report.recall[kind], abs=1e-3
        )
        assert report.recall[kind] >= 0.9
    assert cost(index, index.efforts.of("near")) < cost(index, index.efforts.of("far"))
    opened = load_index(path, report.kind, report.efforts)
    for kind, asked in queries.items():
        for before, after in zip(index.search(asked, 10, kind=kind), opened.search(asked, 10, kind=kind), strict=True):
            np.testing.assert_array_equal(before, after)
    return path


def test_only_codes_in_memory_count(built: Path) -> None:
    index = load_index(built, "faiss-sharded")
    assert isinstance(index, ShardedIndex)
    on_disk = index.code_cost == 1.0
    codes = COUNT * (DIM // 4 + 8)
    assert index.nbytes == 0 if on_disk else codes <= index.nbytes <= 1.7 * codes  # lists are filled up


def test_no_shard_is_asked_for_more_lists_than_it_has(built: Path) -> None:
    index = load_index(built, "faiss-sharded", {"text": {"lists": 9999, "candidates": 70}, "image": {"lists": 3}})
    assert isinstance(index, ShardedIndex)
    for shard in index.shards:
        assert isinstance(shard, IvfIndex)
        assert shard.efforts.of("text") == SearchParams(shard.lists, 70)
        assert shard.efforts.of("image") == SearchParams(3)
    assert index.efforts.of(None) == SearchParams(index.lists, 70)


def test_each_shard_costs_its_candidates(vectors: Vectors, tmp_path: Path) -> None:
    whole = IvfIndex.build(vectors[:4000])
    two = ShardedIndex([whole, whole])
    assert cost(two, SearchParams(8, 50)) == 2 * cost(whole, SearchParams(8, 50))
    two.with_efforts(SearchParamsByKind({"text": SearchParams(5, 60), "image": SearchParams(9, 40)})).keep_greatest()
    two.save(tmp_path / "index.bin")
    assert IvfIndex.load(tmp_path / "index.bin.0001").effort == SearchParams(9, 60)  # for who opens it with FAISS


def test_the_goals_say_what_shards_are(vectors: Vectors, tmp_path: Path) -> None:
    assert shortlist(IndexConfig(kind="sharded"), 10**8, 512) == [SHARDED]
    assert shortlist(IndexConfig(kind="sharded", max_memory="1M", on_disk=True), 10**8, 512) == [SHARDED_ON_DISK]
    assert SHARDED.estimated_bytes(10**8, 512, 16) == 10**8 * (512 // 4 + 8)
    assert SHARDED_ON_DISK.estimated_bytes(10**8, 512, 16) == 0
    with pytest.raises(InputError, match="on_disk is for kind 'sharded', not 'ivf'"):
        IndexConfig(kind="ivf", on_disk=True)
    with pytest.raises(InputError, match="built in files"):
        build_index(vectors, IndexConfig(kind="sharded"), {})
    with pytest.raises(InputError, match="max_memory of 1000 bytes is too little for vectors of length 16; give"):
        build_index(vectors, IndexConfig(kind="sharded", max_memory=1000), {}, tmp_path / "index.bin")
    broken = vectors.copy()
    broken[9000] = np.nan
    with pytest.raises(VectorError, match="NaN or infinity"):
        build_index(broken, IndexConfig(kind="sharded", max_memory=MEMORY), {}, tmp_path / "index.bin")
