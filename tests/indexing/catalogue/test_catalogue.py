"""A catalogue keeps what can be used, rejects the rest with a reason, and loses nothing."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.catalogue.catalogue import Catalogue, Item
from indexing.catalogue.columns import Columns
from indexing.catalogue.item_ids import item_id_problem
from indexing.catalogue.medium import Medium
from indexing.catalogue.readers.base import TableReader
from indexing.errors import CatalogueError, InputError
from indexing.media.files import Kind


def parquet(folder: Path, rows: list[dict[str, object]], schema: pa.Schema | None = None) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "items.parquet", row_group_size=2)
    return folder / "items.parquet"


def items_of(catalogue: Catalogue, size: int = 100) -> list[Item]:
    return [item for batch in catalogue.batches(size) for item in batch]


def test_texts_pictures_and_attributes(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {
            "item_id": "a",
            "title": "Red mug",
            "description": "For  tea.\n",
            "keywords": ["tea", "cup"],
            "image": b"\x89PNG",
            "price": 3.5,
        },
        {"item_id": "b", "title": None, "description": "Lamp", "keywords": None, "image": None, "price": None},
    ]
    catalogue = Catalogue.open(parquet(tmp_path, rows))
    assert catalogue.columns == Columns("item_id", ("title", "description", "keywords"), "image")
    assert items_of(catalogue) == [
        Item("a", "Red mug. For tea. tea, cup", (Medium(Kind.IMAGE, b"\x89PNG"),)),
        Item("b", "Lamp"),
    ]
    assert catalogue.attributes.to_pydict() == {
        "item_id": ["a", "b"],
        "title": ["Red mug", None],
        "description": ["For  tea.\n", "Lamp"],
        "keywords": [["tea", "cup"], None],
        "price": [3.5, None],
    }
    assert catalogue.report.repaired == {"text tidied": 1}


def test_rows_that_cannot_be_used_are_rejected_with_a_reason(tmp_path: Path) -> None:
    ids = ["a", None, " ", "a", "b\x07", "c" * 600, "d", "e"]
    rows: list[dict[str, object]] = [{"item_id": item_id, "title": "mug"} for item_id in ids]
    rows[6]["title"] = " \t"
    catalogue = Catalogue.from_parquet(parquet(tmp_path, rows))
    assert [item.item_id for item in items_of(catalogue)] == ["a", "e"]
    assert catalogue.rejects.to_pylist() == [
        {"source_row": 1, "item_id": None, "reason": "missing item_id"},
        {"source_row": 2, "item_id": " ", "reason": "blank item_id"},
        {"source_row": 3, "item_id": "a", "reason": "duplicate item_id: first in row 0"},
        {"source_row": 4, "item_id": "b\x07", "reason": "item_id with control characters"},
        {"source_row": 5, "item_id": "c" * 600, "reason": "item_id longer than 512 characters"},
        {"source_row": 6, "item_id": "d", "reason": "neither text nor file"},
    ]
    assert catalogue.report.rejected["duplicate item_id"] == 1
    assert len(catalogue) + len(catalogue.rejects) == catalogue.report.rows == 8


def test_numbers_become_ids_and_large_types_become_plain(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([7, 8], pa.int32()),
            "name": pa.array(["mug", "cup"], pa.large_string()),
            "colour": pa.array(["red", "red"]).dictionary_encode(),
            "vector": pa.array([[1.0], [2.0]]),
            "tags": pa.array([["x"], None], pa.large_list(pa.large_string())),
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    catalogue = Catalogue.open(tmp_path / "items.parquet")
    numbers = pa.list_(pa.float64())
    assert catalogue.attributes.schema.types == [*[pa.string()] * 3, numbers, pa.list_(pa.string())]
    assert catalogue.attributes.to_pydict() == {
        "item_id": ["7", "8"], "name": ["mug", "cup"], "colour": ["red", "red"], "vector": [[1.0], [2.0]],
        "tags": [["x"], None]
    }  # fmt: skip
    assert catalogue.report.columns_left_out == {}


def test_picture_paths_stay_below_their_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "outside.png").write_bytes(b"x")
    (tmp_path / "pictures" / "link.png").symlink_to(tmp_path / "outside.png")
    paths = ["mug.png", "../outside.png", "/etc/hostname", "link.png", "https://example.org/x.png", "a\0b.png"]
    rows: list[dict[str, object]] = [{"item_id": str(n), "title": "t", "image": path} for n, path in enumerate(paths)]
    items = items_of(Catalogue.from_parquet(parquet(tmp_path, rows), image_dir=tmp_path / "pictures"))
    assert items[0].media[0].source == (tmp_path / "pictures" / "mug.png").resolve()
    assert [item.media[0].source for item in items[1:]] == [None] * 5
    for item in items[1:4]:
        assert "leaves the folder of images" in (item.media[0].problem or "")
    assert "URLs are not fetched" in (items[4].media[0].problem or "")
    assert "NUL" in (items[5].media[0].problem or "")


@pytest.mark.parametrize(
    ("there", "written"),
    [
        ("\u00e9.png", "e\u0301.png"),
        ("e\u0301.png", "\u00e9.png"),
        ("sub/x.png", "sub\\x.png"),
        ("mug.png", " mug.png\t"),
        ("sub/\u00e9.png", " sub\\e\u0301.png "),
        ("a%20b #1.png", "a%20b #1.png"),
        (" led.png", " led.png"),
    ],
    ids=["composed", "decomposed", "backslash", "blanks", "all of it", "signs", "as it is written"],
)
def test_a_path_is_found_however_its_system_writes_it(tmp_path: Path, there: str, written: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / there).write_bytes(b"x")
    path = parquet(tmp_path, [{"item_id": "a", "title": "t", "image": written}])
    (item,) = items_of(Catalogue.open(path))
    assert item.media == (Medium(Kind.IMAGE, tmp_path.resolve() / there),)
    assert item.media[0].name == written


@pytest.mark.parametrize("written", ["..\\secret.png", " ../secret.png", "sub\\..\\..\\secret.png"])
def test_a_path_written_otherwise_stays_below_its_folder_too(tmp_path: Path, written: str) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"x")
    path = parquet(tmp_path / "in", [{"item_id": "a", "title": "t", "image": written}])
    (item,) = items_of(Catalogue.open(path))
    assert item.media[0].source is None or not item.media[0].source.exists()  # type: ignore[union-attr]


def test_hugging_face_structs(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "image": {"bytes": b"\x89PNG", "path": "a.png"}},
        {"id": "b", "image": {"bytes": None, "path": "b.png"}},
        {"id": "c", "image": None},
    ]
    catalogue = Catalogue.from_parquet(parquet(tmp_path, rows))
    assert [item.media[0].source for item in items_of(catalogue)] == [b"\x89PNG", (tmp_path / "b.png").resolve()]
    assert catalogue.rejects["reason"].to_pylist() == ["neither text nor file"]


def test_vectors_beside_those_that_are_indexed_are_attributes(tmp_path: Path) -> None:
    given = {
        "text_vector": [[1.0, 2.0], [3.0, 4.0]],
        "title_vector": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()), 2),
        "back_vector": [[0.5], None],
        "sizes": [[1.5], [2.5]],
        "id_vector": [[1, 2], [3]],
    }
    pq.write_table(pa.table({"item_id": ["a", "b"], **given}), tmp_path / "items.parquet")
    attributes = Catalogue.open(tmp_path / "items.parquet").attributes
    assert attributes.column_names == ["item_id", "title_vector", "back_vector", "sizes", "id_vector"]
    assert attributes["title_vector"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
    assert attributes["back_vector"].to_pylist() == [[0.5], None]


def test_csv_keeps_leading_zeros_and_sets_bad_lines_aside(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        'item_id,title,price,code\n007,Red mug,3,01\n008,"Lamp, blue",4.5,02\n009,too,many,columns,here\n010,Cup,,03\n'
    )
    catalogue = Catalogue.open(path)
    assert [(item.item_id, item.text) for item in items_of(catalogue)] == [
        ("007", "Red mug"), ("008", "Lamp, blue"), ("010", "Cup")
    ]  # fmt: skip
    assert catalogue.attributes["price"].to_pylist() == [3.0, 4.5, None]
    assert catalogue.attributes["code"].to_pylist() == ["01", "02", "03"]
    assert catalogue.rejects.to_pylist() == [{"source_row": 2, "item_id": None, "reason": "5 columns instead of 4"}]
    assert catalogue.report.rows == 4


def test_jsonl_sets_bad_lines_aside_and_settles_mixed_types(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    lines = [
        json.dumps({"item_id": "a", "title": "mug", "year": 1999}),
        "{broken",
        "[1, 2]",
        "",
        json.dumps({"item_id": "b", "title": "cup", "year": "old"}),
    ]
    path.write_bytes("\n".join(lines).encode() + b'\n{"item_id": "\xff"}\n')
    catalogue = Catalogue.open(path)
    assert [item.item_id for item in items_of(catalogue)] == ["a", "b"]
    assert catalogue.attributes["year"].to_pylist() == ["1999", "old"]
    assert catalogue.rejects["source_row"].to_pylist() == [1, 2, 4]
    reasons = catalogue.rejects["reason"].to_pylist()
    assert reasons[1] == "a JSON list instead of an object"
    assert all(reason.startswith("not JSON") for reason in (reasons[0], reasons[2]))


def test_folders_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    for name in ("cats/tom.JPG", "cats/tim.png", "dog.webp", "notes.md"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "cats" / "tom.txt").write_text("a grey cat\n")
    catalogue = Catalogue.open(tmp_path)
    assert [(item.item_id, item.text) for item in items_of(catalogue)] == [
        ("cats/tim.png", None), ("cats/tom.JPG", "a grey cat"), ("dog.webp", None)
    ]  # fmt: skip
    assert catalogue.attributes["folder"].to_pylist() == ["cats", "cats", "."]
    (tmp_path / "metadata.csv").write_text("file_name,text\ndog.webp,a dog\n")
    item, *others = items_of(Catalogue.open(tmp_path))
    assert [(other.item_id, other.text) for other in others] == [("cats/tim.png", None), ("cats/tom.JPG", "a grey cat")]
    assert (item.item_id, item.text, item.media[0].source) == ("dog.webp", "a dog", (tmp_path / "dog.webp").resolve())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns("sku", ("title",), None), r"has no column 'sku'; did you mean one of \['item_id', 'title'\]"),
        (Columns("item_id", ("titel",), None), r"has no column 'titel'; did you mean one of \['title'\]"),
        (Columns("item_id", (), None), "has neither text nor pictures among"),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, columns: Columns, message: str) -> None:
    path = parquet(tmp_path, [{"item_id": "a", "title": "t"}])
    with pytest.raises(CatalogueError, match=message):
        Catalogue.from_parquet(path, columns=columns)


def test_of_very_many_columns_twelve_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path, [{f"{number:02}": "t" for number in range(20)}])
    with pytest.raises(CatalogueError, match=r"did you mean one of \['00', .* '11'\]\?"):
        Catalogue.from_parquet(path, columns=Columns("sku", ("title",), None))


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"PAR1 but no more")
    (tmp_path / "notes.docx").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    (tmp_path / "ids.csv").write_text("key,title\na,b\n")
    (tmp_path / "lines.jsonl").write_text("nothing\n")
    for name, message in (
        ("items.parquet", "is not a Parquet file"),
        ("gone.csv", r"gone\.csv: there is no such file"),
        ("gone", "gone: there is no such file or folder"),
        ("vectors.npy", r"vectors\.npy: there is no such file or folder"),
        ("notes.docx", "cannot tell what"),
        ("empty", "holds no picture"),
        ("ids.csv", "has no column named item_id, id, sku or the like"),
        ("lines.jsonl", "has no line with a JSON object"),
    ):
        with pytest.raises(CatalogueError, match=message):
            Catalogue.open(tmp_path / name)


def test_batches_of_any_size_give_the_same_items_and_only_what_is_asked_for(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"item_id": f"i{n}", "title": f"t{n}" if n % 3 else None} for n in range(25)]
    catalogue = Catalogue.from_parquet(parquet(tmp_path, rows))
    everything = items_of(catalogue)
    assert len(everything) == 16
    for size in (1, 2, 7, 25, 1000):
        assert items_of(catalogue, size) == everything
        assert all(0 < len(batch) <= size for batch in catalogue.batches(size))

    class Spy(TableReader):
        read = 0

        def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
            for batch in super().batches(columns, size):
                self.read += 1
                yield batch

    reader = Spy("spy", pa.Table.from_pylist(rows))
    lazy = Catalogue(reader, None, tmp_path)
    len(lazy)
    reader.read = 0
    next(lazy.batches(5))
    assert reader.read == 1


MESSY_IDS = st.one_of(st.none(), st.sampled_from(["a", "b", "", " ", "c\n"]), st.text(max_size=6))
MESSY_TEXTS = st.one_of(st.none(), st.sampled_from(["", "  ", "mug", "\x00"]), st.text(max_size=10))


@settings(max_examples=100)
@given(st.lists(st.tuples(MESSY_IDS, MESSY_TEXTS), min_size=1, max_size=30))
def test_messy_rows_reconcile(rows: list[tuple[str | None, str | None]]) -> None:
    rows = [tuple(v.encode("utf-8", "ignore").decode() if v else v for v in row) for row in rows]  # type: ignore[misc]
    ids, texts = zip(*rows, strict=True)
    table = pa.table({"item_id": pa.array(ids, pa.string()), "title": pa.array(texts, pa.string())})
    catalogue = Catalogue(TableReader("messy", table), None, Path())
    kept = items_of(catalogue, 4)
    names = [item.item_id for item in kept]
    assert len(kept) + len(catalogue.rejects) == len(rows) == catalogue.report.rows
    assert len(set(names)) == len(names)
    assert all(item_id_problem(name) is None and item.text for name, item in zip(names, kept, strict=True))
    assert names == catalogue.attributes["item_id"].to_pylist()
    assert names == sorted(names, key=ids.index)


def test_columns_of_the_wrong_type_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, [{"item_id": "a", "title": "t", "price": 3, "raw": b"x"}])
    with pytest.raises(CatalogueError, match=r"holds no files or their paths in price \(int64\)"):
        Catalogue.open(path, columns=Columns("item_id", ("title",), "price"))
    with pytest.raises(CatalogueError, match=r"holds no text in raw \(binary\)"):
        Catalogue.open(path, columns=Columns("item_id", ("raw",), None))


def test_a_chosen_id_column_beside_one_named_item_id(tmp_path: Path) -> None:
    path = parquet(tmp_path, [{"item_id": "a", "sku": "s1", "title": "t"}])
    catalogue = Catalogue.open(path, columns=Columns("sku", ("title",), None))
    assert catalogue.attributes.to_pydict() == {"item_id": ["s1"], "title": ["t"]}
    assert catalogue.report.ignored_columns == ("item_id",)


def test_an_image_that_cannot_be_used_keeps_its_row(tmp_path: Path) -> None:
    catalogue = Catalogue.open(parquet(tmp_path, [{"item_id": "a", "image_path": "https://example.org/a.png"}]))
    unusable = Medium(
        Kind.IMAGE, None, "URLs are not fetched, except below a URL as image_dir: https://example.org/a.png"
    )
    assert items_of(catalogue) == [Item("a", None, (unusable,))]
    assert len(catalogue) == 1


def test_batches_refuse_a_size_of_none_and_a_source_that_changed(tmp_path: Path) -> None:
    path = parquet(tmp_path, [{"item_id": f"i{n}", "title": "t"} for n in range(5)])
    catalogue = Catalogue.open(path)
    with pytest.raises(InputError, match="size is 0, expected a whole number"):
        catalogue.batches(0)
    assert len(catalogue) == 5
    for rows in (3, 8):
        parquet(tmp_path, [{"item_id": f"i{n}", "title": "t"} for n in range(rows)])
        with pytest.raises(CatalogueError, match="has changed since it was first read"):
            list(catalogue.batches(2))


JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2)
)
ROWS = st.fixed_dictionaries({}, optional={"item_id": JSON_VALUES, "title": JSON_VALUES, "size": JSON_VALUES})
LINES = st.one_of(ROWS.map(lambda row: json.dumps(row).encode()), st.binary(max_size=12))


@settings(max_examples=100)
@given(st.lists(LINES, max_size=15))
def test_messy_json_lines_reconcile(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b" ") for line in lines]
    path = tmp_path_factory.getbasetemp() / "messy.jsonl"
    path.write_bytes(b"\n".join([*lines, b'{"item_id": "the last", "title": "mug"}']))
    catalogue = Catalogue.from_jsonl(path)
    assert catalogue.report.rows == sum(bool(line.strip()) for line in lines) + 1
    assert_reconciles(catalogue)


CELLS = st.sampled_from(
    [b"a", b"7", b"007", b"NA", b"", b" ", b"\xff", b"\x00", b'"q,r"', b'"x\ny"', b'"', b"\r", b"../x"]
)


@settings(max_examples=100)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4).map(b",".join), min_size=1, max_size=8))
def test_messy_csv_reconciles(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "messy.csv"
    path.write_bytes(b"\n".join([b"item_id,title,image_path", b"the first,mug,", *lines]))
    assert_reconciles(Catalogue.from_csv(path))


def assert_reconciles(catalogue: Catalogue) -> None:
    """Every row is either an item with a usable id of its own, or rejected under its own number."""
    kept = [item.item_id for item in items_of(catalogue, 4)]
    numbers = catalogue.rejects["source_row"].to_pylist()
    assert len(kept) == len(catalogue)
    assert len(kept) + len(numbers) == catalogue.report.rows
    assert sum(catalogue.report.rejected.values()) == len(numbers)
    assert numbers == sorted(set(numbers))
    assert all(0 <= number < catalogue.report.rows for number in numbers)
    assert catalogue.attributes["item_id"].to_pylist() == kept
    assert len(set(kept)) == len(kept)
    assert all(item_id_problem(item_id) is None for item_id in kept)
