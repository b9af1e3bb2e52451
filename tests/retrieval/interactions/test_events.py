"""Kinds of events in a log, and what each of them weighs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InteractionsError
from retrieval.evaluation.splits.splits import at_time, rolling_windows
from retrieval.interactions.event_types import EventTable, EventTypes
from retrieval.interactions.histories import histories, hold_out_last, min_liked_weight
from retrieval.interactions.interactions import InteractionColumns, Interactions
from retrieval.models.user_model import UserModel
from tests.logs import log, values

EVENTS = {"view": 1.0, "purchase": 5.0, "return": 0.0}


@pytest.mark.parametrize("name", ["event", "event_type", "action", "behavior"])
def test_events_are_weighed(name: str) -> None:
    table = log(**{name: ["view", " purchase ", "return", "view"]})
    found = Interactions.from_arrow(table, events=EVENTS)
    assert values(found, "item_id") == ["i0", "i1", "i3"]
    assert values(found, "weight") == [1.0, 5.0, 1.0]
    assert found.dropped == {"event of weight 0": 1}
    assert values(Interactions.from_arrow(table), "weight") == [1.0, 1.0, 1.0, 1.0]  # nobody asked


def test_an_event_multiplies_the_weight_of_its_row_before_the_least_is_asked_for() -> None:
    table = log(event=["view", "purchase", "purchase", "return"], weight=[3.0, 0.5, 1e38, float("nan")])
    found = Interactions.from_arrow(table, events=EVENTS, min_weight=2.6)
    assert values(found, "weight") == [3.0]
    # 5e38 is beyond float32; a row is counted for its first fault
    assert found.dropped == {"weight missing or not finite": 2}
    bare = log(event=["view", "purchase"])
    assert values(Interactions.from_arrow(bare, events=EVENTS, min_weight=2), "item_id") == ["i1"]


def test_events_of_every_file_are_weighed(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,what\nu,i,view\nu,j,purchase\n")
    (tmp_path / "log.inter").write_text("user_id:token\titem_id:token\twhat:token\nu\ti\tview\nu\tj\tpurchase\n")
    pq.write_table(pa.table({"user": ["u"] * 2, "item": ["i", "j"], "what": ["view", "purchase"]}), tmp_path / "log.pq")
    for name in ("log.csv", "log.inter", "log.pq"):
        found = Interactions.open(tmp_path / name, columns=InteractionColumns(event="what"), events=EVENTS)
        assert values(found, "weight") == [1.0, 5.0], name


def test_events_without_a_weight_are_named_with_their_row() -> None:
    table = log(event=["view", "wish", None, "wish"])
    with pytest.raises(
        InteractionsError,
        match=r"3 of 4 rows have events that have no weight: 'wish', None; the first is row 1 \(from 0\), 'wish' in "
        r"column 'event'; weights are given for 'view', 'purchase', 'return': give these too one each, 0 to leave",
    ):
        Interactions.from_arrow(table, events=EVENTS)
    with pytest.raises(InteractionsError, match=r"no column 'event' or 'event_type' or 'action' .* of events"):
        Interactions.from_arrow(log(item_id=["i"]), events=EVENTS)
    with pytest.raises(InteractionsError, match=r"column 'event' of type list.* cannot hold events"):
        Interactions.from_arrow(log(event=[[1]]), events=EVENTS)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "much", None])
def test_events_that_weigh_no_number_are_named(weight: float) -> None:
    with pytest.raises(InteractionsError, match=r"event 'return': an event weighs .*; give a number, below 0 for a"):
        Interactions.from_arrow(log(event=["view"]), events={"view": 1.0, "return": weight})


DAY = 86_400


def typed(rows: list[tuple[str, str, str, int]], events: EventTable) -> Interactions:
    users, items, types, days = map(list, zip(*rows, strict=True))
    times = [1_600_000_000 + DAY * day for day in days]
    return Interactions.from_arrow(
        pa.table({"user": users, "item": items, "time": times, "event": types}), events=events
    )


def test_a_later_dislike_takes_back_a_like_and_a_later_like_a_dislike() -> None:
    rows = [
        ("ann", "mug", "buy", 0),
        ("ann", "cup", "hide", 1),
        ("ann", "mug", "hide", 2),
        ("bob", "mug", "buy", 3),
        ("ann", "cup", "view", 4),
    ]
    found = typed(rows, {"view": 0.1, "buy": 3, "hide": -2})
    assert list(zip(*(values(found, name) for name in ("user_id", "item_id", "weight")), strict=True)) == [
        ("ann", "mug", -2.0),
        ("bob", "mug", 3.0),
        ("ann", "cup", pytest.approx(0.1)),
    ]
    assert found.repaired == {"taken back by a later event": 2}
    logged = histories(found, ItemIds(["cup", "mug"]))
    assert [one.weights.tolist() for one in logged] == [[-2.0, pytest.approx(0.1)], [3.0]]
    assert [one.liked(0).tolist() for one in logged] == [[0], [1]]
    min_relevance = min_liked_weight(logged, found.repeats)
    assert [UserModel(min_relevance=min_relevance).is_liked(one.weights).tolist() for one in logged] == [
        [False, True],
        [True],
    ]


def test_events_count_less_by_their_age_and_expire() -> None:
    events = {"view": {"weight": 1, "half_life_days": 10, "expires_after_days": 25}, "buy": 3}
    rows = [("u", f"i{day}", "view", day) for day in (0, 10, 20, 30)] + [("u", "j", "buy", 0)]
    found = typed(rows, events)
    assert dict(zip(values(found, "item_id"), values(found, "weight"), strict=True)) == pytest.approx(
        {"j": 3, "i10": 0.25, "i20": 0.5, "i30": 1}
    )
    assert found.dropped == {"event expired": 1}
    assert found.events is not None
    assert EventTypes.open(found.events.to_json()) == found.events


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("view=1,view=2", "cannot read 'view=2' in 'view=1,view=2'; write each type once"),
        ("view=x", "cannot read 'view=x'"),
        ({"hide": -1}, "none of the events 'hide' weighs more than 0"),
        ({"view": {"wait": 1}}, "event 'view' has 'wait'; give weight, half_life_days, expires_after_days"),
        ({"view": {"half_life_days": 3}}, "event 'view' has no weight"),
        (
            {"view": {"weight": 1, "half_life_days": 0}},
            "event 'view': half_life_days is 0; give a number of days",
        ),
        ("nowhere.json", r"the table of events nowhere.json cannot be read: .*; expected a file such as"),
    ],
)
def test_tables_that_cannot_be_used_say_which_type_is_at_fault(given: EventTable, message: str) -> None:
    with pytest.raises(InteractionsError, match=message):
        EventTypes.open(given)


def test_a_table_comes_from_a_file_a_text_and_common_names(tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text('{"view": 0.1, "hide": -2}')
    assert EventTypes.open(tmp_path / "events.json") == EventTypes.open("view=.1,hide=-2")
    usual = EventTypes.open("usual").weights
    assert usual["buy"] > usual["cart"] > usual["view"] > 0 > usual["hide"]


def test_a_type_that_a_file_names_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text('{"view": 0.1, "buy": 3, "view": 2}')
    with pytest.raises(InteractionsError, match="cannot be read: the key 'view' comes 2 times in one object"):
        EventTypes.open(tmp_path / "events.json")


AGED = {"buy": {"weight": 4, "half_life_days": 10}, "view": {"weight": 1, "expires_after_days": 25}, "hide": -2}


def aged(context: bool = False) -> Interactions:
    rows = [("a", "mug", 0, "buy"), ("a", "cup", 0, "view"), ("a", "jar", 10, "buy"), ("b", "mug", 10, "buy")]
    rows += [("a", "mug", 20, "hide"), ("b", "cup", 30, "buy"), ("a", "pot", 30, "buy")]
    columns = zip(*((user, item, day * 86_400, event) for user, item, day, event in rows), strict=True)
    table = pa.table(dict(zip(("user", "item", "time", "event"), map(list, columns), strict=True)))
    return Interactions.from_arrow(table, events=AGED, context=["event"] if context else [])


def rows_of(found: Interactions) -> list[tuple[str, str, float]]:
    rows = found.table.to_pylist()
    return [(row["user_id"], row["item_id"], round(row["weight"], 5)) for row in rows]  # of float32


def test_events_of_a_part_age_until_its_end_and_nothing_later_takes_them_back() -> None:
    whole = aged()
    assert rows_of(whole) == [("a", "jar", 1), ("b", "mug", 1), ("a", "mug", -2), ("b", "cup", 4), ("a", "pot", 4)]
    past = [("a", "mug", 2), ("a", "cup", 1), ("a", "jar", 4), ("b", "mug", 4)]
    split = at_time(whole, 20 * 86_400)
    assert rows_of(split.past) == past
    assert rows_of(split.future) == [("a", "mug", -2), ("b", "cup", 4), ("a", "pot", 4)]
    assert rows_of(at_time(split.past, 86_400).past) == [("a", "mug", 4), ("a", "cup", 1)]
    by_share = at_time(whole, share=0.4)  # of seven events, though two of them count for nothing at the end
    assert rows_of(by_share.past) == past
    earlier, later = hold_out_last(whole, 0.4)
    assert (rows_of(earlier), rows_of(later)) == (past, [("a", "mug", -2), ("b", "cup", 4), ("a", "pot", 4)])
    first, second = rolling_windows(whole, 2, 12 * 86_400)
    assert (rows_of(first.past), rows_of(first.future)) == ([("a", "mug", 4), ("a", "cup", 1)], past[2:])
    assert (rows_of(second.past), rows_of(second.future)) == (past, rows_of(split.future))


def test_a_log_whose_rows_were_changed_is_split_as_it_is() -> None:
    whole = aged()
    changed = replace(whole, table=whole.table.slice(0, 4))
    assert rows_of(at_time(changed, 20 * 86_400).past) == [("a", "jar", 1), ("b", "mug", 1)]
    plain = aged(context=True)
    assert plain.part(np.arange(7) < 2).table["event"].to_pylist() == ["buy", "view"]
    assert len(plain.part(np.zeros(7, np.bool_))) == 0
    without = Interactions.from_arrow(aged().table)
    assert without.uncounted is None
