"""A bundle is built whole or not at all, resumes, and refuses what is damaged or foreign."""

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleError, CatalogueError, DamagedFileError, EncoderMismatchError
from indexing.filesystem.checked_files import seal, unseal
from indexing.index import IndexConfig
from indexing.media.files import Modality
from indexing.store.encode import EncodeConfig
from tests.toy import ToyEncoder, picture, toy_file


@pytest.fixture
def root(own_toy_bundle: Path) -> Path:
    return own_toy_bundle


def test_a_bundle_knows_its_items_and_vectors(root: Path) -> None:
    bundle = Bundle.open(root)
    assert bundle.manifest.items == len(bundle.items) == 20
    assert bundle.manifest.counts["embeddings"] == {"text": 20, "image": 15}
    assert bundle.attributes.column_names == ["item_id", "title", "price", "tags"]
    row = bundle.items.rows(["green-book"])[0]
    frozen = bundle.modality_vectors
    np.testing.assert_allclose(
        frozen.vectors[Modality.TEXT][row], ToyEncoder().encode_texts(["green book"])[0], atol=1e-3
    )
    assert not frozen.exists[Modality.IMAGE][bundle.items.rows(["white-mug"])[0]]
    expected = unit(unit(frozen.vectors[Modality.TEXT][[row]]) + unit(frozen.vectors[Modality.IMAGE][[row]]))
    scores, rows = bundle.index.search(expected, 1)
    assert rows.tolist() == [[row]]
    np.testing.assert_allclose(scores, 1, rtol=1e-5)


def test_recall_is_measured_for_each_kind_of_query(root: Path) -> None:
    index = Bundle.open(root).manifest.index
    assert index["recall"] == {"text": 1.0, "image": 1.0, "history": 1.0, "item": 1.0}
    assert index["target_met"]
    assert index["kind"] == "faiss-flat"


def test_building_again_encodes_nothing_again(root: Path, tmp_path: Path) -> None:
    before, encoder = Bundle.open(root), ToyEncoder()
    after = build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), encoder, root)
    assert after.manifest.generation != before.manifest.generation
    assert after.manifest.counts["encoding"]["resumed"] == 35
    assert after.manifest.counts["encoding"]["encoded"] == 0
    golden_texts, golden_pictures = 4, 4
    assert (len(encoder.encoded), encoder.pictures) == (golden_texts, golden_pictures)
    assert before.items == after.items
    for modality in Modality.TEXT, Modality.IMAGE:
        np.testing.assert_array_equal(
            before.modality_vectors.vectors[modality], after.modality_vectors.vectors[modality]
        )


def test_an_item_taken_out_of_the_source_leaves_the_bundle(root: Path, tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / "items.parquet")
    pq.write_table(table.slice(0, 11), tmp_path / "items.parquet")
    after = build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), ToyEncoder(), root)
    assert len(after.items) == after.manifest.items == len(after.index) == 11
    assert sum(after.manifest.counts["embeddings"].values()) == len(pq.read_table(after.folder / "store"))


def test_only_a_few_generations_are_kept(root: Path, tmp_path: Path) -> None:
    for _ in range(4):
        build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), ToyEncoder(), root)
    assert len(list(root.glob("gen-*"))) == 3
    assert not list(root.glob("work-*"))
    assert not list(root.glob("unfinished-*"))
    assert Bundle.open(root).manifest.items == 20


def files_of(root: Path) -> list[Path]:
    folder = Bundle.open(root).folder
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_damaged_file_is_refused(root: Path) -> None:
    rng = np.random.default_rng(0)
    for path in files_of(root):
        whole = path.read_bytes()
        for place in rng.integers(0, len(whole), 5).tolist():
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            with pytest.raises(DamagedFileError, match=f"{path.name} is damaged"):
                Bundle.open(root)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamagedFileError, match=f"{path.name} (is damaged|cannot be read)"):
            Bundle.open(root)
        path.unlink()
        with pytest.raises(DamagedFileError, match=f"{path.name} (is missing|cannot be read)"):
            Bundle.open(root)
        path.write_bytes(whole)
    assert Bundle.open(root).manifest.items == 20


def test_another_encoder_is_refused(root: Path) -> None:
    bundle = Bundle.open(root)
    bundle.check_encoder(ToyEncoder())
    with pytest.raises(EncoderMismatchError, match="was built by encoder 'toy'"):
        bundle.check_encoder(ToyEncoder(salt="other weights"))

    class Changed(ToyEncoder):
        """Same fingerprint, other vectors: what only the golden inputs can notice."""

        def encode_texts(self, texts: Sequence[str]) -> Vectors:
            return unit(super().encode_texts(texts) + np.float32(0.3))

    with pytest.raises(EncoderMismatchError, match=r"cosine|0\.999"):
        bundle.check_encoder(Changed())


