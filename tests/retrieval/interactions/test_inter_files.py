"""The .inter files of MMRec and RecBole: what is read of them, and what is refused."""

from pathlib import Path

import pytest

from indexing.errors import InteractionsError
from retrieval.interactions.interactions import InteractionColumns, Interactions

MMREC = "userID\titemID\trating\ttimestamp\tx_label\n1\t007\t4.0\t30\t0\n0\t5\t2.0\t10\t1\n1\t5\t5.0\t20\t2\n"
RECBOLE = (
    "item_id:token\tuser_id:token\ttags:token_seq\ttimestamp:float\trating:float\n"
    "007\tann\tred mug\t30.5\t4\n"
    "5\tbob\t\t10\t2\n"
    "cut\tshort\n"
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "log.inter"
    path.write_text(text)
    return path


def test_mmrec_is_read(tmp_path: Path) -> None:
    found = Interactions.open(written(tmp_path, MMREC))
    assert found.table.to_pylist() == [
        {"user_id": "0", "item_id": "5", "timestamp": 10, "weight": 2.0},
        {"user_id": "1", "item_id": "5", "timestamp": 20, "weight": 5.0},
        {"user_id": "1", "item_id": "007", "timestamp": 30, "weight": 4.0},
    ]
    assert (found.dropped, found.repaired) == ({}, {})


def test_the_parts_and_positives_of_mmrec_can_be_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, MMREC)
    learned = Interactions.open(path, only=("x_label", ("0", "1")))
    assert learned.table["timestamp"].to_pylist() == [10, 30]
    assert Interactions.open(path, min_weight=4).table["timestamp"].to_pylist() == [20, 30]


def test_recbole_is_read_and_its_short_rows_counted(tmp_path: Path) -> None:
    found = Interactions.open(written(tmp_path, RECBOLE))
    assert found.table.to_pylist() == [
        {"user_id": "bob", "item_id": "5", "timestamp": 10, "weight": 2.0},
        {"user_id": "ann", "item_id": "007", "timestamp": 30, "weight": 4.0},
    ]
    assert found.dropped == {"wrong number of columns": 1}
    tags = InteractionColumns(item_id="tags")
    assert Interactions.open(written(tmp_path, RECBOLE), columns=tags).table["item_id"].to_pylist() == ["red mug"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MMREC.replace("\t", ","), r"has one column 'userID,itemID,.*separated by tabs and has a header such as"),
        ("", "has one column"),
        (
            MMREC.replace("itemID", "thing"),
            r"no column 'item_id' or 'item' .* of items; the columns are \['userID'",
        ),
        (RECBOLE.replace("rating:float", "rating:int"), r"columns 'rating:int'; types are token, token_seq, float"),
        (RECBOLE.replace("item_id:token", "item_id:token_seq"), r"several values a row in 'item_id:token_seq'"),
        (RECBOLE.replace("tags:token_seq", "user_id:float"), "more than one column 'user_id'"),
        ("userID\titemID\n", "has no rows; the columns read are"),
        ("userID\titemID\n\t\n", r"dropped 1 .blank user_id."),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InteractionsError, match=message):
        Interactions.open(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InteractionsError, match=r"gone.inter: there is no such file"):
        Interactions.open(tmp_path / "gone.inter")
