"""The layout of clip-retrieval: what is written is read again, and what does not fit is refused."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import CatalogueError, InputError
from indexing.exchange import read_clip_retrieval, write_clip_retrieval
from indexing.media.files import Modality
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder


@pytest.fixture
def bundle(own_toy_bundle: Path) -> Bundle:
    return Bundle.open(own_toy_bundle)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Twelve partitions of two rows, as clip-retrieval itself would write them: numbers without padding."""
    folder = tmp_path / "foreign"
    vectors = unit(np.random.default_rng(0).normal(size=(24, 6))).astype(np.float16)
    for kind in ("img_emb", "text_emb", "metadata"):
        (folder / kind).mkdir(parents=True)
    for part in range(12):
        rows = slice(2 * part, 2 * part + 2)
        np.save(folder / f"img_emb/img_emb_{part}.npy", vectors[rows])
        np.save(folder / f"text_emb/text_emb_{part}.npy", vectors[rows][:, ::-1])
        names = [f"pictures/{row}.jpg" for row in range(24)[rows]]
        table = pa.table({"image_path": names, "caption": [f"no. {row}" for row in range(24)[rows]]})
        pq.write_table(table, folder / f"metadata/metadata_{part}.parquet")
    return folder


def test_partitions_are_read_by_number(foreign: Path) -> None:
    read = read_clip_retrieval(foreign)
    assert list(read.item_ids) == [f"pictures/{row}.jpg" for row in range(24)]
    expected = unit(np.random.default_rng(0).normal(size=(24, 6)))
    np.testing.assert_allclose(read.vectors.vectors[Modality.IMAGE], expected, atol=2e-3)
    np.testing.assert_allclose(read.vectors.vectors[Modality.TEXT], expected[:, ::-1], atol=2e-3)
    assert read.vectors.vectors[Modality.IMAGE].dtype == np.float16
    assert read.vectors.exists[Modality.IMAGE].all()
    assert read.attributes.column_names == ["item_id", "image_path", "caption"]
    by_caption = read_clip_retrieval(foreign, item_id="caption")
    assert by_caption.item_ids[10] == "no. 10"


def test_what_was_read_becomes_a_bundle(foreign: Path, tmp_path: Path) -> None:
    read = read_clip_retrieval(foreign)
    build_bundle(read.catalogue(str(foreign)), load_encoder("vectors:"), tmp_path / "b")
    retriever = Retriever.load(tmp_path / "b")
    assert retriever.bundle.attributes.column_names == ["item_id", "image_path", "caption"]
    queries = unit(read.vectors.vectors[Modality.IMAGE]) + unit(read.vectors.vectors[Modality.TEXT])
    hits = [found[0].item_id for found in retriever.search_vectors(queries, 1)]
    assert hits == list(read.item_ids)


def test_round_trip_with_missing_pictures(bundle: Bundle, tmp_path: Path) -> None:
    report = write_clip_retrieval(bundle, tmp_path / "out", rows=7)
    assert report.to_json() == {
        "items": 20,
        "partitions": 3,
        "dim": 16,
        "written": ("image", "text"),
        "zeros": {"image": 5},
        "left_out": (),
    }
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert files == [
        *(f"img_emb/img_emb_{part}.npy" for part in range(3)),
        *(f"metadata/metadata_{part}.parquet" for part in range(3)),
        *(f"text_emb/text_emb_{part}.npy" for part in range(3)),
    ]
    last = np.load(tmp_path / "out/img_emb/img_emb_2.npy", allow_pickle=False)
    assert (last.dtype, last.shape) == (np.float16, (6, 16))
    metadata = pq.read_table(tmp_path / "out/metadata/metadata_0.parquet")
    assert metadata.column_names == ["item_id", "title", "price", "tags", "caption", "image_path", "has_image"]
    assert metadata.slice(3, 1).to_pylist()[0] == {
        "item_id": "white-mug",
        "title": "white mug",
        "price": 5,
        "tags": ["white", "mug"],
        "caption": "white mug",
        "image_path": "white-mug",
        "has_image": False,
    }
    read = read_clip_retrieval(tmp_path / "out")
    assert read.item_ids == bundle.items
    for modality in (Modality.TEXT, Modality.IMAGE):
        np.testing.assert_array_equal(read.vectors.exists[modality], bundle.modality_vectors.exists[modality])
        np.testing.assert_allclose(
            read.vectors.vectors[modality], bundle.modality_vectors.vectors[modality], atol=2e-3, rtol=0
        )


