"""A folder of pictures: captions beside them or a metadata file, and nothing from elsewhere."""

import io
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, features

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue, Item
from indexing.catalogue.cleaning import MAX_TEXT_LENGTH
from indexing.catalogue.columns import Columns
from indexing.catalogue.medium import Medium
from indexing.catalogue.readers.folder import MAX_CAPTION_BYTES
from indexing.diagnostics.inspect import inspect_catalogue
from indexing.errors import CatalogueError
from indexing.media.files import Kind
from tests.toy import ToyEncoder


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
    (folder / "c.txt").write_bytes(b"\xea\xee\xf2")
    (folder / "d.txt").write_text("x" * 100_000)
    catalogue = Catalogue.from_image_folder(folder)
    texts = {item.item_id: item.text for item in items_of(catalogue)}
    assert texts == {"a.png": None, "b.png": None, "c.png": None, "d.png": "x" * MAX_TEXT_LENGTH}
    assert catalogue.attributes["caption"].to_pylist()[-1] == "x" * MAX_CAPTION_BYTES
    assert catalogue.rejects["reason"].to_pylist() == [
        "link leads out of the folder: a.txt",
        "link leads nowhere: b.txt",
        "caption cannot be read: not UTF-8 at byte 0, save it as UTF-8: c.txt",
    ]


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
    assert catalogue.rejects.to_pylist() == [
        {"source_row": 0, "item_id": None, "reason": "file name is no Unicode: a?.png"}
    ]


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


