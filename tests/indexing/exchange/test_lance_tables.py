"""Generations in a table of LanceDB, in a folder and in object storage: versions, changes, readers without state."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle, served_vectors
from indexing.bundle.edits.edit import delete, upsert
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import DamagedFileError, FilterError, GenerationError, InputError, StorageError
from indexing.exchange import LanceTable, export_lance
from indexing.exchange.lance_tables import connect
from indexing.index import FlatIndex, IndexConfig
from retrieval.cli import main
from retrieval.retriever.learned_parts import compact, queries_for
from tests.indexing.index.test_ivf import clustered

COUNT, DIM = 2300, 16


def items(start: int, count: int, seed: int) -> pa.Table:
    rows = range(start, start + count)
    texts = clustered(count, seed, DIM)
    return pa.table(
        {
            "item_id": pa.array([f"i{row}" for row in rows]),
            "price": pa.array([row % 100 for row in rows]),
            "tags": pa.array([["sale"] if row % 3 == 0 else ["new", "sale"][: row % 2] for row in rows]),
            "text_vector": pa.array(list(texts), pa.list_(pa.float32())),
            "image_vector": pa.array(list(unit(texts + clustered(count, seed + 1, DIM))), pa.list_(pa.float32())),
        }
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables") / "bundle"
    config = IndexConfig(kind="flat", sample=40)
    build_bundle(Catalogue.from_arrow(items(0, COUNT, 1)), f"vectors:{DIM}", root, index=config)
    return root


@pytest.fixture
def storage(s3_server: str) -> tuple[str, dict[str, str]]:
    """A place at an S3 server of this process, and how to reach it."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "aws_region": "us-east-1"}
    return "s3://bucket/shop", {**keys, "aws_endpoint": s3_server, "allow_http": "true"}


def check(table: LanceTable, bundle: Bundle, queries: Vectors) -> None:
    """Compare the answers of a reader with exact search, and its filters with masks."""
    vectors, ids = served_vectors(bundle), list(bundle.items)
    exact = FlatIndex(vectors).search(queries, 10)[0]
    scores, found = table.search(queries, 10, kind="text")
    rows = np.array([[ids.index(name) for name in line] for line in found])
    own = np.take_along_axis(queries @ vectors.T, rows, axis=1)
    np.testing.assert_allclose(scores, own, atol=1e-5)
    assert (own >= exact[:, -1:] - 1e-5).mean() >= 0.9
    assert table.report.recall["text"] >= 0.95
    records = bundle.attributes.select(["price", "tags"]).to_pylist()
    cheap = np.array([row["price"] < 5 for row in records])
    on_sale = np.array([row["price"] >= 3 and "sale" in row["tags"] for row in records])
    for condition, allow in (("price < 5", cheap), ("price >= 3 AND array_has(tags, 'sale')", on_sale)):
        wanted, best = FlatIndex(vectors).search(queries, 10, allow)
        names = [[ids[row] for row in line] for line in best]
        for where in (condition, allow):
            scores, found = table.search(queries, 10, where)
            np.testing.assert_allclose(scores, wanted, atol=1e-5)
            assert np.mean([own == line for own, line in zip(found, names, strict=True)]) > 0.9  # the rest are ties


def test_generations_are_versions_and_recordsthat_stay_are_kept(built: Path, tmp_path: Path) -> None:
    root, uri = tmp_path / "bundle", tmp_path / "tables"
    shutil.copytree(built, root)
    first, queries = Bundle.open(root), clustered(40, 7, DIM)
    report = export_lance(first, uri)
    assert (report.generation, report.rows, report.unmet) == (first.manifest.generation, COUNT, [])
    check(LanceTable.open(uri), first, queries)
    table = LanceTable.open(uri)
    table.report = replace(report, content_dim=DIM - 3)  # as after learning
    content = queries[:, : DIM - 3]
    found, expected = (table.search(asked, 5) for asked in (content, np.pad(content, ((0, 0), (0, 3)))))
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]
    upsert(root, Catalogue.from_arrow(items(COUNT, 60, 3)), load_encoder(f"vectors:{DIM}"))
    delete(root, [f"i{row}" for row in range(0, 100, 2)])
    compact(root)
    second = Bundle.open(root)
    later = export_lance(second, uri, queries=queries_for(second))
    assert (later.rows, later.trained) == (COUNT + 10, COUNT)  # deleted, appended, and the lists extended
    assert later.version > report.version
    assert LanceTable.generations(uri) == [report.generation, later.generation]
    check(LanceTable.open(uri), second, queries)
    earlier = LanceTable.open(uri, report.generation)
    assert earlier.report == report
    check(earlier, first, queries)
    assert earlier.attributes.equals(first.attributes.replace_schema_metadata(None))
    table = connect(uri).open_table("items")
    assert {name: tag["version"] for name, tag in table.tags.list().items()} == {
        report.generation: report.version,
        later.generation: later.version,
    }
    assert export_lance(second, uri) == later  # is there already
    assert export_lance(first, uri) == report  # as after a rollback
    assert table.version == connect(uri).open_table("items").version
    assert LanceTable.generations(uri) == [later.generation, report.generation]
    assert LanceTable.open(uri).report == report


