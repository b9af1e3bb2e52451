"""An answer has k items if k exist that the filter leaves and that were not seen; each says where it is from."""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete
from indexing.encoders import load_encoder
from indexing.errors import FilterError, InputError, UnknownItemError
from retrieval import Retriever, compact, fit
from retrieval.candidates.continued import SHARE
from retrieval.filters import UnknownValueWarning
from retrieval.interactions.histories import histories
from retrieval.interactions.known_items import UnknownItemsWarning
from retrieval.retriever.fallback.fill_short_lists import FallbackWarning, fill_short_lists
from tests.cli_run import json_lines, runner
from tests.groups import COUNT, SIZE, SMALL, catalogue, items, log

ALL = [f"i{row:03}" for row in range(COUNT)]
K = 10


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle that never learned, and one that learned from a log."""
    folder = tmp_path_factory.mktemp("fallback")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "plain")
    shutil.copytree(folder / "plain", folder / "learned")
    assert fit(folder / "learned", log(), replace(SMALL, reranker=None)).published == ("behaviour",)
    return {name: folder / name for name in ("plain", "learned")}


@pytest.fixture(scope="module")
def retrievers(roots: dict[str, Path]) -> dict[str, Retriever]:
    return {name: Retriever.open(root) for name, root in roots.items()}


CASES: dict[str, tuple[str, dict[str, Any], int, dict[str, int]]] = {
    # name: bundle, arguments of recommend, number of hits, sources
    "new user, nothing learned": ("plain", {"histories": [[]]}, K, {"newest": K}),
    "new user": ("learned", {"histories": [[]]}, K, {"popular": K}),
    "one click, nothing learned": ("plain", {"histories": [["i000"]]}, K, {"content": K}),
    "one click": ("learned", {"histories": [["i000"]]}, K, {"behaviour": K}),
    "filter that leaves 3, nothing learned": (
        "plain", {"histories": [ALL[3:SIZE]], "where": "shelf = 'shelf 0'"}, 3, {"content": 3},
    ),
    "filter that leaves 3": (
        "learned", {"histories": [ALL[3:SIZE]], "where": "shelf = 'shelf 0'"}, 3, {"behaviour": 3},
    ),
    "new user, filter, nothing learned": (
        "plain", {"histories": [[]], "where": "shelf = 'shelf 0'"}, K, {"newest": K},
    ),
    "disliked only, nothing learned": (
        "plain", {"histories": [["i000", "i001"]], "weights": [[1, 1]], "min_relevance": 3}, K, {"newest": K},
    ),
    "disliked only": (
        "learned", {"histories": [["i000", "i001"]], "weights": [[1, 1]], "min_relevance": 3}, K, {"popular": K},
    ),
    "disliked only, filter": (
        "learned",
        {"histories": [["i000", "i001"]], "weights": [[1, 1]], "min_relevance": 3, "where": "shelf = 'shelf 0'",
         "k": SIZE},
        SIZE - 2, {"popular": SIZE - 2},
    ),
    "everything seen, nothing learned": ("plain", {"histories": [ALL]}, 0, {}),
    "everything seen": ("learned", {"histories": [ALL]}, 0, {}),
    "all but 4 seen": ("learned", {"histories": [ALL[4:]]}, 4, {"behaviour": 4}),
    "everything seen, which may be shown": ("plain", {"histories": [ALL], "exclude_seen": False}, K, {"content": K}),
    "new user, all there is": ("plain", {"histories": [[]], "k": 500}, COUNT, {"newest": COUNT}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::retrieval.retriever.fallback.fill_short_lists.FallbackWarning")
def test_an_answer_has_k_items_if_k_exist(case: str, retrievers: dict[str, Retriever]) -> None:
    bundle, arguments, count, sources = CASES[case]
    given: dict[str, Any] = {"k": K, **arguments}
    found = retrievers[bundle].recommend(**given)
    (hits,) = found
    assert len(hits) == len({hit.item_id for hit in hits}) == count
    assert Counter(hit.source for hit in hits) == sources
    assert [hit.rank for hit in hits] == list(range(1, count + 1))
    assert (np.diff(found.scores[0, :count]) <= 0).all()
    if given.get("exclude_seen", True):
        assert not {hit.item_id for hit in hits} & set(given["histories"][0])
    if "where" in given:
        assert {int(hit.item_id[1:]) // SIZE for hit in hits} == {0}


def test_who_liked_nothing_does_not_change_the_lists_of_others(retrievers: dict[str, Retriever]) -> None:
    learned, shelf = retrievers["learned"], "shelf = 'shelf 0'"
    (alone,) = learned.recommend([["i002"]], SIZE, weights=[[5]], min_relevance=3, where=shelf)
    both = learned.recommend([["i000"], ["i002"]], SIZE, weights=[[1], [5]], min_relevance=3, where=shelf)
    assert [hit.item_id for hit in both[1]] == [hit.item_id for hit in alone]
    assert {hit.source for hit in both[0]} == {"popular"}
    assert len(both[0]) == SIZE - 1


ASKED: dict[str, Callable[[Retriever, str], object]] = {
    "recommend": lambda retriever, where: retriever.recommend([ALL[3:SIZE]], K, where=where),
    "similar": lambda retriever, where: retriever.similar_items(["i000"], K, "both", where=where),
    "search": lambda retriever, where: retriever.search_vectors(retriever.vectors[:2], K, where=where),
    # Asked for more until all shelves are found.
    "collapsed": lambda retriever, where: retriever.similar_items(["i000"], K, where=f"not {where}", group_by="shelf"),
}


@pytest.mark.parametrize("ask", ASKED)
def test_a_filter_is_evaluated_once(ask: str, retrievers: dict[str, Retriever]) -> None:
    with pytest.warns(UnknownValueWarning) as caught:
        ASKED[ask](retrievers["learned"], "shelf = 'shelf 99'")
    assert len(caught) == 1


def test_only_short_lists_are_filled(retrievers: dict[str, Retriever]) -> None:
    plain = retrievers["plain"]
    with pytest.warns(FallbackWarning, match=r"1 of 2 users have an empty history.*learn from a log with `fit`"):
        both = plain.recommend([["i000"], []], K)
    alone = plain.recommend([["i000"]], K)
    np.testing.assert_array_equal(both.rows[0], alone.rows[0])
    np.testing.assert_allclose(both.scores[0], alone.scores[0], rtol=1e-6)  # products of other blocks
    assert [hit.item_id for hit in both[1]] == ALL[: -K - 1 : -1]  # of one build the last rows come first


def test_scores_of_what_fills_a_list_continue_those_of_what_was_found(retrievers: dict[str, Retriever]) -> None:
    learned = retrievers["learned"]
    few = learned.recommend([["i000"], ["i000"]], 4)
    tastes = learned.vectors[:2] * np.array([[1], [0]], np.float32)  # of the second nothing is known
    after = fill_short_lists(
        learned.state, few, COUNT, tastes=lambda lines: tastes[lines], where=(), exclude=[np.arange(1)] * 2
    )
    sources = [Counter(hit.source for hit in hits) for hits in after]
    assert sources[0] == {"behaviour": 4, "content": COUNT - 5}
    assert sources[1].keys() >= {"behaviour", "trending", "newest"}
    for line in range(2):
        scores = after.scores[line, : COUNT - 1].astype(np.float64)
        low, span = scores[3], scores[0] - scores[3]
        expected = low - SHARE * span * (1 + np.arange(1, COUNT - 4) / (COUNT - 5)) / 2
        np.testing.assert_allclose(scores[4:], expected, atol=1e-6 * abs(low))  # float32
        assert (np.diff(scores) < 0).all()
    np.testing.assert_array_equal(after.rows[:, :4], few.rows)
    np.testing.assert_array_equal(after.scores[:, :4], few.scores)


def test_users_without_a_history_are_counted_once_however_deep_is_searched(retrievers: dict[str, Retriever]) -> None:
    with pytest.warns(FallbackWarning) as caught:
        retrievers["plain"].recommend([["i000"], [], []], K, group_by="shelf")
    assert [str(one.message).partition(",")[0] for one in caught] == ["2 of 3 users have an empty history"]


def test_an_unknown_item_is_still_an_error_and_left_out_of_a_log(retrievers: dict[str, Retriever]) -> None:
    with pytest.raises(UnknownItemError, match="never"):
        retrievers["learned"].recommend([["never"]], K)
    table = pa.table({"user": ["ann", "bob"], "item": ["never", "i000"], "time": [5, 6]})
    with pytest.warns(
        UnknownItemsWarning, match=r"^1 of 1 interactions, by 1 of 1 users, .*'never'; they are left out"
    ):
        (hits,) = retrievers["learned"].recommend(table, K, user_ids=["ann"])
    assert [hit.source for hit in hits] == ["popular"] * K


@pytest.mark.parametrize("bundle", ["plain", "learned"])
def test_a_log_without_a_known_item_is_refused(retrievers: dict[str, Retriever], bundle: str) -> None:
    table = pa.table({"user": ["ann", "bob"], "item": ["never", "0"], "time": [5, 6]})
    reason = r"no interaction in the log is with an item of this bundle: the log has 'never', '0', the bundle 'i000'"
    for verb in (
        retrievers[bundle].recommend,
        retrievers[bundle].pool,
        partial(retrievers[bundle].users_for, ["i000"]),
    ):
        with pytest.raises(InputError, match=reason):
            verb(table)
    with pytest.raises(InputError, match=reason):
        retrievers[bundle].recommend(table, K, user_ids=["ann"])


def test_popular_and_trending_are_what_a_count_by_hand_gives(retrievers: dict[str, Retriever]) -> None:
    learned = retrievers["learned"]
    rows = np.concatenate([one.rows for one in histories(log(), learned.items)])
    times = np.concatenate([one.timestamps for one in histories(log(), learned.items)])
    counts = np.bincount(rows, minlength=COUNT)
    decayed = np.bincount(rows, 0.5 ** ((times.max() - times) / (7 * 86_400)), minlength=COUNT)
    for order, expected in (("popular", counts), ("trending", decayed)):
        found = learned.top_items(order, 20)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.rows[0], np.argsort(-expected.astype(np.float32), kind="stable")[:20])
        np.testing.assert_allclose(found.scores[0], np.sort(expected)[::-1][:20], rtol=1e-6)  # float32
        assert {hit.source for hit in found[0]} == {order}
    by = learned.top_items("popular", 3, by="shelf", where="shelf != 'shelf 4'")
    assert by.query_ids == tuple(f"shelf {group}" for group in range(4))
    for group, line in enumerate(by.rows):
        inside = np.arange(group * SIZE, (group + 1) * SIZE)
        np.testing.assert_array_equal(line, inside[np.argsort(-counts[inside], kind="stable")][:3])


def test_newest_is_what_was_added_last_or_the_largest_date(roots: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    shutil.copytree(roots["learned"], root)
    retriever = Retriever.open(root)
    with pytest.raises(InputError, match=r"nothing was added since the bundle was built.*date='released'"):
        retriever.top_items("newest")
    for row in (COUNT, COUNT + 1):
        add(Bundle.open(root), catalogue(tmp_path, items(range(row, row + 1), [3])), load_encoder("vectors:"))
    after = retriever.latest()
    assert [hit.item_id for hit in after.top_items("newest")[0]] == [f"i{COUNT + 1}", f"i{COUNT}"]
    assert after.top_items("popular", 5).rows.tolist() == retriever.top_items("popular", 5).rows.tolist()
    best = after.top_items("popular", 1)[0][0].item_id
    delete(after.bundle, [best])
    rest = after.latest().top_items("popular", 5)
    assert [hit.item_id for hit in rest[0]] == [hit.item_id for hit in retriever.top_items("popular", 6)[0]][1:]
    compact(root)
    folded = Retriever.open(root).top_items("popular", 5)
    assert [hit.item_id for hit in folded[0]] == [hit.item_id for hit in rest[0]]


@pytest.mark.parametrize(
    ("bundle", "arguments", "error", "message"),
    [
        ("plain", {"order": "popular"}, InputError, "has learned nothing of users; learn from a log with `fit`"),
        ("learned", {"order": "best"}, InputError, r"order is 'best'.*; give one of 'trending', 'popular', 'newest'"),
        ("learned", {"order": "popular", "date": "shelf"}, InputError, "date says what is newest"),
        ("learned", {"order": "newest", "date": "shelf"}, InputError, "'shelf' holds string; name one of dates"),
        ("learned", {"order": "popular", "by": "shelv"}, FilterError, "no attribute 'shelv'"),
    ],
)
def test_orders_that_are_not_known_say_what_would_help(
    bundle: str, arguments: dict[str, str], error: type[Exception], message: str, retrievers: dict[str, Retriever]
) -> None:
    with pytest.raises(error, match=message):
        retrievers[bundle].top_items(**arguments)  # type: ignore[arg-type]


def test_the_command_line_shows_them(roots: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys)
    code, out, err = run("top", str(roots["learned"]), "--order", "popular", "--by", "shelf", "-k", "2", "--json")
    lines = json_lines(out)
    assert (code, err, len(lines)) == (0, "", 10)
    assert {line["source"] for line in lines} == {"popular"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, out, err = run("recommend", str(roots["plain"]), "--history", ",", "--json")
    assert code == 0
    assert err.startswith("note: 1 of 1 users have an empty history")
    assert {line["source"] for line in json_lines(out)} == {"newest"}
