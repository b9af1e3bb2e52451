"""The store keeps what it was given, whatever happened to the process that wrote it."""

from pathlib import Path

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError, ShapeError
from indexing.filesystem.checked_files import content_hash
from indexing.media.files import Modality
from indexing.store.store import Embedding, EmbeddingStore


def embedding(item_id: str, value: float, modality: Modality = Modality.TEXT, digest: str = "") -> Embedding:
    return Embedding(item_id, modality, digest or content_hash(item_id), np.full(3, value, np.float16))


def test_vectors_come_back_by_row_after_reopening(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, 3)
    store.append([embedding("a", 1), embedding("b", 2), embedding("a", 5, Modality.IMAGE)])
    store.append([embedding("c", 3)])
    for opened in (store, EmbeddingStore(tmp_path, 3)):
        vectors, exists = opened.collect(ItemIds(["c", "x", "a"]), Modality.TEXT)
        np.testing.assert_array_equal(vectors, [[3] * 3, [0] * 3, [1] * 3])
        assert exists.tolist() == [True, False, True]
        assert opened.collect(ItemIds(["a", "b"]), Modality.IMAGE)[1].tolist() == [True, False]
        assert len(opened) == 4


def test_quarantine_is_remembered_with_its_reason(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, 3)
    store.append([Embedding("a", Modality.IMAGE, content_hash(b"junk"), None, "image is broken")])
    reopened = EmbeddingStore(tmp_path, 3)
    assert reopened.reason("a", Modality.IMAGE) == "image is broken"
    assert not reopened.settled("a", Modality.IMAGE, content_hash(b"junk"))  # limits may have changed since
    assert not reopened.settled("a", Modality.IMAGE, content_hash(b"mended"))
    assert reopened.vector(Modality.IMAGE, content_hash(b"junk")) is None
    assert not reopened.collect(ItemIds(["a"]), Modality.IMAGE)[1].any()


def test_unreadable_content_is_settled_while_its_problem_stays(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, 3)
    store.append([Embedding("a", Modality.IMAGE, "", None, "file is missing")])
    assert store.settled("a", Modality.IMAGE, "", "file is missing")
    assert not store.settled("a", Modality.IMAGE, "", "permission denied")
    assert not store.settled("a", Modality.IMAGE, content_hash(b"there now"))


def test_a_later_record_replaces_an_earlier(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, 3)
    store.append([embedding("a", 1, digest="old")])
    store.append([embedding("a", 2, digest="new")])
    vectors, _ = EmbeddingStore(tmp_path, 3).collect(ItemIds(["a"]), Modality.TEXT)
    assert vectors.tolist() == [[2, 2, 2]]


def test_equal_content_is_found_for_whichever_item(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, 3)
    store.append([embedding("a", 1, digest="same")])
    found = store.vector(Modality.TEXT, "same")
    assert found is not None
    assert found.tolist() == [1, 1, 1]
    assert store.vector(Modality.IMAGE, "same") is None


def test_records_follow_the_order_of_the_ids(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, 3)
    store.append([embedding("a", 1), embedding("b", 2), embedding("b", 3, Modality.IMAGE)])
    assert [(r.item_id, r.modality) for r in store.records(["b", "a", "zzz"])] == [
        ("b", Modality.TEXT),
        ("b", Modality.IMAGE),
        ("a", Modality.TEXT),
    ]


def test_every_flipped_byte_of_a_shard_is_noticed(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, 3).append([embedding("a", 1), embedding("b", 2)])
    (shard,) = tmp_path.glob("*.parquet")
    whole = shard.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 50).tolist():
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedFileError, match="is damaged"):
            EmbeddingStore(tmp_path, 3)
    shard.write_bytes(whole[:-7])
    with pytest.raises(DamagedFileError, match="is damaged"):
        EmbeddingStore(tmp_path, 3)


def test_unfinished_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "000000-abc.parquet.tmp").write_bytes(b"half a shard")
    assert len(EmbeddingStore(tmp_path, 3)) == 0


def test_a_vector_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"vector of 'a' has shape \(2,\), expected \(3,\)"):
        EmbeddingStore(tmp_path, 3).append([Embedding("a", Modality.TEXT, "h", np.zeros(2, np.float16))])
