"""Shards that actors of Ray build and tune are those of one process, to the byte, and keep the same promise."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import CommonspaceWarning, EngineError, InputError
from indexing.index import IndexConfig, Queries, build_index, load_index
from indexing.index.backends.build_sharded import Layout, train_shards
from indexing.index.backends.sharded import ShardedIndex, shard_files
from indexing.index.tuning import ray_shards
from indexing.index.tuning.ray_shards import (
    BuiltShard,
    SearchActor,
    ShardActor,
    ShardOrder,
    ShardsOnActors,
    ShardWriter,
    build_shards_by_actors,
)
from indexing.index.tuning.recall import GroundTruth
from indexing.runtime.ray_engine import RayEngine
from indexing.store.encode import EncodeConfig
from tests.indexing.index.test_ivf import clustered

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

COUNT, DIM, QUERIES = 6_000, 32, 120
ROW_BYTES = 80  # of a shard
TWO = RayEngine(actors=2)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.index.backends.build_sharded.MIN_ROWS", 100)
    monkeypatch.setattr("indexing.index.backends.build_sharded.SAMPLE_SHARE", 1)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 1, DIM)


@pytest.fixture(scope="module")
def asked(vectors: Vectors) -> dict[str, Queries]:
    rows = np.arange(QUERIES)
    return {"text": Queries(unit(clustered(QUERIES, 5, DIM) + 0.1)), "item": Queries(vectors[rows], rows)}


def config_of(shards: int) -> IndexConfig:
    return IndexConfig(kind="sharded", min_recall=0.9, sample=QUERIES, max_memory=2 * ROW_BYTES * (COUNT // shards + 1))


class MortalActor(ShardActor):
    """Ends its process once, in the middle of the first shard."""

    def add(self, block: Vectors) -> None:
        died = self._order.path.with_name("died")
        if self._done and not died.exists():
            died.touch()
            os._exit(1)
        super().add(block)


class StillbornActor(SearchActor):
    """Ends its process before it is ready, where it has the second shard."""

    def ready(self) -> None:
        if 1 in self._shards:
            os._exit(1)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [2, 4, 8])
def test_files_efforts_and_truth_are_those_of_one_process(
    shards: int, cluster: "Cluster", vectors: Vectors, asked: dict[str, Queries], tmp_path: Path
) -> None:
    config, local, remote = config_of(shards), tmp_path / "local" / "index", tmp_path / "ray" / "index"
    local.parent.mkdir()
    remote.parent.mkdir()
    expected, report = build_index(vectors, config, asked, local)
    index, found, truth = build_shards_by_actors(vectors, config, asked, remote, TWO)
    assert len(index.shards) == shards
    files, others = shard_files(local), shard_files(remote)
    assert [file.read_bytes() for file in others] == [file.read_bytes() for file in files]
    assert (found.efforts, found.recall, found.family) == (report.efforts, report.recall, report.family)
    assert isinstance(expected, ShardedIndex)
    assert index.efforts == expected.efforts
    for kind, queries in asked.items():
        np.testing.assert_allclose(truth[kind].exact, GroundTruth.by(vectors, queries, 10).exact, rtol=1e-5)
    index.save_contents(remote)
    opened, texts = load_index(remote, "faiss-sharded", found.efforts), asked["text"].vectors
    for one, other in zip(opened.search(texts, 10, kind="text"), expected.search(texts, 10, kind="text"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_promise_is_kept_for_the_whole(
    cluster: "Cluster", vectors: Vectors, asked: dict[str, Queries], tmp_path: Path
) -> None:
    index, report, _ = build_shards_by_actors(vectors, config_of(4), asked, tmp_path / "index", TWO)
    assert report.target_met
    others = unit(clustered(400, 6, DIM) + 0.1)  # which chose nothing
    best = np.sort(others @ vectors.T, axis=1)[:, -10:]
    _, rows = index.search(others, 10, kind="text")
    scores = np.take_along_axis(others @ vectors.T, rows, axis=1)
    assert (scores >= best[:, :1] - 1e-5).mean() >= 0.9


@pytest.mark.slow
def test_an_actor_that_is_lost_changes_nothing(
    cluster: "Cluster",
    vectors: Vectors,
    asked: dict[str, Queries],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_shards_by_actors(vectors, config_of(2), asked, tmp_path / "whole", TWO)
    monkeypatch.setattr(ray_shards, "ShardActor", MortalActor)
    _, report, _ = build_shards_by_actors(vectors, config_of(2), asked, tmp_path / "lost", RayEngine(actors=1))
    assert (tmp_path / "died").exists()
    found, expected = shard_files(tmp_path / "lost"), shard_files(tmp_path / "whole")
    assert [file.read_bytes() for file in found] == [file.read_bytes() for file in expected]
    assert report.target_met


@pytest.mark.slow
def test_this_process_searches_for_an_actor_that_is_lost(
    cluster: "Cluster", vectors: Vectors, asked: dict[str, Queries], tmp_path: Path
) -> None:
    import ray

    index, _, _ = build_shards_by_actors(vectors, config_of(4), asked, tmp_path / "index", TWO)
    searched = ShardsOnActors.of(ray, TWO, index, tmp_path / "index")
    try:
        queries = asked["text"].vectors
        expected = index.search(queries, 10, kind="text")
        for _ in range(2):
            found = searched.search(queries, 10, kind="text")
            np.testing.assert_array_equal(found[1], expected[1])
            np.testing.assert_array_equal(found[0], expected[0])
            ray.kill(next(iter(searched._actors)))
    finally:
        searched.stop()


@pytest.mark.slow
def test_actors_that_the_cluster_has_no_room_for_are_done_without(
    cluster: "Cluster", vectors: Vectors, asked: dict[str, Queries], tmp_path: Path
) -> None:
    build_shards_by_actors(vectors, config_of(4), asked, tmp_path / "whole", TWO)
    engine = RayEngine(actors=3)
    with pytest.warns(CommonspaceWarning, match="3 actors were asked for, and the cluster has room for 2"):
        _, report, _ = build_shards_by_actors(vectors, config_of(4), asked, tmp_path / "crowded", engine)
    found, expected = shard_files(tmp_path / "crowded"), shard_files(tmp_path / "whole")
    assert [file.read_bytes() for file in found] == [file.read_bytes() for file in expected]
    assert report.target_met


@pytest.mark.slow
def test_this_process_searches_for_an_actor_that_does_not_start(
    cluster: "Cluster", vectors: Vectors, asked: dict[str, Queries], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    index, _, _ = build_shards_by_actors(vectors, config_of(2), asked, tmp_path / "index", TWO)
    expected = index.search(asked["text"].vectors, 10, kind="text")
    monkeypatch.setattr(ray_shards, "SearchActor", StillbornActor)
    with pytest.warns(CommonspaceWarning, match="1 of 2 actors of Ray did not start, and this process searches"):
        searched = ShardsOnActors.of(ray, TWO, index, tmp_path / "index")
    try:
        found = searched.search(asked["text"].vectors, 10, kind="text")
    finally:
        searched.stop()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_bundle_of_given_vectors_is_built_with_ray(cluster: "Cluster", vectors: Vectors, tmp_path: Path) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    table = pa.table({"item_id": [f"i{row}" for row in range(COUNT)], "text_vector": lists})
    encode, index = EncodeConfig(workers=0), config_of(4)
    local = build_bundle(table, f"vectors:{DIM}", tmp_path / "local", index=index, encode=encode)
    found = build_bundle(
        table, f"vectors:{DIM}", tmp_path / "ray", index=index, encode=replace(encode, engine=RayEngine(actors=1))
    )
    for bundle in (local, found):
        assert isinstance(Bundle.open(bundle.root, check="all").index, ShardedIndex)
    names = [f"index.bin.{number:04d}" for number in range(4)]
    records = [{one.name: one.sha256 for one in bundle.manifest.files} for bundle in (local, found)]
    assert [records[1][name] for name in names] == [records[0][name] for name in names]
    assert found.manifest.index["efforts"] == local.manifest.index["efforts"]


def test_an_actor_is_waited_for_while_another_works(
    vectors: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, answers = [0.0], iter([False] * 50 + [True] + [False] * 50)

    def get(_reference: object, timeout: float) -> None:
        now[0] += timeout
        if not next(answers):
            raise TimeoutError

    ray = MagicMock()
    ray.get, ray.exceptions.GetTimeoutError, ray.exceptions.RayTaskError = get, TimeoutError, KeyError
    monkeypatch.setattr(ray_shards, "monotonic", lambda: now[0])
    _, trained = train_shards(lambda: [vectors], max_memory="1M", on_disk=False)
    engine, layout = RayEngine(start_seconds=10), Layout(COUNT, COUNT, 100)
    writer = ShardWriter(ray, engine, vectors, tmp_path / "index", trained, layout)
    with writer._counted():
        writer._await(MagicMock())
    assert now == [51]
    with pytest.raises(EngineError, match="no actor of Ray was ready within 10 s: each needs 1 CPU"):
        writer._await(MagicMock())
    assert now == [62]


def test_folders_that_nodes_do_not_share_are_said(vectors: Vectors, tmp_path: Path) -> None:
    _, trained = train_shards(lambda: [vectors], max_memory="1M", on_disk=False)
    order = ShardOrder(tmp_path / "elsewhere" / "index.0000", COUNT, vectors[:3], 11)
    with pytest.raises(EngineError, match=r"does not see .*elsewhere, where the driver wants the shards: keep"):
        ShardActor(order, trained).ready()
    built = BuiltShard("node-7", 100, vectors[:0], np.empty((0, 0), np.int64))
    with pytest.raises(EngineError, match=r"node-7 has written 100 bytes to .*, where the driver sees nothing: keep"):
        ray_shards._check_written(tmp_path / "index.0000", built)


def test_gpus_are_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.bundle.build.require_device", lambda *_: None)
    encode = EncodeConfig(engine=RayEngine())
    catalogue = Catalogue.from_arrow(pa.table({"item_id": ["a"], "title": ["a mug"]}))
    with pytest.raises(InputError, match="index_device is 'cuda', but shards are built by actors"):
        build_bundle(
            catalogue, "pocket", tmp_path, index=IndexConfig(kind="sharded"), encode=encode, index_device="cuda"
        )
