"""A job that fails, is killed or loses power at any operation goes on to what an uninterrupted one gives."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.edits.edit import add
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleLockedError, InputError
from indexing.filesystem.locks import write_lock
from retrieval import Retriever
from retrieval.batch import (
    BatchConfig,
    JobReport,
    ListedUsers,
    ParquetFiles,
    recommend_batches,
    rerank_batches,
    run_job,
    write_answers,
)
from retrieval.candidates import Candidates
from tests.cli_run import Run, runner
from tests.faults import FaultyDisk
from tests.paths import ROOT
from tests.power import Mode
from tests.retrieval.batch.shop import SCHEMA, assert_same, joined, shop_log, users, written
from tests.toy import ToyEncoder

CONFIG = BatchConfig(k=3, depth=9, chunk=4)
USERS = 14  # four parts, the last of two


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users, one of whom has no name, and one a history that is not in the bundle."""
    lines = users(USERS).to_pylist()
    lines[5]["user_id"], lines[9]["history"], lines[9]["weights"] = None, ["jug"], [1.0]
    return written(pa.Table.from_pylist(lines, SCHEMA), tmp_path_factory.mktemp("users") / "users.parquet", 5)


def run(retriever: Retriever, path: Path, out: Path, config: BatchConfig = CONFIG) -> JobReport:
    return run_job(retriever, ListedUsers(ParquetFiles(path), retriever), out, config)


