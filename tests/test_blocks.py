"""A store read block by block gives what it gives as a whole, also to an index in shards."""

from pathlib import Path

import numpy as np
import pytest

from indexing.blocks import item_blocks
from indexing.build import build_bundle
from indexing.bundle import Bundle
from indexing.catalogue import Catalogue
from indexing.encode import EncodeConfig
from indexing.fusion import fuse
from indexing.index.sharding import build_sharded
from tests.toy import ToyEncoder, toy_file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("blocks")
    source = Catalogue.from_parquet(toy_file(folder))
    return build_bundle(source, ToyEncoder(), folder / "bundle", encode=EncodeConfig(workers=0))


@pytest.mark.parametrize("rows", [1, 3, 20, 50])
def test_blocks_are_the_whole(bundle: Bundle, rows: int) -> None:
    store, encoder = bundle.generation.store(), bundle.manifest.encoder
    blocks = list(item_blocks(store, bundle.items, encoder.modalities, rows))
    assert [len(block) for block in blocks[:-1]] == [rows] * ((20 - 1) // rows)
    np.testing.assert_allclose(np.concatenate(blocks), fuse(bundle.modality_vectors), atol=1e-6)


def test_an_index_is_built_from_them(bundle: Bundle, tmp_path: Path) -> None:
    store, encoder = bundle.generation.store(), bundle.manifest.encoder
    three = range(3)  # lists take 39 vectors at least
    found = build_sharded(
        lambda: (block for _ in three for block in item_blocks(store, bundle.items, encoder.modalities, 8)),
        tmp_path / "index.bin",
        max_memory="1M",
    )
    assert len(found) == 60
    rows = found.search(fuse(bundle.modality_vectors), 3)[1]
    np.testing.assert_array_equal(np.sort(rows % 20, axis=1), np.tile(np.arange(20)[:, None], (1, 3)))


def test_a_bundle_that_is_built_in_small_pieces_is_the_same(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.store.POOLED_AT_ONCE", 3)
    monkeypatch.setattr("indexing.fusion.ROWS", 7)
    monkeypatch.setattr("indexing.packing.SHARD_ROWS", 6)
    source = Catalogue.from_parquet(toy_file(tmp_path))
    pieces = build_bundle(source, ToyEncoder(), tmp_path / "bundle", encode=EncodeConfig(workers=0))
    for modality, vectors in bundle.modality_vectors.vectors.items():
        np.testing.assert_array_equal(pieces.modality_vectors.vectors[modality], vectors)
        np.testing.assert_array_equal(
            pieces.modality_vectors.exists[modality], bundle.modality_vectors.exists[modality]
        )
    stores = [[record.name for record in one.manifest.files if "/" in record.name] for one in (bundle, pieces)]
    assert [len(files) for files in stores] == [1, 6]  # 20 texts and 15 pictures
    whole, cut = (list(one.generation.store().records(one.items)) for one in (bundle, pieces))
    assert [(one.item_id, one.modality, one.content_hash) for one in cut] == [
        (one.item_id, one.modality, one.content_hash) for one in whole
    ]
    digests = [{record.name: record.sha256 for record in one.manifest.files} for one in (bundle, pieces)]
    assert digests[0]["index.bin"] == digests[1]["index.bin"]
    assert bundle.manifest.counts["quarantined"] == pieces.manifest.counts["quarantined"] == 0
