"""A compaction of a bundle in which little changed uses the lists and codes of the generation before again."""

import shutil
from contextlib import suppress
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete, upsert
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.index import FlatIndex, IndexConfig
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import ShardedIndex
from indexing.index.tuning.reuse import MAX_CHANGED_SHARE
from retrieval.cli import main
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from tests.faults import FaultyDisk
from tests.indexing.index.test_ivf import clustered
from tests.power import Mode

COUNT, DIM, RECALL = 6200, 16, 0.95
CONFIGS = {
    "ivf": IndexConfig(kind="ivf", min_recall=RECALL, sample=200),
    "sharded": IndexConfig(kind="sharded", min_recall=RECALL, sample=200, max_memory="520K"),
}


def catalogue(path: Path, rows: range, vectors: Vectors) -> Catalogue:
    kind = pa.list_(pa.float32())
    columns = {"item_id": [f"item-{row:07d}" for row in rows], "image_vector": pa.array(list(vectors), kind)}
    pq.write_table(pa.table(columns), path)
    return Catalogue.from_parquet(path)


@pytest.fixture(scope="module", params=CONFIGS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    items = catalogue(folder / "items.parquet", range(COUNT), clustered(COUNT, 1, DIM))
    build_bundle(items, load_encoder(f"vectors:{DIM}"), folder / "bundle", index=CONFIGS[request.param])
    return folder / "bundle"


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "bundle")
    return tmp_path / "bundle"


def replaced(root: Path, share: float, seed: int = 3) -> list[str]:
    """Take out a share of the items and put in as many others; give what was taken out."""
    rng, count = np.random.default_rng(seed), int(share * COUNT)
    gone = [f"item-{row:07d}" for row in rng.choice(COUNT, count, replace=False)]
    delete(root, gone, missing_ok=True)
    rows = range(seed * COUNT, seed * COUNT + count)
    upsert(
        root,
        catalogue(root.parent / "more.parquet", rows, clustered(len(rows), seed, DIM)),
        load_encoder(f"vectors:{DIM}"),
    )
    return gone


def check(root: Path) -> None:
    """Compare answers with exact search, for queries of which none chose an effort."""
    retriever = Retriever.open(root)
    assert len(retriever.index) == len(retriever.items) == len(retriever.vectors)
    queries = clustered(200, 11, DIM)
    found = retriever.search_vectors(queries, 10)
    exact = FlatIndex(np.asarray(retriever.vectors)).search(queries, 10)[0]
    own = np.take_along_axis(queries @ np.asarray(retriever.vectors).T, found.rows, axis=1)
    np.testing.assert_allclose(found.scores, own, atol=1e-3)
    assert (own >= exact[:, -1:] - 1e-5).mean() >= RECALL
    assert not retriever.status.degraded


def test_it_says_since_when_lists_are_trained_and_keeps_the_promise(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Bundle.open(root).manifest
    replaced(root, 0.05)
    index = compact(root).manifest.index
    assert index["trained"] == {"generation": first.generation, "rows": COUNT, "changed": 2 * int(0.05 * COUNT)}
    assert index["family"] == first.index["family"]
    assert min(index["recall"].values()) >= RECALL
    assert not index["unmet"]
    check(root)
    replaced(root, 0.02, seed=4)
    trained = compact(root).manifest.index["trained"]
    assert (trained["generation"], trained["rows"]) == (first.generation, COUNT)
    assert trained["changed"] > index["trained"]["changed"]
    check(root)
    assert verify(root) == []
    with pytest.raises(SystemExit):
        main(["info", str(root)])
    assert f"trained on the {COUNT} items of {first.generation}; since then" in capsys.readouterr().out


def test_after_many_changes_all_is_trained_anew(root: Path) -> None:
    first = Bundle.open(root).manifest.generation
    for round_ in range(2):
        replaced(root, MAX_CHANGED_SHARE / 4, seed=3 + round_)
        assert compact(root).manifest.index["trained"]["generation"] == first
    replaced(root, 0.02, seed=5)
    bundle = compact(root)
    assert "trained" not in bundle.manifest.index
    replaced(root, 0.02, seed=6)
    assert compact(root).manifest.index["trained"]["generation"] == bundle.manifest.generation
    check(root)


def test_where_a_goal_would_be_missed_the_index_is_built(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = IvfIndex.updated

    def wrong(self: IvfIndex, kept: np.ndarray, added: Vectors, path: Path) -> IvfIndex:
        return shuffled(self, kept, -added, path)

    monkeypatch.setattr(IvfIndex, "updated", wrong)
    replaced(root, 0.1)
    assert "trained" not in compact(root).manifest.index
    check(root)


def test_nothing_of_items_that_were_taken_out_is_in_the_new_generation(root: Path) -> None:
    before = Bundle.open(root)
    gone = replaced(root, 0.02)
    rows = before.items.rows(gone)
    (halves,) = (vectors[rows] for vectors in before.modality_vectors.vectors.values())
    traces = [half.tobytes() for half in halves] + [vector.tobytes() for vector in unit(halves)]
    traces += [code.tobytes() for code in scored_on(before)[rows]]
    names = [f'"{item_id}"'.encode() for item_id in gone] + [item_id.encode() for item_id in gone]
    old = contents(before.folder)
    assert all(any(trace in data for data in old.values()) for trace in (*traces[: len(gone)], *names[len(gone) :]))
    new = contents(compact(root).folder)
    for trace in (*traces, *names):
        assert not [path for path, data in new.items() if trace in data]


def scored_on(bundle: Bundle) -> np.ndarray:
    """The codes of the vectors that candidates are scored on, one row of bytes for each item."""
    index = bundle.index
    shards = index.shards if isinstance(index, ShardedIndex) else [index]
    exact = [shard._exact for shard in shards if isinstance(shard, IvfIndex)]
    return np.concatenate(
        [faiss.rev_swig_ptr(one.codes.data(), one.ntotal * one.code_size).reshape(one.ntotal, -1) for one in exact]
    )


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each file, and those of a shard of the store without compression."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in folder.glob("store/*.parquet"):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pq.read_schema(path)) as stream:
            stream.write_table(pq.read_table(path))
        files[f"{path.name}, read"] = sink.getvalue().to_pybytes()
    return files


def test_cut_off_anywhere_it_leaves_the_old_generation_or_the_new(root: Path, tmp_path: Path) -> None:
    replaced(root, 0.01)
    mode: Mode = "power" if "sharded" in Bundle.open(root).manifest.index["kind"] else "stop"
    first, living = Bundle.open(root).manifest.generation, set(living_items(root))
    fail_at, failed, seen = 0, True, set()
    while failed:
        fail_at += 23
        shutil.copytree(root, copy := tmp_path / f"{fail_at}" / "bundle")
        with FaultyDisk(copy.parent, fail_at, mode) as disk, suppress(OSError):
            compact(copy)
        failed = disk.failed
        assert not [problem for problem in verify(copy) if problem.serving]
        manifest = Bundle.open(copy).manifest
        seen.add(manifest.generation == first)
        assert (manifest.generation == first) == ("trained" not in manifest.index)
        assert living_items(copy) == living
        compact(copy)
        assert Bundle.open(copy).manifest.index["trained"]["generation"] == first
        assert not [path for path in copy.iterdir() if path.name.startswith(("unfinished", "compacting", "work"))]
        shutil.rmtree(copy.parent)
    assert seen == {True, False}


def living_items(root: Path) -> set[str]:
    bundle = Bundle.open(root)
    return {item_id for item_id, is_live in zip(bundle.items, bundle.is_live, strict=True) if is_live}