def test_a_table_of_another_encoder_is_not_written_to(built: Path, tmp_path: Path) -> None:
    uri = tmp_path / "tables"
    report = export_lance(Bundle.open(built), uri)
    other = build_bundle(items(0, 40, 1), f"vectors:{DIM}:another", tmp_path / "other")
    with pytest.raises(InputError, match=rf"tables holds generations of the encoder vectors:{DIM}, whose readers .*"):
        export_lance(other, uri)
    assert LanceTable.generations(uri) == [report.generation]


def test_what_storage_says_is_an_error_of_this_project(built: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^foo://bucket/x cannot be used "):
        export_lance(Bundle.open(built), "foo://bucket/x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"file cannot be used "):
        export_lance(Bundle.open(built), tmp_path / "file")


def test_readers_without_state_read_from_object_storage(built: Path, storage: tuple[str, dict[str, str]]) -> None:
    uri, options = storage
    bundle = Bundle.open(built)
    report = export_lance(bundle, uri, storage_options=options)
    table = LanceTable.open(uri, storage_options=options)
    assert table.report == report
    check(table, bundle, clustered(20, 7, DIM))
    assert LanceTable.generations(uri, storage_options=options) == [report.generation]


def test_the_command_line_exports_with_the_keys_of_the_environment(
    built: Path,
    storage: tuple[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in storage[1].items():
        monkeypatch.setenv(name.upper() if name.startswith("aws") else "AWS_ALLOW_HTTP", value)
    arguments = ["export", str(built), "--out", "s3://bucket/other", "--format"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "lancedb", "--json"])
    assert not stopped.value.code
    assert LanceTable.generations("s3://bucket/other") == [Bundle.open(built).manifest.generation]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "faiss"])
    assert stopped.value.code == 2
    assert "s3://bucket/other is a URL, and --format faiss writes a folder" in capsys.readouterr().err


def test_what_is_not_there_or_cannot_be_written_is_said(built: Path, tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="holds no generation of a bundle"):
        LanceTable.open(tmp_path / "nowhere")
    uri, bundle = tmp_path / "tables", Bundle.open(built)
    report = export_lance(bundle, uri)
    with pytest.raises(GenerationError, match=f"holds no generation 'gen-1'; it holds '{report.generation}'"):
        LanceTable.open(uri, "gen-1")
    with pytest.raises(FilterError, match=r"'colour = 1' is no condition over \['item_id', 'price', 'tags'\]"):
        LanceTable.open(uri).search(clustered(2, 7, DIM), 3, "colour = 1")
    named = items(0, 30, 1).append_column("vector", pa.array(range(30)))
    columns = named.append_column("a.b", pa.array(range(30)))
    other = build_bundle(Catalogue.from_arrow(columns), f"vectors:{DIM}", tmp_path / "other")
    with pytest.raises(InputError, match=r"cannot have the columns .*: rename them"):
        export_lance(other, tmp_path / "more")
    connect(uri).open_table("items").delete("price = 1")
    assert len(LanceTable.open(uri).index) == COUNT  # the version that was exported
    shutil.rmtree(uri / "items.lance" / "data")
    with pytest.raises(DamagedFileError, match="cannot be read"):
        LanceTable.open(uri)