def saved(kind: str, colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(file, kind)
    return file.getvalue()


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_hidden_files_and_those_of_the_system_are_counted_apart(tmp_path: Path) -> None:
    png = saved("PNG")
    hidden = [
        ".DS_Store",
        ".Trashes/501/deleted.jpg",
        "._good.png",
        "._good.txt",
        ".hidden/secret.png",
        "sub/._tree.jpg",
    ]
    system = [
        "@eaDir/good.png/SYNOPHOTO_THUMB_XL.jpg",
        "Thumbs.db",
        "__MACOSX/._good.png",
        "sub/desktop.ini",
        "#recycle/x.png",
    ]
    wanted = {"good.png": png, "good.txt": b"a red house", "sub/tree.jpg": saved("JPEG"), "sub/tree.txt": b"a tree"}
    catalogue = Catalogue.open(put(tmp_path, wanted | dict.fromkeys([*hidden, *system], png)))
    assert [(item.item_id, item.text) for item in items_of(catalogue)] == [
        ("good.png", "a red house"), ("sub/tree.jpg", "a tree")
    ]  # fmt: skip
    assert catalogue.report.left_out == {"hidden": 6, "of the operating system": 5}
    assert catalogue.report.rejected == {}
    assert inspect_catalogue(catalogue).left_out == catalogue.report.left_out


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_pictures_are_recognised_by_content_and_the_rest_has_a_reason(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    jpeg = saved("JPEG")
    pictures = {
        "new.avif": b"\0\0\0\x20ftypavif" + bytes(20),
        "noext": jpeg,
        "old.jpe": jpeg,
        "photo.heic": b"....ftypheic....",
    }
    pictures |= {"scan.tif": saved("TIFF"), "wrong.txt.bak": saved("GIF"), "web.jfif": jpeg, "x.png": b"<html>"}
    others = {
        "notes.md": b"BMW, a car",
        "list.csv": b"a,b",
        "film.mp4": b"....ftypisom",
        "empty": b"",
        "alone.txt": b"?",
    }
    catalogue = Catalogue.open(put(tmp_path, pictures | others | {"noext.txt": b"no suffix"}))
    texts = {item.item_id: item.text for item in items_of(catalogue)}
    assert texts == dict.fromkeys(pictures) | {"noext": "no suffix"}
    assert sorted(catalogue.rejects["reason"].to_pylist()) == [
        "no picture: empty",
        "no picture: film.mp4",
        "no picture: list.csv",
        "no picture: notes.md",
        "text beside no picture: alone.txt",
    ]
    found = inspect_catalogue(catalogue)
    assert (found.rows, found.kept, found.rejected) == (13, 8, catalogue.report.rejected)
    assert found.image["unusable"]["reasons"] == {
        "image is a broken AVIF": 1,
        "image is a broken HEIF": 1,
        "image is TIFF, which is not read": 1,
        "image is none of JPEG, PNG, WEBP, GIF, BMP, AVIF, HEIF": 1,
    }


def test_links_and_folders_that_cannot_be_entered_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "in", {"a.png": b"x", "locked/b.png": b"x", "linked.bin": b"x"})
    put(tmp_path / "out", {"c.png": b"x", "d.bin": saved("PNG")})
    (root / "album").symlink_to(tmp_path / "out")
    (root / "dead.png").symlink_to(root / "gone.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "outside").symlink_to(tmp_path / "out" / "d.bin")
    (root / "up").symlink_to(root)
    os.mkfifo(root / "pipe.png")
    scandir = os.scandir

    def locked(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    catalogue = Catalogue.open(root)
    assert [item.item_id for item in items_of(catalogue)] == ["a.png"]
    assert catalogue.rejects["reason"].to_pylist() == [
        "linked folder is not followed: album",
        "link leads nowhere: dead.png",
        "no picture: linked.bin",
        "folder cannot be read: Permission denied: locked",
        "link leads nowhere: loop.png",
        "link leads out of the folder: outside",
        "no regular file: pipe.png",
        "linked folder is not followed: up",
    ]
    assert catalogue.report.rejected["linked folder is not followed"] == 2


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfa red caf\xc3\xa9\r\n",
        "\ufeffa red caf\u00e9\r\n".encode("utf-16-le"),
        "\ufeffa red caf\u00e9".encode("utf-16-be"),
        "\ufeffa red caf\u00e9\r".encode("utf-32-le"),
        b"\n  a red caf\xc3\xa9 \n\n",
    ],
    ids=["BOM", "UTF-16", "UTF-16 BE", "UTF-32", "blanks"],
)
@pytest.mark.parametrize("names", [("1.JPG", "1.TXT"), ("a\u0301.png", "\u00e1.txt"), ("v1.2", "v1.Txt")])
def test_captions_of_all_unicode_encodings_are_read(tmp_path: Path, data: bytes, names: tuple[str, str]) -> None:
    picture, caption = names
    catalogue = Catalogue.open(put(tmp_path, {picture: saved("JPEG"), caption: data}))
    assert catalogue.attributes["caption"].to_pylist() == ["a red caf\u00e9"]
    assert catalogue.report.rejected == {}


def test_captions_are_read_as_windows_1252_where_csv_is(tmp_path: Path) -> None:
    files = {"a.txt": "a red caf\u00e9".encode("cp1252"), "b.txt": "a blue caf\u00e9".encode()}
    catalogue = Catalogue.open(put(tmp_path, {"a.png": saved("PNG"), "b.png": saved("PNG"), **files}))
    assert catalogue.attributes["caption"].to_pylist() == ["a red caf\u00e9", "a blue caf\u00e9"]
    assert catalogue.report.read_as == ("1 captions in Windows-1252",)
    assert catalogue.report.rejected == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("caf\u00e9 ".encode("cp1252") + "caf\u00e9".encode(), "not UTF-8 at byte 3, save it as UTF-8"),
        ("\u043a\u043e\u0442".encode("cp1251"), "not UTF-8 at byte 0, save it as UTF-8"),
        ("a cat".encode("utf-16-le"), "it holds NUL characters, save it as UTF-8"),
        ("\ufeffcat".encode("utf-16-le") + b"x", "not UTF-16-LE at byte 8, save it as UTF-8"),
    ],
    ids=["two encodings", "cp1251", "UTF-16 without a mark", "half a letter"],
)
def test_captions_of_other_encodings_are_refused_and_named(tmp_path: Path, data: bytes, reason: str) -> None:
    catalogue = Catalogue.open(put(tmp_path, {"a.png": saved("PNG"), "a.txt": data}))
    assert [(item.item_id, item.text) for item in items_of(catalogue)] == [("a.png", None)]
    assert catalogue.rejects["reason"].to_pylist() == [f"caption cannot be read: {reason}: a.txt"]


def test_pictures_that_metadata_does_not_list(tmp_path: Path) -> None:
    png = saved("PNG")
    put(
        tmp_path,
        dict.fromkeys(["a.png", "b.png", "c.png", "sub/d.png", "back.png"], png) | {"d.md": b"x", "c.txt": b"a sea"},
    )
    (tmp_path / "metadata.csv").write_text(
        "file_name,text,back,price\nb.png,a blue boat,back.png,2\na.png,a red house,,1\n"
    )
    catalogue = Catalogue.open(tmp_path)
    assert [(item.item_id, item.text) for item in items_of(catalogue)] == [
        ("b.png", "a blue boat"), ("a.png", "a red house"), ("c.png", "a sea"), ("sub/d.png", None)
    ]  # fmt: skip
    assert catalogue.attributes["price"].to_pylist() == [2, 1, None, None]
    assert catalogue.rejects.to_pylist() == [{"source_row": 4, "item_id": None, "reason": "no picture: d.md"}]
    (tmp_path / "metadata.csv").write_text("file_name,item_id,text\nsub\\d.png,7,a boat\nb.png,8,a boat\n")
    catalogue = Catalogue.open(tmp_path)
    assert [item.item_id for item in items_of(catalogue)] == ["7", "8"]
    reason = "picture without an item_id, as no metadata file lists it"
    assert catalogue.report.rejected == {reason: 3, "no picture": 1}
    assert catalogue.rejects["reason"].to_pylist()[0] == f"{reason}: a.png"


