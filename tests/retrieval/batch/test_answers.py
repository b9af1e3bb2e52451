"""Streamed answers are those of the verbs, whatever the chunks, and a bad line loses no good one."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.errors import InputError
from retrieval import Candidates, Interactions, Retriever
from retrieval.batch import (
    BatchConfig,
    FlatCandidates,
    LoggedHistories,
    LogUsers,
    ParquetFiles,
    answers,
    recommend_batches,
    rerank_batches,
)
from retrieval.batch.in_memory import candidates_from_table, users_of
from retrieval.retriever.fallback.fill_short_lists import FallbackWarning
from retrieval.retriever.recommend import user_queries
from tests.retrieval.batch.shop import ITEMS, SCHEMA, assert_same, joined, quarantined, shop_log, users, written
from tests.toy import ToyEncoder

CHUNKS = (1, 3, 8, 100)


class Contrary:
    """Puts the last candidate first, sooner for a longer history: what it is given matters."""

    def rerank(self, candidates: Candidates) -> Candidates:
        lengths = np.array([[1 + len(history)] for history in candidates.histories], np.float32)
        return candidates.reordered(np.where(candidates.rows >= 0, -candidates.scores * lengths, 0), "rerank")


@pytest.fixture
def contrary(bundle: Path) -> Retriever:
    retriever = Retriever.load(bundle, ToyEncoder())
    assert retriever.behaviour is not None
    retriever.state.reranker = Contrary()
    return retriever


@pytest.mark.parametrize("chunk", CHUNKS)
def test_recommend_in_a_stream_is_recommend(chunk: int, contrary: Retriever, tmp_path: Path) -> None:
    retriever, table = contrary, users(40)
    path = written(table, tmp_path / "users.parquet")
    config = BatchConfig(k=4, depth=9, chunk=chunk, where=["price >= 4"])
    asked = {name: table[name].to_pylist() for name in ("user_id", "history", "weights")}
    once = retriever.recommend(
        asked["history"], 9, where=["price >= 4"], user_ids=asked["user_id"], weights=asked["weights"]
    )
    found = list(recommend_batches(retriever, path, config))
    assert [one.chunk.lines for one in found[:-1]] == [chunk] * (len(found) - 1)
    assert_same(joined(found), retriever.rerank(once, 4).to_arrow())
    assert_same(joined(recommend_batches(retriever, table, config)), retriever.rerank(once, 4).to_arrow())
    plain = BatchConfig(k=4, rerank=False, chunk=chunk)
    without = table.drop_columns(["weights"])
    once = retriever.recommend(asked["history"], 4, user_ids=asked["user_id"], stages="retrieval")
    assert_same(joined(recommend_batches(retriever, without.to_batches(11), plain)), once.to_arrow())


@pytest.mark.parametrize("chunk", CHUNKS)
def test_rerank_in_a_stream_is_rerank(chunk: int, contrary: Retriever, tmp_path: Path) -> None:
    retriever, table = contrary, users(40)
    lines = table.to_pylist()
    order = [np.argsort(-np.array(line["scores"], np.float32), kind="stable") for line in lines]
    rows = np.array([retriever.items.rows(line["candidates"])[by] for line, by in zip(lines, order, strict=True)])
    scores = np.array([np.array(line["scores"], np.float32)[by] for line, by in zip(lines, order, strict=True)])
    histories = tuple(retriever.items.rows(line["history"]) for line in lines)
    queries = user_queries(retriever.state, histories, table["weights"].to_pylist())
    names = tuple(line["user_id"] for line in lines)
    once = retriever.rerank(Candidates(queries, rows, scores, retriever.items, "retrieve", names, histories), 4)
    path = written(table, tmp_path / "users.parquet")
    assert_same(joined(rerank_batches(retriever, path, BatchConfig(k=4, chunk=chunk))), once.to_arrow())


def test_without_scores_candidates_are_scored_as_retrieval_would(retriever: Retriever) -> None:
    table = users(20).drop_columns(["scores", "weights"])
    found = joined(rerank_batches(retriever, table, BatchConfig(k=20), steps=()))
    everything = retriever.recommend(
        table["history"].to_pylist(), 20, stages="retrieval", exclude_seen=False, user_ids=table["user_id"].to_pylist()
    ).to_arrow()
    score = {(line["query_id"], line["item_id"]): line["score"] for line in everything.to_pylist()}
    lines = found.to_pylist()
    assert [line["query_id"] for line in lines] == [user for user in table["user_id"].to_pylist() for _ in range(7)]
    expected = [score[line["query_id"], line["item_id"]] for line in lines]
    np.testing.assert_allclose([line["score"] for line in lines], expected, rtol=1e-4, atol=1e-5)
    assert (np.diff(found["score"].to_numpy().reshape(20, 7)) <= 0).all()


@pytest.mark.parametrize("chunk", CHUNKS)
def test_flat_candidates_and_log_users_are_answered_as_the_commands_do(
    chunk: int, retriever: Retriever, tmp_path: Path
) -> None:
    log = Interactions.from_arrow(shop_log().slice(0, 100))
    known = users_of(log, retriever.items)
    once = retriever.recommend(
        list(known.histories.values()),
        9,
        stages="retrieval",
        user_ids=list(known.histories),
        weights=known.weights_of(known.histories),
    )
    held = LoggedHistories.of(log, retriever.items)
    assert held.names.to_pylist() == list(known.histories)
    found = joined(answers(retriever, LogUsers(held, {}), BatchConfig(k=9, rerank=False, chunk=chunk)))
    assert_same(found, once.to_arrow())

    table = once.to_arrow().select(["query_id", "item_id", "score"])
    path = written(table, tmp_path / "candidates.parquet")
    source = FlatCandidates(ParquetFiles(path), held, retriever.items, {})
    expected = retriever.rerank(candidates_from_table(table, retriever, held), 4)
    assert_same(joined(answers(retriever, source, BatchConfig(k=4, chunk=chunk))), expected.to_arrow())


def test_a_query_that_comes_back_is_named(retriever: Retriever, tmp_path: Path) -> None:
    held = LoggedHistories.of(Interactions.from_arrow(shop_log()), retriever.items)
    names = ["u0-0", "u0-0", "stranger", "u1-2", "u1-2", "stranger", "u0-0"]
    table = pa.table({"query_id": names, "item_id": ITEMS[:7], "score": np.arange(7.0)})
    source = FlatCandidates(ParquetFiles(written(table, tmp_path / "c.parquet", 2)), held, retriever.items, {})
    for start, size in ((0, 1), (0, 2), (0, 50), (3, 1), (5, 1)):  # also when an earlier run had its first lines
        with pytest.raises(InputError, match=r"query 'u0-0' comes back in line 6 after other queries; sort the"):
            list(answers(retriever, source, BatchConfig(chunk=size), start=start))
    table = table.slice(0, 6)
    source = FlatCandidates(ParquetFiles(written(table, tmp_path / "d.parquet", 2)), held, retriever.items, {})
    found = list(answers(retriever, source, BatchConfig(chunk=2)))
    assert [(one.chunk.first, one.chunk.lines) for one in found] == [(0, 3), (3, 3)]
    assert [line.line for one in found for line in one.chunk.quarantined] == [2, 5]
    assert quarantined(found) == {"stranger": "no history in the log"}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"user_id": None}, "no user_id"),
    ({"user_id": "  "}, "no user_id"),
    ({"history": ["jug", "jar"], "weights": [1.0, 1.0]}, "no item of the history is in this bundle"),
    ({"weights": [1.0]}, "not as many weights as items in the history"),
    ({"weights": [1.0, float("nan")]}, "a weight that is no finite number"),
    ({"weights": [1.0, None]}, "a weight that is no finite number"),
    ({"candidates": []}, "no candidates"),
    ({"candidates": None}, "no candidates"),
    ({"candidates": ["jug", "jar"]}, "no candidate is an item of this bundle"),
    ({"candidates": ["red-mug", "red-mug"]}, "the same candidate twice"),
    ({"scores": [1.0]}, "not as many scores as candidates"),
    ({"scores": [1.0, float("inf")]}, "a score that is no finite number"),
]
GOOD: dict[str, Any] = {
    "history": ["red-mug", "red-book"],
    "weights": [5.0, 1.0],
    "candidates": ["red-shoe", "blue-lamp"],
}


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_a_bad_line_is_set_aside_and_its_neighbours_do_not_notice(chunk: int, retriever: Retriever) -> None:
    good = {**GOOD, "scores": [0.5, 0.25]}
    lines = []
    for number, (wrong, _) in enumerate(BAD):
        lines += [{"user_id": f"good{number}", **good}, {"user_id": f"bad{number}", **good, **wrong}]
    found = list(rerank_batches(retriever, pa.Table.from_pylist(lines, SCHEMA), BatchConfig(chunk=chunk)))
    quarantined_rows = [line for one in found for line in one.chunk.quarantined]
    assert [(line.line, line.reason) for line in quarantined_rows] == [
        (2 * n + 1, why) for n, (_, why) in enumerate(BAD)
    ]
    assert pa.concat_tables(one.quarantined() for one in found)["line"].to_pylist() == [
        line.line for line in quarantined_rows
    ]
    kept = [line for line in lines if str(line["user_id"]).startswith("good")]
    alone = joined(rerank_batches(retriever, pa.Table.from_pylist(kept, SCHEMA)))
    assert_same(joined(found), alone)
    assert alone["query_id"].unique().to_pylist() == [line["user_id"] for line in kept]


def test_items_that_the_bundle_lacks_are_left_out_and_counted(retriever: Retriever) -> None:
    more = {
        "user_id": "u",
        "history": ["jug", *GOOD["history"], None],
        "weights": [1.0, *GOOD["weights"], 1.0],
        "candidates": ["red-shoe", "jar", "blue-lamp"],
        "scores": [0.5, 0.4, 0.25],
    }
    fewer = {"user_id": "u", **GOOD, "scores": [0.5, 0.25]}
    (found,), (expected,) = (
        list(rerank_batches(retriever, pa.Table.from_pylist([line], SCHEMA))) for line in (more, fewer)
    )
    assert found.chunk.unknown == 3
    assert found.to_arrow() == expected.to_arrow()


@pytest.mark.parametrize(
    ("history", "weights", "counted", "left"),
    [
        (["red-mug", "red-book", "red-mug"], None, ["red-book", "red-mug"], None),
        (["red-mug", "red-book", "red-mug"], [1.0, 5.0, 4.0], ["red-book", "red-mug"], [5.0, 4.0]),
        (["red-mug", "red-mug", "red-mug"], [5.0, 4.0, 3.0], ["red-mug"], [3.0]),
        (["blue-lamp", "red-mug", "blue-lamp", "red-mug"], [5.0, 1.0, 2.0, 4.0], ["blue-lamp", "red-mug"], [2.0, 4.0]),
    ],
)
def test_an_item_twice_in_a_history_counts_once_where_it_comes_last(
    retriever: Retriever,
    history: list[str],
    weights: list[float] | None,
    counted: list[str],
    left: list[float] | None,
) -> None:
    """In memory and in jobs alike, beside a user who has no item twice, and one that the bundle lacks in between."""
    other = ["green-book", "red-shoe"]
    weights_of_both, plain = ([None if one is None else [one, [3.0, 4.0]]][0] for one in (weights, left))
    twice = retriever.recommend([history, other], 5, user_ids=["a", "b"], weights=weights_of_both, stages="retrieval")
    once = retriever.recommend([counted, other], 5, user_ids=["a", "b"], weights=plain, stages="retrieval")
    assert_same(twice.to_arrow(), once.to_arrow())
    assert [[retriever.items[row] for row in rows] for rows in twice.histories] == [counted, other]
    lines: list[dict[str, Any]] = [
        {"user_id": "a", "history": ["jug", *history]},
        {"user_id": "b", "history": other},
    ]
    if weights is not None:
        lines = [{**lines[0], "weights": [5.0, *weights]}, {**lines[1], "weights": [3.0, 4.0]}]
    table = pa.Table.from_pylist(lines, SCHEMA).select([0, 1] if weights is None else [0, 1, 2])
    (found,) = recommend_batches(retriever, table, BatchConfig(k=5, rerank=False))
    assert not found.chunk.quarantined
    assert found.chunk.unknown == 1  # the jug, not what comes again
    assert_same(found.to_arrow(), once.to_arrow())


def test_a_log_of_repeats_is_answered_as_a_history_with_them(retriever: Retriever) -> None:
    log = pa.table(
        {"user": ["a"] * 3, "item": ["red-mug", "red-book", "red-mug"], "rating": [5, 4, 3], "ts": [1, 2, 3]}
    )
    held = LoggedHistories.of(Interactions.from_arrow(log), retriever.items)
    (job,) = answers(retriever, LogUsers(held, {}), BatchConfig(k=5, rerank=False))
    listed = retriever.recommend(
        [log["item"].to_pylist()],
        5,
        stages="retrieval",
        user_ids=["a"],
        weights=[[5.0, 4.0, 3.0]],
        min_relevance=held.min_relevance,
    )
    assert_same(job.to_arrow(), listed.to_arrow())


def test_an_empty_history_asks_for_what_is_popular_where_that_was_learned(
    retriever: Retriever, unlearned: Retriever
) -> None:
    table = pa.Table.from_pylist([{"user_id": "a", "history": []}, {"user_id": "b"}], SCHEMA).select([0, 1])
    once = retriever.rerank(retriever.recommend([[], []], 200, user_ids=["a", "b"]), 10)
    assert_same(joined(recommend_batches(retriever, table)), once.to_arrow())
    with pytest.warns(FallbackWarning, match="2 of 2 users have an empty history"):
        fallback = joined(recommend_batches(unlearned, table))
    assert fallback["source"].to_pylist() == ["newest"] * 20


def test_weights_that_are_missing_are_all_alike(retriever: Retriever) -> None:
    history = ["red-mug", "blue-lamp", "green-book"]
    table = pa.Table.from_pylist([{"user_id": "a", "history": history}], SCHEMA).select([0, 1, 2])
    once = retriever.recommend([history], 10, user_ids=["a"], stages="retrieval")
    assert_same(joined(recommend_batches(retriever, table, BatchConfig(rerank=False))), once.to_arrow())


def test_numbers_as_ids_and_other_list_types_are_read(retriever: Retriever) -> None:
    history = pa.array([["red-mug"], ["blue-lamp"]], pa.large_list(pa.large_string()))
    table = pa.table({"user_id": [7, 8], "history": history})
    once = retriever.recommend([["red-mug"], ["blue-lamp"]], 10, user_ids=["7", "8"], stages="retrieval")
    assert_same(joined(recommend_batches(retriever, table, BatchConfig(rerank=False))), once.to_arrow())


def test_a_folder_of_files_is_one_table_without_what_is_hidden(retriever: Retriever, tmp_path: Path) -> None:
    table = users(20)
    for number, start in enumerate((0, 6, 13)):
        written(table.slice(start, (6, 7, 7)[number]), tmp_path / f"{number}.parquet", 4)
    (tmp_path / "_quarantine").mkdir()
    written(table, tmp_path / "_quarantine" / "part.parquet")
    tables = ParquetFiles(tmp_path)
    assert len(tables) == 20
    for start in range(21):
        pieces = list(tables.pieces(["user_id"], start, 4))
        assert [one for piece in pieces for one in piece["user_id"].to_pylist()] == [f"u{n}" for n in range(start, 20)]
        assert all(len(piece) == 4 for piece in pieces[:-1])
    written(table.drop_columns(["scores"]), tmp_path / "3.parquet")
    with pytest.raises(InputError, match=r"3\.parquet has other columns than .*0\.parquet"):
        ParquetFiles(tmp_path)


def test_long_histories_are_answered_in_smaller_groups(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    table = users(30)
    config = BatchConfig(rerank=False)  # a head tells equals apart by rounding, which groups change
    once = joined(recommend_batches(retriever, table, config))
    monkeypatch.setattr("retrieval.batch.answering.MAX_CANDIDATES", 450)
    found = list(recommend_batches(retriever, table, config))
    assert len(found[0].found) > 10
    assert_same(joined(found), once)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"user_id": ["a"]}), r"lack the columns \['history'\]; there are \['user_id'\]"),
        (
            pa.table({"user_id": ["a"], "history": ["red-mug"]}),
            "the column 'history' holds string; lines of",
        ),
    ],
)
def test_what_is_no_table_of_users_is_refused(table: pa.Table, message: str, retriever: Retriever) -> None:
    with pytest.raises(InputError, match=message):
        recommend_batches(retriever, table)


def test_settings_and_files_that_cannot_be(retriever: Retriever, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chunk is 0, expected at least 1"):
        BatchConfig(chunk=0)
    with pytest.raises(InputError, match=r"is a folder without \.parquet files"):
        ParquetFiles(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match=r"a\.parquet is not a Parquet file"):
        ParquetFiles(tmp_path)
    with pytest.raises(InputError, match="there is no record batch"):
        recommend_batches(retriever, [])
