"""A bundle whose index is a table of LanceDB is built, changed, rolled back, verified and repaired as any other."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle, served_vectors
from indexing.bundle.edits.edit import delete, upsert
from indexing.bundle.generation import INDEX, generations, part_of
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import REBUILD_HINT, verify
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import DamagedFileError, MissingExtraError
from indexing.index import FlatIndex, IndexConfig
from indexing.index.backends.lance import LanceIndex
from retrieval.cli import main
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.retriever import Retriever
from tests.indexing.index.test_ivf import clustered

COUNT, DIM = 2200, 16
RECALL = 0.95


def catalogue(names: list[str], texts: Vectors, images: Vectors) -> pa.Table:
    kind = pa.list_(pa.float32())
    return pa.table(
        {
            "item_id": pa.array(names),
            "price": pa.array(range(len(names))),
            "text_vector": pa.array(list(texts), kind),
            "image_vector": pa.array(list(images), kind),
        }
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lance") / "bundle"
    texts = clustered(COUNT, 1, DIM)
    items = catalogue([f"i{row}" for row in range(COUNT)], texts, unit(texts + 0.5 * clustered(COUNT, 2, DIM)))
    build_bundle(Catalogue.from_arrow(items), f"vectors:{DIM}", root, index=IndexConfig(kind="lancedb", sample=40))
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "bundle")
    return tmp_path / "bundle"


def table(root: Path, generation: str | None = None) -> LanceIndex:
    index = Bundle.open(root, generation=generation).index
    assert isinstance(index, LanceIndex)
    return index


def check(root: Path) -> None:
    """Compare answers with exact search over the living items, with and without a filter."""
    retriever = Retriever.load(root)
    is_live, vectors = retriever.bundle.is_live, retriever.vectors
    queries = clustered(80, 7, DIM)
    exact = FlatIndex(vectors).search(queries, 10, is_live)[0]
    found = retriever.search_vectors(queries, 10)
    assert is_live[found.rows].all()
    own = np.take_along_axis(queries @ vectors.T, found.rows, axis=1)
    np.testing.assert_allclose(found.scores, own, atol=1e-5)
    assert (own >= exact[:, -1:] - 1e-5).mean() >= RECALL
    cheap = np.array(retriever.bundle.attributes.column("price").to_pylist()) < 90
    exact, _ = FlatIndex(vectors).search(queries, 10, is_live & cheap)
    np.testing.assert_allclose(retriever.search_vectors(queries, 10, where="price < 90").scores, exact, atol=1e-5)
    assert not retriever.status.degraded


def test_its_files_are_listed_and_it_keeps_its_promise(built: Path) -> None:
    bundle = Bundle.open(built)
    info = bundle.manifest.index
    assert (info["kind"], info["family"], info["unmet"]) == ("lancedb-ivf", "lancedb rq2 + fp32", [])
    assert min(info["recall"].values()) >= RECALL
    names = [record.name for record in bundle.manifest.files if part_of(record.name) == INDEX]
    on_disk = [path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()]
    assert sorted(name for name in on_disk if name.startswith(INDEX)) == sorted(names)
    assert any(name.startswith("index.bin.lance/data/") for name in names)
    assert verify(built) == []
    check(built)


def test_changes_are_searched_folded_into_the_table_and_undone(root: Path) -> None:
    first = Bundle.open(root).manifest.generation
    more = catalogue([f"n{row}" for row in range(60)], clustered(60, 3, DIM), clustered(60, 4, DIM))
    upsert(root, Catalogue.from_arrow(more), load_encoder(f"vectors:{DIM}"))
    delete(root, [f"i{row}" for row in range(0, 160, 2)])
    check(root)
    compact(root)
    bundle, index = Bundle.open(root), table(root)
    assert len(index) == len(bundle.items) == COUNT + 60 - 80
    assert index.contents.trained == COUNT  # rows were deleted and appended, and the lists extended
    assert index.contents.version > table(root, first).contents.version
    np.testing.assert_allclose(served_vectors(bundle), Retriever.load(root).vectors, atol=1e-6)
    check(root)
    assert verify(root) == []
    assert rollback(root, first).manifest.generation == first
    assert len(table(root)) == COUNT
    check(root)


def test_damage_to_its_files_is_found_and_mended(root: Path) -> None:
    bundle = Bundle.open(root)
    (data,) = (bundle.folder / "index.bin.lance" / "data").iterdir()
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    data.unlink()
    data.write_bytes(damaged)
    (problem,) = verify(root)
    assert (problem.hint, problem.serving) == (REBUILD_HINT, True)
    with pytest.raises(DamagedFileError, match="is damaged"):
        Retriever.load(root)
    report = repair(root)
    assert report.done == (f"the index was built again from the vectors, into {generations(root)[-1]}",)
    check(root)


def test_learning_keeps_it_in_a_table(root: Path) -> None:
    from retrieval import FitConfig, Interactions, fit

    rows = [
        {"user_id": f"u{user}", "item_id": f"i{7 * user + step}", "timestamp": 1_700_000_000 + 60 * step}
        for user in range(30)
        for step in range(8)
    ]
    log = Interactions.from_arrow(pa.Table.from_pylist(rows))
    fit(root, log, FitConfig(adapter=None, behaviour=None, reranker=None))
    assert len(generations(root)) == 2
    assert len(table(root)) == COUNT
    check(root)


def test_the_command_line_names_the_extra_before_anything_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = catalogue(["a", "b"], clustered(2, 3, DIM), clustered(2, 4, DIM))
    pq.write_table(items, tmp_path / "items.parquet")
    monkeypatch.setattr("indexing.errors.find_spec", lambda name: None)
    arguments = ["build", str(tmp_path / "items.parquet"), "--out", str(tmp_path / "shop"), "--encoder", "vectors:"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--index", "lancedb"])
    assert stopped.value.code == 1
    assert 'pip install ".[lancedb]"' in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()
    with pytest.raises(MissingExtraError, match="lancedb cannot be imported"):
        build_bundle(Catalogue.from_arrow(items), "vectors:", tmp_path / "shop", index=IndexConfig(kind="lancedb"))
