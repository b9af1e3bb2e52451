"""A bundle whose index is in shards is built, searched, changed, rolled back, verified and repaired as any other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete, upsert
from indexing.bundle.generation import INDEX, generations, part_of
from indexing.bundle.index_files import held_out_queries
from indexing.bundle.maintenance.repair import RepairReport
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import REBUILD_HINT, verify
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import DamagedFileError, InputError
from indexing.index import FlatIndex, recall
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import ShardedIndex
from retrieval.cli import main
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.retriever import Retriever
from tests.indexing.index.test_ivf import clustered

COUNT, DIM = 6200, 16
MEMORY = "520K"  # a shard of half of it holds 6,050 rows of 44 bytes
RECALL = 0.95
SHARDS = ["index.bin", "index.bin.0000", "index.bin.0001"]


def source(path: Path, ids: list[str], texts: Vectors, images: Vectors) -> Path:
    kind = pa.list_(pa.float32())
    columns = {
        "item_id": pa.array(ids),
        "price": pa.array(range(len(ids))),
        "text_vector": pa.array(list(texts), kind),
        "image_vector": pa.array([None if row % 3 == 0 else image for row, image in enumerate(images)], kind),
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    texts = clustered(COUNT, 1, DIM)
    images = unit(texts + 0.5 * clustered(COUNT, 2, DIM))
    items = source(folder / "items.parquet", [f"i{row}" for row in range(COUNT)], texts, images)
    arguments = ["build", str(items), "--out", str(folder / "bundle"), "--encoder", "vectors:", "--index", "sharded"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--max-index-memory", MEMORY, "--json"])
    assert not stopped.value.code
    return folder / "bundle"


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "bundle")
    return tmp_path / "bundle"


def index_files(root: Path) -> list[str]:
    """The files of the index that the generation in force records, all of which must be there and no other."""
    bundle = Bundle.open(root)
    names = [record.name for record in bundle.manifest.files if part_of(record.name) == INDEX]
    assert sorted(path.name for path in bundle.folder.glob("index.bin*")) == names
    assert not [path for path in root.iterdir() if path.name.startswith(("unfinished", "compacting", "work-"))]
    return names


def shards(root: Path) -> ShardedIndex:
    index = Bundle.open(root).index
    assert isinstance(index, ShardedIndex)
    return index


def check(root: Path, found_at_least: float = RECALL) -> None:
    """Compare answers with exact search over the living items, with and without a filter."""
    retriever = Retriever.load(root)
    is_live, vectors = retriever.bundle.is_live, retriever.vectors
    queries = clustered(150, 7, DIM)
    exact = FlatIndex(vectors).search(queries, 10, is_live)[0]
    found = retriever.search_vectors(queries, 10)
    assert is_live[found.rows].all()
    own = np.take_along_axis(queries @ vectors.T, found.rows, axis=1)
    np.testing.assert_allclose(found.scores, own, atol=1e-3)
    assert (own >= exact[:, -1:] - 1e-5).mean() >= found_at_least
    cheap = np.array(retriever.bundle.attributes.column("price").to_pylist()) < 90
    exact, rows = FlatIndex(vectors).search(queries, 10, is_live & cheap)
    few = retriever.search_vectors(queries, 10, where=[("price", "<", 90)])
    np.testing.assert_allclose(few.scores, exact, atol=1e-3)
    assert (few.rows == rows).mean() > 0.97
    assert not retriever.status.degraded


def test_it_keeps_its_promise_and_says_so(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert index_files(built) == SHARDS
    assert [len(shard) for shard in shards(built).shards] == [COUNT // 2, COUNT // 2]
    info = Bundle.open(built).manifest.index
    assert (info["kind"], info["family"], info["unmet"]) == ("faiss-sharded", "sharded pq4 + fp16", [])
    assert info["config"]["kind"] == "sharded"
    assert 0 < info["bytes"] < COUNT * (2 * DIM)  # the half-precision vectors stay in the files
    (trial,) = info["tried"]
    assert set(trial["latency_ms"]) == {"text", "image", "history", "item"}
    assert min(info["recall"].values()) >= RECALL
    check(built)
    with pytest.raises(SystemExit):
        main(["info", str(built), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["index"]["efforts"] == info["efforts"]
    assert not shown["status"]["degraded"]


def test_the_recall_that_is_reported_is_that_of_the_bundle_as_it_is_opened(built: Path) -> None:
    bundle, retriever = Bundle.open(built), Retriever.load(built)
    queries = held_out_queries(bundle.modality_vectors, retriever.vectors, 500)
    oracle, index = FlatIndex(retriever.vectors), shards(built)
    for kind in ("text", "image", "history"):
        got = recall(index, oracle, queries[kind].vectors[1::2], 10, kind=kind)  # those that did not choose
        assert got == pytest.approx(bundle.manifest.index["recall"][kind], abs=1e-3)
        effort = bundle.manifest.index["efforts"][kind]
        assert all(isinstance(shard, IvfIndex) and shard.efforts.of(kind).to_json() == effort for shard in index.shards)


def test_changes_are_searched_and_folded_into_shards_again(root: Path, tmp_path: Path) -> None:
    first = Bundle.open(root).manifest.generation
    ids = [f"n{row}" for row in range(150)]
    encoder = load_encoder(f"vectors:{DIM}")
    more = source(tmp_path / "more.parquet", ids, clustered(150, 3, DIM), clustered(150, 4, DIM))
    assert upsert(root, Catalogue.from_parquet(more), encoder).added == 150
    delete(root, [f"i{row}" for row in range(0, 900, 2)])
    check(root)
    compact(root)
    assert len(Bundle.open(root).items) == COUNT + 150 - 450
    assert index_files(root) == SHARDS
    assert [len(shard) for shard in shards(root).shards] == [COUNT // 2 - 450, COUNT // 2 + 150]
    check(root)
    assert rollback(root, first).manifest.generation == first
    assert index_files(root) == SHARDS
    check(root)
    assert verify(root) == []


@pytest.mark.parametrize(("name", "missing"), list(zip(SHARDS, [False, True, False], strict=True)))
def test_damage_to_any_of_its_files_is_found_and_mended(root: Path, name: str, missing: bool) -> None:
    bundle = Bundle.open(root)
    path = bundle.folder / name
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.unlink()
    if not missing:
        path.write_bytes(damaged)
    (problem,) = verify(root)
    assert (problem.path, problem.hint, problem.serving) == (f"{path.parent.name}/{name}", REBUILD_HINT, True)
    with pytest.raises(DamagedFileError, match=name):
        Retriever.load(root)
    report: RepairReport = repair(root)
    assert report.done == (f"the index was built again from the vectors, into {generations(root)[-1]}",)
    assert [left.serving for left in report.left] == [False]
    assert index_files(root) == SHARDS
    before = {record.name: record.sha256 for record in bundle.manifest.files}
    for record in Bundle.open(root).manifest.files:  # which are the same bytes as before
        assert record.name == INDEX or record.sha256 == before[record.name]


def test_learning_keeps_it_in_shards(root: Path) -> None:
    from retrieval import FitConfig, Interactions, fit

    rows = [
        {"user_id": f"u{user}", "item_id": f"i{7 * user + step}", "timestamp": 1_700_000_000 + 60 * step}
        for user in range(30)
        for step in range(8)
    ]
    log = Interactions.from_arrow(pa.Table.from_pylist(rows))
    with pytest.raises(InputError, match="too little for vectors of length 144"):  # before anything is learned
        fit(root, log)
    fit(root, log, FitConfig(adapter=None, behaviour=None, reranker=None))
    assert len(generations(root)) == 2
    assert index_files(root) == SHARDS
    check(root)
