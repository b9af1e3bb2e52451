"""Encoding with actors of Ray gives the store that encoding in this process gives, whatever is lost on the way."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders.base import Encoder
from indexing.errors import EngineError
from indexing.media.files import Modality
from indexing.runtime.ray_engine import RayEngine
from indexing.store.encode import EncodeConfig, EncodeReport, OnProgress, encode_catalogue
from indexing.store.store import Embedding, EmbeddingStore
from tests.cli_run import toy_runner
from tests.ray_cluster import NODE
from tests.toy import COLOURS, DIM, ToyEncoder, picture

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

ITEMS, BATCH = 60, 5
IDS = sorted(f"i{number}" for number in range(ITEMS))


class FatalEncoder(ToyEncoder):
    """Ends its process at one text."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if "red mug 4" in texts:
            os._exit(1)
        return super().encode_texts(texts)


class SlowEncoder(ToyEncoder):
    """Takes a quarter of a second for a batch of texts."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        time.sleep(0.25)
        return super().encode_texts(texts)


class UnloadableEncoder(ToyEncoder):
    """Can be sent, and not be received."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("import package_of_the_driver",)


def catalogue_in(folder: Path, items: int = ITEMS) -> Catalogue:
    """Texts and pictures, of which some are broken, missing or the same."""
    colours, whole = list(COLOURS), picture("green", 64)
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(items):
        data = picture(colours[number % 4], 8 + number % 20) if number % 10 else whole[: len(whole) // 2]
        if number % 7:
            (folder / f"{number}.png").write_bytes(data)
        title = f"{colours[number % 4]} mug {number % 12}"
        rows.append({"item_id": f"i{number}", "title": title, "image": f"{number}.png"})
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return Catalogue.from_parquet(folder / "rows.parquet", image_dir=folder)


def encoded(
    folder: Path,
    catalogue: Catalogue,
    engine: RayEngine | None,
    encoder: Encoder | None = None,
    progress: OnProgress | None = None,
) -> tuple[EncodeReport, list[Embedding]]:
    """Encode into a store; what became of that, and what the store holds, in the order of the ids."""
    store, config = EmbeddingStore(folder, DIM), EncodeConfig(BATCH, 1, engine=engine)
    report = encode_catalogue(catalogue, encoder or ToyEncoder(), store, config=config, progress=progress)
    return report, list(store.records(IDS))


def alike(one: Sequence[Embedding], other: Sequence[Embedding]) -> bool:
    """Whether records are the same, to the last bit of their vectors."""
    return [_plain(record) for record in one] == [_plain(record) for record in other]


def _plain(record: Embedding) -> tuple[Embedding, bytes | None]:
    return replace(record, vector=None), None if record.vector is None else record.vector.tobytes()


def counts(report: EncodeReport) -> tuple[int, ...]:
    return report.encoded, report.copied, report.resumed, report.quarantined


@pytest.mark.slow
def test_stores_and_counts_are_those_of_this_process(cluster: "Cluster", tmp_path: Path) -> None:
    catalogue = catalogue_in(tmp_path / "shop")
    local, expected = encoded(tmp_path / "local", catalogue, None)
    report, found = encoded(tmp_path / "ray", catalogue, RayEngine(actors=2))
    assert alike(found, expected)
    assert len([record for record in found if record.vector is not None]) > ITEMS
    assert counts(report) == counts(local)
    assert min(report.encoded, report.copied, report.quarantined) > 0
    again, _ = encoded(tmp_path / "ray", catalogue, None)
    assert (again.encoded, again.copied) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["bytes", "paths"])
def test_only_the_driver_reads_what_is_behind_a_url(cluster: "Cluster", tmp_path: Path, column: str) -> None:
    folder, files = tmp_path / "shop", fsspec.filesystem("memory")  # of this process alone: actors find nothing in it
    catalogue_in(folder)
    table = pq.read_table(folder / "rows.parquet")
    if column == "bytes":
        data = [
            (folder / name).read_bytes() if (folder / name).exists() else None for name in table["image"].to_pylist()
        ]
        table = table.set_column(2, "image", pa.array(data))
    with files.open("/shop/rows.parquet", "wb") as file:
        pq.write_table(table, file)
    for path in folder.glob("*.png") if column == "paths" else ():
        files.pipe(f"/shop/{path.name}", path.read_bytes())
    try:
        catalogue = Catalogue.open("memory://shop/rows.parquet", allow_urls=True)
        local, expected = encoded(tmp_path / "local", catalogue, None)
        report, found = encoded(tmp_path / "ray", catalogue, RayEngine(actors=1))
    finally:
        files.rm("/shop", recursive=True)
    assert alike(found, expected)
    assert counts(report) == counts(local)
    assert {record.modality for record in found if record.vector is not None} == {Modality.TEXT, Modality.IMAGE}


