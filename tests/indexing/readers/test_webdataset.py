"""Tar files of the webdataset layout: rows by key, typed columns from JSON, and hostile or damaged files."""

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue, Item
from indexing.catalogue.readers import tar as tar_module
from indexing.catalogue.readers.webdataset import WebDatasetReader, shards_of
from indexing.errors import CatalogueError
from tests.toy import ToyEncoder, picture


def tar_of(path: Path, *members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as file:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            file.addfile(header, io.BytesIO(data))
    return path


def rows_of(reader: WebDatasetReader, size: int = 2) -> list[dict[str, object]]:
    return [row for batch in reader.batches(reader.schema.names, size) for row in batch.to_pylist()]


def obj(**values: object) -> bytes:
    return json.dumps(values).encode()


RED, BLUE = picture("red"), picture("blue")


def test_members_of_one_key_are_one_row(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "x.tar",
        ("a/0001.jpg", RED),
        ("a/0001.txt", "caf\u00e9\n".encode()),
        ("a/0001.json", obj(item_id=7, price=3, tags=["x"], caption="not this")),
        ("a/0002.PNG", BLUE),
        ("a/0002.seg.png", b"ignored"),
        ("a/0002.json", obj(price=2.5, caption="from JSON", more={"x": [1]})),
        ("README", b"ignored"),
        ("a/._0003.jpg", b"ignored"),
        ("b.1/0003.flac", b"sound"),
        ("b.1/0003.caption", b"a bell"),
    )
    reader = WebDatasetReader(path)
    assert reader.schema == pa.schema(
        [("item_id", pa.string()), ("image", pa.binary()), ("caption", pa.string()), ("audio", pa.binary()),
         ("price", pa.float64()), ("tags", pa.list_(pa.string())), ("more", pa.string())]
    )  # fmt: skip
    nothing = dict.fromkeys(reader.schema.names)
    wanted = [
        nothing | {"item_id": "7", "image": RED, "caption": "caf\u00e9", "price": 3.0, "tags": ["x"]},
        nothing | {"item_id": "a/0002", "image": BLUE, "caption": "from JSON", "price": 2.5, "more": '{"x": [1]}'},
        nothing | {"item_id": "b.1/0003", "audio": b"sound", "caption": "a bell"},
    ]
    for size in (1, 2, 3, 100):
        assert rows_of(reader, size) == wanted
    assert [batch.num_rows for batch in reader.batches(["caption"], 2)] == [2, 1]
    assert Catalogue.open(path).attributes["price"].to_pylist() == [3.0, 2.5, None]


@pytest.mark.parametrize(
    ("values", "kind", "given"),
    [
        ([1, None, 2], pa.int64(), [1, None, 2]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([1, "two", 3.0], pa.string(), ["1", "two", "3"]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([1, 2.5, "x", 7], pa.string(), ["1", "2.5", "x", "7"]),
        ([10**30, 1], pa.string(), [str(10**30), "1"]),
        ([["a", "b"], "c"], pa.string(), ["a, b", "c"]),
        ([["a"], []], pa.list_(pa.string()), [["a"], []]),
        ([[1, 2], {"a": 1}], pa.string(), ["[1, 2]", '{"a": 1}']),
        ([None, None], pa.string(), [None, None]),
    ],
)
def test_the_first_type_stays_and_conflicts_become_text(
    tmp_path: Path, values: list[object], kind: pa.DataType, given: list[object]
) -> None:
    reader = WebDatasetReader(
        tar_of(tmp_path / "x.tar", *((f"{n}.json", obj(v=value)) for n, value in enumerate(values)))
    )
    assert reader.schema.field("v").type == kind
    assert [row["v"] for row in rows_of(reader)] == given


def test_a_folder_a_pattern_and_braces_name_shards(tmp_path: Path) -> None:
    for number in (8, 9, 10):
        tar_of(tmp_path / f"shard-{number:03d}.tar", (f"{number}.txt", b"text %d" % number))
    names = [f"shard-{number:03d}.tar" for number in (8, 9, 10)]
    for source in (
        tmp_path,
        tmp_path / "shard-{008..010}.tar",
        tmp_path / "shard-{008,009,010}.tar",
        tmp_path / "*.tar",
    ):
        assert [path.name for path in shards_of(str(source))] == names
        items = [item for batch in Catalogue.open(source).batches(2) for item in batch]
        assert items == [Item(str(number), f"text {number}") for number in (8, 9, 10)]
    with pytest.raises(CatalogueError, match=r"shard-011.tar': no such file"):
        shards_of(str(tmp_path / "shard-{009..011}.tar"))
    with pytest.raises(CatalogueError, match="no such file"):
        shards_of(str(tmp_path / "none-*.tar"))
    with pytest.raises(CatalogueError, match="names more than 100000 files"):
        shards_of("shard-{0..99999999999999999999}.tar")
    with pytest.raises(CatalogueError, match="names more than 100000 files"):
        shards_of("{0..9999}{0..9999}{0..9999}.tar")
    (tmp_path / "a.png").write_bytes(RED)
    assert [item.item_id for batch in Catalogue.open(tmp_path).batches(2) for item in batch] == ["a.png"]


def test_a_file_cut_short_gives_the_rows_before(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", *((f"{n}.txt", b"text %d" % n) for n in range(4)), form=tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    tar_of(tmp_path / "y.tar", ("last.txt", b"the last"))
    for cut, texts, place in (
        (2 * 1024 + 515, ["text 0", "text 1"], "at byte 2048, a member of 6 bytes is cut short"),
        (2 * 1024 + 100, ["text 0", "text 1"], "at byte 2048, truncated header"),
        (2 * 1024, ["text 0", "text 1"], "at byte 2048, it ends without its end mark"),
    ):
        path.write_bytes(whole[:cut])
        reader = WebDatasetReader(tmp_path)
        assert [row["caption"] for row in rows_of(reader)] == [*texts, "the last"]
        assert reader.malformed == {2: f"damaged tar file: x.tar {place}"}
        assert Catalogue.open(tmp_path).report.rejected == {"damaged tar file": 1}
    path.write_bytes(whole[:1024] + b"\xff" * 512 + whole[1536:])
    assert WebDatasetReader(path).malformed == {1: "damaged tar file: x.tar at byte 1024, bad checksum"}
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(
        CatalogueError, match=r"holds no row that can be read, e\.g\. damaged tar file: x\.tar at byte 0"
    ):
        WebDatasetReader(path)


def test_a_row_whose_later_member_is_cut_is_lost_alone(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "x.tar", ("a.txt", b"a"), ("b.txt", b"b"), ("b.jpg", b"x" * 5000), form=tarfile.USTAR_FORMAT
    )
    path.write_bytes(path.read_bytes()[: 2048 + 600])
    reader = WebDatasetReader(path)
    assert rows_of(reader) == [{"item_id": "a", "caption": "a"}]
    assert reader.malformed == {1: "damaged tar file: x.tar at byte 2048, a member of 5000 bytes is cut short"}


def test_a_member_too_large_costs_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "LONGEST_MEMBER", 1000)
    path = tar_of(tmp_path / "x.tar", ("a.jpg", b"x" * 1001), ("a.txt", b"a"), ("b.txt", b"b"), ("c.json", b"{broken"))
    reader = WebDatasetReader(path)
    assert rows_of(reader) == [{"item_id": "b", "caption": "b"}]
    assert reader.malformed[0] == "member too large: 'a.jpg' of 1001 bytes, over the limit of 1000"
    assert reader.malformed[2].startswith("not JSON: ")


def test_names_are_only_keys(tmp_path: Path) -> None:
    path = tmp_path / "in" / "x.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as file:
        for name in ("../../evil.txt", "/etc/passwd.txt", "d/" * 300 + "long.txt", "nul.txt", "odd\udcff.txt"):
            header = tarfile.TarInfo(name)
            header.size = 1
            if name == "nul.txt":
                header.pax_headers = {"path": "n\0ul.txt"}
            file.addfile(header, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        file.addfile(link)
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
    before = sorted(os.walk(tmp_path))
    catalogue = Catalogue.open(path)
    assert [item.item_id for batch in catalogue.batches(9) for item in batch] == ["../../evil", "/etc/passwd"]
    assert catalogue.rejects["reason"].to_pylist() == [
        "item_id longer than 512 characters",
        "item_id with control characters",
        "name of a member is no Unicode",
    ]
    assert sorted(os.walk(tmp_path)) == before


def header_of(name: str, kind: bytes, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "hostile",
    [
        header_of("x", tarfile.GNUTYPE_LONGNAME, 1 << 40),
        header_of("x", tarfile.XHDTYPE, 2 << 20),
        header_of("x.jpg", tarfile.REGTYPE, -512),
        header_of("x", tarfile.GNUTYPE_LONGNAME, 5).ljust(1024, b"a") * 3000,
        header_of("x.jpg", tarfile.REGTYPE, 1 << 50),
    ],
    ids=["long name", "extended header", "backwards", "chain", "longer than the file"],
)
def test_hostile_headers_end_the_file_and_nothing_else(tmp_path: Path, hostile: bytes) -> None:
    whole = tar_of(tmp_path / "x.tar", ("a.txt", b"a"), form=tarfile.GNU_FORMAT).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:1024] + hostile + whole[1024:])
    reader = WebDatasetReader(tmp_path / "x.tar")
    assert rows_of(reader) == [{"item_id": "a", "caption": "a"}]
    assert list(reader.malformed) == [1]
    assert reader.malformed[1].startswith("damaged tar file: x.tar at byte 1024, ")


def test_keys_that_come_again_are_rejected(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", ("a.txt", b"1"), ("b.txt", b"2"), ("a.txt", b"3"))
    catalogue = Catalogue.open(path)
    assert catalogue.rejects["reason"].to_pylist() == [
        "members of one key lie apart: 'a' in x.tar, sort its members by name"
    ]


def test_an_unsorted_tar_says_so_and_ids_of_json_may_share_keys(tmp_path: Path) -> None:
    tar_of(tmp_path / "0.tar", ("a.png", RED), ("b.png", BLUE), ("a.txt", b"red"), ("b.txt", b"blue"))
    tar_of(tmp_path / "1.tar", ("a.png", RED), ("a.json", obj(item_id="other")), ("b.txt", b"again"))
    catalogue = Catalogue.open(tmp_path)
    assert [(item.item_id, item.text) for batch in catalogue.batches(9) for item in batch] == [
        ("a", None), ("b", None), ("other", None)
    ]  # fmt: skip
    assert catalogue.rejects["reason"].to_pylist() == [
        "members of one key lie apart: 'a' in 0.tar, sort its members by name",
        "members of one key lie apart: 'b' in 0.tar, sort its members by name",
        "key of another tar file: 'b' in 1.tar is in 0.tar too",
    ]


def test_a_member_twice_costs_its_row(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "x.tar", ("a.png", RED), ("a.png", BLUE), ("b.txt", b"old"), ("b.TXT", b"new"), ("c.txt", b"c")
    )
    reader = WebDatasetReader(path)
    assert [(row["item_id"], row["caption"]) for row in rows_of(reader)] == [("c", "c")]
    assert reader.malformed == {0: "member twice: 'a.png' in x.tar", 1: "member twice: 'b.TXT' in x.tar"}


def test_dots_in_names_are_reported(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", ("22.05.png", RED), ("22.06.png", BLUE), ("c.txt", b"c"), ("d.cls", b"7"))
    reader = WebDatasetReader(path)
    assert [row["item_id"] for row in rows_of(reader)] == ["c"]
    assert reader.malformed == {
        0: "no picture, sound, caption or JSON: '22' has 05.png, 06.png, as a key ends at the first dot",
        2: "no picture, sound, caption or JSON: 'd' has cls, as a key ends at the first dot",
    }
    with pytest.raises(CatalogueError, match=r"holds no row that can be read, e\.g\. .*'22' has 05\.png, as a key"):
        Catalogue.open(tar_of(path, ("22.05.png", RED)))


@pytest.mark.parametrize("data", ["\ufeffa cat\r\n".encode(), "\ufeffa cat".encode("utf-16-le"), b" a cat\n"])
def test_captions_of_all_unicode_encodings_are_read(tmp_path: Path, data: bytes) -> None:
    assert rows_of(WebDatasetReader(tar_of(tmp_path / "x.tar", ("a.txt", data))))[0]["caption"] == "a cat"


def test_captions_are_read_as_windows_1252_where_csv_is(tmp_path: Path) -> None:
    reader = WebDatasetReader(tar_of(tmp_path / "x.tar", ("a.txt", "caf\u00e9".encode("cp1252")), ("b.txt", b"b")))
    assert [row["caption"] for row in rows_of(reader)] == ["caf\u00e9", "b"]
    assert reader.notes.read_as == ["1 captions in Windows-1252"]


@pytest.mark.parametrize("data", ["\u043a\u043e\u0442".encode("cp1251"), "cat".encode("utf-16-le")])
def test_captions_of_other_encodings_cost_their_row(tmp_path: Path, data: bytes) -> None:
    reader = WebDatasetReader(tar_of(tmp_path / "x.tar", ("a.txt", data), ("b.caption", b"b")))
    assert [row["item_id"] for row in rows_of(reader)] == ["b"]
    assert reader.malformed[0].startswith("caption cannot be read: ")
    assert reader.malformed[0].endswith(", save it as UTF-8: a in x.tar")


def test_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"holds no row: no member is named like 0001\.jpg"):
        WebDatasetReader(tar_of(tmp_path / "x.tar"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogueError, match=r"holds no \.tar file"):
        shards_of(str(tmp_path / "empty"))


def test_rows_that_hold_much_come_fewer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.catalogue.readers.webdataset.BATCH_BYTES", 2000)
    reader = WebDatasetReader(tar_of(tmp_path / "x.tar", *((f"{n}.jpg", b"x" * 1000) for n in range(5))))
    assert [batch.num_rows for batch in reader.batches(["image"], 100)] == [2, 2, 1]


def test_a_bundle_is_built_from_shards(tmp_path: Path) -> None:
    tar_of(tmp_path / "0.tar", ("a.png", RED), ("a.txt", b"red mug"), ("b.png", b"broken"), ("b.txt", b"blue shoe"))
    tar_of(tmp_path / "1.tar", ("c.png", BLUE), ("c.json", obj(price=3)))
    bundle = build_bundle(Catalogue.open(tmp_path / "{0..1}.tar"), ToyEncoder(), tmp_path / "bundle")
    assert list(bundle.items) == ["a", "b", "c"]
    assert bundle.manifest.counts["embeddings"] == {"text": 2, "image": 2}
    assert bundle.attributes["price"].to_pylist() == [None, None, 3]