def test_metadata_in_folders_below_names_pictures_from_there(tmp_path: Path) -> None:
    png = saved("PNG")
    put(tmp_path, dict.fromkeys(["train/a.png", "test/a.png", "test/b.png", "c.png"], png))
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text,price\na.png,a mug,3\n")
    lines = ['{"file_name": "a.png", "text": "a cup", "price": "dear"}', "no JSON"]
    (tmp_path / "test" / "metadata.jsonl").write_text("\n".join(lines))
    catalogue = Catalogue.open(tmp_path)
    root = tmp_path.resolve()
    assert [(item.item_id, item.text, item.media[0].source) for item in items_of(catalogue)] == [
        ("test/a.png", "a cup", root / "test/a.png"),
        ("train/a.png", "a mug", root / "train/a.png"),
        ("c.png", None, root / "c.png"),
        ("test/b.png", None, root / "test/b.png"),
    ]
    assert catalogue.attributes["price"].to_pylist() == ["dear", "3", None, None]
    (reject,) = catalogue.rejects.to_pylist()
    assert reject["source_row"] == 1
    assert reject["reason"].endswith(" of test/metadata.jsonl")


def test_a_folder_of_parquet_files_is_one_source(tmp_path: Path) -> None:
    for part, names in (("part-1", ["c"]), ("part-0", ["a", "b"])):
        pq.write_table(pa.table({"item_id": names, "title": [f"t {n}" for n in names]}), tmp_path / f"{part}.parquet")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    (tmp_path / ".part-0.parquet.crc").write_bytes(b"x")
    catalogue = Catalogue.open(tmp_path)
    assert [(item.item_id, item.text) for item in items_of(catalogue)] == [("a", "t a"), ("b", "t b"), ("c", "t c")]
    assert catalogue.report.left_out == {"not a table": 2}
    pq.write_table(pa.table({"item_id": [1], "title": ["t"]}), tmp_path / "part-2.parquet")
    with pytest.raises(CatalogueError, match=r"part-2\.parquet has other columns than .*part-0\.parquet: .*item_id"):
        Catalogue.open(tmp_path)
    (tmp_path / "part-2.parquet").write_bytes(b"PAR1")
    with pytest.raises(CatalogueError, match=r"part-2\.parquet is not a Parquet file"):
        Catalogue.open(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"year=2020/part-0.parquet": b"x"}, r"holds 1 \.parquet, e\.g\. .*part-0.*; give one such file"),
        ({"a.md": b"x", "b.pdf": b"x"}, r"holds no picture .*holds 1 \.md, 1 \.pdf, e\.g\. 'a\.md'"),
        ({".hidden.png": b"x"}, r"holds no picture \(JPEG, PNG"),
    ],
)
def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        Catalogue.open(put(tmp_path, files))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"folder .*gone cannot be read: No such file or directory"):
        Catalogue.from_image_folder(tmp_path / "gone")


def test_a_bundle_of_a_folder_counts_what_it_could_not_use(tmp_path: Path) -> None:
    jpeg, folder = saved("JPEG"), tmp_path / "pictures"
    put(folder, {"a.jpe": jpeg, "noext": saved("PNG", "blue"), "scan.tif": saved("TIFF"), "x.pdf": b"%PDF"})
    put(folder, {"page.jpg": b"<html>", "page.txt": b"a page", ".b.jpg": jpeg})
    bundle = build_bundle(Catalogue.open(folder), ToyEncoder(), tmp_path / "bundle")
    assert list(bundle.items) == ["a.jpe", "noext", "page.jpg"]
    counts = bundle.manifest.counts
    assert counts["cleaning"]["rejected"] == {"no picture": 1}
    assert counts["cleaning"]["left_out"] == {"hidden": 1}
    assert counts["quarantine_reasons"] == {
        "image is TIFF, which is not read": 1,
        "image is none of JPEG, PNG, WEBP, GIF, BMP, AVIF, HEIF": 1,
    }
