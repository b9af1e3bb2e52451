"""What counts as a dislike is learned once: logs, lists, jobs and reranking read ratings alike."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from indexing.errors import InputError
from indexing.media.files import Modality
from retrieval import Interactions, Retriever, fit
from retrieval.batch import BatchConfig, LoggedHistories, LogUsers, answers, recommend_batches
from retrieval.batch.user_rows import NO_LAST_TIME
from retrieval.candidates.lists import concatenated
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.retriever.recommend import Stages
from tests.groups import CLOCK, COUNT, SMALL, STAGE, catalogue, items, walks
from tests.retrieval.batch.shop import joined, quarantined

ITEMS, RATINGS = ["i000", "i003", "i026"], [2.0, 2.0, 3.0]
ONE = {"user": ["x"] * 3, "item": ITEMS, "time": [CLOCK, CLOCK + 60, CLOCK + 120], "rating": RATINGS}
OTHER = {"user": ["y"], "item": ["i050"], "time": [CLOCK], "rating": [5.0]}


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """Learned from ratings of 1 to 5, so that those below 2.5 are dislikes."""
    folder = tmp_path_factory.mktemp("dislikes")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    table = walks(users=90).table.select(["user_id", "item_id", "timestamp"])
    ratings = np.random.default_rng(2).choice([1.0, 3.0, 5.0], len(table), p=[0.1, 0.4, 0.5])
    with pytest.MonkeyPatch.context() as patched:  # whatever it gains on these users
        patched.setattr(Validation, "gain", lambda *_: Gain(32, 0.5, 1.0, 0.5, 0.4, 0.6))
        fit(
            folder / "bundle",
            Interactions.from_arrow(table.append_column("rating", pa.array(ratings))),
            replace(SMALL, behaviour=None, reranker=STAGE),
        )
    return Retriever.open(folder / "bundle")


def ids(found: pa.Table) -> list[Any]:
    return list(found.filter(pc.equal(found["query_id"], "x"))["item_id"].to_pylist())


def test_what_a_user_disliked_does_not_depend_on_the_other_users_of_a_log(retriever: Retriever) -> None:
    assert retriever.users.min_relevance == 2.5
    expected = ids(retriever.recommend([ITEMS], 5, user_ids=["x"], weights=[RATINGS]).to_arrow())
    one = pa.table(ONE)
    for table in (one, pa.concat_tables([one, pa.table(OTHER)])):
        log = Interactions.from_arrow(table)
        assert ids(retriever.recommend(log, 5, user_ids=["x"]).to_arrow()) == expected
        users = LogUsers(LoggedHistories.of(log, retriever.items), {})
        assert ids(joined(answers(retriever, users, BatchConfig(k=5)))) == expected


def test_users_for_an_item_do_not_depend_on_the_other_ratings_of_a_log(retriever: Retriever) -> None:
    one = pa.table(ONE)  # of 2, 2 and 3 the first two are liked by the log itself, and disliked by what was learned
    both = pa.concat_tables([one, pa.table(OTHER)])
    scores = [{hit.user_id: hit.score for hit in retriever.users_for(["i010"], log, 9)[0]} for log in (one, both)]
    found = retriever.recommend([ITEMS], COUNT, stages="retrieval", weights=[RATINGS])[0]
    expected = next(hit.score for hit in found if hit.item_id == "i010")
    assert scores[0]["x"] == pytest.approx(expected, rel=1e-4, abs=1e-5)  # products of other shapes round differently
    assert scores[1]["x"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_log_is_read_from_a_path_as_text_and_from_a_database(retriever: Retriever, tmp_path: Path) -> None:
    table = pa.concat_tables([pa.table(ONE), pa.table(OTHER)])
    pq.write_table(table, tmp_path / "log.parquet")
    url = f"sqlite:///{tmp_path}/log.db"
    with closing(sqlite3.connect(tmp_path / "log.db")) as database:
        database.execute("CREATE TABLE log (user TEXT, item TEXT, time INTEGER, rating REAL)")
        database.executemany("INSERT INTO log VALUES (:user, :item, :time, :rating)", table.to_pylist())
        database.commit()
    lists, users = retriever.recommend(table, 5).to_arrow(), retriever.users_for(["i010"], table).to_arrow()
    for given in (tmp_path / "log.parquet", str(tmp_path / "log.parquet"), f"{url}#log"):
        assert retriever.recommend(given, 5).to_arrow() == lists
        assert retriever.users_for(["i010"], given).to_arrow() == users
    with pytest.raises(InputError, match=r"nothing\.parquet: there is no such file"):
        retriever.recommend("nothing.parquet")


def seen_again(found: pa.Table) -> set[Any]:
    return set(found["item_id"].to_pylist()) & set(ITEMS)


@pytest.mark.parametrize(("min_relevance", "again"), [(None, {"i026"}), (0.0, set(ITEMS)), (3.5, set())])
def test_what_was_disliked_is_not_recommended_where_what_was_seen_may_be(
    retriever: Retriever, min_relevance: float | None, again: set[str]
) -> None:
    for stages in get_args(Stages):
        found = retriever.recommend(
            [ITEMS], COUNT, stages=stages, weights=[RATINGS], exclude_seen=False, min_relevance=min_relevance
        )
        assert seen_again(found.to_arrow()) == again


def test_what_was_disliked_is_neither_in_a_pool_nor_in_the_answers_of_a_log_or_a_job(retriever: Retriever) -> None:
    log = Interactions.from_arrow(pa.table(ONE))
    assert seen_again(retriever.recommend(log, COUNT, exclude_seen=False).to_arrow()) == {"i026"}
    assert seen_again(retriever.pool(log, COUNT, exclude_seen=False).to_arrow()) == {"i026"}
    users = LogUsers(LoggedHistories.of(log, retriever.items), {})
    assert seen_again(joined(answers(retriever, users, BatchConfig(k=COUNT, exclude_seen=False)))) == {"i026"}


@pytest.mark.parametrize("stages", get_args(Stages))
def test_a_history_without_weights_is_liked_whatever_counts_as_a_dislike(retriever: Retriever, stages: Stages) -> None:
    least = 4.6  # above the mean of the ratings learned from; single precision has none that is just this
    assert float(np.float32(least)) < least
    found = retriever.recommend([ITEMS], 8, stages=stages, min_relevance=least)
    liked = retriever.recommend([ITEMS], 8, stages=stages, weights=[[least] * 3], min_relevance=least)
    assert found.to_arrow() == liked.to_arrow()
    disliked = retriever.recommend([ITEMS], 8, stages=stages, weights=[[4.5] * 3], min_relevance=least)
    assert found.to_arrow() != disliked.to_arrow()


@pytest.mark.parametrize(("least", "reasons"), [(0.0, set(ITEMS)), (None, {"i026"}), (3.5, set())])
def test_candidates_are_reranked_and_explained_by_the_dislikes_of_their_request(
    retriever: Retriever, least: float | None, reasons: set[str]
) -> None:
    found = retriever.recommend([ITEMS], 8, weights=[RATINGS], min_relevance=least)
    assert found.stage == "rerank"
    for stages in get_args(Stages):
        hits = retriever.recommend([ITEMS], 8, stages=stages, weights=[RATINGS], min_relevance=least)
        (explained,) = retriever.explain(retriever.rerank(hits))
        assert {item for item, _ in explained[0].history} == reasons
        assert explained[0].features


def test_the_nearest_parts_are_those_of_what_was_liked(retriever: Retriever) -> None:
    """A pool has no queries, so that its hits are compared with the content of the history."""
    pool = retriever.pool([ITEMS, ITEMS], 5, weights=[RATINGS, [1.0] * 3])
    of_liked, of_disliked = retriever.nearest_parts(pool)
    taste = unit(retriever.vectors[retriever.items.rows(["i026"])] - retriever.centre)[0]
    for hit, part in zip(pool[0], of_liked, strict=True):
        assert part is not None
        frozen = retriever.bundle.parts[Modality.TEXT].vectors[retriever.items.rows([hit.item_id])]
        assert part.score == pytest.approx(float((unit(frozen) @ taste)[0]), abs=1e-3)  # of half precision
    assert set(of_disliked) == {None}
    without_weights = retriever.nearest_parts(retriever.pool([ITEMS], 5))[0]
    assert [part and part.score for part in without_weights] != [part and part.score for part in of_liked]


@pytest.mark.parametrize("name", ["plays", "rating"])
def test_a_reranked_pool_of_a_log_is_what_is_recommended_to_its_users(retriever: Retriever, name: str) -> None:
    """Counts are never dislikes, though the bundle has learned from ratings."""
    log = Interactions.from_arrow(pa.table({**ONE, name: [1.0, 1.0, 2.0]}).drop(["rating"] if name != "rating" else []))
    pool = retriever.pool(log)
    assert pool.min_relevance == (0.0 if name == "plays" else 2.5)
    assert ids(retriever.rerank(pool, 8).to_arrow()) == ids(retriever.recommend(log, 8).to_arrow())


def test_lists_with_other_dislikes_are_not_joined(retriever: Retriever) -> None:
    least, most, nobody = (
        retriever.recommend([history], 3, weights=[weights], min_relevance=value, user_ids=[name])
        for history, weights, value, name in (
            (ITEMS, RATINGS, 0.0, "a"), (ITEMS, RATINGS, 3.0, "b"), ([], [], None, "c"),
        )
    )  # fmt: skip
    with pytest.raises(InputError, match=r"requests with min_relevance=0\.0, and 3\.0: 'a' beside 'b'"):
        concatenated(least, most)
    assert concatenated(nobody, most).min_relevance == concatenated(most, nobody).min_relevance == 3.0


def test_a_line_without_weights_likes_its_history_though_other_lines_have_weights(retriever: Retriever) -> None:
    histories = [ITEMS, ["i050", "i051"]]
    weights = pa.array([None, [5.0, 5.0]], pa.list_(pa.float32()))
    lines = pa.table({"user_id": ["x", "y"], "history": histories, "weights": weights})
    expected = retriever.recommend([ITEMS], 8, user_ids=["x"]).to_arrow()
    assert ids(joined(recommend_batches(retriever, lines, BatchConfig(k=8)))) == ids(expected)


@pytest.mark.filterwarnings("ignore::retrieval.ranking.published_heads.ReturningUsersWarning")
def test_what_is_said_of_the_last_times_is_read_or_refused(retriever: Retriever) -> None:
    with pytest.raises(InputError, match=r"give the times of the requests, too, as times"):
        retriever.recommend([ITEMS], 5, last_times=[CLOCK])
    with pytest.raises(
        InputError, match=r"lists of items do not say when .*; give last_times, too, or 'in_visit' as last_times"
    ):
        retriever.recommend([[], ITEMS], 5, times=CLOCK)
    with pytest.raises(InputError, match=r"give last_times, too, or 'in_visit' as last_times"):
        retriever.pool([ITEMS], 5, times=[CLOCK])
    with pytest.raises(InputError, match=r"last_times is 'visit', did you mean 'in_visit'"):
        retriever.recommend([ITEMS], 5, times=CLOCK, last_times="visit")
    in_visit = retriever.recommend([ITEMS], 5, times=CLOCK, last_times="in_visit")
    assert in_visit.idle is None
    assert in_visit.times is not None
    assert in_visit.times.tolist() == [CLOCK]
    lists_of_new = [retriever.recommend([[]], 5, times=times).rows.tolist() for times in (None, CLOCK)]
    assert lists_of_new[0] == lists_of_new[1]  # nothing was done that could be long ago
    some, none = ([[], ITEMS], [None, CLOCK]), ([[], ITEMS], [CLOCK, CLOCK])
    lists = [
        retriever.recommend(histories, 5, times=CLOCK + 9, last_times=last).to_arrow()["item_id"].to_pylist()
        for histories, last in (some, none)
    ]
    assert lists[0] == lists[1]
    with pytest.raises(InputError, match="last_times has None"):
        retriever.recommend([ITEMS], 5, times=CLOCK, last_times=[None])
    lines = pa.table({"user_id": ["x", "y"], "history": [ITEMS, ITEMS], "last_time": ["-5", str(CLOCK)]})
    found = list(recommend_batches(retriever, lines, BatchConfig(k=5, at=CLOCK + 9)))
    assert quarantined(found) == {"x": NO_LAST_TIME}
