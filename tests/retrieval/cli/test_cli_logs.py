"""Logs on the command line: columns by name or by option, what could not be used, ids that are not the bundle's."""

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.encoders import load_encoder
from retrieval.batch.in_memory import users_of
from retrieval.candidates import Candidates
from retrieval.cli.runs.histories import match_items
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import UnknownItemsWarning
from retrieval.retriever.fallback.fill_short_lists import FallbackWarning
from retrieval.retriever.recommend import user_queries
from retrieval.retriever.retriever import Retriever
from tests.cli_run import Run, json_lines, runner
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
    return [(hit["query_id"], hit["item_id"]) for hit in json_lines(out)]


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
        (
            "who what how when",
            "|",
            ("--user-column", "who", "--item-column", "what", "--weight-column", "how", "--time-column", "when"),
        ),
        (
            "Who What How When",
            "\t",
            ("--user-column", "who", "--item-column", "what", "--weight-column", "how", "--time-column", "when"),
        ),
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
    code, _, err = run(command, *given, *more, "--user-column", "who")
    assert "of items; the columns are ['who', 'what', 'rating', 'timestamp']; name it with --item-column" in err
    code, _, err = run(command, *given, *more, "--user-column", "who", "--item-column", "what", "--time-column", "then")
    assert "name it with --time-column" in err
    assert "InteractionColumns" not in err


def test_ids_that_pandas_made_floats_are_read_and_reported(bundle: Path, run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, "user_id item_id rating timestamp", item="{}.0")
    code, out, err = run("recommend", bundle, "--interactions", path, "-k", 2, "--json")
    plain = run(
        "recommend", bundle, "--interactions", written(tmp_path, "user_id item_id rating timestamp"), "-k", 2, "--json"
    )
    assert code == 0
    assert answers(out) == answers(plain[1])
    assert err == "note: 3 interactions write their item with or without .0; they are read as the bundle does.\n"


