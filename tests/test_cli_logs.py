"""Logs on the command line: columns by name or by option, what could not be used, ids that are not the bundle's."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.build import build_bundle
from indexing.encoders import load_encoder
from retrieval.interactions import Interactions
from tests.cli_run import Run, runner
from tests.groups import catalogue, items


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items 0 to 23, without what looks like text."""
    folder = tmp_path_factory.mktemp("numbered")
    table = items(range(24)).set_column(0, "item_id", pa.array([str(row) for row in range(24)]))
    build_bundle(catalogue(folder, table), load_encoder("vectors:"), folder / "bundle")
    return folder / "bundle"


def answers(out: str) -> list[tuple[str, str]]:
    return [(hit["query_id"], hit["item_id"]) for hit in json.loads(out)]


ROWS = [("7", "1", 5, 1_700_000_000), ("7", "2", 4, 1_700_000_100), ("9", "3", 3, 1_700_000_200)]


def written(folder: Path, header: str, separator: str = ",", item: str = "{}") -> Path:
    lines = [separator.join((user, item.format(name), str(stars), str(when))) for user, name, stars, when in ROWS]
    path = folder / "log.csv"
    path.write_text("\n".join([separator.join(header.split()), *lines, ""]))
    return path


@pytest.mark.parametrize(
    ("header", "separator", "options"),
    [
        ("userId movieId rating timestamp", ",", ()),
        ("USER ASIN STARS TS", ";", ()),
        ("who what how when", "|", ("--user-column", "who", "--item", "what", "--weight", "how", "--time", "when")),
        ("Who What How When", "\t", ("--user-column", "who", "--item", "what", "--weight", "how", "--time", "when")),
    ],
)
def test_columns_are_found_or_named(
    bundle: Path, run: Run, tmp_path: Path, header: str, separator: str, options: tuple[str, ...]
) -> None:
    path = written(tmp_path, header, separator)
    code, out, err = run("recommend", bundle, "--interactions", path, *options, "-k", 3, "--json")
    assert (code, err) == (0, "")
    usual = run(
        "recommend", bundle, "--interactions", written(tmp_path, "user_id item_id rating timestamp"), "-k", 3, "--json"
    )
    assert answers(out) == answers(usual[1])
    assert {user for user, _ in answers(out)} == {"7", "9"}


@pytest.mark.parametrize("command", ["fit", "evaluate", "tune", "prepare"])
def test_every_command_that_reads_a_log_names_the_options(bundle: Path, run: Run, tmp_path: Path, command: str) -> None:
    path = written(tmp_path, "who what rating timestamp")
    given = (path, tmp_path / "out.parquet") if command == "prepare" else (bundle, path)
    more = ("--out", tmp_path / "settings.json") if command == "tune" else ()
    code, _, err = run(command, *given, *more)
    assert code == 1
    assert "of users; the columns are ['who', 'what', 'rating', 'timestamp']; name it with --user-column" in err
    code, _, err = run(command, *given, *more, "--user", "who")
    assert "of items; the columns are ['who', 'what', 'rating', 'timestamp']; name it with --item" in err
    code, _, err = run(command, *given, *more, "--user", "who", "--item", "what", "--time", "then")
    assert "name it with --time" in err
    assert "InteractionColumns" not in err


def test_ids_that_pandas_made_floats_are_read_and_told(bundle: Path, run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, "user_id item_id rating timestamp", item="{}.0")
    code, out, err = run("recommend", bundle, "--interactions", path, "-k", 2, "--json")
    plain = run(
        "recommend", bundle, "--interactions", written(tmp_path, "user_id item_id rating timestamp"), "-k", 2, "--json"
    )
    assert code == 0
    assert answers(out) == answers(plain[1])
    assert err == "note: 3 interactions write their item with or without .0; they are read as the bundle does.\n"


def test_half_a_log_on_unknown_items_is_told_by_every_command(bundle: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    lines = [
        (f"u{user}", f"{item}" if item % 2 else f"sku-{item}", user * 10 + item)
        for user in range(8)
        for item in range(6)
    ]
    pq.write_table(
        pa.table(dict(zip(("user", "item", "time"), map(list, zip(*lines, strict=True)), strict=True))), path
    )
    told = "24 of 48 interactions, by 8 of 8 users, are with 3 items that are not in the bundle, e.g. 'sku-0', 'sku-2'"
    assert told in run("recommend", bundle, "--interactions", path, "-k", 2)[2]
    code, out, err = run("evaluate", bundle, path, "--json", "--hold-out", "0.3")
    assert code == 0
    assert "are with" in err
    known = json.loads(out)["known"]
    assert known["history"]["unknown"] + known["relevant"]["unknown"] == 24
    assert known["history"]["examples"] == ["sku-0", "sku-2"]
    code, _, err = run("fit", bundle, path)
    assert code == 1  # too few users to learn from, and why
    assert told in err
    code, _, err = run("recommend", bundle, "--interactions", path, "--out", tmp_path / "answers")
    assert code == 0
    assert told in err


def test_what_could_not_be_used_is_told(bundle: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\nNULL,1,1700000000\nann,2,14/11/2023\nann,3,20231114\nbob,3,20231115\n")
    err = run("recommend", bundle, "--interactions", path, "-k", 2)[2]
    assert "1 rows left out: user_id that stands for nobody; the first is 'NULL' in row 0 (from 0)" in err
    assert "1 rows left out: time missing or unreadable; the first is '14/11/2023' in row 1 (from 0)" in err
    assert "rows: time in YYYYMMDD" in err


def test_a_prepared_log_keeps_what_its_weights_are(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,rating,time\nann,1,5,1700000000\nann,1,1,1700000100\nbob,2,4,1700000200\n")
    code, out, _ = run("prepare", path, tmp_path / "out.parquet", "--json")
    assert code == 0
    assert json.loads(out)["report"]["unreadable"] == {"changed by a later rating": 1}
    assert pq.read_schema(tmp_path / "out.parquet").names == ["user_id", "item_id", "timestamp", "rating"]
    assert Interactions.open(tmp_path / "out.parquet").repeats == "last"
    assert run("prepare", path, tmp_path / "max.parquet", "--repeats", "max")[0] == 0
    assert pq.read_table(tmp_path / "max.parquet")["weight"].to_pylist() == [5.0, 1.0, 4.0]


@pytest.mark.parametrize(("given", "core"), [("2", [2, 2]), ("2,1", [2, 1])])
def test_a_k_core_is_one_number_or_two(run: Run, tmp_path: Path, given: str, core: list[int]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\na,1\na,2\nb,1\nb,2\nc,1\n")
    code, out, _ = run("prepare", path, tmp_path / "out.parquet", "--k-core", given, "--json")
    assert (code, json.loads(out)["config"]["k_core"]) == (0, core)
    code, _, err = run("prepare", path, tmp_path / "out.parquet", "--k-core", "5,5,5")
    assert (code, "cannot read '5,5,5' of --k-core; write a number for both, like 5" in err) == (2, True)
