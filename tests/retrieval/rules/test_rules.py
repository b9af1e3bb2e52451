"""Business rules on lists small enough to work out by hand."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import FilterError, InputError, UnknownItemError
from retrieval.candidates import Candidates
from retrieval.filters import field
from retrieval.postprocess.diversify import Relevant, diversified
from retrieval.postprocess.rules import Boost, Bury, Exclude, Fresh, Pin, Rule, Ruled, Rules
from retrieval.postprocess.rules.apply import newness

ITEMS = ItemIds([*"abcdefgh"])
SHOP = pa.table(
    {
        "item_id": list(ITEMS),
        "kind": ["x", "x", "y", "y", "z", "z", None, "z"],
        "year": [1990, 1995, 2000, None, 1980, 1990, 2000, 1970],
        "made": [date(2024, 1, 11), date(2024, 1, 1), None, date(2023, 12, 22), None, None, None, None],
    }
)


def found(*lines: str) -> Candidates:
    """Lists with scores 5, 4, 3, … and padding."""
    length = max(map(len, lines))
    rows = np.full((len(lines), length), -1, np.int64)
    scores = np.full((len(lines), length), -np.inf, np.float32)
    for line, text in enumerate(lines):
        rows[line, : len(text)] = ITEMS.rows([*text])
        scores[line, : len(text)] = 5 - np.arange(len(text))
    return Candidates(np.zeros((len(lines), 2), np.float32), rows, scores, ITEMS, "rerank")


def ruled(lists: Candidates, *rules: Rule) -> Ruled:
    return Rules(rules).apply(lists, SHOP)


def order(lists: Candidates) -> list[str]:
    return ["".join(hit.item_id for hit in hits) for hits in lists]


def test_no_rules_change_nothing_but_the_stage() -> None:
    lists = found("abcde", "fg")
    after = ruled(lists)
    assert after.rows.tobytes() == lists.rows.tobytes()
    assert after.scores.tobytes() == lists.scores.tobytes()
    assert (after.stage, after.rules_of(0)) == ("rules", [()] * 5)


def test_boost_is_in_units_of_the_list() -> None:
    # From 5 to 1: a half is 2, so that c (3) and d (2) come to 5 and 4; a and b, which have as much, keep their place.
    after = ruled(found("abcde"), Boost("kind = y", 0.5))
    assert order(after) == ["acbde"]
    assert after.scores[0].tolist() == [5, 5, 4, 4, 1]
    assert after.rules_of(0) == [(), ("boost kind = y by 0.5",), (), ("boost kind = y by 0.5",), ()]
    assert order(ruled(found("abcde"), Boost(field("kind") == "y", 0.51))) == ["cadbe"]
    assert order(ruled(found("abcde"), Boost([("kind", "=", "y")], 0.3), Boost(("year", "=", 2000), 0.3))) == ["cabde"]
    assert order(ruled(found("ce", "c"), Boost("kind = z", 1.5))) == ["ec", "c"]


def test_bury_puts_behind_all_others() -> None:
    after = ruled(found("abcde", "ab"), Bury("kind = x"))
    assert order(after) == ["cdeab", "ab"]
    assert (np.diff(after.scores[0]) <= 0).all()
    after = ruled(found("abcde"), Bury("kind = x"), Boost("item_id = b", 3), Bury("kind in x, z", name="no z"))
    assert order(after) == ["cdbae"]  # boosts count among those buried, but lift none of them out
    assert after.rules_of(0)[2] == ("bury kind = x", "boost item_id = b by 3", "no z")


def test_exclude_drops_and_others_move_up() -> None:
    after = ruled(found("abcde", "ab"), Exclude("kind = x", name="recall"), Exclude(item_ids=["e", "gone"]))
    assert order(after) == ["cd", ""]
    assert after.scores[0].tolist() == [3, 2, -np.inf, -np.inf, -np.inf]
    assert after.excluded == ({"recall": 2, "exclude e or gone": 1}, {"recall": 2})
    assert len(after.to_arrow()) == 2


def test_pin_moves_or_inserts() -> None:
    after = ruled(found("abcde", "gd"), Pin(["d", "h"], at=2))
    assert order(after) == ["adhbc", "gdh"]  # e falls off: as many answers as before
    assert after.scores[0].tolist() == [5, 4, 4, 4, 3]  # as the hit behind
    assert after.scores[1, :3].tolist() == [5, 5, 5]
    assert after.rules_of(1) == [(), ("pin d, h at 2",), ("pin d, h at 2",)]
    assert order(ruled(found("abc"), Pin(["h"], at=9))) == ["abc"]  # a place behind the end falls off
    assert order(ruled(found("ab", "a"), Pin(["h"], at=2), Pin(["g"], at=2))) == ["ah", "ah"]
    assert order(ruled(found("abcd"), Pin(["h"], at=2), Pin(["g", "b"], at=1))) == ["ghba"]  # a taken place is passed
    assert order(ruled(found("abcd"), Pin(["h"], at=1), Pin(["h", "c"], at=1))) == ["hcab"]  # twice is once
    assert order(ruled(found("a"), Pin(["f", "g", "h"]))) == ["fgh"]
    nothing = found("a").take([0]).top(0)
    assert order(ruled(nothing, Pin(["f", "g"]))) == ["fg"]
    assert ruled(nothing, Pin(["f", "g"])).scores.tolist() == [[0, 0]]


def test_what_is_excluded_is_not_pinned_and_what_is_pinned_not_buried() -> None:
    after = ruled(found("abcde"), Pin(["a", "h"]), Exclude(item_ids=["a"]), Bury("item_id = h"))
    assert order(after) == ["hbcde"]
    assert after.rules_of(0)[0] == ("pin a, h at 1",)


def test_fresh_halves_with_age() -> None:
    by_year = newness(SHOP, Fresh("year", half_life=10))
    np.testing.assert_allclose(by_year, [0.5, 0.5**0.5, 1, 0, 0.25, 0.5, 1, 0.125])
    np.testing.assert_allclose(newness(SHOP, Fresh("year", 10, now=1990))[:5], [1, 1, 1, 0, 0.5])
    np.testing.assert_allclose(newness(SHOP, Fresh("made", 10))[:4], [1, 0.5, 0, 0.25])
    for now in ("2024-01-21", date(2024, 1, 21)):
        np.testing.assert_allclose(newness(SHOP, Fresh("made", 10, now=now))[:4], [0.5, 0.25, 0, 0.125])
    times = pa.table({"at": pa.array([datetime(2024, 1, 1, 12), None], pa.timestamp("us", "UTC"))})
    np.testing.assert_allclose(newness(times, Fresh("at", 0.5, now="2024-01-02T12:00:00")), [0.25, 0])
    assert newness(pa.table({"at": pa.nulls(2, pa.float64())}), Fresh("at", 1)).tolist() == [0, 0]
    after = ruled(found("eac"), Fresh("year", half_life=10, by=1.0))
    # e 5 + 2 * .25, a 4 + 2 * .5, c 3 + 2
    assert order(after) == ["eac"]
    assert after.scores[0].tolist() == [5.5, 5, 5]
    assert order(ruled(found("eac"), Fresh("year", half_life=5, by=1.0))) == ["eca"]


def test_notes_go_where_the_items_go() -> None:
    after = ruled(found("abcde", "cd"), Boost("kind = y", 0.5, name="sale"))
    table = after.to_arrow()
    assert table.column_names == ["query_id", "item_id", "rank", "score", "stage", "source", "rules"]
    assert table["rules"].to_pylist() == [[], ["sale"], [], ["sale"], [], ["sale"], ["sale"]]
    assert after.take([1]).rules_of(0) == [("sale",), ("sale",)]
    assert after.top(2).to_arrow()["rules"].to_pylist() == [[], ["sale"], ["sale"], ["sale"]]
    again = after.reordered(-after.scores, "rerank")
    assert isinstance(again, Ruled)
    assert [bool(rules) for rules in again.rules_of(0)] == [item_id in "cd" for item_id in order(again)[0]]
    assert isinstance(diversified(after, Relevant()), Ruled)
    assert ruled(found("ab").take([])).to_arrow()["rules"].type == pa.list_(pa.string())


def some_rules(drawn: int) -> list[Rule]:
    every: list[Rule] = [
        Pin(["h", "a"], at=2),
        Boost("kind = y", 0.4),
        Bury("kind = z"),
        Exclude("year < 1985"),
        Fresh("year", 10),
        Pin(["g"], at=1),
    ]
    return [rule for number, rule in enumerate(every) if drawn >> number & 1]


@example([list("abegdc")], 18)  # whose scores are equal but for the order in which shares are added
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8), min_size=1, max_size=4), st.integers(0, 63)
)
@settings(max_examples=100)
def test_what_holds_of_all_rules(lines: list[list[str]], drawn: int) -> None:
    lists = found(*("".join(line) for line in lines))
    rules = some_rules(drawn)
    after = ruled(lists, *rules)
    excluded = {"e", "h"} if drawn & 8 else set()
    pinned = [item for rule in rules if isinstance(rule, Pin) for item in rule.item_ids if item not in excluded]
    for line, text in enumerate(order(after)):
        assert len(set(text)) == len(text)
        assert not set(text) & excluded
        assert set(text) <= set(lines[line]) | set(pinned)
        kept = set(lines[line]) - excluded
        assert len(text) == min(len(kept | set(pinned)), after.rows.shape[1])
        assert (after.rows[line] >= 0).tolist() == [place < len(text) for place in range(after.rows.shape[1])]
        scores = after.scores[line][: len(text)]
        assert (np.diff(scores) <= 0).all()
        assert np.isfinite(scores).all()
        free = [item for item in text if item not in pinned]
        if drawn & 4:
            buried = [SHOP["kind"][ITEMS.row(item)].as_py() == "z" for item in free]
            assert buried == sorted(buried)
    one = [ruled(lists.take([line]), *rules) for line in range(len(lines))]
    assert [text for each in one for text in order(each)] == order(after)
    assert order(ruled(lists, *reversed([rule for rule in rules if not isinstance(rule, Pin)]))) == order(
        ruled(lists, *(rule for rule in rules if not isinstance(rule, Pin)))
    )


def test_rules_are_read_from_json(tmp_path: Path) -> None:
    given = [
        {"rule": "pin", "item_ids": ["h"], "at": 2, "name": "launch"},
        {"rule": "boost", "where": "kind = y", "by": 1},
        {"rule": "bury", "where": "kind = x"},
        {"rule": "exclude", "item_ids": ["e"]},
        {"rule": "fresh", "column": "made", "half_life": 30, "now": "2024-02-01"},
    ]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(given))
    assert Rules.from_json(path).rules == (
        Pin(["h"], 2, "launch"),
        Boost("kind = y", 1),
        Bury("kind = x"),
        Exclude(item_ids=["e"]),
        Fresh("made", 30, now="2024-02-01"),
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "pin"}, "rules are a list, not dict"),
        (["pin"], r"rule 1 is 'pin'; give an object with 'rule', one of \['pin', 'boost'"),
        ([{"rule": "lift"}], r"rule 1 is \{'rule': 'lift'\}; give an object"),
        (
            [{"rule": "bury", "where": "a = 1"}, {"rule": "boost", "wehre": "b"}],
            r"rule 2 \(boost\) has \['wehre'\]; there",
        ),
        ([{"rule": "fresh", "column": "year"}], r"rule 1 \(fresh\) lacks \['half_life'\]"),
        ([{"rule": "boost", "where": [["a", "=", 1]]}], r"where is \[\['a', '=', 1\]\]; give a filter as text"),
        ([{"rule": "pin", "item_ids": "mug"}], r"item_ids is 'mug'; give a list"),
        ([{"rule": "pin", "item_ids": [1]}], r"a pin has item_ids \[1\]; give a list of strings"),
        ([{"rule": "pin", "item_ids": []}], "a pin names no items"),
        ([{"rule": "pin", "item_ids": ["a"], "at": 0}], "a pin at 0; give a rank"),
        (
            [{"rule": "boost", "where": "a = 1", "by": -1}],
            r"a boost by -1; give a number above 0, at most .*; to lower items, bury",
        ),
        ([{"rule": "boost", "where": "a = 1", "by": "1"}], r"a boost by '1'; give a number above 0"),
        ([{"rule": "bury", "where": ""}], "a bury has no filter and would be for every item"),
        ([{"rule": "exclude"}], "an exclude without item_ids has no filter"),
        ([{"rule": "fresh", "column": "year", "half_life": 0}], "a half_life of 0; give a number above 0"),
        ([{"rule": "bury", "where": "a = 1", "name": 3}], "name is 3; give a text"),
    ],
)
def test_what_is_wrong_in_json_is_said(given: Any, message: str, tmp_path: Path) -> None:  # noqa: ANN401
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(given))
    with pytest.raises(InputError, match=rf"rules\.json: .*{message}"):
        Rules.from_json(path)


def test_what_does_not_fit_the_catalogue_is_said(tmp_path: Path) -> None:
    with pytest.raises(FilterError, match=r"rule 'boost knid = x by 0\.2': .*there is no attribute 'knid'"):
        ruled(found("ab"), Boost("knid = x"))
    with pytest.raises(UnknownItemError, match="1 of 2 item ids are not in this bundle"):
        ruled(found("ab"), Pin(["a", "mug"]))
    with pytest.raises(InputError, match=r"'kind' holds string; name a column of dates, times or numbers"):
        ruled(found("ab"), Fresh("kind", 3))
    with pytest.raises(FilterError, match="there is no attribute 'yaer'"):
        ruled(found("ab"), Fresh("yaer", 3))
    with pytest.raises(InputError, match=r"now is 'today': "):
        ruled(found("ab"), Fresh("made", 3, now="today"))
    with pytest.raises(InputError, match="some scores are NaN or infinite"):
        ruled(found("ab").reordered(np.array([[np.nan, 1]], np.float32), "x"))
    with pytest.raises(InputError, match=r"'mug' is no rule; make it with one of \['Pin'"):
        Rules(["mug"])  # type: ignore[list-item]
    (tmp_path / "rules.json").write_text("[")
    with pytest.raises(InputError, match=r"the rules in .*rules\.json cannot be read"):
        Rules.from_json(tmp_path / "rules.json")
    (tmp_path / "rules.json").write_text('[{"rule": "pin", "item_ids": ["a"], "at": 1, "at": 2}]')
    with pytest.raises(InputError, match=r"rules\.json: the key 'at' comes 2 times in one object; give it once"):
        Rules.from_json(tmp_path / "rules.json")
    with pytest.raises(InputError, match=r"gone\.json: there is no such file"):
        Rules.from_json(tmp_path / "gone.json")
