"""Wrong usage ends with exit code 2 before any work, and what was measured, left out or empty is said."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from retrieval.cli.display.explanations import _in_words
from retrieval.ranking.explain import Explanation
from tests.cli_run import Run, json_lines, toy_runner
from tests.toy import COLOURS, SHAPES, ToyEncoder, toy_table

USERS = 12


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return toy_runner(capsys, monkeypatch)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a table with a column of bytes, which is left out, and the table beside it."""
    folder = tmp_path_factory.mktemp("built")
    table = toy_table().append_column("code", pa.array([b"\x00"] * 20))
    pq.write_table(table, folder / "items.parquet")
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), ToyEncoder(), folder / "bundle")
    return folder


@pytest.fixture
def bundle(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that bundle in the folder of the test, with a log."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    log(tmp_path / "log.csv")
    return tmp_path / "bundle"


def log(path: Path, weight: str = "5", strange: Sequence[str] = ()) -> None:
    """Users named 0.0 and so on, who each met four items; one of another colour weighs least."""
    rows = ["user_id,item_id,rating,timestamp"]
    for user in range(USERS):
        colour = list(COLOURS)[user % len(COLOURS)]
        met = [f"{colour}-{shape}" for shape in SHAPES[:4]] + list(strange)
        rows += [f"{user}.0,{item},{weight if place else 5},{place}" for place, item in enumerate(met)]
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "items.parquet", "--out", "new", "--index", "tree"], "--index"),
        (["build", "items.parquet", "--out", "new", "--precision", "half"], "--precision"),
        (["build", "items.parquet", "--out", "new", "--min-recall", "7"], "min_recall is 7.0"),
        (["build", "items.parquet", "--out", "new", "--max-index-memory", "7q"], "'7q' is no amount of memory"),
        (["build", "items.parquet", "--out", "new", "--batch-size", "0"], "batch_size is 0"),
        (["evaluate", "bundle", "log.csv", "--html", "x.csv"], "x.csv is to be a .html file"),
        (["evaluate", "bundle", "log.csv", "--save", "x.parquet"], "x.parquet is to be a .json file"),
        (["evaluate", "bundle", "log.csv", "--metrics-out", "x"], "x is to be a .json file"),
        (["inspect", "items.parquet", "--html", "x.json"], "x.json is to be a .html file"),
        (["prepare", "log.csv", "out.csv", "--report", "x.csv"], "x.csv is to be a .json file"),
        (["tune", "bundle", "log.csv", "--out", "x.toml"], "x.toml is to be a .json file"),
        (["search", "bundle", "red", "--diversify", "mmr"], "give a number from 0 to 1, like 0.3"),
        (["search", "bundle", "red", "--diversify", "mmr", "--page", "0"], "--page"),
        (["search", "bundle", "red", "--diversify", "mmr", "--strength", "2"], "--strength"),
        (["search", "bundle", "red", "--where", "prize > 3"], "there is no attribute 'prize'"),
        (["recommend", "bundle", "--interactions", "log.csv", "--where", "price >"], "expected a value for 'price'"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_reported_before_any_work(arguments: list[str], message: str, bundle: Path, run: Run) -> None:
    before = sorted(bundle.parent.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "note:" not in err  # the log was not read
    assert sorted(bundle.parent.rglob("*")) == before


def test_a_filter_on_a_column_that_the_build_left_out_says_so(bundle: Path, run: Run) -> None:
    err = run("search", bundle, "red", "--where", "code = 1")[2]
    assert "the build left out the column 'code': binary cannot be compared" in err
    assert "left out" not in run("search", bundle, "red", "--where", "cod = 1")[2]


def test_evaluate_says_what_was_to_be_found_and_which_part_has_unknown_items(bundle: Path, run: Run) -> None:
    log(bundle.parent / "half.csv", strange=["gone-1", "gone-2"])
    code, out, err = run("evaluate", bundle, "half.csv", "--hold-out", 0.4)
    assert code == 0
    assert "to be found: the last 40% of each user's interactions" in out.splitlines()
    lines = [line for line in err.splitlines() if "not in the bundle" in line]
    assert [line.split(":")[1] for line in lines] == [" to be found"]
    assert (
        "to be found where rating=5"
        in run("evaluate", bundle, "log.csv", "--history-rows", "timestamp=0,1", "--relevant-rows", "rating=5")[1]
    )


def test_fit_names_dislikes_where_they_leave_too_few_users(bundle: Path, run: Run) -> None:
    log(bundle.parent / "low.csv", weight="1")
    code, _, err = run("fit", bundle, "low.csv")
    assert code == 1
    assert "36 of 48 interactions weigh less than 2.5, half of the largest weight, and count as dislikes" in err
    assert "12 of 12 users liked fewer than two known items" in err


@pytest.mark.parametrize("user", ["3", "3.0"])
def test_a_user_is_found_however_the_id_is_written(user: str, bundle: Path, run: Run) -> None:
    given = ("recommend", bundle, "--interactions", "log.csv", "--no-rerank", "-k", 1, "--json")
    code, out, _ = run(*given, "--user", user)
    assert (code, [row["query_id"] for row in json_lines(out)]) == (0, ["3"])


def test_a_column_given_for_a_user_and_a_user_for_a_column_are_reported(bundle: Path, run: Run) -> None:
    err = run("recommend", bundle, "--interactions", "log.csv", "--user", "user_id")[2]
    assert "1 users are not in the log, e.g. 'user_id'; it has 12, as '0', '1', '2', …" in err
    assert "the column of the users is named with --user-column" in err
    for command in (("fit", bundle, "log.csv"), ("evaluate", bundle, "log.csv"), ("prepare", "log.csv", "o.csv")):
        err = run(*command, "--user-column", "3")[2]
        assert "there is no column '3' of users" in err
        assert "a single user is chosen in `commonspace recommend` alone" in err


def test_empty_lists_are_counted(bundle: Path, run: Run) -> None:
    given = ("similar", bundle, "red-mug", "red-shoe", "--where")
    assert "2 lists written to a.csv; 2 of them without any answer" in run(*given, "price > 9999", "--out", "a.csv")[1]
    assert run(*given, "price > 0", "--out", "b.csv")[1] == "2 lists written to b.csv\n"
    assert json.loads(run(*given, "price > 9999", "--out", "a.csv", "--json")[1])["empty"] == 2


@pytest.mark.parametrize("form", [".csv", ".jsonl", ".parquet", ""])
def test_rerank_reads_what_recommend_wrote(form: str, bundle: Path, run: Run) -> None:
    found, out = f"found{form}", ("--out", "again", "-k", 3)
    assert run("recommend", bundle, "--interactions", "log.csv", "-k", 3, "--out", found)[0] == 0
    assert run("rerank", bundle, found, "--interactions", "log.csv", *out)[0] == 0
    hits = pq.read_table(bundle.parent / "again").to_pylist()
    assert len(hits) == 3 * USERS
    code, _, err = run("rerank", bundle, found, *out)
    assert (code, "has no column 'history'; say with --interactions which log" in err) == (2, True)


def test_what_could_not_be_encoded_is_named(bundle: Path, run: Run) -> None:
    folder = bundle.parent
    (folder / "bad.png").write_bytes(b"nothing")
    (folder / "shop.csv").write_text("item_id,title,image\na,red mug,bad.png\nb,blue mug,gone.png\n")
    out = run("build", "shop.csv", "--out", "shop")[1]
    assert "'b': image file is missing: gone.png" in out
    info = json.loads(run("info", "shop", "--json")[1])
    assert [one.rpartition(": ")[2] for one in info["quarantined_first"]] == ["bad.png", "gone.png"]
    assert info["rejected_first"] == []


def test_an_item_that_lowers_the_score_is_no_reason() -> None:
    one = Explanation("a", 0.3302, 0.3298, -0.0004, 0.0008, (("b", 0.084), ("c", -0.12)))
    assert _in_words(one, ["mug", None])[:2] == ["because of mug (b) +0.08", "despite c -0.12"]


def test_what_rounds_to_zero_is_no_reason() -> None:
    one = Explanation("a", 0.3302, 0.3298, -0.0004, 0.0008, (("b", 0.084), ("c", -0.0041)), features={"age": -0.001})
    assert _in_words(one, ["mug", "cup"]) == [
        "because of mug (b) +0.08",
        "retrieved with +0.33 = content +0.33",
        "moved by nothing",
    ]
