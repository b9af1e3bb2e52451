"""Histories and the part held out, by hand and for logs of any kind."""

from collections import defaultdict
from math import ceil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.interactions.columns import Repeats
from retrieval.interactions.histories import History, LoggedHistories, all_histories, histories, hold_out_last
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import UnknownItemsWarning

ITEMS = ItemIds(["mug", "cup", "jar", "pot"])
Row = tuple[str, str, int]


def made_of(rows: list[Row]) -> Interactions:
    """Interactions of (user, item, second), each with a weight that tells its place in the log."""
    users, items, seconds = zip(*rows, strict=True)
    weights = np.arange(len(rows), dtype=np.float32)
    return Interactions.from_arrow(
        pa.table({"user_id": users, "item_id": items, "timestamp": seconds, "weight": weights})
    )


def plain(history: History) -> tuple[str, list[int], list[int], list[float]]:
    return history.user_id, history.rows.tolist(), history.timestamps.tolist(), history.weights.tolist()


LOG = [
    ("bob", "cup", 5),  # 0
    ("ann", "pot", 9),  # 1: ann's latest
    ("ann", "cup", 2),  # 2
    ("bob", "cup", 1),  # 3: bob's first cup
    ("ann", "vase", 3),  # 4: not in the bundle
    ("zoe", "vase", 3),  # 5: nothing of zoe's is in the bundle
    ("ann", "jar", 2),  # 6: the same second as 2, later in the log
    ("ann", "cup", 9),  # 7: again
]


def test_histories_by_hand() -> None:
    found = histories(made_of(LOG), ITEMS)
    assert [plain(history) for history in found] == [
        ("ann", [2, 3, 1], [2, 9, 9], [6.0, 1.0, 7.0]),  # the cup at its heaviest: each row weighs its number
        ("bob", [1], [1], [3.0]),
    ]
    assert [len(history) for history in found] == [3, 1]
    assert {(h.rows.dtype.name, h.timestamps.dtype.name, h.weights.dtype.name) for h in found} == {
        ("int64", "int64", "float32")
    }


def test_short_histories_are_left_out_after_repeats_are() -> None:
    assert [history.user_id for history in histories(made_of(LOG), ITEMS, min_length=2)] == ["ann"]
    assert histories(made_of(LOG), ITEMS, min_length=4) == []
    assert [history.user_id for history in histories(made_of(LOG), ITEMS, min_length=0)] == ["ann", "bob"]


def test_a_bundle_without_any_of_the_items_gives_no_histories() -> None:
    assert histories(made_of(LOG), ItemIds(["hat"])) == []
    assert histories(made_of(LOG), ItemIds([])) == []


rows_of_logs = st.lists(
    st.tuples(st.sampled_from("abcdeé"), st.sampled_from(["mug", "cup", "jar", "pot", "vase"]), st.integers(0, 9)),
    min_size=1,
    max_size=60,
)


@given(rows=rows_of_logs, min_length=st.integers(1, 4))
def test_histories_equal_a_plain_loop(rows: list[Row], min_length: int) -> None:
    heaviest: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for second, place, user, item in sorted(
        (second, place, user, item) for place, (user, item, second) in enumerate(rows)
    ):
        if item in ITEMS and place >= heaviest[user].get(item, (0, -1))[1]:  # each row weighs its number
            heaviest[user].pop(item, None)
            heaviest[user][item] = (second, place)
    expected = [
        (user, ITEMS.rows(seen).tolist(), [s for s, _ in seen.values()], [float(p) for _, p in seen.values()])
        for user, seen in sorted(heaviest.items())
        if len(seen) >= min_length
    ]
    found = [plain(one) for one in histories(made_of(rows), ITEMS, min_length=min_length)]
    if len({second for _, _, second in rows}) > 1:
        assert found == expected
    else:  # without times the order is drawn
        whatever = ([(user, *sorted(zip(*pairs, strict=True))) for user, *pairs in one] for one in (found, expected))
        assert next(whatever) == next(whatever)


def test_hold_out_by_hand() -> None:
    earlier, later = hold_out_last(made_of(LOG), 0.4)
    # ann has 5: the last ceil(.4 * 5) = 2 are 1 and 7, both at second 9. bob has 2: the last 1 is 0. zoe has 1.
    assert earlier.table["weight"].to_pylist() == [3.0, 2.0, 6.0, 4.0, 5.0]
    assert later.table["weight"].to_pylist() == [0.0, 1.0, 7.0]
    assert (earlier.dropped, later.dropped) == ({}, {})


def test_equal_seconds_are_cut_by_the_order_of_the_log() -> None:
    rows = [("ann", item, 7) for item in ("pot", "mug", "jar", "cup")]
    earlier, later = hold_out_last(made_of([*rows, ("bob", "pot", 8)]), 0.5)
    assert earlier.table["item_id"].to_pylist() == ["pot", "mug", "pot"]
    assert later.table["item_id"].to_pylist() == ["jar", "cup"]