@pytest.mark.slow
def test_what_was_begun_without_ray_is_continued_with_it(cluster: "Cluster", tmp_path: Path) -> None:
    catalogue = catalogue_in(tmp_path / "shop")
    whole, expected = encoded(tmp_path / "local", catalogue, None)
    begun, _ = encoded(tmp_path / "store", catalogue_in(tmp_path / "part", ITEMS // 2), None)
    report, found = encoded(tmp_path / "store", catalogue, RayEngine(actors=1))
    assert alike(found, expected)
    assert report.resumed >= begun.encoded + begun.copied > ITEMS // 2
    assert sum(counts(report)) == sum(counts(whole))


@pytest.mark.slow
def test_a_node_that_is_lost_on_the_way_changes_nothing(cluster: "Cluster", tmp_path: Path) -> None:
    catalogue = catalogue_in(tmp_path / "shop")
    local, expected = encoded(tmp_path / "local", catalogue, None)
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    lost: list[int] = []

    def progress(items: int, seconds: object) -> None:
        if not lost:
            cluster.remove_node(node, allow_graceful=False)
        lost.append(items)

    report, found = encoded(tmp_path / "ray", catalogue, RayEngine(actors=4), SlowEncoder(), progress)
    assert alike(found, expected)
    assert counts(report) == counts(local)


@pytest.mark.slow
def test_a_batch_that_ends_every_actor_ends_the_run_and_keeps_what_is_stored(
    cluster: "Cluster", tmp_path: Path
) -> None:
    rows = [{"item_id": f"i{n}", "title": f"red mug {n % 5}"} for n in range(BATCH)]
    fatal = Catalogue.from_arrow(pa.Table.from_pylist(rows))
    with pytest.raises(EngineError, match="4 actors of Ray were lost at the same batch, which begins with 'red mug 0'"):
        encoded(tmp_path / "fatal", fatal, RayEngine(actors=1), FatalEncoder())
    catalogue = catalogue_in(tmp_path / "shop")
    _, expected = encoded(tmp_path / "local", catalogue, None)
    _, found = encoded(tmp_path / "fatal", catalogue, RayEngine(actors=1))
    assert alike(found, expected)


@pytest.mark.slow
def test_what_keeps_actors_from_starting_is_said(cluster: "Cluster", tmp_path: Path) -> None:
    catalogue = catalogue_in(tmp_path / "shop")
    with pytest.raises(EngineError, match=r"an actor needs .*'GPU': 1.* the cluster has"):
        encoded(tmp_path / "ray", catalogue, RayEngine(gpus=1))
    with pytest.raises(EngineError, match="connected to a cluster of Ray already: leave out address"):
        encoded(tmp_path / "ray", catalogue, RayEngine(address="auto"))
    with pytest.raises(EngineError, match="No module named 'package_of_the_driver'"):
        encoded(tmp_path / "ray", catalogue, RayEngine(actors=1), UnloadableEncoder())


@pytest.mark.slow
def test_a_running_cluster_is_reached_by_its_address(cluster: "Cluster", tmp_path: Path) -> None:
    import ray

    catalogue = catalogue_in(tmp_path / "shop")
    _, expected = encoded(tmp_path / "local", catalogue, None)
    ray.shutdown()
    try:
        _, found = encoded(tmp_path / "ray", catalogue, RayEngine(cluster.address, actors=1))
        assert not ray.is_initialized()
        with pytest.raises(EngineError, match=r"the cluster of Ray at '127\.0\.0\.1:9' cannot be reached .*is it up"):
            encoded(tmp_path / "ray", catalogue, RayEngine("127.0.0.1:9"))
    finally:
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    assert alike(found, expected)


@pytest.mark.slow
def test_the_command_line_builds_the_bundle_with_ray(
    cluster: "Cluster", tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue_in(tmp_path / "shop")
    run, source = toy_runner(capsys, monkeypatch), (tmp_path / "shop" / "rows.parquet", "--workers", 1)
    assert run("build", *source, "--out", tmp_path / "local")[0] == 0
    assert run("build", *source, "--out", tmp_path / "ray", "--engine", "ray", "--actors", 1)[0] == 0
    local, found = Bundle.open(tmp_path / "local"), Bundle.open(tmp_path / "ray")
    counted = [{**bundle.manifest.counts["encoding"], "seconds": None} for bundle in (local, found)]
    assert counted[0] == counted[1]
    # Which are named after the hash of their bytes.
    stores = [{shard.name for shard in (bundle.folder / "store").iterdir()} for bundle in (local, found)]
    assert stores[0] == stores[1] != set()
