"""Splits by hand: who is where, what no part may hold, and what is counted."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import InputError
from retrieval.evaluation.splits.splits import (
    Split,
    at_time,
    by_user,
    cold_items,
    cold_users,
    leave_last_out,
    rolling_windows,
)
from retrieval.interactions.interactions import Interactions

Row = tuple[str, str, int]

LOG: list[Row] = [
    ("ann", "mug", 10),
    ("bob", "cup", 20),
    ("ann", "cup", 30),
    ("ann", "jar", 30),
    ("cem", "jar", 40),
    ("bob", "jar", 50),
    ("ann", "pot", 60),
    ("dan", "pot", 70),
]
rows_of_logs = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 9)), min_size=2, max_size=20
)


def made_of(rows: list[Row]) -> Interactions:
    users, items, times = zip(*rows, strict=True)
    return Interactions.from_arrow(
        pa.table({"user": users, "item": items, "time": times, "weight": list(map(float, range(len(rows))))})
    )


def rows(part: Interactions) -> list[Row]:
    table = part.table
    return list(zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")), strict=True))


def accounted_for(split: Split, log: Interactions) -> None:
    """Each row of the log is in exactly one part, or counted as left out."""
    held = Counter(split.past.table["weight"].to_pylist() + split.future.table["weight"].to_pylist())
    assert set(held.values()) <= {1}
    assert held.keys() <= set(log.table["weight"].to_pylist())
    assert len(held) + sum(split.left_out.values()) == len(log)


def test_by_user_holds_out_the_last_of_each() -> None:
    split = by_user(made_of(LOG), 0.5)
    assert rows(split.past) == [LOG[0], LOG[1], LOG[2], LOG[4], LOG[7]]
    assert rows(split.future) == [LOG[3], LOG[5], LOG[6]]  # of ann's second 30 the later in the log
    assert (split.name, split.cut, split.in_time, split.left_out) == ("by_user", None, True, {})
    assert split.new_users == frozenset()
    assert split.new_items == frozenset()


def test_leave_last_out_takes_one_of_each_user_with_two() -> None:
    split = leave_last_out(made_of([*LOG, ("eve", "mug", 5), *[("fay", "mug", second) for second in range(200)]]))
    assert sorted(rows(split.future)) == [("ann", "pot", 60), ("bob", "jar", 50), ("fay", "mug", 199)]
    assert {user for user, _, _ in rows(split.past)} == {"ann", "bob", "cem", "dan", "eve", "fay"}


def test_at_time_cuts_once_and_keeps_new_users_apart() -> None:
    split = at_time(made_of(LOG), 40)
    assert rows(split.past) == LOG[:4]
    assert rows(split.future) == LOG[4:]
    assert split.cut == 40
    assert (set(split.new_users), set(split.new_items)) == ({"cem", "dan"}, {"pot"})
    assert split.to_json() == {
        "name": "at_time",
        "cut": 40,
        "past": 4,
        "future": 4,
        "left_out": {},
        "users": {"past": 2, "future": 4, "new": 2},
        "new_items": 1,
    }


@pytest.mark.parametrize(("share", "cut"), [(0.25, 60), (0.26, 50), (0.5, 40), (0.625, 30), (0.7, 30), (0.75, 30)])
def test_a_share_is_at_least_that_and_tears_no_second(share: float, cut: int) -> None:
    split = at_time(made_of(LOG), share=share)
    assert split.cut == cut
    assert len(split.future) >= share * len(LOG)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of the two"),
        ({"cut": 40, "share": 0.5}, "give one of the two"),
        ({"share": 1.0}, "share of 1.0 cannot be held out"),
        ({"cut": 10}, "nothing before second 10; its times reach from 10 to 70"),
        ({"cut": 71}, "nothing at and after second 71"),
        ({"share": 0.95}, "nothing before second 10"),
    ],
)
def test_a_senseless_cut_is_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        at_time(made_of(LOG), **arguments)  # type: ignore[arg-type]


def test_windows_follow_each_other_and_count_what_comes_after() -> None:
    first, second, third = rolling_windows(made_of(LOG), windows=3, length=15)
    # The log ends at 70, so the windows are 26 to 40, 41 to 55, 56 to 70.
    assert [split.cut for split in (first, second, third)] == [26, 41, 56]
    assert [rows(split.past) for split in (first, second, third)] == [LOG[:2], LOG[:5], LOG[:6]]
    assert [rows(split.future) for split in (first, second, third)] == [LOG[2:5], LOG[5:6], LOG[6:]]
    assert [split.left_out for split in (first, second, third)] == [
        {"after the window": 3},
        {"after the window": 2},
        {},
    ]
    assert [split.new_users for split in (first, second, third)] == [{"cem"}, frozenset(), {"dan"}]
    assert first.query_id("ann") == "ann@window-1"
    daily = made_of([("ann", "mug", day) for day in range(11)])
    assert [split.name for split in rolling_windows(daily, windows=10, length=1)][::9] == ["window-01", "window-10"]


@pytest.mark.parametrize(
    ("windows", "length", "message"),
    [
        (0, 10, "0 windows of 10 seconds"),
        (2, 0, "2 windows of 0 seconds"),
        (7, 10, "nothing is before the first window at 1;"),
        (6, 6, "2 of 6 windows are empty, e.g. 2, 4;"),
    ],
)
def test_senseless_windows_are_refused(windows: int, length: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rolling_windows(made_of(LOG), windows, length)


def test_cold_items_are_nowhere_in_the_past() -> None:
    split = cold_items(made_of(LOG), {"jar", "unheard of"})
    assert rows(split.future) == [LOG[3], LOG[4], LOG[5]]
    assert rows(split.past) == [LOG[0], LOG[1], LOG[2], LOG[6], LOG[7]]
    assert (split.in_time, split.cut) == (False, None)
    assert (set(split.new_items), set(split.new_users)) == ({"jar"}, {"cem"})
    with pytest.raises(InputError, match=r"0 of 8 interactions are with 1 cold item_ids, e\.g\. 'nothing'"):
        cold_items(made_of(LOG), ["nothing"])


def test_cold_users_are_drawn_by_seed_whatever_the_order_of_the_log() -> None:
    split = cold_users(made_of(LOG), 0.5, seed=3)
    assert len(split.new_users) == 2
    assert split.new_users == {user for user, _, _ in rows(split.future)}
    assert not split.new_users & {user for user, _, _ in rows(split.past)}
    assert cold_users(made_of(LOG[::-1]), 0.5, seed=3).new_users == split.new_users
    assert (
        len({cold_users(made_of(LOG), 0.5, seed=seed).new_users for seed in range(20)}) == 6
    )  # of 4 users, every pair
    with pytest.raises(InputError, match="both parts need some"):
        cold_users(made_of(LOG[:1]), 0.5)
    with pytest.raises(InputError, match="share of 0 cannot"):
        cold_users(made_of(LOG), 0)


@given(rows=rows_of_logs, number=st.integers(1, 9))
def test_promises_hold_for_any_log(rows: list[Row], number: int) -> None:
    log = made_of(rows)
    splits = [by_user(log, number / 10), leave_last_out(log)]
    times = log.table["timestamp"].to_numpy()
    if times[0] < number <= times[-1]:
        splits.append(at_time(log, number))
    if times[0] < times[-1]:
        splits += rolling_windows(log, 1, int(times[-1] - times[0]))
    for split in splits:
        accounted_for(split, log)
        past, future = (part.table["timestamp"].to_numpy() for part in (split.past, split.future))
        if split.cut is not None:
            assert np.all(past < split.cut)
            assert np.all(future >= split.cut)
        for user in set(split.future.table["user_id"].to_pylist()):
            before, after = (
                [(row["timestamp"], row["weight"]) for row in part.table.to_pylist() if row["user_id"] == user]
                for part in (split.past, split.future)
            )
            if log.has_times:  # without times what is held out is drawn
                assert max(before, default=(-1, 0.0)) < min(after)  # the weight is the place in the log


def test_an_empty_log_cannot_be_cut_in_time() -> None:
    with pytest.raises(InputError, match="the log has nothing before second 0; it is empty"):
        at_time(replace(made_of(LOG), table=made_of(LOG).table[:0]), share=0.5)