def files(out: Path) -> dict[str, bytes]:
    """Every file that answers are in, with its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def whole(retriever: Retriever, path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "answers"
    run(retriever, path, out)
    return out


def test_the_folder_is_one_table_of_what_the_stream_gives(retriever: Retriever, path: Path, whole: Path) -> None:
    found = list(recommend_batches(retriever, path, CONFIG))
    assert pq.read_table(whole).equals(joined(found))
    assert [name for name in files(whole) if "/" not in name] == [f"part-00000{number}.parquet" for number in range(4)]
    aside = pa.concat_tables(one.quarantined() for one in found)
    assert pq.read_table(sorted((whole / "_quarantine").glob("*.parquet"))).equals(aside)
    assert aside["line"].to_pylist() == [5, 9]
    report = json.loads((whole / "_SUCCESS").read_text())
    assert (report["users"], report["quarantined"], report["parts"], report["unknown"]) == (USERS - 2, 2, 4, 1)
    assert report["answers"] == 3 * (USERS - 2)
    assert report["reasons"] == {"no user_id": 1, "no item of the history is in this bundle": 1}


@pytest.mark.parametrize("mode", ["error", "stop", "power", "some"])
def test_stopped_at_any_operation_it_continues_to_the_same(
    mode: Mode, retriever: Retriever, path: Path, whole: Path, tmp_path: Path
) -> None:
    fail_at, failed, kept = 0, True, []
    while failed:
        fail_at += 1
        (root := tmp_path / str(fail_at)).mkdir()
        with FaultyDisk(root, fail_at, mode) as disk, suppress(OSError):
            run(retriever, path, root / "answers")
        failed = disk.failed
        again = run(retriever, path, root / "answers")
        kept.append(again.resumed)
        assert files(root / "answers") == files(whole), fail_at
        assert (again.users, again.parts) == (USERS - 2, 4)
        assert not list((root / "answers").rglob("*.tmp"))
        shutil.rmtree(root)
    assert kept == sorted(kept)
    assert set(kept) == {0, 1, 2, 3, 4}
    assert fail_at > 40


def test_it_continues_where_it_was_and_does_nothing_twice(
    retriever: Retriever, path: Path, whole: Path, tmp_path: Path
) -> None:
    calls: list[tuple[int, int, int]] = []
    source = ListedUsers(ParquetFiles(path), retriever)
    shutil.copytree(whole, out := tmp_path / "answers")
    again = run_job(retriever, source, out, CONFIG, progress=lambda *done: calls.append(done))
    assert (again.resumed, again.parts, again.users_per_second) == (4, 4, 0.0)
    assert calls == [(4, 4, 0), (4, 3, 1), (4, 3, 1), (2, 2, 0)]


@pytest.mark.parametrize("damaged", ["part-000002.parquet", "_quarantine/part-000001.parquet", "_parts.jsonl"])
def test_what_is_damaged_or_missing_is_made_again(
    damaged: str, retriever: Retriever, path: Path, whole: Path, tmp_path: Path
) -> None:
    for cut in (None, 9):
        shutil.copytree(whole, out := tmp_path / str(cut))
        data = (out / damaged).read_bytes()
        (out / damaged).unlink()
        if cut:
            (out / damaged).write_bytes(data[:-cut])
        assert run(retriever, path, out).resumed < 4
        assert files(out) == files(whole)


def test_another_job_in_the_same_folder_is_refused(
    retriever: Retriever, path: Path, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"a job that differs: settings\.k was 3 and now is 4\. .* give another --out"):
        run(retriever, path, whole, replace(CONFIG, k=4))
    with pytest.raises(InputError, match=r'settings\.where was \[\] and now is \["price > 3"\]'):
        run(retriever, path, whole, replace(CONFIG, where="price > 3"))
    with pytest.raises(InputError, match=r"settings\.rerank was true and now is false; settings\.steps was"):
        run(retriever, path, whole, replace(CONFIG, rerank=False))
    other = written(users(USERS, seed=1), tmp_path / "users.parquet")
    with pytest.raises(InputError, match=r"input\.files was .*\"users\.parquet\""):
        run(retriever, other, whole)
    with pytest.raises(InputError, match=r"input\.given was false and now is true"):
        run_job(retriever, ListedUsers(ParquetFiles(path), retriever, given=True), whole, CONFIG)
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "letter.txt").write_text("dear")
    with pytest.raises(
        InputError, match=r"answers is no job and not empty, it holds 'letter\.txt'; give another --out"
    ):
        run(retriever, path, tmp_path / "answers")


def test_another_state_of_the_bundle_is_refused(bundle: Path, path: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, root := tmp_path / "bundle")
    run(before := Retriever.load(root, ToyEncoder()), path, tmp_path / "answers")
    more = written(pa.table({"item_id": ["red-jug"], "title": ["red jug"]}), tmp_path / "more.parquet")
    add(root, Catalogue.from_parquet(more), ToyEncoder())
    with pytest.raises(InputError, match=r"bundle\.changes was 0 and now is 1"):
        run(before.latest(), path, tmp_path / "answers")
    assert run(before, path, tmp_path / "answers").resumed == 4


def test_one_process_at_a_time(retriever: Retriever, path: Path, whole: Path) -> None:
    with write_lock(whole, name="_LOCK"), pytest.raises(BundleLockedError, match="another process is writing"):
        run(retriever, path, whole)


def test_memory_cannot_be_gone_on_with(retriever: Retriever, tmp_path: Path) -> None:
    from retrieval.batch.tables import MemoryTables

    with pytest.raises(InputError, match="write the users to Parquet first"):
        run_job(retriever, ListedUsers(MemoryTables(users(2)), retriever), tmp_path / "answers")


def test_one_file_is_written_as_it_comes(retriever: Retriever, path: Path, tmp_path: Path) -> None:
    out, aside = tmp_path / "new" / "answers.parquet", tmp_path / "aside.parquet"
    report = write_answers(recommend_batches(retriever, path, CONFIG), out, aside)
    assert pq.read_table(out).equals(joined(recommend_batches(retriever, path, CONFIG)))
    assert pq.read_table(aside)["line"].to_pylist() == [5, 9]
    assert (report.users, report.parts, report.answers) == (USERS - 2, 1, 3 * (USERS - 2))
    write_answers(recommend_batches(retriever, users(2), CONFIG), out, aside)
    assert len(pq.read_table(out)) == 6
    assert not aside.exists()  # those rows were of the job before


def test_a_job_that_fails_at_once_leaves_the_folder_to_the_next(
    retriever: Retriever, path: Path, whole: Path, tmp_path: Path
) -> None:
    def fails(*_: object) -> Candidates:
        raise InputError("no")

    source = ListedUsers(ParquetFiles(path), retriever)
    with pytest.raises(InputError, match="no"):
        run_job(retriever, source, tmp_path / "answers", CONFIG, steps=[fails])
    run(retriever, path, tmp_path / "answers")
    assert files(tmp_path / "answers") == files(whole)


KILLED = """
import sys, time
from pathlib import Path
from typing import Any
from retrieval.batch import BatchConfig, ListedUsers, ParquetFiles, run_job
from retrieval import Retriever
from tests.toy import ToyEncoder

