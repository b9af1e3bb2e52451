"""CSV files of other writers: separators, encodings, names of columns, quotes; what was found is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.cleaning import MAX_TEXT_LENGTH
from indexing.errors import CatalogueError

LINES = "item_id,title,price\n1,café house,3\n2,tree,4.5\n3,sun,6\n"


def opened(folder: Path, data: bytes | str, name: str = "items.csv") -> Catalogue:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return Catalogue.open(folder / name)


@pytest.mark.parametrize(
    ("name", "data", "notes"),
    [
        ("items.csv", LINES.encode(), ()),
        ("items.csv", b"\xef\xbb\xbf" + LINES.encode(), ()),
        ("items.csv", LINES.replace(",", ";").encode(), ("separated by semicolons",)),
        ("items.csv", LINES.replace(",", "\t").encode(), ("separated by tabs",)),
        ("items.tsv", LINES.replace(",", "\t").encode(), ("separated by tabs",)),
        ("items.tsv", LINES.encode(), ()),
        ("items.csv", LINES.replace(",", "|").encode(), ("separated by vertical bars",)),
        ("items.csv", LINES.encode("utf-16"), ("encoding UTF-16",)),
        ("items.csv", LINES.encode("utf-32"), ("encoding UTF-32",)),
        ("items.csv", LINES.encode("cp1252"), ("encoding Windows-1252",)),
        ("items.csv", LINES.replace(",", ";").encode("utf-16"), ("encoding UTF-16", "separated by semicolons")),
    ],
)
def test_separators_and_encodings_are_found_and_said(
    tmp_path: Path, name: str, data: bytes, notes: tuple[str, ...]
) -> None:
    catalogue = opened(tmp_path, data, name)
    assert catalogue.attributes.to_pydict() == {
        "item_id": ["1", "2", "3"],
        "title": ["café house", "tree", "sun"],
        "price": [3.0, 4.5, 6.0],
    }
    assert catalogue.report.read_as == notes


def test_bytes_of_another_encoding_are_not_guessed(tmp_path: Path) -> None:
    catalogue = opened(tmp_path, "item_id,title\n1,日本\n2,tree\n".encode("shift-jis"))
    assert catalogue.attributes["item_id"].to_pylist() == ["2"]
    assert catalogue.rejects["reason"].to_pylist() == ["not UTF-8: column title"]


def test_a_mark_that_lies_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="not in the encoding that its first bytes say"):
        opened(tmp_path, b"\xff\xfea")


@pytest.mark.parametrize(
    ("header", "item_id"),
    [("ITEM_ID,Title", "ITEM_ID"), ("itemId,TITLE", "itemId"), ("sku,Name", "sku"), ("movieId,title", "movieId"),
     ("Product ID,caption", "Product ID"), ("sku,item_id,title", "item_id")],
)  # fmt: skip
def test_names_are_found_however_they_are_written(tmp_path: Path, header: str, item_id: str) -> None:
    catalogue = opened(tmp_path, f"{header}\n007,mug,x\n" if header.count(",") > 1 else f"{header}\n007,mug\n")
    assert catalogue.columns.item_id == item_id
    assert len(catalogue.columns.text) == 1


def test_twins_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="several columns are named 'title' and none of them is taken"):
        opened(tmp_path, "item_id,title,title\n1,a,b\n")


def test_a_quote_that_is_not_closed_is_reported(tmp_path: Path) -> None:
    catalogue = opened(tmp_path, 'item_id,title,price\n1,mug,3\n2,"lamp,4\n3,rug,5\n4,cup,6\n')
    assert catalogue.attributes["item_id"].to_pylist() == ["1"]
    assert "a quote that is not closed joins" in catalogue.rejects["reason"][0].as_py()


def test_a_long_text_is_cut_and_counted(tmp_path: Path) -> None:
    catalogue = opened(tmp_path, f"item_id,title\n1,{'mug ' * 10_000}\n2,lamp\n")
    (batch,) = catalogue.batches(8)
    assert len(batch[0].text or "") <= MAX_TEXT_LENGTH
    assert catalogue.report.repaired[f"text cut to {MAX_TEXT_LENGTH} characters"] == 1


def test_the_process_ends_cleanly_after_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("code,label\na.png,mug\n" * 1000)
    probe = "import sys; from indexing.catalogue.catalogue import Catalogue; Catalogue.open(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path / "items.csv")], env=os.environ, capture_output=True, check=False
    )
    assert ended.returncode == 1  # and no signal
    assert b"terminate called" not in ended.stderr
