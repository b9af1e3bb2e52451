"""Neighbours of items, one by one and of all, by content, by behaviour and by both, against scores of all pairs."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors
from indexing.errors import FilterError, InputError
from retrieval import Retriever
from retrieval.batch.neighbours import NeighboursConfig, neighbour_batches, write_neighbours
from retrieval.candidates import source_code
from retrieval.filters import field
from retrieval.retriever.related.items import BY, By
from tests.cli_run import Run, runner
from tests.paths import ROOT
from tests.toy import toy_table

ITEMS = toy_table()["item_id"].to_pylist()


def all_scores(retriever: Retriever, by: By) -> Vectors:
    """Score every pair of items, one item after the other."""
    content: Vectors = retriever.vectors @ retriever.vectors.T
    if by == "content":
        return content
    block, behaviour = retriever.behaviour, []
    assert block is not None
    for row in range(len(retriever.items)):
        towers = block.tower_queries([np.array([row])])[0]
        starts = np.cumsum([0, *(len(tower.start) for tower in block.towers)])
        parts = [
            tower.share * (block.items[:, start : start + len(tower.start)] @ towers[start : start + len(tower.start)])
            for tower, start in zip(block.towers, starts, strict=False)
        ]
        behaviour.append(sum(parts, np.zeros(len(block.items), np.float32)))
    scores = np.stack(behaviour)
    if by == "behaviour":
        return scores
    is_live = retriever.bundle.is_live
    standard = [
        (one - one[:, is_live].mean(axis=1, keepdims=True)) / one[:, is_live].std(axis=1, keepdims=True)
        for one in (content, scores)
    ]
    both: Vectors = standard[0] + standard[1]
    return both


@pytest.mark.parametrize("by", BY)
def test_every_list_is_the_best_of_all_pairs(retriever: Retriever, by: By) -> None:
    scores = all_scores(retriever, by)
    np.fill_diagonal(scores, -np.inf)
    found = retriever.similar_items("all", 5, by)
    assert found.query_ids == tuple(ITEMS)
    # float32 sums in another order; ties are allowed to be either way round, so scores are compared
    best = -np.sort(-scores, axis=1)[:, :5]
    np.testing.assert_allclose(found.scores, best, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(scores, found.rows, axis=1), best, rtol=1e-4, atol=1e-4)
    assert not (found.rows == np.arange(len(ITEMS))[:, None]).any()
    some = retriever.similar_items(["blue-lamp", "red-mug"], 5, by)
    np.testing.assert_allclose(some.scores, found.scores[[ITEMS.index("blue-lamp"), ITEMS.index("red-mug")]], rtol=1e-4)


def test_a_hit_of_both_comes_from_the_larger_of_its_two_standard_scores(retriever: Retriever) -> None:
    content, behaviour = (all_scores(retriever, by) for by in ("content", "behaviour"))
    is_live = retriever.bundle.is_live
    parts = [
        (one - one[:, is_live].mean(axis=1, keepdims=True)) / one[:, is_live].std(axis=1, keepdims=True)
        for one in (content, behaviour)
    ]
    found = retriever.similar_items("all", 10, "both")
    apart = np.take_along_axis(parts[1] - parts[0], found.rows, axis=1)
    clear = np.abs(apart) > 1e-3  # float32 sums in another order
    expected = np.where(apart > 0, source_code("behaviour"), source_code("content"))
    assert found.sources is not None
    np.testing.assert_array_equal(found.sources[clear], expected[clear])
    assert {hit.source for hit in found[0]} == {"behaviour", "content"}
    assert retriever.similar_items(["red-mug"], 10, "both")[0] == found[ITEMS.index("red-mug")]


def test_users_take_together_what_looks_different(retriever: Retriever) -> None:
    """In the log of the shop users go through all things of one colour: these are neighbours by behaviour."""
    found = retriever.similar_items(["red-mug"], 4, "behaviour")
    assert {hit.item_id.split("-")[0] for hit in found[0]} == {"red"}
    assert {hit.item_id.split("-")[1] for hit in found[0]} == {"shoe", "lamp", "book", "chair"}


@pytest.mark.parametrize("by", ["behaviour", "both"])
def test_a_bundle_without_behaviour_says_so(unlearned: Retriever, by: By) -> None:
    with pytest.raises(InputError, match="learned nothing of what users take together; compare by content, or learn"):
        unlearned.similar_items(["red-mug"], 3, by)
    with pytest.raises(InputError, match="learned nothing of what users take together"):
        next(neighbour_batches(unlearned, NeighboursConfig(by=by)))
    with pytest.raises(InputError, match=r"by is 'looks'.*content"):
        unlearned.similar_items(["red-mug"], 3, "looks")  # type: ignore[arg-type]


@pytest.mark.parametrize("by", BY)
def test_the_table_holds_the_lists(retriever: Retriever, tmp_path: Path, by: By) -> None:
    report = write_neighbours(retriever, tmp_path / "near.parquet", NeighboursConfig(k=3, by=by, chunk=7))
    table = pq.read_table(tmp_path / "near.parquet")
    assert (report.users, report.answers, report.parts, report.resumed) == (20, 60, 3, 0)
    assert table.schema.names == ["item_id", "neighbour", "rank", "score"]
    found = retriever.similar_items("all", 3, by)
    expected = [(item, hit.item_id, hit.rank) for item, hits in zip(ITEMS, found, strict=True) for hit in hits]
    assert list(zip(*(table[name].to_pylist() for name in ("item_id", "neighbour", "rank")), strict=True)) == expected
    np.testing.assert_allclose(table["score"].to_numpy(), found.scores.ravel(), rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["near.parquet"]


def test_deleted_items_are_gone_twins_stay_and_filters_hold(changed: Retriever) -> None:
    left = [item for item in ITEMS if item not in ("blue-mug", "red-shoe")]
    table = pa.concat_tables(one.to_arrow() for one in neighbour_batches(changed, NeighboursConfig(k=30, chunk=6)))
    assert table["item_id"].unique().to_pylist() == [*left, "twin"]
    assert set(table["neighbour"].to_pylist()).isdisjoint(["blue-mug", "red-shoe"])
    assert len(table) == 19 * 18  # every other item, though more were asked for
    first = table.filter(pa.compute.equal(table["rank"], 1))
    nearest = dict(zip(first["item_id"].to_pylist(), first["neighbour"].to_pylist(), strict=True))
    assert (nearest["twin"], nearest["red-mug"]) == ("red-mug", "twin")
    cheap = NeighboursConfig(k=30, where=field("price") < 15)
    filtered = pa.concat_tables(one.to_arrow() for one in neighbour_batches(changed, cheap))
    prices = dict(zip(ITEMS, toy_table()["price"].to_pylist(), strict=True))
    assert set(filtered["neighbour"].to_pylist()) == {item for item in left if prices[item] < 15} | {"twin"}
    assert len(filtered["item_id"].unique()) == 19


class StoppedError(Exception):
    """Of a run that is stopped."""


def stop_after(parts: int):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Give a report of progress that stops the run."""
    done: list[int] = []

    def progress(lines: int, _users: int, _quarantined: int) -> None:
        done.append(lines)
        if len(done) == parts:
            raise StoppedError

    return progress


