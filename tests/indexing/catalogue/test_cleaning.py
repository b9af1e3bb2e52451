"""Texts come out as a person would read them, ids as they went in, and every change is counted."""

import unicodedata
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.catalogue.cleaning import clean_item_id, clean_text, file_reference


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (["Red mug", "For tea"], "Red mug. For tea"),
        (["Really?", "Yes!", "Good."], "Really? Yes! Good."),
        (["Colours:", ["red", " blue ", "", None, "\x00"]], "Colours: red, blue"),
        (["  a \t b\r\n", None, ""], "a b"),
        (["one\x0ctwo\x85three"], "one two three"),
        (["a \x00 b\x07c"], "a bc"),
        (["cafe\u0301"], "café"),
        (["👩\u200d🚀"], "👩\u200d🚀"),
        (["\u200b\ufeff \u2060"], None),
        ([None, [], [None], " "], None),
        ([1984, 2.5], "1984. 2.5"),
        ([], None),
    ],
)
def test_texts(fields: list[object], text: str | None) -> None:
    assert clean_text(fields, Counter()) == text


def test_only_changes_are_counted() -> None:
    repaired = Counter[str]()
    clean_text(["fine", " tidied ", ["fine", "tidied\n"]], repaired)
    assert repaired == {"text tidied": 2}


@given(st.lists(st.text(max_size=12), max_size=4))
def test_a_clean_text_is_clean(fields: list[str]) -> None:
    text = clean_text(fields, Counter())
    if text is not None:
        assert text == " ".join(text.split()) == clean_text([text], Counter())
        assert unicodedata.is_normalized("NFC", text)
        assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Co") for letter in text)


@pytest.mark.parametrize(
    ("raw", "item_id", "problem"),
    [
        ("007", "007", None),
        (7, "7", None),
        (7.0, "7", None),
        (7.5, None, "item_id is a number that is not whole, or too large to be exact: 7.5"),
        (float("nan"), None, "missing item_id"),
        (1e17, None, "item_id is a number that is not whole, or too large to be exact: 1e+17"),
        (Decimal("7.00"), "7", None),
        (Decimal(10) ** 37, "1" + "0" * 37, None),
        (Decimal("7.5"), None, "item_id is a number that is not whole, or too large to be exact: 7.5"),
        (True, None, "item_id of type bool"),
        (None, None, "missing item_id"),
        (" ", " ", "blank item_id"),
        (b"a", None, "item_id of bytes: write it as text, 61 in hexadecimal digits"),
    ],
)
def test_item_ids(raw: object, item_id: str | None, problem: str | None) -> None:
    assert clean_item_id(raw, Counter()) == (item_id, problem)


def test_pictures_are_bytes_or_paths_below_their_folder(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "away").symlink_to("/etc")
    (root / "loop").symlink_to(root / "loop")
    assert file_reference(b"\x89PNG", root) == (b"\x89PNG", None)
    assert file_reference("a/b.png", root) == (root / "a" / "b.png", None)
    assert file_reference("a/../b.png", root) == (root / "b.png", None)
    assert file_reference(str(root / "b.png"), root) == (root / "b.png", None)
    assert file_reference({"bytes": None, "path": "b.png"}, root) == (root / "b.png", None)
    assert file_reference({"bytes": b"x", "path": "/etc/passwd"}, root) == (b"x", None)
    for nothing in (None, "", b"", {"bytes": None, "path": None}):
        assert file_reference(nothing, root) == (None, None)
    for path, reason in (
        ("../b.png", "leaves the folder of images"),
        ("/etc/passwd", "leaves the folder of images"),
        ("away/passwd", "leaves the folder of images"),
        ("loop/x.png", "leads nowhere"),
        ("http://example.org/x.png", "URLs are not fetched"),
        ("s3://bucket/x.png", "URLs are not fetched"),
        ("file:/etc/passwd", "URLs are not fetched"),
        ("data:image/png;base64,AAAA", "URLs are not fetched"),
        ("a\0b.png", "NUL"),
        (" ", "blank image path"),
    ):
        image, problem = file_reference(path, root)
        assert image is None
        assert reason in (problem or "")