def test_users_without_an_item_of_the_bundle_are_answered_as_in_python(bundle: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    table = pa.table({"user": ["ann", "bob", "cat"], "item": ["1", "gone", "2"], "time": [10, 20, 30]})
    pq.write_table(table, path)
    with pytest.warns(FallbackWarning), pytest.warns(UnknownItemsWarning):
        expected = Retriever.open(bundle).recommend(table, k=2).to_arrow().select(["query_id", "item_id"])
    assert expected["query_id"].unique().to_pylist() == ["ann", "bob", "cat"]
    pairs = list(zip(*(expected[name].to_pylist() for name in expected.column_names), strict=True))
    code, out, err = run("recommend", bundle, "--interactions", path, "-k", 2, "--json")
    assert (code, answers(out)) == (0, pairs), err
    for name in ("answers", "answers.parquet"):
        code, _, err = run("recommend", bundle, "--interactions", path, "-k", 2, "--out", tmp_path / name)
        assert code == 0, err
        assert pq.read_table(tmp_path / name).select(["query_id", "item_id"]).to_pylist() == expected.to_pylist()
    code, out, err = run("recommend", bundle, "--interactions", path, "-k", 2, "--json", "--user", "bob")
    assert (code, answers(out)) == (0, [pair for pair in pairs if pair[0] == "bob"]), err
    pq.write_table(table.filter(pa.array([False, True, False])), path)
    code, _, err = run("recommend", bundle, "--interactions", path, "-k", 2, "--user", "bob")
    assert code == 1  # as a log of another shop
    assert "no item of this bundle" in err


def test_half_a_log_on_unknown_items_is_reported_by_every_command(bundle: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    lines = [
        (f"u{user}", f"{item}" if item % 2 else f"sku-{item}", user * 10 + item)
        for user in range(8)
        for item in range(6)
    ]
    pq.write_table(
        pa.table(dict(zip(("user", "item", "time"), map(list, zip(*lines, strict=True)), strict=True))), path
    )
    warning = (
        "24 of 48 interactions, by 8 of 8 users, are with 3 items that are not in the bundle, e.g. 'sku-0', 'sku-2'"
    )
    filters = list(warnings.filters)
    for more in ((), ("--user", "u1")):
        said = run("recommend", bundle, "--interactions", path, "-k", 2, *more)[2]
        assert said.count("not in the bundle") == 1
        assert warning in said
    match_items(Interactions.open(path), Bundle.open(bundle).items)
    assert warnings.filters == filters  # a command says it once, and changes nothing for those who called it
    code, out, err = run("evaluate", bundle, path, "--json", "--hold-out", "0.3")
    assert code == 0
    assert "are with" in err
    known = json.loads(out)["known"]
    assert known["history"]["unknown"] + known["relevant"]["unknown"] == 24
    assert known["history"]["examples"] == ["sku-0", "sku-2"]
    code, _, err = run("fit", bundle, path)
    assert code == 1  # too few users to learn from, and why
    assert warning in err
    for name in ("answers", "answers.jsonl"):
        code, out, err = run("recommend", bundle, "--interactions", path, "--out", tmp_path / name, "--json")
        assert (code, warning in err) == (0, True)
        counts = json.loads(out)["known"]
        assert (counts["interactions"], counts["unknown"], counts["unknown_users"]) == (48, 24, 8)
        assert counts["examples"] == ["sku-0", "sku-2", "sku-4"]


CANDIDATES = [("9", "5", 0.25), ("9", "4", 0.75), ("7", "3", 0.5), ("7", "9", 0.75)]
BY_SCORE = [("7", "9"), ("7", "3"), ("9", "4"), ("9", "5")]


def listed(path: Path, *, scored: bool) -> Path:
    """Write candidates as the name says."""
    names = ("query_id", "item_id", "score")[: 3 if scored else 2]
    rows = [dict(zip(names, one, strict=False)) for one in CANDIDATES]
    if path.suffix == ".csv":
        path.write_text("\n".join([",".join(names), *(",".join(map(str, row.values())) for row in rows), ""]))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_candidates_are_read_of_every_kind(
    bundle: Path, run: Run, tmp_path: Path, suffix: str, scored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their scores where they have some, else by the exact inner product; ids of a CSV file stay text."""
    read: list[Candidates] = []

    def kept(_: Retriever, found: Candidates) -> Candidates:
        read.append(found)
        return found

    monkeypatch.setattr(Retriever, "rerank", kept)
    log = written(tmp_path, "user_id item_id rating timestamp")
    path = listed(tmp_path / f"candidates{suffix}", scored=scored)
    code, out, _ = run("rerank", bundle, path, "--interactions", log, "--json")
    (found,) = read
    products = np.einsum("bkd,bd->bk", Retriever.open(bundle).indexed[found.rows], found.queries)
    by_product = [
        (user, found.items[row])
        for user, rows, line in zip(found.query_ids, found.rows, products, strict=True)
        for row in rows[np.argsort(-line, kind="stable")].tolist()
    ]
    assert code == 0
    assert answers(out) == (BY_SCORE if scored else by_product)
    assert [[found.items[row] for row in rows] for rows in found.histories] == [["1", "2"], ["3"]]


def test_a_job_without_scores_takes_the_score_of_retrieval(bundle: Path, run: Run, tmp_path: Path) -> None:
    log, out = written(tmp_path, "user_id item_id rating timestamp"), tmp_path / "ranked"
    path = listed(tmp_path / "candidates.parquet", scored=False)
    code, printed, _ = run("rerank", bundle, path, "--interactions", log, "--out", out, "--json")
    assert (code, json.loads(printed)["users"], json.loads(printed)["known"]["unknown"]) == (0, 2, 0)
    found = {(hit["query_id"], hit["item_id"]): hit["score"] for hit in pq.read_table(out).to_pylist()}
    assert found.keys() == set(BY_SCORE)
    retriever = Retriever.load(bundle)
    users = users_of(Interactions.open(log), retriever.items)
    queries = user_queries(
        retriever.state,
        [retriever.items.rows(users.histories[user]) for user in ("7", "9")],
        users.weights_of(("7", "9")),
        min_relevance=users.min_relevance,
    )
    for (user, item), score in found.items():
        vector = retriever.indexed[retriever.items.rows([item])[0]]
        # A float32 product of few dimensions in another order of sums.
        assert score == pytest.approx(float(queries["79".index(user)] @ vector), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", "query_id,item\n7,3\n", "candidates lack the columns ['item_id']"),
        ("c.jsonl", '{"query_id": "7"', "cannot be read as Parquet, CSV (.csv) or JSON lines (.jsonl)"),
        (
            "c.csv",
            "query_id,item_id\n7,3\n8,3\n",
            "the candidates of 1 queries cannot be used: query '8': no history in the log",
        ),
    ],
)
def test_candidates_that_cannot_be_used_are_named(
    bundle: Path, run: Run, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    log = written(tmp_path, "user_id item_id rating timestamp")
    code, _, err = run("rerank", bundle, tmp_path / name, "--interactions", log)
    assert (code, message in err) == (1, True)


def test_what_could_not_be_used_is_reported(bundle: Path, run: Run, tmp_path: Path) -> None:
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
