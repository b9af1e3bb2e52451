"""`recommend` is one path: both stages, what fit judged, histories as lists or as a log."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import delete
from indexing.encoders import load_encoder
from indexing.errors import InputError, ShapeError
from retrieval import Interactions, Retriever, fit
from retrieval.candidates.lists import concatenated
from retrieval.interactions.histories import histories
from retrieval.interactions.known_items import UnknownItemsWarning
from retrieval.ranking.published_heads import ReturningUsersWarning
from retrieval.ranking.reranker import STAGE as RERANKED
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.query_inputs import LaterInteractionsWarning
from tests.groups import CLOCK, COUNT, SMALL, STAGE, catalogue, items, walks


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recommending")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    report = fit(folder / "bundle", walks(), replace(SMALL, reranker=STAGE))
    assert "reranker" in report.published
    return folder / "bundle"


@pytest.fixture(scope="module")
def retriever(root: Path) -> Retriever:
    return Retriever.load(root)


def test_it_is_the_pool_in_the_order_of_the_head(retriever: Retriever) -> None:
    past = [["i000", "i003"], [f"i{row:03}" for row in range(5)]]
    found = retriever.recommend(past, 10)
    by_hand = retriever.rerank(retriever.pool(past), 10)
    assert found.stage == by_hand.stage == RERANKED
    np.testing.assert_array_equal(found.rows, by_hand.rows)
    np.testing.assert_allclose(found.scores, by_hand.scores, rtol=1e-5)  # blocks of other sizes are summed otherwise
    again = retriever.rerank(found, 5)
    np.testing.assert_array_equal(again.rows, found.rows[:, :5])
    assert retriever.recommend(past, 10, stages="retrieval").stage == "retrieve"


def test_lists_that_no_head_orders_leave_dislikes_out_of_their_query(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = retriever.state.reranker
    assert isinstance(stage, SecondStage)
    monkeypatch.setattr(retriever.state, "reranker", replace(stage, min_history=9, penalties=None))
    asked, opinions = [["i000", "i050"], ["i000", "i050"], []], [[1.0, -1.0], [-1.0, -1.0], []]
    found = retriever.recommend(asked, 8, weights=opinions)
    alone = retriever.recommend([["i000"], []], 9)  # of what is liked
    liked = [row for row in alone.rows[0].tolist() if retriever.items[row] != "i050"][:8]
    assert found.rows[0].tolist() == liked
    popular = [row for row in alone.rows[1].tolist() if retriever.items[row] not in ("i000", "i050")]
    assert found.rows[1].tolist()[: len(popular)] == popular
    by_retrieval = retriever.recommend(asked, 8, weights=opinions, stages="retrieval")
    np.testing.assert_array_equal(found.rows[:2, :4], by_retrieval.rows[:2, :4])
    by_hand = retriever.rerank(retriever.pool(asked, weights=opinions), 8)  # also without a history
    np.testing.assert_array_equal(by_hand.rows, found.rows)


def test_the_stage_says_what_ordered_each_list(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, short, longer = retriever.state.reranker, ["i000"], ["i003", "i010", "i000"]
    assert isinstance(stage, SecondStage)
    leaving = replace(stage, min_history=3, leaves_returning=True, penalties=None)
    monkeypatch.setattr(retriever.state, "reranker", leaving)
    found = retriever.recommend([short, longer], 6, user_ids=["short", "longer"])
    assert (found.stage, found.stage_of(0), found.stage_of(1)) == ("rerank", "exact", "rerank")
    told = dict(zip(*(found.to_arrow()[name].to_pylist() for name in ("query_id", "stage")), strict=True))
    assert told == {"short": "exact", "longer": "rerank"}
    assert [line.split()[-1] for line in found.to_trec().splitlines()] == ["exact"] * 6 + ["rerank"] * 6
    for line, label in ((0, "exact"), (1, "rerank")):
        assert (found.take([line]).stage_of(0), found.top(2).stage_of(line)) == (label, label)
    one = retriever.recommend([short], 6)
    assert (one.stage, one.rows.tolist()) == ("exact", found.rows[:1].tolist())
    np.testing.assert_allclose(one.scores[0], retriever.indexed[one.rows[0]] @ one.queries[0], rtol=1e-4, atol=1e-5)
    again = retriever.rerank(one, 3)
    assert (again.stage, again.rows.tolist()) == ("exact", one.rows[:, :3].tolist())
    both = concatenated(one.named(["one"]), retriever.recommend([longer], 6, user_ids=["two"]))
    assert (both.stage, both.stage_of(0), both.stage_of(1)) == ("rerank", "exact", "rerank")
    with pytest.warns(ReturningUsersWarning):
        returning = retriever.recommend([longer], 6, times=CLOCK + 9, last_times=[CLOCK])
    assert (returning.stage, retriever.recommend([longer], 6).stage) == ("exact", "rerank")
    spread = retriever.diversify(found, 4)
    assert (spread.stage, spread.stage_of(0)) == ("diversify", "diversify")


def test_lists_of_other_stages_are_not_joined_and_the_stages_are_named(retriever: Retriever) -> None:
    ranked = retriever.recommend([["i000"]], 6, user_ids=["ranked"])
    retrieved = retriever.recommend([["i000"]], 6, user_ids=["retrieved"], stages="retrieval")
    pool = retriever.pool([["i000"]], user_ids=["pool"])
    for first, second, said in (
        (
            ranked,
            retrieved,
            r"these are of the stages 'rerank' and 'retrieve': 'ranked' beside 'retrieved'; rerank them",
        ),
        (retrieved, pool, r"these are of the stages 'retrieve' and 'pool': 'pool' beside 'retrieved'"),
    ):
        with pytest.raises(InputError, match=said):
            concatenated(first, second)


@pytest.mark.filterwarnings("ignore::retrieval.ranking.published_heads.ReturningUsersWarning")
def test_a_log_brings_weights_times_and_names(retriever: Retriever) -> None:
    log = walks()
    user_histories = histories(log, retriever.items)[:4]
    names = [past.user_id for past in user_histories]
    by_log = retriever.recommend(log, 8, user_ids=names)
    by_hand = retriever.recommend(
        [[retriever.items[row] for row in past.rows] for past in user_histories],
        8,
        user_ids=names,
        weights=[past.weights.tolist() for past in user_histories],
    )
    np.testing.assert_array_equal(by_log.rows, by_hand.rows)
    assert by_log.query_ids == tuple(names)
    for given in (log.table, log.table.to_pandas()):
        table = retriever.recommend(given, 8, user_ids=names)
        np.testing.assert_array_equal(table.rows, by_log.rows)
    later = [int(past.timestamps[-1]) + 86_400 * (1 + line) for line, past in enumerate(user_histories)]
    asked = retriever.recommend(log, 8, user_ids=names, times=later)
    assert asked.idle is not None
    np.testing.assert_allclose(asked.idle, [1, 2, 3, 4])  # days
    idle = [one.name for one in retriever.reranker.features.features].index("idle")  # type: ignore[attr-defined]
    read = retriever.reranker.features.of(asked)[:, 0, idle]  # type: ignore[attr-defined]
    np.testing.assert_allclose(read, np.log1p([1, 2, 3, 4]), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::retrieval.ranking.published_heads.ReturningUsersWarning")
def test_a_time_before_the_last_interaction_warns_and_one_that_is_none_is_refused(retriever: Retriever) -> None:
    log, names = walks(), ["w000", "w001"]  # whose last interactions are at 11,000 and 11,001 seconds
    with pytest.warns(LaterInteractionsWarning, match="1 of 2 users are asked for at a time before their last"):
        retriever.recommend(log, 3, user_ids=names, times=11_000)
    for wrong in ("soon", -1):
        with pytest.raises(InputError, match="which cannot be read as a time; give a date or a time like 2024-06-01"):
            retriever.recommend(log, 3, user_ids=names, times=wrong)


def test_users_of_a_log_whose_items_are_unknown_are_answered_as_new_ones(retriever: Retriever) -> None:
    log = Interactions.from_arrow(pa.table({"user": ["ann", "bob"], "item": ["i000", "never"], "time": [5, 9]}))
    said = (
        r"^1 of 2 interactions, by 1 of 2 users, 1 of whom have no other, are with 1 items .*, e\.g\. 'never'; they are"
    )
    with pytest.warns(UnknownItemsWarning, match=said):
        found = retriever.recommend(log, 5)
    assert found.query_ids == ("ann", "bob")
    assert [len(rows) for rows in found.histories] == [1, 0]
    np.testing.assert_array_equal(found.rows[1], retriever.recommend([[]], 5).rows[0])
    with pytest.warns(UnknownItemsWarning, match=r"^1 of 1 interactions, by 1 of 1 users, .*'never'.* deleted, or"):
        np.testing.assert_array_equal(retriever.recommend(log, 5, user_ids=["bob"]).rows[0], found.rows[1])
    retriever.recommend(log, 5, user_ids=["ann"])  # all that is read is known


def test_filters_deletions_and_what_was_seen(root: Path, retriever: Retriever, tmp_path: Path) -> None:
    import shutil

    past, where = [["i000", "i003"]], "shelf = 'shelf 3'"
    found = retriever.recommend(past, 12, where=where)
    shelves = retriever.bundle.attributes["shelf"].to_pylist()
    assert {shelves[row] for row in found.rows[0] if row >= 0} == {"shelf 3"}
    assert (found.rows[0] >= 0).sum() == min(12, shelves.count("shelf 3"))
    assert not {0, 3} & set(retriever.recommend(past, 30).rows[0].tolist())
    assert {0, 3} & set(retriever.recommend(past, 30, exclude_seen=False).rows[0].tolist())
    best = retriever.recommend(past, 1)[0][0].item_id
    shutil.copytree(root, tmp_path / "bundle")
    delete(tmp_path / "bundle", [best])
    assert best not in {hit.item_id for hit in Retriever.load(tmp_path / "bundle").recommend(past, 60)[0]}


def test_a_long_list_continues_with_what_the_index_finds(retriever: Retriever) -> None:
    past = [["i000", "i003"]]
    long, short = retriever.recommend(past, COUNT - 2), retriever.recommend(past, 5)
    np.testing.assert_array_equal(long.rows[:, :5], short.rows)
    assert sorted(long.rows[0].tolist()) == sorted(set(range(COUNT)) - {0, 3})
    assert (np.diff(long.scores[0]) <= 0).all()
    ordered = len(long.among.rows[0]) if long.among is not None else 0
    rest = [row for row in retriever.recommend(past, COUNT, stages="retrieval").rows[0].tolist() if row >= 0]
    assert long.rows[0, ordered:].tolist() == [row for row in rest if row not in long.rows[0, :ordered]]


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"stages": "both"}, InputError, "stages is 'both'; give one of 'all', 'retrieval'"),
        ({"times": [1]}, ShapeError, "1 times for 2 users"),
        (
            {"times": ["noon", 3]},
            InputError,
            r"times has 'noon' at position 0 \(from 0\), which cannot be read as a time",
        ),
        ({"times": -0.5}, InputError, "times has -0.5, which cannot be read as a time"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    retriever: Retriever, given: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        retriever.recommend([["i000"], ["i003"]], 5, **given)  # type: ignore[arg-type]


def test_a_log_says_itself_what_was_liked_and_who_is_there(retriever: Retriever) -> None:
    with pytest.raises(InputError, match="a log says how much each item was liked"):
        retriever.recommend(walks(), 5, weights=[[1.0]])
    with pytest.raises(InputError, match=r"1 of the users are not in the log, e\.g\. 'nobody'"):
        retriever.recommend(walks(), 5, user_ids=["nobody"])


def test_each_hit_says_what_brought_it_up(retriever: Retriever) -> None:
    past = [["i000", "i003"], []]
    found = retriever.recommend(past, 10)
    assert isinstance(retriever.reranker, SecondStage)
    head = retriever.reranker.ordered_by_head(found)
    assert head[0].any()
    assert [hit.source for hit in found[0]] == np.where(head[0], "second stage", "content").tolist()
    assert {hit.source for hit in found[1]} <= {"popular", "content"}
    plain = retriever.recommend(past, 10, stages="retrieval")
    nobody = retriever.state.space.is_new(plain.rows.ravel()).reshape(plain.rows.shape)
    assert [hit.source for hit in plain[0]] == np.where(nobody[0], "content", "behaviour").tolist()
    assert [hit.source for hit in plain[1]] == np.where(nobody[1], "content", "popular").tolist()
    ranked = retriever.rerank(plain)
    assert [hit.source for hit in ranked[0]] == np.where(
        retriever.reranker.ordered_by_head(ranked)[0],
        "second stage",
        "content",
    ).tolist()
    assert {hit.source for line in retriever.similar_items(["i000"], 5) for hit in line} == {"content"}