def test_a_modality_that_nobody_has_is_not_written_and_partitions_are_padded(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,title\n" + "".join(f"{row},red mug {row}\n" for row in range(12)))
    bundle = build_bundle(Catalogue.open(tmp_path / "items.csv"), ToyEncoder(), tmp_path / "bundle")
    report = write_clip_retrieval(bundle, tmp_path / "out", rows=1)
    assert (report.written, report.zeros, report.partitions) == (("text",), {}, 12)
    assert not (tmp_path / "out" / "img_emb").exists()
    assert (tmp_path / "out" / "text_emb" / "text_emb_03.npy").exists()
    assert read_clip_retrieval(tmp_path / "out").item_ids == bundle.items


def test_nothing_is_mixed_and_nothing_is_left_half(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("")
    with pytest.raises(InputError, match="taken exists and is not an empty folder; name a new one"):
        write_clip_retrieval(bundle, tmp_path / "taken")
    with pytest.raises(InputError, match="partitions of 0 rows"):
        write_clip_retrieval(bundle, tmp_path / "out", rows=0)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("indexing.exchange.clip_retrieval.parquet_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_clip_retrieval(bundle, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_missing_partition_is_noticed(foreign: Path) -> None:
    (foreign / "text_emb" / "text_emb_4.npy").unlink()
    with pytest.raises(CatalogueError, match="text_emb lacks partitions 4; rows would not match"):
        read_clip_retrieval(foreign)


def test_the_last_partition_missing_is_noticed(foreign: Path) -> None:
    (foreign / "img_emb" / "img_emb_11.npy").unlink()
    with pytest.raises(CatalogueError, match="12 partitions of metadata and 11 of img_emb"):
        read_clip_retrieval(foreign)


def with_nan() -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    vectors = np.ones((2, 6), np.float16)
    vectors[1, 2] = np.nan
    return vectors


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 6), np.float16), "img_emb_2.npy has 3 rows and its metadata 2"),
        (np.ones((2, 5), np.float16), "img_emb_2.npy holds vectors of 5 numbers, .*img_emb_0.npy of 6"),
        (with_nan(), "img_emb_2.npy holds NaN or infinity in rows 1"),
        (np.ones(12, np.float16), r"holds float16 of shape \(12,\), expected floats of shape \(N, D\)"),
        (np.ones((2, 6), np.int64), "holds int64 of shape"),
        (np.array([{}, {}], object), "cannot be read as an array: .*allow_pickle"),
    ],
)
def test_files_that_do_not_fit(
    foreign: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.float16]], message: str
) -> None:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    (foreign / "img_emb" / "img_emb_2.npy").write_bytes(file.getvalue())
    with pytest.raises(CatalogueError, match=message):
        read_clip_retrieval(foreign)


def test_other_mistakes(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"metadata has no column uid; name one of \['image_path', 'caption'\]"):
        read_clip_retrieval(foreign, item_id="uid")
    with pytest.raises(CatalogueError, match=r"holds no metadata_0\.parquet; is this a folder of clip-retrieval"):
        read_clip_retrieval(tmp_path)
    (foreign / "img_emb" / "img_emb_3.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CatalogueError, match=r"img_emb_3\.npy cannot be read as an array"):
        read_clip_retrieval(foreign)
    table = pa.table({"image_path": ["pictures/0.jpg", "x"], "caption": ["", ""]})
    pq.write_table(table, foreign / "metadata" / "metadata_3.parquet")
    np.save(foreign / "img_emb" / "img_emb_3.npy", np.ones((2, 6), np.float16))
    with pytest.raises(InputError, match=r"1 item ids appear more than once, e\.g\. 'pictures/0\.jpg'"):
        read_clip_retrieval(foreign)