def test_no_bundle_and_newer_bundles_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no bundle; make one with"):
        Bundle.open(tmp_path / "nothing")
    manifest = Bundle.open(root).folder / MANIFEST
    data = unseal(manifest)
    manifest.write_bytes(seal(data | {"features": ["time travel"]}))
    with pytest.raises(BundleError, match=r"time travel.*upgrade commonspace"):
        Bundle.open(root)
    manifest.write_bytes(seal(data | {"format_version": 99}))
    with pytest.raises(BundleError, match="needs format 99"):
        Bundle.open(root)
    manifest.write_bytes(seal(data | {"later": []}))
    with pytest.raises(BundleError, match=r"does not know: later; .* newer release: upgrade commonspace$"):
        Bundle.open(root)
    outside = [{"name": "../../secret", "size": 1, "sha256": "0"}]
    manifest.write_bytes(seal(data | {"files": outside}))
    with pytest.raises(DamagedFileError, match="names files outside"):
        Bundle.open(root)
    (root / "CURRENT").write_bytes(seal({"generation": "../elsewhere", "last": 0, "digest": ""}))
    with pytest.raises(DamagedFileError, match="which is no generation"):
        Bundle.open(root)


def test_nothing_that_can_be_encoded_is_an_error_and_keeps_the_old(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"item_id": "a", "image": "gone.png"}\n')
    before = Bundle.open(root).manifest.generation
    with pytest.raises(CatalogueError, match=r"none of the 1 items .* could be encoded; the first: 'a': image file"):
        build_bundle(Catalogue.from_jsonl(path), ToyEncoder(), root)
    assert Bundle.open(root).manifest.generation == before


class SlowEncoder(ToyEncoder):
    """Leaves time to be killed, after so many batches for ever, and notes on disk what it encoded."""

    def __init__(self, notes: Path, batches: int) -> None:
        super().__init__()
        self.notes, self.batches = notes, batches

    def _note(self, count: int) -> None:
        time.sleep(0.02 if self.batches else 10**6)
        self.batches -= 1
        with self.notes.open("a") as file:
            file.write(f"{count}\n")

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self._note(len(texts))
        return super().encode_texts(texts)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        self._note(len(images))
        return super().encode_images(images)


def slow_build(source: Path, root: Path, notes: Path, batches: int = -1) -> None:
    build_bundle(Catalogue.from_parquet(source), SlowEncoder(notes, batches), root, encode=EncodeConfig(2, workers=0))


KILLS = 20


def test_a_build_killed_twenty_times_loses_nothing_and_encodes_nothing_stored_twice(tmp_path: Path) -> None:
    rows = [{"item_id": str(n), "title": f"mug {n}", "image": picture("red", 8 + n)} for n in range(150)]
    source, notes = tmp_path / "many.parquet", tmp_path / "notes"
    pq.write_table(pa.Table.from_pylist(rows), source)
    whole = build_bundle(Catalogue.from_parquet(source), ToyEncoder(), tmp_path / "whole")
    server, moments = multiprocessing.get_context("forkserver"), np.random.default_rng(0)
    server.set_forkserver_preload([__name__, "pandas"])  # imported once, in a process that does nothing else
    for _ in range(KILLS):
        process = server.Process(target=slow_build, args=(source, tmp_path / "killed", notes, 6))
        process.start()
        seen = len(notes.read_text().splitlines()) if notes.exists() else 0
        while process.is_alive() and (not notes.exists() or len(notes.read_text().splitlines()) == seen):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.15))
        assert process.is_alive()
        process.kill()
        process.join()
    slow_build(source, tmp_path / "killed", notes)
    resumed = Bundle.open(tmp_path / "killed")
    assert resumed.items == whole.items
    for modality in Modality.TEXT, Modality.IMAGE:
        vectors, exists = resumed.modality_vectors.vectors[modality], resumed.modality_vectors.exists[modality]
        # In batches that the kill cut elsewhere, stored in half precision.
        np.testing.assert_allclose(vectors, whole.modality_vectors.vectors[modality], atol=1e-3)
        assert exists.all()
    encoding = resumed.manifest.counts["encoding"]
    assert encoding["encoded"] + encoding["resumed"] == 300
    encoded = sum(map(int, notes.read_text().split()))
    golden, in_flight = 8, 2 * 2  # a kill can cost the batch that was not stored yet: two texts and two pictures
    assert encoded <= 300 + golden + KILLS * in_flight


def test_index_settings_reach_the_manifest(tmp_path: Path) -> None:
    config = IndexConfig(kind="hnsw", m=8, min_recall=0.9)
    bundle = build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "b", index=config)
    manifest = Manifest.read(bundle.folder / MANIFEST)
    assert manifest.index["kind"] == "faiss-hnsw"
    assert IndexConfig(**manifest.index["config"]) == config
