"""Times that Python has no date for, as PostgreSQL's ``infinity``, in every verb: kept as they are."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import upsert
from indexing.bundle.edits.update import update
from indexing.catalogue.arrow_values import OutOfRange, python_rows, python_values
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.diagnostics.inspect import inspect_catalogue
from indexing.encoders import load_encoder
from indexing.errors import InputError
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.features.attribute_values import Attribute
from retrieval.retriever.retriever import Retriever
from tests.cli_run import Run, runner
from tests.groups import items

INFINITY = 2**63 - 1
FOREVER = "294247-01-10 04:00:54.775807"
EVER = pa.array([INFINITY, 1_700_000_000_000_000, 5, None], pa.timestamp("us"))

run = pytest.fixture(runner)


@pytest.mark.parametrize(
    ("numbers", "kind", "texts"),
    [
        ([INFINITY, -INFINITY], pa.timestamp("us"), [FOREVER, "-290308-12-21 19:59:05.224193"]),
        ([-INFINITY - 1], pa.timestamp("us"), ["-9223372036854775808 us"]),
        ([2**62], pa.timestamp("s"), ["146138514283-06-19 07:45:04"]),
        ([2**62], pa.timestamp("ms"), ["146140482-04-24 15:36:27.904"]),
        ([1], pa.timestamp("s", "Nowhere/Land"), ["1970-01-01 00:00:01+00:00"]),
        ([2**31 - 1, -(2**31)], pa.date32(), ["5881580-07-11", "-5877641-06-23"]),
        ([2**62], pa.date64(), ["146140482-04-24"]),
        ([2**62], pa.duration("s"), [f"{2**62} s"]),
        ([INFINITY], pa.time64("us"), [f"{INFINITY} us"]),
    ],
)
def test_what_python_has_no_value_for_is_shown_as_text(numbers: list[int], kind: pa.DataType, texts: list[str]) -> None:
    column = pa.array(numbers, kind)
    assert python_values(column) == texts
    assert all(isinstance(value, OutOfRange) for value in python_values(pa.chunked_array([column])))
    for within, expected in (
        (pa.ListArray.from_arrays([0, len(numbers)], column), [texts]),
        (pa.StructArray.from_arrays([column], ["a"]), [{"a": text} for text in texts]),
        (column.dictionary_encode(), texts),
    ):
        assert python_values(within) == expected


def test_other_values_are_those_of_arrow() -> None:
    table = pa.table({"when": EVER, "n": [1, None, 3, 4]})
    assert python_values(EVER)[1:] == EVER[1:].to_pylist()
    assert python_rows(table)[0] == {"when": FOREVER, "n": 1}
    assert python_rows(table)[1:] == table.slice(1).to_pylist()


def test_bytes_that_are_no_text_still_raise() -> None:
    with pytest.raises(UnicodeDecodeError, match="can't decode byte 0xff"):
        python_values(pa.array([b"\xff"]).view(pa.string()))


def shop(folder: Path, name: str = "until", column: pa.Array = EVER) -> Path:
    table = items(range(4))
    table = table.drop_columns([name]) if name in table.column_names else table
    pq.write_table(table.append_column(name, column), folder / "shop.parquet")
    return folder / "shop.parquet"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_bundle(Catalogue.from_parquet(shop(tmp_path)), load_encoder("vectors:"), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_bundle_keeps_them_as_they_are(built: Path) -> None:
    column = Bundle.open(built).attributes["until"]
    assert column.cast(pa.int64()).to_pylist() == EVER.cast(pa.int64()).to_pylist()
    assert Attribute.of(column).values == ("1970-01-01 00:00:00.000005", "2023-11-14 22:13:20", FOREVER)


def test_answers_are_capped_by_them(built: Path, run: Run) -> None:
    settings = built.parent / "settings.json"
    settings.write_text('{"diversify": {"method": "mmr", "caps": {"until": 1}}}')
    code, out, err = run("similar", built, "i001", "--postprocess", settings, "--json")
    assert (code, err) == (0, "")
    assert "i000" in out


def test_a_bundle_with_them_is_put_again_and_counted_as_unchanged(built: Path) -> None:
    catalogue = Catalogue.from_parquet(shop(built.parent))
    before = Bundle.open(built).generation.folder
    upsert(built, catalogue, load_encoder("vectors:"))
    after = Bundle.open(built)
    assert after.generation.folder == before
    assert list(after.items) == ["i000", "i001", "i002", "i003"]


def test_one_of_them_can_be_changed(built: Path) -> None:
    late = pa.table({"item_id": ["i001", "i002"], "until": pa.array([INFINITY, 7], pa.timestamp("us"))})
    update(built, late)
    found = Retriever.load(built).bundle.attributes["until"].cast(pa.int64()).to_pylist()
    assert found == [INFINITY, INFINITY, 7, None]


def test_one_that_does_not_fit_the_bundle_is_named(tmp_path: Path) -> None:
    short = pa.array([1, 2, 3, 4], pa.timestamp("ns"))
    build_bundle(Catalogue.from_parquet(shop(tmp_path, column=short)), load_encoder("vectors:"), tmp_path / "bundle")
    late = pa.table({"item_id": ["i001"], "until": pa.array([INFINITY], pa.timestamp("us"))})
    with pytest.raises(InputError, match=f"'until' of item 'i001' is '{FOREVER}', in the bundle it is .*nothing was"):
        update(tmp_path / "bundle", late)


def test_an_update_of_such_an_id_is_refused(built: Path) -> None:
    with pytest.raises(InputError, match=f"row 0 of the updates: item_id of a date .*{FOREVER}.*nothing was changed"):
        update(built, pa.table({"item_id": EVER[:1], "until": EVER[:1]}))


def test_a_row_with_such_an_id_is_rejected_with_a_reason(tmp_path: Path) -> None:
    rows = items(range(4)).drop_columns(["item_id"]).append_column("when", EVER)
    pq.write_table(rows, tmp_path / "ids.parquet")
    found = Catalogue.from_parquet(tmp_path / "ids.parquet", columns=NamedColumns(item_id="when"))
    typed = "item_id of type datetime instead of str"
    assert found.rejects["reason"].to_pylist() == [
        f"item_id of a date or time out of range: write it as text, {FOREVER}",
        typed,
        typed,
        "missing item_id",
    ]
    assert found.report.kept == 0
    assert inspect_catalogue(found).kept == 0


def test_texts_of_them_are_encoded_as_they_are_shown(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": list("abcd"), "until": EVER}), tmp_path / "texts.parquet")
    catalogue = Catalogue.from_parquet(tmp_path / "texts.parquet", columns=NamedColumns(text=("until",)))
    (batch,) = catalogue.batches(10)
    assert [item.text for item in batch] == [FOREVER, "2023-11-14 22:13:20", "1970-01-01 00:00:00.000005"]


def test_a_log_names_the_first_that_it_drops(tmp_path: Path, built: Path, run: Run) -> None:
    times = pa.array([INFINITY, -INFINITY, 1_700_000_000_000_000, 1_700_000_001_000_000], pa.timestamp("us"))
    log = pa.table({"user": list("aabb"), "item": ["i000", "i001", "i002", "i003"], "time": times})
    pq.write_table(log, tmp_path / "log.parquet")
    read = Interactions.open(tmp_path / "log.parquet")
    assert read.dropped == {"impossible time": 2}
    assert read.examples["impossible time"] == f"the first is '{FOREVER}' in row 0 (from 0)"
    code, _, err = run("recommend", built, "--interactions", tmp_path / "log.parquet", "--user", "b")
    assert code == 0
    assert f"2 rows left out: impossible time; the first is '{FOREVER}' in row 0" in " ".join(err.split())


def test_the_first_dropped_value_is_shown_of_every_type_that_is_read() -> None:
    view = pa.array(["5", "x", "7", "8"], pa.string_view())
    log = pa.table({"user": list("aabb"), "item": list("ijkl"), "time": view})
    read = Interactions.from_arrow(log)
    assert read.table["timestamp"].to_pylist() == [5, 7, 8]
    assert list(read.examples.values()) == ["the first is 'x' in row 1 (from 0)"]


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("s", "Nowhere/Land"), pa.date64(), pa.duration("s")])
def test_profiles_take_them_as_values_and_refuse_them_as_names(kind: pa.DataType) -> None:
    column: Any = pa.array([2**62, 1], pa.int64()).cast(kind) if kind != pa.date64() else pa.array([2**62, 0], kind)
    known = Profiles.from_arrow(pa.table({"user": ["ann", "bob"], "until": column}))
    assert known.of(["bob", "ann"])["until"].combine_chunks().equals(column.take(pa.array([1, 0])))
    with pytest.raises(InputError, match=r"column 'user' of type .* cannot hold ids; give text or whole numbers"):
        Profiles.from_arrow(pa.table({"user": column, "age": [1, 2]}))
