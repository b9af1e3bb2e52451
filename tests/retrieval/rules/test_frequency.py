"""Frequency caps and rotation: rules that read what was shown to each user."""

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval import Impressions
from retrieval.candidates import Candidates
from retrieval.postprocess.rules import Boost, FrequencyCap, Pin, Rotate, Rule, Ruled, Rules, Shown

ITEMS = ItemIds([*"abcdefgh"])
SHOP = pa.table({"item_id": list(ITEMS), "kind": [*"xxyyzzzz"]})
DAY, NOW = 86_400, 30 * 86_400


def impressions(**users: str) -> Impressions:
    """To each user the items of a text, one a day, the last one now."""
    rows = [
        (user, item, 1, NOW - (len(items) - 1 - day) * DAY)
        for user, items in users.items()
        for day, item in enumerate(items)
    ]
    names = ("user_id", "item_id", "position", "timestamp")
    return Impressions.from_arrow(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))


def lists(**users: str) -> Candidates:
    """For each user the items of a text, with scores 5, 4, 3, …."""
    rows = np.array([ITEMS.rows([*text]) for text in users.values()])
    scores = np.tile(5 - np.arange(rows.shape[1], dtype=np.float32), (len(rows), 1))
    return Candidates(np.zeros((len(rows), 2), np.float32), rows, scores, ITEMS, "rerank", tuple(users))


def ruled(candidates: Candidates, shown: Impressions, *rules: Rule, at: int | None = None) -> Ruled:
    return Rules(rules).apply(candidates, SHOP, Shown(shown, at))


def order(candidates: Candidates) -> list[str]:
    return ["".join(hit.item_id for hit in hits) for hits in candidates]


def test_a_cap_removes_what_a_user_was_shown_often_enough_and_from_the_list_of_no_other() -> None:
    after = ruled(lists(ann="abcde", bob="abcde"), impressions(ann="aaabb"), FrequencyCap(times=2, days=7))
    assert order(after) == ["cde", "abcde"]
    assert after.excluded == ({"show at most 2 times in 7 days": 2}, {})


@pytest.mark.parametrize(
    ("days", "at", "expected"),
    [
        (7, None, "bcde"),
        (2, None, "abcde"),  # a was shown 2, 3 and 4 days ago
        (3, None, "abcde"),
        (4, None, "bcde"),
        (4, NOW - DAY, "bcde"),
        (4, NOW + 2 * DAY, "abcde"),
    ],
)
def test_a_cap_looks_back_from_the_request(days: float, at: int | None, expected: str) -> None:
    shown = impressions(ann="aaacb")
    assert order(ruled(lists(ann="abcde"), shown, FrequencyCap(times=2, days=days), at=at)) == [expected]


def test_a_capped_item_is_not_pinned_and_the_list_keeps_its_length() -> None:
    shown = impressions(ann="ggg", bob="hhh")
    after = ruled(lists(ann="abcde", bob="abcde"), shown, FrequencyCap(times=3, days=7), Pin(["g", "h"]))
    assert order(after) == ["habcd", "gabcd"]
    assert after.rules_of(0)[:2] == [("pin g, h at 1",), ()]


def test_rotation_moves_what_was_shown_to_the_end_in_the_order_it_had() -> None:
    shown = impressions(ann="dacbb")
    after = ruled(lists(ann="abcde"), shown, Rotate(times=1, days=3), Boost("kind = z", by=0.1))
    assert order(after) == ["adebc"]
    assert after.rules_of(0) == [
        (),
        (),
        ("boost kind = z by 0.1",),
        *[("rotate what was shown 1 times in 3 days",)] * 2,
    ]
    assert (np.diff(after.scores) <= 0).all()


def test_no_queries_are_no_fault() -> None:
    empty = lists(ann="abc").take([])
    assert order(ruled(empty, impressions(ann="a"), FrequencyCap(1), Rotate(), Pin(["h"]))) == []


def test_a_rule_of_frequency_asks_for_impressions_and_for_named_queries() -> None:
    with pytest.raises(InputError, match=r"'show at most 3 times in 7 days' needs to know what was shown"):
        Rules([FrequencyCap()]).apply(lists(ann="abc"), SHOP)
    unnamed = Candidates(np.zeros((1, 2), np.float32), np.array([[0]]), np.ones((1, 1), np.float32), ITEMS, "rerank")
    with pytest.raises(InputError, match=r"looks for users by name, and these queries have none: give user_ids"):
        ruled(unnamed, impressions(ann="a"), Rotate())
    assert order(ruled(unnamed, impressions(**{"0": "a"}), FrequencyCap(1))) == [""]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"rule": "frequency_cap", "times": 2, "days": 0.5}, FrequencyCap(2, 0.5)),
        ({"rule": "frequency_cap"}, FrequencyCap(3, 7)),
        ({"rule": "rotate", "name": "again"}, Rotate(1, 1, "again")),
    ],
)
def test_rules_of_frequency_are_read_from_json(rule: dict[str, object], expected: Rule) -> None:
    assert Rules.from_list([rule]).rules == (expected,)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule": "frequency_cap", "times": 0}, r"rule 1 \(frequency_cap\): a frequency cap of 0; give a whole number"),
        ({"rule": "frequency_cap", "days": -1}, r"a frequency cap in days of -1; give a number above 0"),
        ({"rule": "rotate", "times": 1.5}, r"a rotation after times of 1.5; give a whole number"),
    ],
)
def test_what_no_rule_of_frequency_can_be_is_refused(rule: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rules.from_list([rule])