def test_without_times_what_is_held_out_is_drawn_whatever_the_order_of_the_rows() -> None:
    rows = [(user, f"i{number:02}", 0) for user in ("ann", "bob") for number in range(40)]
    found = []
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(len(rows)).tolist()
        _, later = hold_out_last(made_of([rows[place] for place in shuffled]), 0.25)
        found.append(sorted(zip(*(later.table[name].to_pylist() for name in ("user_id", "item_id")), strict=True)))
    assert found[0] == found[1] == found[2]
    assert [sum(user == name for user, _ in found[0]) for name in ("ann", "bob")] == [10, 10]
    of_ann, of_bob = ([item for user, item in found[0] if user == name] for name in ("ann", "bob"))
    assert of_ann != of_bob  # each user's own draw
    assert of_ann[-10:] != [f"i{number:02}" for number in range(30, 40)]


def test_users_with_one_interaction_leave_nothing_to_hold_out() -> None:
    earlier, later = hold_out_last(made_of([("ann", "mug", 1), ("bob", "mug", 2)]))
    assert (len(earlier), len(later)) == (2, 0)


def test_a_whole_number_is_not_rounded_up() -> None:
    assert 0.07 * 100 > 7
    _, later = hold_out_last(made_of([("ann", "mug", second) for second in range(100)]), 0.07)
    assert len(later) == 7


@given(rows=rows_of_logs, percent=st.integers(1, 99))
def test_what_is_held_out_is_the_last_of_each_user(rows: list[Row], percent: int) -> None:
    earlier, later = hold_out_last(made_of(rows), percent / 100)
    early, late = earlier.table.to_pylist(), later.table.to_pylist()
    positions = [row["weight"] for row in early + late]
    assert sorted(positions) == list(range(len(rows)))  # every row once: no overlap, nothing lost
    timed = len({second for _, _, second in rows}) > 1  # without times items are drawn, each with all of its rows
    for user in {user for user, _, _ in rows}:
        first = [(row["timestamp"], row["weight"]) for row in early if row["user_id"] == user]
        last = [(row["timestamp"], row["weight"]) for row in late if row["user_id"] == user]
        assert first
        if timed:
            count = len(first) + len(last)
            assert len(last) == min(ceil(percent * count / 100), count - 1)
            assert max(first) < min(last, default=(10, 0))
        else:
            seen, held = ({row["item_id"] for row in part if row["user_id"] == user} for part in (early, late))
            assert not seen & held
            assert len(held) == min(ceil(percent * len(seen | held) / 100), len(seen | held) - 1)


@pytest.mark.parametrize("share", [0, 1, -0.2, 20, float("nan")])
def test_a_senseless_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        hold_out_last(made_of(LOG), share)


def test_an_item_that_was_put_in_again_has_its_new_row() -> None:
    log = Interactions.from_arrow(
        pa.table({"user": ["a", "a", "a"], "item": ["mug", "cup", "gone"], "time": [1, 2, 3]})
    )
    items = ItemIds(["mug", "cup", "gone"]).changed((["gone"], ["mug"]))
    assert [history.rows.tolist() for history in histories(log, items)] == [[3, 1]]


def test_a_purchase_counts_as_one_though_a_view_came_before() -> None:
    lines = [("ann", "mug", 10, 1.0), ("ann", "cup", 20, 1.0), ("ann", "mug", 30, 5.0), ("ann", "mug", 40, 5.0)]
    names = ("user", "item", "time", "weight")
    table = pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True)))
    (history,) = histories(Interactions.from_arrow(table), ItemIds(["cup", "mug"]))
    assert history.rows.tolist() == [0, 1]
    assert (history.timestamps.tolist(), history.weights.tolist()) == ([20, 30], [1.0, 5.0])


@pytest.mark.parametrize("repeats", ["max", "last", "sum"])
def test_the_last_interaction_may_be_a_repeated_one_or_with_an_unknown_item(repeats: Repeats) -> None:
    users, times = ["ann", "ann", "bob", "cid", "bob", "ann"], [1, 2, 3, 5, 7, 9]
    table = pa.table({"user": users, "item": ["cup", "mug", "mug", "gone", "gone", "cup"], "time": times})
    log = Interactions.from_arrow(table, repeats=repeats)
    logged = all_histories(log, ItemIds(["cup", "mug"]))
    assert logged.last_times(logged.numbers(["bob", "ann", "cid", "dan"])).tolist() == [7, 9, -1, -1]
    with pytest.warns(
        UnknownItemsWarning, match=r"2 of [56] interactions, by 2 of 3 users, 1 of whom .*, e\.g\. 'gone'; "
    ):
        known = LoggedHistories.of(log, ItemIds(["cup", "mug"]))
    assert known.last_times(known.numbers(["bob", "ann", "dan"])).tolist() == [7, 9, -1]