retriever = Retriever.load(sys.argv[1], ToyEncoder())
source = ListedUsers(ParquetFiles(sys.argv[2]), retriever)
run_job(retriever, source, sys.argv[3], BatchConfig(k=3, depth=9, chunk=4), progress=lambda *_: time.sleep(0.05))
"""


def test_after_a_real_kill_it_continues_to_the_same(
    bundle: Path, retriever: Retriever, path: Path, whole: Path, tmp_path: Path
) -> None:
    out, ledger = tmp_path / "answers", tmp_path / "answers" / "_parts.jsonl"
    with subprocess.Popen([sys.executable, "-c", KILLED, bundle, path, out], cwd=ROOT) as process:
        while process.poll() is None and not (ledger.exists() and ledger.read_bytes().count(b"\n") > 1):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "_SUCCESS").exists()
    assert run(retriever, path, out).resumed in (2, 3, 4)
    assert files(out) == files(whole)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", lambda *_, **__: ToyEncoder())
    return runner(capsys)


def test_recommend_on_the_command_line(
    call: Run, bundle: Path, path: Path, whole: Path, retriever: Retriever, tmp_path: Path
) -> None:
    asked = ["recommend", bundle, "--users", path, "-k", 3, "--num-candidates", 9, "--chunk-size", 4]
    code, out, err = call(*asked, "--out", tmp_path / "answers", "--json")
    assert (code, err) == (0, "")
    info = json.loads(out)
    names = ("users", "answers", "parts", "resumed", "quarantined", "unknown")
    assert [info[name] for name in names] == [USERS - 2, 3 * (USERS - 2), 4, 0, 2, 1]
    assert {"seconds", "users_per_second", "reasons", "written"} <= set(info)
    titled = tmp_path / "titled"
    run(retriever, path, titled, replace(CONFIG, titles=True))
    assert files(tmp_path / "answers") == files(titled)
    found = pq.read_table(titled)
    assert found.drop_columns("title").equals(pq.read_table(whole))
    assert found["title"].to_pylist() == [item_id.replace("-", " ") for item_id in found["item_id"].to_pylist()]
    code, out, _ = call(*asked, "--out", tmp_path / "answers")
    assert code == 0
    assert "4 of them from before" in out
    assert "2 lines, see" in out
    assert call(*asked, "--out", tmp_path / "answers.parquet")[0] == 0
    assert pq.read_table(tmp_path / "answers.parquet").equals(found)
    assert pq.read_table(tmp_path / "answers.quarantine.parquet")["line"].to_pylist() == [5, 9]
    code, _, err = call(*asked[:-1], 5, "--out", tmp_path / "answers")
    assert code == 1
    assert "settings.chunk was 4 and now is 5" in err
    code, _, err = call(*asked)
    assert code == 2
    assert "--out FOLDER, which can be continued, or --out FILE.parquet" in err


def test_a_folder_whose_parts_have_no_titles_is_refused_on_the_command_line(
    call: Run, bundle: Path, path: Path, retriever: Retriever, tmp_path: Path
) -> None:
    run(retriever, path, tmp_path / "answers")
    code, _, err = call("recommend", bundle, "--users", path, "-k", 3, "--out", tmp_path / "answers")
    assert code == 1
    assert "settings.titles" in err


def test_an_item_twice_in_a_history_on_the_command_line(call: Run, bundle: Path) -> None:
    twice, once = (
        call("recommend", bundle, "--history", history, "-k", 4, "--json")
        for history in ("red-mug,red-book,red-mug,red-mug", "red-book,red-mug")
    )
    assert twice == once
    assert twice[0] == 0


def test_from_a_log_to_candidates_to_answers_on_the_command_line(
    call: Run, bundle: Path, path: Path, retriever: Retriever, tmp_path: Path
) -> None:
    pq.write_table(shop_log(), log := tmp_path / "log.parquet")
    found = ["recommend", bundle, "--interactions", log, "-k", 9, "--no-rerank"]
    assert call(*found, "--out", tmp_path / "found", "--chunk-size", 7)[0] == 0
    assert call(*found, "--out", tmp_path / "found.parquet")[0] == 0
    assert_same(pq.read_table(tmp_path / "found"), pq.read_table(tmp_path / "found.parquet"))
    ranked = ["rerank", bundle, tmp_path / "found", "--interactions", log, "-k", 3]
    code, out, _ = call(*ranked, "--out", tmp_path / "ranked", "--chunk-size", 5, "--json")
    assert code == 0
    assert json.loads(out)["users"] == 32
    once = ["rerank", bundle, tmp_path / "found.parquet", "--interactions", log, "-k", 3]
    assert call(*once, "--out", tmp_path / "ranked.parquet")[0] == 0
    assert_same(pq.read_table(tmp_path / "ranked"), pq.read_table(tmp_path / "ranked.parquet"))

    assert call("rerank", bundle, path, "-k", 3, "--out", tmp_path / "given")[0] == 0
    given = pq.read_table(tmp_path / "given").drop_columns("title")
    assert_same(given, joined(rerank_batches(retriever, path, BatchConfig(k=3))))
    code, _, err = call("rerank", bundle, path, "--interactions", log, "--out", tmp_path / "both")
    assert code == 1
    assert "has histories of its own; leave out --interactions" in err
    code, _, err = call("rerank", bundle, tmp_path / "found", "--out", tmp_path / "none")
    assert code == 2
    assert "has no column 'history'; say with --interactions" in err


def test_the_example_of_the_docs_runs(
    bundle: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = (ROOT / "docs" / "how-to" / "batch.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", docs, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle, "bundles/shop")
    shutil.copy(path, "users.parquet")
    names: dict[str, Any] = {}
    exec(compile(example, "batch.md", "exec"), names)  # noqa: S102 - the docs are ours
    assert pq.read_table("answers").equals(names["table"])  # there is but one chunk
    assert names["report"].users == USERS - 2
