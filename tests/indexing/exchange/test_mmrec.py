"""MMRec's layout: what is written is read again, and the split is each user's own time."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import unit
from indexing.bundle.bundle import Bundle
from indexing.errors import CatalogueError, InputError
from indexing.exchange import read_mmrec, write_mmrec
from indexing.exchange.mmrec import split_by_time
from indexing.media.files import Modality
from retrieval.interactions.interactions import Interactions


@pytest.fixture
def bundle(own_toy_bundle: Path) -> Bundle:
    return Bundle.open(own_toy_bundle)


@pytest.fixture
def log() -> Interactions:
    rows = [("zoe", "red-mug", 30), ("zoe", "white-mug", 10), ("zoe", "blue-lamp", 20), ("zoe", "red-shoe", 40)]
    rows += [("007", "white-mug", 5), ("007", "gone", 6)]
    users, items, times = zip(*rows, strict=True)
    weights = [4.0, 5.0, 3.0, 4.5, 1.0, 1.0]
    return Interactions.from_arrow(
        pa.table({"user_id": users, "item_id": items, "timestamp": times, "weight": weights})
    )


def test_files_are_as_mmrec_reads_them(bundle: Bundle, log: Interactions, tmp_path: Path) -> None:
    report = write_mmrec(bundle, log.table, tmp_path / "out", name="toys")
    assert report.to_json() == {
        "users": 2,
        "items": 4,
        "interactions": {"train": 3, "valid": 1, "test": 1},
        "zeros": {"text": 0, "image": 1},
        "items_left_out": 16,
        "unknown": 1,
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "i_id_mapping.csv",
        "image_feat.npy",
        "text_feat.npy",
        "toys.inter",
        "u_id_mapping.csv",
    ]
    with (tmp_path / "out" / "toys.inter").open(newline="") as file:
        lines = list(csv.reader(file, delimiter="\t"))
    # Items are numbered in row order: red-mug 0, white-mug 1, red-shoe 2, blue-lamp 3; users: 007 is 0, zoe is 1.
    assert lines == [
        ["userID", "itemID", "rating", "timestamp", "x_label"],
        ["0", "1", "1.0", "5", "0"],
        ["1", "1", "5.0", "10", "0"],
        ["1", "3", "3.0", "20", "0"],
        ["1", "0", "4.0", "30", "1"],
        ["1", "2", "4.5", "40", "2"],
    ]
    images = np.load(tmp_path / "out" / "image_feat.npy", allow_pickle=False)
    assert (images.dtype, images.shape) == (np.float32, (4, 16))
    np.testing.assert_array_equal(images[1], 0)
    row = bundle.items.rows(["red-shoe"])
    np.testing.assert_allclose(images[2], unit(bundle.modality_vectors.vectors[Modality.IMAGE][row])[0], atol=1e-6)


def test_round_trip(bundle: Bundle, log: Interactions, tmp_path: Path) -> None:
    write_mmrec(bundle, log.table, tmp_path / "out", name="toys")
    read = read_mmrec(tmp_path / "out")
    assert list(read.item_ids) == ["red-mug", "white-mug", "red-shoe", "blue-lamp"]
    rows = bundle.items.rows(read.item_ids)
    texts = unit(bundle.modality_vectors.vectors[Modality.TEXT][rows])
    np.testing.assert_allclose(read.vectors[Modality.TEXT], texts, atol=1e-6)
    assert read.interactions["split"].to_pylist() == ["train", "train", "train", "valid", "test"]
    again = Interactions.from_arrow(read.interactions)
    known = log.table.filter(pa.array([item != "gone" for item in log.table["item_id"].to_pylist()]))
    assert again.table.equals(known)
    held = Interactions.from_arrow(read.interactions, only=("split", ("test",)))
    assert held.table["item_id"].to_pylist() == ["red-shoe"]


def test_split_by_hand() -> None:
    users = np.array([1] * 20 + [2] * 2 + [3] * 3)
    times = np.array([*range(20), 0, 1, 5, 5, 5])
    labels = split_by_time(users, times)
    assert labels[:20].tolist() == [0] * 16 + [1] * 2 + [2] * 2
    assert labels[20:22].tolist() == [0, 0]
    assert labels[22:].tolist() == [0, 1, 2]
    backwards = split_by_time(users[::-1].copy(), times[::-1].copy())
    assert backwards[::-1][:20].tolist() == labels[:20].tolist()
    assert split_by_time(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


def test_without_mappings_ids_are_numbers(bundle: Bundle, log: Interactions, tmp_path: Path) -> None:
    write_mmrec(bundle, log.table, tmp_path / "out", name="toys")
    for name in ("i_id_mapping.csv", "u_id_mapping.csv"):
        (tmp_path / "out" / name).unlink()
    read = read_mmrec(tmp_path / "out")
    assert list(read.item_ids) == ["0", "1", "2", "3"]
    assert read.interactions["user_id"].to_pylist() == ["0", "1", "1", "1", "1"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("toys.inter", "userID\titemID\n0\t0\n", r"lacks columns \['x_label'\]; it has \['userID', 'itemID'\]"),
        ("toys.inter", "userID\titemID\tx_label\n0\tred\t0\n", "has itemID that are no whole numbers"),
        ("toys.inter", "userID\titemID\tx_label\n0\t-1\t0\n", "has no itemID, or negative ones"),
        ("toys.inter", "userID\titemID\tx_label\n0\t0\t7\n", "has x_label 7, expected 0, 1 or 2"),
        ("toys.inter", "userID\titemID\tx_label\n0\t0\n", "lines of another width than its header: 2"),
        ("toys.inter", "userID\titemID\tx_label\n", "has no rows below its header"),
        ("toys.inter", "userID\titemID\tx_label\n0\t9\t0\n", "has itemID 9, its mapping only 4"),
        ("more.inter", "", "holds 2 .inter files, expected one"),
        ("i_id_mapping.csv", "item_id\titemID\na\t0\nb\t0\n", "does not number its 2 lines from 0 to 1, each once"),
        ("i_id_mapping.csv", "item_id\titemID\na\t0\nb\t1\n", "has 2 items, but rows of"),
    ],
)
def test_files_that_do_not_fit(
    bundle: Bundle, log: Interactions, tmp_path: Path, name: str, content: str, message: str
) -> None:
    write_mmrec(bundle, log.table, tmp_path / "out", name="toys")
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(CatalogueError, match=message):
        read_mmrec(tmp_path / "out")


def test_mistakes_of_writing(bundle: Bundle, log: Interactions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\.\./toys' cannot name the files of a data set"):
        write_mmrec(bundle, log.table, tmp_path / "out", name="../toys")
    with pytest.raises(InputError, match="none of the 1 interactions is with an item of"):
        write_mmrec(bundle, log.table.slice(1, 1), tmp_path / "out", name="toys")
    with pytest.raises(InputError, match=r"lack columns \['weight'\]; read the log with retrieval\.Interactions"):
        write_mmrec(bundle, log.table.drop(["weight"]), tmp_path / "out", name="toys")
    assert not (tmp_path / "out").exists()
