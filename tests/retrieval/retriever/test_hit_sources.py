"""Each hit says where it comes from, and keeps saying so however the list is cut, ordered or joined."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError, UnknownItemError
from retrieval.candidates import SOURCES, Candidates, source_code, sources_of
from retrieval.candidates.lists import concatenated
from retrieval.models.user_model import UserModel
from retrieval.postprocess.diversify import DiversityContext, diversified, objective
from retrieval.postprocess.rules import Bury, Exclude, Pin, Rules

ITEMS = ItemIds([*"abcdef"])
# One source for each item, so that the name of a hit gives its expected source.
TRUTH = {"a": "behaviour", "b": "content", "c": "second stage", "d": "popular", "e": None, "f": "words"}
CODES = np.array([-1 if (name := TRUTH[item]) is None else source_code(name) for item in ITEMS], np.int8)  # type: ignore[arg-type]


def found() -> Candidates:
    rows = np.array([[2, 0, 1, 4], [3, 0, -1, -1]])
    scores = np.where(rows >= 0, np.array([4, 3, 2, 1], np.float32), -np.inf).astype(np.float32)
    sources = np.where(rows >= 0, CODES[rows], -1).astype(np.int8)
    return Candidates(np.ones((2, 3), np.float32), rows, scores, ITEMS, "retrieve", ("q", "r"), sources=sources)


def more() -> Candidates:
    rows = np.array([[1, 5, 3], [5, 3, 1]])
    return replace(found(), rows=rows, scores=np.ones((2, 3), np.float32), sources=CODES[rows])


ATTRIBUTES = pa.table({"kind": [*"xxyyyy"]})
STEPS: dict[str, Callable[[Candidates], Candidates]] = {
    "as it is": lambda given: given,
    "take": lambda given: given.take([1, 0, 1]),
    "top": lambda given: given.top(2),
    "named": lambda given: given.named(["x", "y"]),
    "reordered": lambda given: given.reordered(np.array([[1, 2, 3, 4], [1, 2, 3, 4]], np.float32), "rerank"),
    "reordered around": lambda given: given.reordered(
        np.array([[1, 2, 3, 4], [1, 2, 3, 4]], np.float32), "rerank", np.array([[1, 0, 0, 0], [1, 0, 0, 0]], np.bool_)
    ),
    "pointing elsewhere": lambda given: given.pointing_into(ItemIds([*"fedcba"])),
    "followed": lambda given: given.followed_by(more()),
    "excluded and buried": lambda given: Rules((Exclude(item_ids=("a",)), Bury("kind = y"))).apply(given, ATTRIBUTES),
    "excluded, then cut": lambda given: Rules((Exclude(item_ids=("a",)),)).apply(given, ATTRIBUTES).take([1, 0]),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_keeps_the_source_of_each_hit(step: str) -> None:
    after = STEPS[step](found())
    hits = [hit for line in after for hit in line]
    assert {hit.item_id: hit.source for hit in hits} == {hit.item_id: TRUTH[hit.item_id] for hit in hits}
    assert after.to_arrow()["source"].to_pylist() == [hit.source for hit in hits]
    assert hits


def test_a_pinned_item_that_was_no_hit_comes_from_a_rule() -> None:
    ruled = Rules((Pin(("f", "b"), at=1),)).apply(found(), ATTRIBUTES)
    assert [(hit.item_id, hit.source) for hit in ruled[0]] == [
        ("f", "rule"),
        ("b", "content"),
        ("c", "second stage"),
        ("a", "behaviour"),
    ]
    assert [hit.source for hit in ruled[1]] == ["rule", "rule", "popular", "behaviour"]


def test_a_varied_list_keeps_them() -> None:
    vectors = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0.1], [0, 0, 1], [1, 0.1, 0], [1, 1, 1]], np.float32)
    context = DiversityContext(vectors, np.zeros(3, np.float32), UserModel(), None)
    varied = diversified(found(), objective("mmr", context, 0.9, 1.0), 4)
    assert varied.rows.tolist() != found().rows.tolist()
    assert [hit.source for line in varied for hit in line] == [TRUTH[hit.item_id] for line in varied for hit in line]


def test_joined_queries_keep_all_that_is_known_of_either() -> None:
    first = replace(found(), folded=({2: np.array([5])}, {}), histories=(np.array([1]), np.array([0, 4])))
    first = replace(first, idle=np.array([3, 4], np.float32))
    second = replace(more(), query_ids=("s", "t"), sources=None)  # users without a history
    joined = concatenated(first, second)
    assert joined.query_ids == ("q", "r", "s", "t")
    assert joined.rows.tolist() == [[2, 0, 1, 4], [3, 0, -1, -1], [1, 5, 3, -1], [5, 3, 1, -1]]
    assert np.isneginf(joined.scores[joined.rows < 0]).all()
    assert [[hit.source for hit in line] for line in joined][:2] == [[hit.source for hit in line] for line in first]
    assert {hit.source for line in joined.take([2, 3]) for hit in line} == {None}
    assert [joined.folded_ids(query) for query in range(4)] == [[["f"], [], [], []], [[], []], [[]] * 3, [[]] * 3]
    assert joined.idle is not None
    assert joined.idle.tolist() == [3, 4, 0, 0]
    assert [history.tolist() for history in joined.histories] == [[1], [0, 4], [], []]
    assert (joined.times, joined.weights) == (None, ())


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"idle": np.array([3, 4], np.float32)}, "users who return, and visits that go on: 'q', 'r' beside 't'"),
        (
            {"times": np.array([3, 4])},
            "requests with a time, and without: 'q', 'r' beside 't'; rerank them apart",
        ),
        ({"new": np.ones((2, 3), np.float32)}, "users with profiles, and without: 'q', 'r' beside 't'"),
    ],
)
def test_queries_that_are_answered_in_different_ways_are_not_joined(known: dict[str, Any], message: str) -> None:
    first = replace(found(), histories=(np.array([1]), np.array([0, 4])))
    second = replace(more(), query_ids=("s", "t"), histories=(np.array([], np.int64), np.array([2])))
    for one, other in ((first, second), (second, first)):
        concatenated(one, other)
        concatenated(replace(first, **known), replace(second, **known))
    with pytest.raises(InputError, match=message):
        concatenated(replace(first, **known), second)
    with pytest.raises(InputError, match=message):
        concatenated(second, replace(first, **known))
    assert len(concatenated(replace(first, **known), second.take([]))) == 2


def test_candidates_of_another_state_are_joined_by_their_items() -> None:
    first, second = found(), replace(more(), query_ids=("s", "t"))
    other = replace(second, items=ItemIds(list(second.items)[::-1]))
    joined = concatenated(first, other)
    assert [[hit.item_id for hit in joined[line]] for line in (2, 3)] == [
        [hit.item_id for hit in line] for line in other
    ]
    with pytest.raises(UnknownItemError):
        concatenated(first, replace(second, items=ItemIds([f"other {row}" for row in range(len(second.items))])))


def test_candidates_without_sources_work_as_before() -> None:
    plain = replace(found(), sources=None)
    for step in STEPS.values():
        assert all(hit.source is None for line in step(plain) for hit in line if hit.item_id in "cae")
    assert plain.to_arrow()["source"].to_pylist() == [None] * 6
    assert plain.followed_by(replace(more(), sources=None)).sources is None
    added = plain.followed_by(more())
    assert [hit.source for hit in added[0]] == [None] * 4 + ["words", "popular"]
    assert added.coming_from("trending")[1][0].source == "trending"


@pytest.mark.parametrize(
    ("sources", "error", "message"),
    [
        (np.zeros((2, 3), np.int8), ShapeError, r"sources \(2, 3\) but rows \(2, 4\)"),
        (np.zeros((2, 4), np.int8), ShapeError, "padding"),
        (np.full((2, 4), len(SOURCES), np.int8), InputError, "the positions in SOURCES"),
        (np.zeros((2, 4), np.int64), InputError, "give int8"),
        ([[0] * 4] * 2, InputError, "sources is"),
    ],
)
def test_codes_that_do_not_fit_are_refused(sources: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        replace(found(), sources=sources)  # type: ignore[arg-type]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="source is 'magic'; give one of 'second stage', 'behaviour'"):
        source_code("magic")  # type: ignore[arg-type]


def test_codes_follow_rows_as_a_loop_over_them_does() -> None:
    rng = np.random.default_rng(0)
    known_rows = np.array([rng.permutation(30)[:12] for _ in range(50)])
    known_rows[rng.random(known_rows.shape) < 0.2] = -1
    known = np.where(known_rows >= 0, rng.integers(-1, 8, known_rows.shape), -1).astype(np.int8)
    rows = np.array([rng.permutation(30)[:9] for _ in range(50)])
    rows[rng.random(rows.shape) < 0.2] = -1
    expected = np.full(rows.shape, -1)
    for query in range(50):
        table = dict(zip(known_rows[query].tolist(), known[query].tolist(), strict=True))
        expected[query] = [-1 if row < 0 else table.get(row, source_code("rule")) for row in rows[query].tolist()]
    np.testing.assert_array_equal(sources_of(rows, known_rows, known, "rule"), expected)
