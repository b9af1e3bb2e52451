"""Logs as text in other encodings than UTF-8: read by the rule that items are read by, or refused with the line."""

from pathlib import Path

import pytest

from indexing.errors import InteractionsError
from retrieval.interactions.interactions import Interactions
from tests.logs import values

LINES = ["user,item,rating,time", "josé,tasse,5,1", "zoë,café,3,2", "josé,thé", "zoë,tasse,1,3"]
TEXT = "\n".join(LINES) + "\n"
LOST = {"wrong number of columns": 1}


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("utf-16", {"read as UTF-16": 3}),
        ("utf-32", {"read as UTF-32": 3}),
        ("cp1252", {"read as Windows-1252": 3}),
        ("latin-1", {"read as Windows-1252": 3}),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "inter"])
def test_a_log_in_another_encoding_is_read_and_said(
    tmp_path: Path, encoding: str, expected: dict[str, int], suffix: str
) -> None:
    path = tmp_path / f"log.{suffix}"
    text = TEXT if suffix == "csv" else TEXT.replace(",", "\t")
    if suffix == "inter":
        text = text.replace("user\titem", "userID\titemID", 1).replace("time", "timestamp", 1)
    path.write_bytes(text.encode(encoding))
    found = Interactions.open(path)
    assert values(found, "user_id") == ["josé", "zoë", "zoë"]
    assert values(found, "item_id") == ["tasse", "café", "tasse"]
    assert values(found, "weight") == [5.0, 3.0, 1.0]
    assert (found.repaired, found.dropped) == (expected, LOST)


def test_marks_of_an_encoding_before_a_log_in_plain_letters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        path.write_bytes(mark + "user,item\nann,mug\n".encode(encoding))
        found = Interactions.open(path)
        assert (values(found, "user_id"), found.repaired) == (["ann"], {"read as UTF-16": 1})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            b"user,item\nann,mug\nb\xc3\xa9a,caf\xe9\n",
            r"line 3 is not in UTF-8 \(byte 26: .*; save it as UTF-8",
        ),
        (b"user,item\nann,\xff\xff\xfe\n", r"line 2 is not in UTF-8 \(byte 14: invalid start byte\)"),
        (b"\xff\xfeu\x00s", r"line 1 is not in UTF-16.* \(byte .: truncated data\); save it as UTF-8"),
    ],
)
def test_a_log_in_no_encoding_names_the_line(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(data)
    with pytest.raises(InteractionsError, match=rf"log\.csv cannot be read as CSV: {reason}"):
        Interactions.open(path)


def test_what_is_no_log_for_another_reason_says_that(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("utilisateur,article\njosé,thé\n".encode("cp1252"))
    with pytest.raises(InteractionsError, match=r"there is no column .* the columns are \['utilisateur', 'article'\]"):
        Interactions.open(path)
