"""Encoding: each text and picture ends encoded, copied, resumed or quarantined, and the sums reconcile."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from indexing.media.files import Modality
from indexing.media.images import ImageLimits
from indexing.store.encode import EncodeConfig, EncodeReport, encode_catalogue
from indexing.store.store import EmbeddingStore, read_shard
from tests.toy import COLOURS, DIM, ToyEncoder, picture, toy_file


def settled(report: EncodeReport) -> int:
    return report.encoded + report.copied + report.resumed + report.quarantined


def catalogue_of(folder: Path, rows: list[dict[str, object]]) -> Catalogue:
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Catalogue.from_parquet(path)


def test_vectors_are_the_encoders_own(tmp_path: Path) -> None:
    encoder, store = ToyEncoder(), EmbeddingStore(tmp_path / "store", DIM)
    report = encode_catalogue(Catalogue.from_parquet(toy_file(tmp_path)), encoder, store, config=EncodeConfig(7))
    assert (report.encoded, settled(report)) == (35, 35)  # 20 texts and 15 pictures, each different
    ids = ItemIds(["blue-lamp", "white-mug"])
    texts, _ = store.collect(ids, Modality.TEXT)
    np.testing.assert_allclose(texts, encoder.encode_texts(["blue lamp", "white mug"]), atol=1e-3)
    pictures, exists = store.collect(ids, Modality.IMAGE)
    assert exists.tolist() == [True, False]
    np.testing.assert_allclose(pictures[0, :3], unit(np.array(COLOURS["blue"])), atol=4e-3)


def test_equal_content_is_encoded_once(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"item_id": str(number), "title": f"mug {number % 2}", "image": picture("red")} for number in range(6)
    ]
    encoder, store = ToyEncoder(), EmbeddingStore(tmp_path / "store", DIM)
    report = encode_catalogue(catalogue_of(tmp_path, rows), encoder, store, config=EncodeConfig(4))
    assert sorted(encoder.encoded) == ["mug 0", "mug 1"]
    assert encoder.pictures == 1
    assert (report.encoded, report.copied, settled(report)) == (3, 9, 12)
    assert store.collect(ItemIds(map(str, range(6))), Modality.IMAGE)[1].all()


def test_a_second_run_encodes_only_what_changed(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"item_id": str(n), "title": f"mug {n}", "image": None} for n in range(5)]
    store = EmbeddingStore(tmp_path / "store", DIM)
    encode_catalogue(catalogue_of(tmp_path, rows), ToyEncoder(), store)
    rows[3]["title"] = "lamp"
    encoder = ToyEncoder()
    report = encode_catalogue(catalogue_of(tmp_path, rows), encoder, store)
    assert encoder.encoded == ["lamp"]
    assert (report.encoded, report.resumed) == (1, 4)


def broken_pictures() -> dict[str, tuple[bytes, str]]:
    whole = picture("green", 64)
    bomb = picture("white", 2000)
    return {
        "cut": (whole[: len(whole) // 2], "image is broken"),
        "no picture": (b"<svg></svg>", "image is none of JPEG, PNG, WEBP, GIF, BMP"),
        "too many pixels": (bomb, "image of 2000 x 2000 is over 1000000 pixels"),
        "too many bytes": (whole + b"\0" * 300_000, "image file of .* bytes is over the limit of 200000"),
    }


@pytest.mark.parametrize("name", broken_pictures())
def test_a_broken_picture_costs_its_row_only(tmp_path: Path, name: str) -> None:
    data, reason = broken_pictures()[name]
    rows: list[dict[str, object]] = [
        {"item_id": "before", "title": "red mug", "image": picture("red")},
        {"item_id": "broken", "title": "odd mug", "image": data},
        {"item_id": "after", "title": "blue mug", "image": picture("blue")},
    ]
    store = EmbeddingStore(tmp_path / "store", DIM)
    limits = ImageLimits(pixels=1_000_000, file_bytes=200_000)
    catalogue = catalogue_of(tmp_path, rows)
    report = encode_catalogue(catalogue, ToyEncoder(), store, config=EncodeConfig(limits=limits))
    assert (report.encoded, report.quarantined, settled(report)) == (5, 1, 6)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(store.reason("broken", Modality.IMAGE))
    vectors, exists = store.collect(ItemIds(["before", "broken", "after"]), Modality.IMAGE)
    assert exists.tolist() == [True, False, True]
    expected = unit(np.array([COLOURS["red"], COLOURS["blue"]]))
    np.testing.assert_allclose(vectors[[0, 2], :3], expected, atol=4e-3)
    again = encode_catalogue(catalogue, ToyEncoder(), store, config=EncodeConfig(limits=limits))
    assert (again.encoded, again.copied, settled(again)) == (0, 0, 6)


def test_missing_files_and_paths_outside_are_quarantined(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "red.png").write_bytes(picture("red"))
    (tmp_path / "secret.png").write_bytes(picture("blue"))
    paths = {"ok": "red.png", "gone": "gone.png", "outside": "../secret.png", "url": "http://127.0.0.1:9/x.png"}
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(f'{{"item_id": "{name}", "title": "t", "image": "{ref}"}}\n' for name, ref in paths.items())
    )
    store = EmbeddingStore(tmp_path / "store", DIM)
    encode_catalogue(Catalogue.from_jsonl(path, image_dir=tmp_path / "images"), ToyEncoder(), store)
    assert store.reason("ok", Modality.IMAGE) == ""
    assert store.reason("gone", Modality.IMAGE) == "image file is missing: gone.png"
    for name in ("outside", "url"):
        assert store.reason(name, Modality.IMAGE), name


def test_reasons_name_the_file_and_are_counted_whole(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "copy.png").write_text("<html>")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    rows = [{"item_id": name, "title": "t", "image": f"{name}.png"} for name in ("page", "copy", "empty", "folder")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    store = EmbeddingStore(tmp_path / "store", DIM)
    encode_catalogue(Catalogue.open(tmp_path / "rows.jsonl"), ToyEncoder(), store)
    none = "image is none of JPEG, PNG, WEBP, GIF, BMP, AVIF, HEIF"
    assert {row["item_id"]: store.reason(str(row["item_id"]), Modality.IMAGE) for row in rows} == {
        "page": f"{none}: page.png",
        "copy": f"{none}: copy.png",
        "empty": "image file is empty: empty.png",
        "folder": "image path is that of a folder: folder.png",
    }
    assert store.reasons() == {none: 2, "image file is empty": 1, "image path is that of a folder": 1}


def test_an_encoder_that_gives_nonsense_is_quarantined_row_by_row(tmp_path: Path) -> None:
    class Faulty(ToyEncoder):
        def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
            vectors = super().encode_images(images)
            vectors[0, 0] = np.nan
            return vectors

    store = EmbeddingStore(tmp_path / "store", DIM)
    report = encode_catalogue(Catalogue.from_parquet(toy_file(tmp_path)), Faulty(), store, config=EncodeConfig(20))
    assert report.quarantined == 1
    assert store.reason("red-mug", Modality.IMAGE) == "the encoder gave NaN, infinity or zero"


def test_equal_content_in_batches_under_way_is_encoded_once(tmp_path: Path) -> None:
    """Batches are begun before earlier ones are finished."""
    rows: list[dict[str, object]] = [
        {"item_id": str(n), "title": "mug", "image": picture("red") if n % 2 else b"broken"} for n in range(10)
    ]
    encoder, store = ToyEncoder(), EmbeddingStore(tmp_path / "store", DIM)
    report = encode_catalogue(catalogue_of(tmp_path, rows), encoder, store, config=EncodeConfig(1))
    assert (encoder.encoded, encoder.pictures) == (["mug"], 1)
    assert (report.encoded, report.copied, report.quarantined, settled(report)) == (2, 13, 5, 20)
    assert {store.reason(str(n), Modality.IMAGE) for n in range(0, 10, 2)} == {
        "image is none of JPEG, PNG, WEBP, GIF, BMP, AVIF, HEIF"
    }


def test_several_pictures_of_an_item_are_pooled_and_kept(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"item_id": "both", "images": [picture("red"), picture("blue")]},
        {"item_id": "one", "images": [b"broken", picture("green")]},
        {"item_id": "none", "images": []},
    ]
    for row in rows:
        row["title"] = "mug"
    store = EmbeddingStore(tmp_path / "store", DIM)
    report = encode_catalogue(catalogue_of(tmp_path, rows), ToyEncoder(), store)
    assert settled(report) == 7
    ids = ItemIds(["both", "one", "none"])
    parts = store.parts(ids, Modality.IMAGE)
    assert (parts.rows.tolist(), parts.labels) == ([0, 0, 1], ["0", "1", "1"])
    colours = unit(np.array([COLOURS["red"], COLOURS["blue"], COLOURS["green"]]))
    np.testing.assert_allclose(parts.vectors[:, :3], colours, atol=4e-3)
    pooled, exists = store.collect(ids, Modality.IMAGE)
    assert exists.tolist() == [True, True, False]
    np.testing.assert_allclose(pooled[0, :3], colours[:2].mean(axis=0), atol=4e-3)


def test_what_an_item_no_longer_has_is_forgotten(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"item_id": "a", "title": "mug", "image": picture("red")}]
    store = EmbeddingStore(tmp_path / "store", DIM)
    encode_catalogue(catalogue_of(tmp_path, rows), ToyEncoder(), store)
    assert store.collect(ItemIds(["a"]), Modality.IMAGE)[1].all()
    rows[0]["image"] = None
    again = EmbeddingStore(tmp_path / "store", DIM)
    report = encode_catalogue(catalogue_of(tmp_path, rows), ToyEncoder(), again)
    assert (report.resumed, settled(report)) == (1, 1)
    assert not again.collect(ItemIds(["a"]), Modality.IMAGE)[1].any()
    assert [record.modality for record in again.records(["a"])] == [Modality.TEXT]


def test_what_was_refused_is_tried_again_under_other_limits(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"item_id": "a", "title": "mug", "image": picture("red", 200)}]
    catalogue, store = catalogue_of(tmp_path, rows), EmbeddingStore(tmp_path / "store", DIM)
    narrow = EncodeConfig(limits=ImageLimits(pixels=10_000))
    assert encode_catalogue(catalogue, ToyEncoder(), store, config=narrow).quarantined == 1
    again = encode_catalogue(catalogue, ToyEncoder(), store)
    assert (again.encoded, again.resumed, store.reason("a", Modality.IMAGE)) == (1, 1, "")


def test_records_of_shuffled_items_read_each_shard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, object]] = [{"item_id": str(n), "title": f"mug {n}"} for n in range(60)]
    store = EmbeddingStore(tmp_path / "store", DIM)
    encode_catalogue(catalogue_of(tmp_path, rows), ToyEncoder(), store, config=EncodeConfig(3))
    reads: list[Path] = []

    def counted(path: Path) -> pa.Table:
        reads.append(path)
        return read_shard(path)

    monkeypatch.setattr("indexing.store.store.read_shard", counted)
    shuffled = [str(n) for n in np.random.default_rng(0).permutation(60)]
    records = list(store.records(shuffled))
    assert [record.item_id for record in records] == shuffled
    assert len(reads) == len(set(reads)) == 20
    expected = ToyEncoder().encode_texts([f"mug {n}" for n in shuffled])
    np.testing.assert_allclose(
        np.stack([record.vector for record in records if record.vector is not None]), expected, atol=1e-3
    )


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match="frames is 0, expected a whole number of at least 1"):
        EncodeConfig(frames=0)
    with pytest.raises(InputError, match="seconds is 0"):
        EncodeConfig(seconds=0)
