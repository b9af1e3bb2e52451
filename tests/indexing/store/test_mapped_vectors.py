"""A store read block by block gives what it gives as a whole."""

from pathlib import Path

import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.base import EncoderInfo
from indexing.media.files import Modality
from indexing.store.collect import fuse, map_vectors
from indexing.store.encode import EncodeConfig
from indexing.store.store import Embedding, EmbeddingStore
from tests.toy import ToyEncoder, toy_file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("blocks")
    source = Catalogue.from_parquet(toy_file(folder))
    return build_bundle(source, ToyEncoder(), folder / "bundle", encode=EncodeConfig(workers=0))


@pytest.mark.parametrize("rows", [1, 3, 20, 50])
def test_blocks_are_the_whole(bundle: Bundle, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.store.collect.BLOCK_ROWS", rows)
    store, encoder = bundle.generation.store(), bundle.manifest.encoder
    (tmp_path / "fused.f32").write_bytes(b"left by a build that was killed")
    for _ in range(2):
        found, frozen, fused = map_vectors(store, bundle.items, encoder, tmp_path)
        assert isinstance(fused, np.memmap)
        assert found.tolist() == list(range(20))
        np.testing.assert_allclose(fused, fuse(bundle.modality_vectors), atol=1e-6)
        for modality, vectors in bundle.modality_vectors.vectors.items():
            assert isinstance(frozen.vectors[modality], np.memmap)
            np.testing.assert_array_equal(frozen.vectors[modality], vectors)
            np.testing.assert_array_equal(frozen.exists[modality], bundle.modality_vectors.exists[modality])


def test_items_without_a_direction_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.store.collect.BLOCK_ROWS", 2)
    store = EmbeddingStore(tmp_path / "store", 2)
    sides = np.eye(2, dtype=np.float16)
    info = EncoderInfo("made up", 2, (Modality.TEXT, Modality.IMAGE), "", weights=(0.5, 0.5))
    store.append([Embedding("a", Modality.TEXT, "1", sides[0]), Embedding("a", Modality.IMAGE, "2", -sides[0])])
    nothing = map_vectors(store, ItemIds(["a", "none"]), info, tmp_path)
    assert (nothing[0].tolist(), nothing[2].shape, nothing[1].vectors[Modality.TEXT].shape) == ([], (0, 2), (0, 2))
    store.append([Embedding("b", Modality.IMAGE, "3", sides[1]), Embedding("c", Modality.TEXT, "4", sides[0])])
    rows, frozen, fused = map_vectors(store, ItemIds(["a", "none", "b", "c"]), info, tmp_path)
    assert rows.tolist() == [2, 3]
    assert frozen.weights == {Modality.TEXT: 0.5, Modality.IMAGE: 0.5}
    assert fused.tolist() == [[0, 1], [1, 0]]
    assert frozen.exists[Modality.TEXT].tolist() == [False, True]
    assert frozen.vectors[Modality.IMAGE].tolist() == [[0, 1], [0, 0]]


def test_a_bundle_that_is_built_in_small_pieces_is_the_same(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.store.store.BLOCK_ITEMS", 3)
    monkeypatch.setattr("indexing.store.collect.BLOCK_ROWS", 7)
    monkeypatch.setattr("indexing.store.collect.SHARD_ROWS", 6)
    source = Catalogue.from_parquet(toy_file(tmp_path))
    pieces = build_bundle(source, ToyEncoder(), tmp_path / "bundle", encode=EncodeConfig(workers=0))
    for modality, vectors in bundle.modality_vectors.vectors.items():
        np.testing.assert_array_equal(pieces.modality_vectors.vectors[modality], vectors)
        np.testing.assert_array_equal(
            pieces.modality_vectors.exists[modality], bundle.modality_vectors.exists[modality]
        )
    stores = [
        [record.name for record in one.manifest.files if record.name.startswith("store/")] for one in (bundle, pieces)
    ]
    assert [len(files) for files in stores] == [1, 6]  # 20 texts and 15 pictures
    whole, cut = (list(one.generation.store().records(one.items)) for one in (bundle, pieces))
    assert [(one.item_id, one.modality, one.content_hash) for one in cut] == [
        (one.item_id, one.modality, one.content_hash) for one in whole
    ]
    digests = [{record.name: record.sha256 for record in one.manifest.files} for one in (bundle, pieces)]
    assert digests[0]["index.bin"] == digests[1]["index.bin"]
    assert bundle.manifest.counts["quarantined"] == pieces.manifest.counts["quarantined"] == 0
