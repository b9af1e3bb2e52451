"""Shards answer as one index would, and are built within their memory from blocks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.errors import DamagedFileError, InputError, ShapeError, VectorError
from indexing.index import FlatIndex, load_index, recall
from indexing.index.backends.build_sharded import Plan, build_sharded
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.flat import exact_search
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import ShardedIndex, shard_files
from indexing.index.base import merged
from indexing.index.config import SearchParams
from tests.agree import assert_lists_agree
from tests.faults import FaultyDisk
from tests.indexing.index.test_ivf import clustered
from tests.paths import ROOT
from tests.power import Mode

COUNT, DIM = 12_000, 32
MEMORY = 1_100_000  # a shard of half of it holds 6,875 rows of 80 bytes


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 1, DIM)


class Blocks:
    """Blocks of uneven sizes, with a count of how often they were read."""

    def __init__(self, vectors: Vectors, seed: int = 0) -> None:
        self.vectors, self.reads = vectors, 0
        cuts = np.sort(np.random.default_rng(seed).integers(0, len(vectors), 17))
        self.parts = np.split(vectors, cuts)

    def __call__(self) -> Iterator[Vectors]:
        self.reads += 1
        yield from self.parts


@pytest.fixture(scope="module", params=[False, True], ids=["in memory", "on disk"])
def built(request: pytest.FixtureRequest, vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sharded") / "index.bin"
    blocks = Blocks(vectors)
    build_sharded(blocks, path, max_memory=MEMORY, on_disk=request.param)
    assert blocks.reads == 2
    return path


def opened(path: Path) -> ShardedIndex:
    index = load_index(path, "faiss-sharded")
    assert isinstance(index, ShardedIndex)
    return index


def test_every_row_is_where_it_was_given(built: Path, vectors: Vectors) -> None:
    index = opened(built)
    assert len(index.shards) == 2
    assert [len(shard) for shard in index.shards] == [6000, 6000]
    assert shard_files(built) == [built.with_name(f"index.bin.000{number}") for number in range(2)]
    assert (len(index), index.dim) == (COUNT, DIM)
    np.testing.assert_allclose(index.vectors, vectors, atol=1e-3)


def test_with_all_effort_it_agrees_with_exact_search(built: Path, vectors: Vectors) -> None:
    index = opened(built).with_effort(SearchParams(10_000, 800))
    queries = clustered(60, 2, DIM)
    assert recall(index, FlatIndex(vectors), queries, 10) >= 0.99
    scores, rows = index.search(queries, 10)
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ vectors.T, rows, axis=1), atol=1e-3)
    allow = np.arange(COUNT) % 50 == 3  # few: shards scan them exactly
    exact_scores, exact_rows = FlatIndex(vectors).search(queries, 10, allow)
    scores, rows = index.search(queries, 10, allow)
    np.testing.assert_allclose(scores, exact_scores, atol=1e-3)
    assert (rows == exact_rows).mean() > 0.97
    only_first = np.arange(COUNT) < 5
    assert (np.sort(index.search(queries, 7, only_first)[1], axis=1) == [-1, -1, 0, 1, 2, 3, 4]).all()


@pytest.mark.parametrize("shards", [2, 4, 8])
def test_shards_that_are_searched_exactly_find_what_one_exact_index_finds(shards: int, vectors: Vectors) -> None:
    vectors = vectors[: COUNT - 5]  # which are no multiple of the shards
    queries = clustered(50, 3, DIM)
    parts = np.array_split(vectors, shards)
    scores, rows = ShardedIndex([FaissIndex.flat(part) for part in parts]).search(queries, 20)
    assert_lists_agree((scores, rows), FlatIndex(vectors).search(queries, 20))
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ vectors.T, rows, axis=1), rtol=1e-5)


def test_trained_on_a_sample_it_is_as_good_as_trained_on_all(built: Path, vectors: Vectors) -> None:
    queries, oracle = clustered(300, 2, DIM), FlatIndex(vectors)
    whole = IvfIndex.build(vectors)
    effort = SearchParams(24, 60)
    sharded = opened(built).with_effort(effort)
    assert recall(sharded, oracle, queries, 10) >= recall(whole.with_effort(effort), oracle, queries, 10) - 0.02


def test_the_effort_is_kept_without_writing_shards_again(built: Path) -> None:
    index = opened(built).with_effort(SearchParams(7, 90))
    before = [path.stat().st_mtime_ns for path in shard_files(built)]
    index.save_contents(built)
    assert [path.stat().st_mtime_ns for path in shard_files(built)] == before
    again = opened(built)
    assert again.effort == SearchParams(7, 90)
    assert all(isinstance(shard, IvfIndex) and shard.effort == SearchParams(7, 90) for shard in again.shards)


def test_building_twice_gives_the_same_bytes(vectors: Vectors, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_sharded(Blocks(vectors), tmp_path / name, max_memory=MEMORY)
    for number in range(2):
        one, two = (tmp_path / f"{name}.000{number}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_equal_scores_are_merged_in_row_order_wherever_they_are() -> None:
    vectors = np.tile(np.eye(3, dtype=np.float32), (7, 1))
    index = ShardedIndex([FaissIndex.flat(part) for part in np.split(vectors, [2, 11])])
    scores, rows = index.search(np.array([[0, 1, 0]], np.float32), 9)
    assert rows.tolist() == [[1, 4, 7, 10, 13, 16, 19, 0, 2]]
    assert scores.tolist() == [[1] * 7 + [0] * 2]
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(0, 4, (2, 12)).astype(np.float32)
        numbers = np.tile(rng.permutation(12), (2, 1))
        left, right = (values[:, :5], numbers[:, :5]), (values[:, 5:], numbers[:, 5:])
        got = merged(left, right, 6)
        for line in range(2):
            wanted = sorted(zip(-values[line], numbers[line], strict=True))[:6]
            assert list(zip(-got[0][line], got[1][line], strict=True)) == wanted


@pytest.mark.parametrize("allowed", [[15], [0, 15], [9, 10], [3], []])
def test_where_few_are_allowed_what_is_missing_is_no_row(allowed: list[int]) -> None:
    vectors = np.tile(np.eye(4, dtype=np.float32), (5, 1))
    index = ShardedIndex([FaissIndex.flat(part) for part in np.split(vectors, [3, 10])])
    allow = np.isin(np.arange(20), allowed)
    scores, rows = index.search(np.array([[4, 3, 2, 1]], np.float32), 4, allow)
    best = sorted(allowed, key=lambda row: row % 4)
    assert rows.tolist() == [[*best, *[-1] * (4 - len(best))]]
    assert scores.tolist() == [[*(4.0 - row % 4 for row in best), *[-np.inf] * (4 - len(best))]]


def test_exact_search_over_blocks_is_exact(vectors: Vectors) -> None:
    queries = clustered(20, 4, DIM)
    found = exact_search(np.split(vectors, [1, 400, 7000]), queries, 12)
    assert_lists_agree(found, FlatIndex(vectors).search(queries, 12))
    assert exact_search([vectors[:2]], queries, 3)[1][:, 2].tolist() == [-1] * 20


def test_the_plan_keeps_to_its_memory() -> None:
    for memory in (2**24, 2**28, 2**31):
        for on_disk in (False, True):
            plan = Plan.within(memory, 512, on_disk=on_disk)
            assert plan.shard * plan.entry <= memory / 2
            assert plan.sample * 512 * 4 <= memory / 4
    assert Plan.within(2**28, 512).entry == 2 * 512 + 128 + 8
    assert Plan.within(2**28, 512, on_disk=True).entry == 2 * 512 + 128 + 8
    with pytest.raises(InputError, match=r"max_memory of 1000000 bytes is too little .* 512; give 16M"):
        Plan.within(10**6, 512)
    Plan.within(16384001, 512)


def test_blocks_that_cannot_be_indexed_are_refused(vectors: Vectors, tmp_path: Path) -> None:
    broken = vectors.copy()
    broken[5000, 3] = np.nan
    with pytest.raises(VectorError, match="NaN or infinity"):
        build_sharded(Blocks(broken), tmp_path / "i", max_memory=MEMORY)
    with pytest.raises(ShapeError, match="expected"):
        build_sharded(lambda: [vectors[:50], vectors[:50, 1:]], tmp_path / "i", max_memory=MEMORY)
    with pytest.raises(InputError, match="too few for lists"):
        build_sharded(lambda: [vectors[:20]], tmp_path / "i", max_memory=MEMORY)
    with pytest.raises(InputError, match="0 vectors are too few"):
        build_sharded(list, tmp_path / "i")
    for second in (vectors[:9000], np.concatenate([vectors, vectors])):
        given = iter([[vectors], [second]])
        with pytest.raises(InputError, match="give the same each time"):
            build_sharded(lambda given=given: next(given), tmp_path / "i", max_memory=MEMORY)  # type: ignore[misc]
    with pytest.raises(InputError, match="shards are"):
        ShardedIndex([FlatIndex(vectors)])
    with pytest.raises(ShapeError, match=r"dimensions \[31, 32\]"):
        ShardedIndex([FaissIndex.flat(vectors[:5]), FaissIndex.flat(vectors[:5, 1:])])


def test_shards_that_are_damaged_missing_or_swapped_are_refused(vectors: Vectors, tmp_path: Path) -> None:
    path = tmp_path / "index.bin"
    ShardedIndex([FaissIndex.flat(vectors[:70]), FaissIndex.flat(vectors[70:200])]).save(path)
    first, second = shard_files(path)
    kept, contents = first.read_bytes(), path.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(DamagedFileError, match=r"index\.bin\.0000 has \d+ bytes, expected"):
        opened(path)
    first.unlink()
    with pytest.raises(DamagedFileError, match=r"index\.bin\.0000 has None bytes"):
        opened(path)
    first.write_bytes(kept)
    opened(path)
    wrong: list[dict[str, object]] = [{"shards": []}, {"shards": [{"kind": "flat", "rows": 1, "size": 1}]}]
    for change in [*wrong, {"effort": 3}, {"shards": 7}]:
        path.write_text(json.dumps(json.loads(contents) | change))
        with pytest.raises(DamagedFileError, match="build the index again"):
            opened(path)
    path.write_bytes(b"\xff")
    with pytest.raises(DamagedFileError, match="does not say what shards there are"):
        opened(path)


@pytest.mark.parametrize("mode", ["stop", "power", "names", "some", "torn"])
def test_writing_over_an_index_never_mixes_two(mode: Mode, vectors: Vectors, tmp_path: Path) -> None:
    old = ShardedIndex([FaissIndex.flat(part) for part in np.split(vectors[:300], [100, 200])])
    new = ShardedIndex([FaissIndex.flat(part) for part in np.split(vectors[1000:1300], [150])])
    fail_at, failed, outcomes = 0, True, set()
    while failed:
        fail_at += 1
        (folder := tmp_path / f"{fail_at}").mkdir()
        old.save(folder / "index.bin")
        with FaultyDisk(folder, fail_at, mode) as disk:
            new.save(folder / "index.bin")
        failed = disk.failed
        try:
            found = opened(folder / "index.bin").vectors
        except DamagedFileError:
            outcomes.add("refused")
        else:
            np.testing.assert_array_equal(found, (old if len(shard_files(folder / "index.bin")) == 3 else new).vectors)
            outcomes.add("whole")
    assert outcomes == {"whole", "refused"}
    np.testing.assert_array_equal(found, new.vectors)
    assert len(list(folder.iterdir())) == 3


def test_the_example_of_the_docs_runs(vectors: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vectors").mkdir()
    for number, part in enumerate(np.split(vectors, [3000, 7000])):
        np.save(f"vectors/{number}.npy", part.astype(np.float16))
    text = (ROOT / "docs" / "how-to" / "large.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"np": np, "queries": vectors[[0, 5000, 11_999]]}
    exec(compile(example, "large.md", "exec"), names)  # noqa: S102 - the document is ours
    assert names["rows"][:, 0].tolist() == [0, 5000, 11_999]
