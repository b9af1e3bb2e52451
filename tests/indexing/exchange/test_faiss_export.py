"""A plain FAISS file answers as the bundle does."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle, served_vectors
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError
from indexing.exchange import export_faiss
from indexing.index import IndexConfig
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import ShardedIndex
from indexing.index.tuning.build import IndexKind
from tests.indexing.index.test_ivf import clustered
from tests.toy import ToyEncoder, toy_file


def built(folder: Path, kind: IndexKind) -> Bundle:
    catalogue = Catalogue.from_parquet(toy_file(folder))
    return build_bundle(catalogue, ToyEncoder(), folder / "bundle", index=IndexConfig(kind=kind))


@pytest.mark.parametrize(
    ("built_as", "kind", "expected"),
    [
        ("flat", "own", faiss.IndexFlatIP),
        ("flat", "flat", faiss.IndexFlatIP),
        ("hnsw", "own", faiss.IndexHNSWFlat),
        ("hnsw", "flat", faiss.IndexFlatIP),
    ],
)
def test_it_answers_as_the_bundle_does(
    tmp_path: Path, built_as: IndexKind, kind: Literal["own", "flat"], expected: type
) -> None:
    bundle = built(tmp_path, built_as)
    report = export_faiss(bundle, tmp_path / "out", kind=kind)
    index = faiss.read_index(str(tmp_path / "out" / "index.faiss"))
    assert isinstance(faiss.downcast_index(index), expected)
    assert (index.ntotal, index.d, index.metric_type) == (20, 16, faiss.METRIC_INNER_PRODUCT)
    ids = pq.read_table(tmp_path / "out" / "ids.parquet")
    assert ids["row"].to_pylist() == list(range(20))
    assert ids["item_id"].to_pylist() == list(bundle.items)
    queries = 3 * ToyEncoder().encode_texts(["red shoe", "blue lamp"])
    scores, rows = index.search(queries, 5)
    wanted, _ = bundle.index.search(queries, 5)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)
    assert [ids["item_id"][int(row)].as_py() for row in rows[:, 0]] == ["red-shoe", "blue-lamp"]
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about == json.loads(json.dumps(report.to_json()))
    assert about["kind"] == ("faiss-hnsw" if expected is faiss.IndexHNSWFlat else "faiss-flat")
    assert about["fingerprint"] == ToyEncoder().info.fingerprint


def test_mistakes(tmp_path: Path) -> None:
    bundle = built(tmp_path, "flat")
    with pytest.raises(InputError, match="kind of index 'ivf' is unknown; choose 'own' or 'flat'"):
        export_faiss(bundle, tmp_path / "out", kind="ivf")  # type: ignore[arg-type]
    export_faiss(bundle, tmp_path / "out")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        export_faiss(bundle, tmp_path / "out")


def test_lists_and_shards_give_their_vectors_too(tmp_path: Path) -> None:
    bundle = built(tmp_path, "flat")
    vectors = clustered(4000, 1, 16)
    shards = ShardedIndex([FaissIndex.flat(vectors[:50]), IvfIndex.build(vectors[50:])])
    for index in IvfIndex.build(vectors), shards:
        bundle.generation.__dict__["index"] = index
        np.testing.assert_allclose(served_vectors(bundle), vectors, atol=1e-3)
    bundle.generation.manifest = replace(bundle.manifest, index={"kind": "faiss-sharded"})
    with pytest.raises(InputError, match="is in shards, no single file of FAISS; export kind 'flat'"):
        export_faiss(bundle, tmp_path / "out")
