"""Answers on standard output in each format, and in tables of a database."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from indexing import Catalogue, build_bundle
from indexing.catalogue.readers.sql import SqlTable, read_sql
from retrieval import cli
from tests.cli_run import Run, json_lines, runner
from tests.toy import ToyEncoder, toy_file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", lambda *_, **__: ToyEncoder())
    return runner(capsys)


def printed(capfdbinary: pytest.CaptureFixture[bytes], *arguments: object) -> bytes:
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    assert stopped.value.code in (0, None)
    return capfdbinary.readouterr().out


def test_csv_json_and_parquet_hold_the_same_hits(bundle: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    given = ("similar", bundle, "red-mug", "blue-book", "-k", 3)
    lines = [json.loads(line) for line in printed(capfdbinary, *given, "--format", "json").splitlines()]
    assert printed(capfdbinary, *given, "--json").splitlines() == [json.dumps(line).encode() for line in lines]
    hits = [{name: value for name, value in line.items() if name != "type"} for line in lines]
    assert len(hits) == 6
    parquet = pq.read_table(io.BytesIO(printed(capfdbinary, *given, "--format", "parquet")))
    assert parquet.to_pylist() == hits
    csv = pa.csv.read_csv(io.BytesIO(printed(capfdbinary, *given, "--format", "csv")))
    names = ["query_id", "item_id", "rank"]
    assert csv.select(names).to_pylist() == parquet.select(names).to_pylist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "csv", "--out", "a.parquet"), "leave one out"),
        (("--format", "csv", "--json"), "two formats"),
        (("--out", "sqlite:///shop.db"), "names no table"),
        (("--out", "sqlite:///shop.db#SELECT 1"), "is a query; name the table"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    bundle: Path, run: Run, options: tuple[str, ...], message: str
) -> None:
    code, out, error = run("similar", bundle, "red-mug", *options)
    assert (code, out) == (2, "")
    assert message in " ".join(error.split())


def test_answers_are_written_into_a_table(bundle: Path, run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}#similar"
    given = ("similar", bundle, "red-mug", "-k", 3)
    expected = json_lines(run(*given, "--json")[1])
    for _ in range(2):  # the second in place of the first
        code, out, error = run(*given, "--out", url, "--json")
        assert (code, error) == (0, "")
        assert json_lines(out, "written") == [{"written": url, "queries": 1, "empty": 0}]
    assert read_sql(SqlTable.parse(url)).to_pylist() == expected


def test_a_log_of_a_database_is_answered_as_that_of_a_file(bundle: Path, run: Run, tmp_path: Path) -> None:
    from retrieval.batch.sql_output import write_sql

    log = pa.table({"user_id": ["a", "a", "b"], "item_id": ["red-mug", "red-book", "blue-mug"], "timestamp": [1, 2, 3]})
    pq.write_table(log, tmp_path / "log.parquet")
    write_sql(log, SqlTable.parse(url := f"sqlite:///{tmp_path / 'log.db'}#clicks"))
    answers = [
        run("recommend", bundle, "--interactions", given, "-k", 3, "--json")
        for given in (tmp_path / "log.parquet", url)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 0
    code, out, _ = run("recommend", bundle, "--interactions", url, "-k", 3, "--out", tmp_path / "answers", "--json")
    assert (code, json.loads(out)["users"]) == (0, 2)
    write_sql(log.slice(0, 2), SqlTable.parse(url))
    code, _, error = run("recommend", bundle, "--interactions", url, "-k", 3, "--out", tmp_path / "answers")
    assert code == 1  # another log does not continue the job
    assert "log" in error


def test_users_of_items_in_each_output_and_neighbours_of_all_in_files_alone(
    bundle: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    log = pa.table({"user_id": ["a", "a", "b"], "item_id": ["red-mug", "red-book", "blue-mug"], "timestamp": [1, 2, 3]})
    pq.write_table(log, tmp_path / "log.parquet")
    given = ("users-for", bundle, "red-mug", "--interactions", tmp_path / "log.parquet")
    printed_csv = printed(capfdbinary, *given, "--format", "csv")
    url = f"sqlite:///{tmp_path / 'shop.db'}#users"
    assert json.loads(printed(capfdbinary, *given, "--out", url, "--json"))["written"] == url
    assert len(read_sql(SqlTable.parse(url))) == len(printed_csv.splitlines()) - 1 > 0
    with pytest.raises(SystemExit) as stopped:
        cli.main(["similar", str(bundle), "--all", "--out", url])
    assert stopped.value.code == 2
    assert b"--all writes a table: give --out neighbours.parquet" in capfdbinary.readouterr().err


def test_a_url_is_no_folder_to_write(bundle: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    users = tmp_path / "users.parquet"
    pq.write_table(pa.table({"user_id": ["u"], "history": [["red-mug"]]}), users)
    for command in (
        ("build", toy_file(tmp_path), "--out", "s3://bucket/shop"),
        ("recommend", bundle, "--users", users, "--out", "gs://bucket/answers"),
        ("search", "s3://bucket/shop", "a mug"),
    ):
        code, _, said = run(*command)
        assert code in (1, 2), said
        assert "a URL; give a path of this machine; `commonspace push FOLDER URL`" in said.replace("\n", " ")
    assert not {"s3:", "gs:"} & {path.name for path in tmp_path.iterdir()}
