"""A folder of pictures: captions beside them or a metadata file, and nothing from elsewhere."""

import os
import sys
from pathlib import Path

import pytest

from indexing.catalogue import Catalogue, Item
from indexing.columns import Columns
from indexing.errors import CatalogueError
from indexing.media import Kind, Medium
from indexing.readers.folder import LONGEST_CAPTION


def items_of(catalogue: Catalogue) -> list[Item]:
    return [item for batch in catalogue.batches(2) for item in batch]


def test_captions_do_not_come_from_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "b.txt").symlink_to(folder / "b.txt")
    (folder / "c.txt").write_bytes(b"caf\xe9")
    (folder / "d.txt").write_text("x" * 100_000)
    texts = {item.item_id: item.text for item in items_of(Catalogue.from_image_folder(folder))}
    assert texts == {"a.png": None, "b.png": None, "c.png": "caf\ufffd", "d.png": "x" * LONGEST_CAPTION}


def test_a_picture_linked_from_elsewhere_is_named_as_a_problem(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(b"x")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").symlink_to(tmp_path / "outside.png")
    (item,) = items_of(Catalogue.open(tmp_path / "pictures"))
    assert item.media[0].source is None
    assert item.media[0].problem == "image path leaves the folder of images: a.png"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_a_file_name_that_is_no_unicode_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"x")
    with open(os.path.join(os.fsencode(tmp_path), b"a\xff.png"), "wb") as file:
        file.write(b"x")
    catalogue = Catalogue.open(tmp_path)
    assert [item.item_id for item in items_of(catalogue)] == ["b.png"]
    assert catalogue.rejects.to_pylist() == [{"source_row": 0, "item_id": None, "reason": "file name is no Unicode"}]


def test_metadata_in_json_lines_with_ids(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    lines = ['{"file_name": "a.png", "item_id": 7, "text": "a mug", "price": 3}', '{"file_name": "../b.png"}']
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    catalogue = Catalogue.open(tmp_path)
    assert items_of(catalogue) == [Item("7", "a mug", (Medium(Kind.IMAGE, (tmp_path / "a.png").resolve()),))]
    assert catalogue.attributes.to_pydict() == {"item_id": ["7"], "text": ["a mug"], "price": [3]}
    assert catalogue.rejects["reason"].to_pylist() == ["missing item_id"]


def test_metadata_with_chosen_columns(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,legend\na.png,1.50\n")
    catalogue = Catalogue.open(tmp_path, columns=Columns("item_id", ("legend",), "file_name"))
    assert items_of(catalogue) == [Item("a.png", "1.50", (Medium(Kind.IMAGE, (tmp_path / "a.png").resolve()),))]


def test_metadata_that_names_no_files(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("item_id,text\na,b\n")
    with pytest.raises(CatalogueError, match="has no column file_name"):
        Catalogue.open(tmp_path)
