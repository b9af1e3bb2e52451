"""A bundle says when its index finds less than was promised, and every verb searches with the effort of its kind."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Rows, Vectors
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import INDEX, RECALL_CHECK
from indexing.bundle.manifest import MANIFEST
from indexing.catalogue.catalogue import Catalogue
from indexing.filesystem.checked_files import seal, unseal
from indexing.index import IndexConfig
from retrieval.cli import main
from retrieval.retriever.index_status import DegradedIndexWarning
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, picture, toy_file


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hundred items of many words, in a graph."""
    folder = tmp_path_factory.mktemp("degraded")
    rng = np.random.default_rng(0)
    colours = ("red", "green", "blue")
    rows = [
        {"item_id": f"i{row}", "title": f"{colours[row % 3]} w{rng.integers(99)} x{rng.integers(99)} y{row}"}
        | {"image": picture(colours[row % 3], size=8 + row % 5) if row % 2 else None}
        for row in range(600)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    config = IndexConfig(kind="hnsw", m=4, sample=60)
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), ToyEncoder(), folder / "bundle", index=config)
    return folder / "bundle"


def changed(root: Path, effort: dict[str, int]) -> None:
    """Give every kind of query another effort in the manifest."""
    path = Bundle.open(root).folder / MANIFEST
    manifest = unseal(path)
    manifest["index"]["efforts"] = dict.fromkeys(manifest["index"]["efforts"], effort)
    path.write_bytes(seal(manifest))


def test_a_promise_that_is_kept(root: Path) -> None:
    status = Retriever.load(root, ToyEncoder()).status
    assert not status.degraded
    assert status.reasons == ()
    assert set(status.recall) == {"text", "image", "history", "item"}
    assert min(status.recall.values()) >= 0.9
    info = Bundle.open(root).manifest.index
    assert set(info["efforts"]) == set(status.recall)
    assert info["family"] == "hnsw fp32"


def test_a_promise_that_is_broken(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    efforts = Bundle.open(root).manifest.index["efforts"]
    try:
        changed(root, {"ef_search": 1})
        with pytest.warns(DegradedIndexWarning, match=r"is degraded: recall of .* build the bundle again") as caught:
            status = Retriever.load(root, ToyEncoder()).status
        assert len(caught) == 1
        assert status.degraded
        assert status.recall["history"] < 0.9
        assert any(
            re.fullmatch(r"recall of history is 0\.\d+ on 32 stored queries, was [01]\.\d+ when .*", reason)
            for reason in status.reasons
        )
        with pytest.raises(SystemExit, match="0"):
            main(["info", str(root), "--json"])
        assert json.loads(capsys.readouterr().out)["status"]["degraded"] is True
        with pytest.raises(SystemExit, match="0"):
            main(["info", str(root)])
        assert "degraded: recall of" in capsys.readouterr().out.replace("\n", " ")
    finally:
        path = Bundle.open(root).folder / MANIFEST
        manifest = unseal(path)
        manifest["index"]["efforts"] = efforts
        path.write_bytes(seal(manifest))


def test_a_target_that_was_missed_when_it_was_built(tmp_path: Path) -> None:
    config = IndexConfig(max_memory=150)
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "b", index=config)
    info = Bundle.open(tmp_path / "b").manifest.index
    assert not info["target_met"]
    assert info["unmet"]
    missed = [kind for kind, recall in info["recall"].items() if recall < 0.95]
    if missed:
        with pytest.warns(DegradedIndexWarning, match=f"recall of {missed[0]} was 0"):
            assert Retriever.load(tmp_path / "b", ToyEncoder()).status.degraded


def test_every_verb_searches_as_its_kind(root: Path) -> None:
    retriever = Retriever.load(root, ToyEncoder())
    kinds: list[str | None] = []
    real = retriever.bundle.index

    class Listening:
        kind, dim = real.kind, real.dim

        def __len__(self) -> int:
            return len(real)

        def search(
            self, queries: Vectors, k: int, allow: object = None, kind: str | None = None
        ) -> tuple[Vectors, Rows]:
            kinds.append(kind)
            return real.search(queries, k, None, kind)

    retriever.bundle.generation.__dict__["index"] = Listening()
    retriever.search_texts(["red"], 3)
    retriever.search_images([picture("red")], 3)
    retriever.similar_items(["i3"], 3)
    retriever.recommend([["i3", "i9"]], 3)
    retriever.search_vectors(np.ones((1, 16), np.float32), 3)
    assert kinds == ["text", "image", "item", "history", None]


def test_the_sample_and_the_efforts_are_in_the_bundle(root: Path) -> None:
    bundle = Bundle.open(root)
    assert {RECALL_CHECK, INDEX} <= {record.name for record in bundle.manifest.files}
    assert bundle.index.kind == "faiss-hnsw"