@pytest.mark.parametrize("name", ["near", "near.parquet", "near.csv"])
def test_what_was_stopped_is_resumed(retriever: Retriever, tmp_path: Path, name: str) -> None:
    config = NeighboursConfig(k=3, chunk=4)
    with pytest.raises(StoppedError):
        write_neighbours(retriever, tmp_path / name, config, progress=stop_after(2))
    assert not (tmp_path / name).is_file()
    report = write_neighbours(retriever, tmp_path / name, config)
    assert (report.resumed, report.parts, report.users, report.answers) == (2, 5, 20, 60)
    write_neighbours(retriever, tmp_path / "whole.parquet", config)
    whole = pq.read_table(tmp_path / "whole.parquet")
    read = pcsv.read_csv if name.endswith("csv") else pq.read_table
    table = read(tmp_path / name)
    assert table["neighbour"].to_pylist() == whole["neighbour"].to_pylist()
    np.testing.assert_allclose(table["score"].to_numpy(), whole["score"].to_numpy(), rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2  # the folder of the parts of a file is gone


KILLED = """
import sys, time
from retrieval import Retriever
from retrieval.batch import NeighboursConfig, write_neighbours

config = NeighboursConfig(k=3, chunk=4)
write_neighbours(Retriever.load(sys.argv[1]), sys.argv[2], config, progress=lambda *_: time.sleep(0.1))
"""


def test_after_a_real_kill_it_is_resumed(bundle: Path, retriever: Retriever, tmp_path: Path) -> None:
    out, parts = tmp_path / "near.parquet", tmp_path / "near.parquet.parts"
    with subprocess.Popen([sys.executable, "-c", KILLED, bundle, out], cwd=ROOT) as process:
        while process.poll() is None and len(list(parts.glob("part-*.parquet"))) < 2:
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    config = NeighboursConfig(k=3, chunk=4)
    report = write_neighbours(retriever, out, config)
    assert report.resumed in (1, 2, 3)  # the second part may not have been recorded yet
    assert (report.parts, report.users, report.answers) == (5, 20, 60)
    write_neighbours(retriever, tmp_path / "whole.parquet", config)
    table, whole = (pq.read_table(path) for path in (out, tmp_path / "whole.parquet"))
    assert table.drop("score").equals(whole.drop("score"))
    np.testing.assert_allclose(table["score"].to_numpy(), whole["score"].to_numpy(), rtol=1e-5)  # of two processes


def test_a_run_with_other_settings_is_refused(retriever: Retriever, tmp_path: Path) -> None:
    config = NeighboursConfig(k=3, chunk=4)
    with pytest.raises(StoppedError):
        write_neighbours(retriever, tmp_path / "near.parquet", config, progress=stop_after(1))
    with pytest.raises(InputError, match=r"near.parquet.parts holds a job that differs: settings.k was 3 and now is 4"):
        write_neighbours(retriever, tmp_path / "near.parquet", replace(config, k=4))


def test_what_fails_at_once_leaves_the_folder_to_the_corrected_command(
    retriever: Retriever, unlearned: Retriever, tmp_path: Path
) -> None:
    out = tmp_path / "near.parquet"
    with pytest.raises(InputError, match="learned nothing"):
        write_neighbours(unlearned, out, NeighboursConfig(k=2, by="behaviour"))
    with pytest.raises(FilterError, match=r"colr"):
        write_neighbours(retriever, out, NeighboursConfig(k=2, where="colr = red"))
    assert write_neighbours(retriever, out, NeighboursConfig(k=2)).users == len(ITEMS)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_the_command_writes_the_table(call: Run, bundle: Path, retriever: Retriever, tmp_path: Path) -> None:
    out = tmp_path / "near.parquet"
    code, printed, _ = call("similar", bundle, "--all", "--by", "both", "-k", 2, "--out", out, "--json")
    answer = json.loads(printed)
    assert (code, answer["items"], answer["neighbours"], answer["parts"], answer["resumed"]) == (0, 20, 40, 1, 0)
    found = retriever.similar_items("all", 2, "both")
    assert pq.read_table(out)["neighbour"].to_pylist() == [hit.item_id for hits in found for hit in hits]
    code, printed, _ = call("similar", bundle, "red-mug", "--by", "behaviour", "-k", 2, "--json")
    listed = [hit.item_id for hit in retriever.similar_items(["red-mug"], 2, "behaviour")[0]]
    assert code == 0
    assert all(item in printed for item in listed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either items or --all"),
        (["red-mug", "--all"], "give either items or --all"),
        (["--all"], "--all writes a table: give --out neighbours.parquet"),
    ],
)
def test_wrong_usage_of_all(call: Run, bundle: Path, arguments: list[str], message: str) -> None:
    code, _, error = call("similar", bundle, *arguments)
    assert code == 2
    assert message in error
