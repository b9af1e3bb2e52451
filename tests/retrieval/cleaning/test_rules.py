"""Each reason to leave something out, by hand and against plain loops."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import InputError
from retrieval.interactions.cleaning import BotLimits, Caps, PrepareConfig, PushLimits, Removal, decayed, prepare
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.log_schema import SCHEMA
from tests.retrieval.cleaning.logs import DAY, START, Row, log_of, rows_of

OFF = PrepareConfig(bots=None, pushes=None, caps=Caps(per_pair=None))

rows_of_logs = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(["mug", "cup", "jar", "pot"]), st.integers(0, 12)),
    min_size=1,
    max_size=50,
)


def bots(limits: BotLimits) -> PrepareConfig:
    return replace(OFF, bots=limits)


def test_nothing_is_left_out_of_a_good_log_and_its_order_stays() -> None:
    log = log_of([("b", "mug", 5), ("a", "cup", 2), ("a", "mug", 5)], [1.0, 2.0, 3.0])
    prepared, report = prepare(log)
    assert prepared == log
    assert (report.rows, report.kept, report.users, report.items) == (3, 3, (2, 2), (2, 2))
    assert (report.removed, report.changed, report.timed) == ({}, {}, True)


def test_one_of_the_same_second_stays_with_the_largest_weight() -> None:
    rows = [("a", "mug", 5), ("a", "mug", 5), ("a", "cup", 5), ("b", "mug", 5), ("a", "mug", 6)]
    prepared, report = prepare(log_of(rows, [1.0, 4.0, 2.0, 1.0, 1.0]), OFF)
    assert rows_of(prepared) == [("a", "mug", 5), ("a", "cup", 5), ("b", "mug", 5), ("a", "mug", 6)]
    assert prepared.table["weight"].to_pylist() == [4.0, 2.0, 1.0, 1.0]
    assert report.removed == {"duplicate": Removal(1, 1, 1, (("a", "mug"),))}
    assert report.changed == {"raised to that of a duplicate": 1}


def test_a_longer_time_between_repeats_follows_the_clock() -> None:
    start = -START % 60  # the first full minute
    rows = [("a", "mug", start + second) for second in (0, 59, 60, 130, 131)]
    prepared, _ = prepare(log_of(rows), replace(OFF, repeat_seconds=60))
    assert [when - start for _, _, when in rows_of(prepared)] == [0, 60, 130]


@given(rows=rows_of_logs, seconds=st.integers(1, 5))
def test_repeats_equal_a_plain_loop(rows: list[Row], seconds: int) -> None:
    weights = [float(place % 7) for place in range(len(rows))]
    kept: dict[tuple[str, str, int], list[float]] = {}
    for when, place in sorted((row[2], place) for place, row in enumerate(rows)):
        user, item, _ = rows[place]
        slot = (user, item, (START + when) // seconds)
        if slot in kept:
            kept[slot][2] = max(kept[slot][2], weights[place])
        else:
            kept[slot] = [when, place, weights[place]]
    prepared, report = prepare(log_of(rows, weights), replace(OFF, repeat_seconds=seconds))
    assert rows_of(prepared) == [rows[int(place)] for _, place, _ in kept.values()]
    assert prepared.table["weight"].to_pylist() == [weight for _, _, weight in kept.values()]
    assert report.rows - report.kept == len(rows) - len(kept)


def test_impossible_times_are_left_out() -> None:
    rows = [("a", "mug", 0), ("a", "cup", -START + 5), ("b", "mug", 3 * DAY), ("b", "cup", DAY)]
    prepared, report = prepare(log_of(rows), replace(OFF, latest=START + 2 * DAY))
    assert rows_of(prepared) == [("a", "mug", 0), ("b", "cup", DAY)]
    assert report.removed == {"impossible time": Removal(2, 2, 2, (("a", "cup"), ("b", "mug")))}


def test_a_log_without_a_clock_is_not_judged_by_time() -> None:
    rows = [("a", f"item-{number}", -START) for number in range(40)]
    prepared, report = prepare(log_of(rows), bots(BotLimits(per_hour=10)))
    assert len(prepared) == 40
    assert not report.timed
    assert report.summary()["times"] == "none that are dates: rates and pushes were not checked"


def test_rows_that_repeat_without_times_may_be_events_to_count() -> None:
    for second, hint in ((-START, "; if each row is an event, count them with repeats sum"), (0, "")):
        rows = [("a", "mug", second), ("a", "mug", second), ("a", "cup", second)]
        _, report = prepare(log_of(rows), PrepareConfig())
        assert report.summary()["duplicate"] == f"1 of 1 users on 1 items, as a mug{hint}"


def test_users_who_are_too_fast_go_and_those_at_the_limit_stay() -> None:
    fast = [("fast", f"item-{number}", 359 * number) for number in range(11)]  # 11 in 3590 seconds
    fair = [("fair", f"item-{number}", 360 * number) for number in range(11)]  # the eleventh an hour after the first
    long = [("long", f"item-{number}", 4000 * number) for number in range(13)]  # 13 in 48,000 seconds
    limits = BotLimits(per_hour=10, per_day=12)
    prepared, report = prepare(log_of([*fast, *fair, *long]), bots(limits))
    assert {user for user, _, _ in rows_of(prepared)} == {"fair"}
    assert report.removed["too fast"].rows == 24
    assert report.removed["too fast"].users == 2


@given(rows=rows_of_logs, per_hour=st.integers(1, 6))
def test_rates_equal_a_plain_loop(rows: list[Row], per_hour: int) -> None:
    stretched = sorted({(user, item, 700 * when) for user, item, when in rows})
    of_user: dict[str, list[int]] = defaultdict(list)
    for user, _, when in stretched:
        of_user[user].append(when)
    fast = {u for u, ts in of_user.items() if any(sum(t <= other < t + 3600 for other in ts) > per_hour for t in ts)}
    if len(fast) < len(of_user):
        prepared, _ = prepare(log_of(stretched), bots(BotLimits(per_hour=per_hour)))
        assert {user for user, _, _ in rows_of(prepared)} == set(of_user) - fast


def test_robots_of_one_item_go_and_lovers_of_two_stay() -> None:
    robot = [("robot", "mug", DAY * number) for number in range(5)]
    lover = [("lover", "mug", DAY * number) for number in range(5)] + [("lover", "cup", 1)]
    brief = [("brief", "mug", DAY * number) for number in range(4)]
    prepared, report = prepare(log_of([*robot, *lover, *brief]), bots(BotLimits(of_one_item=5)))
    assert {user for user, _, _ in rows_of(prepared)} == {"lover", "brief"}
    assert report.removed == {"of one item": Removal(5, 1, 1, (("robot", "mug"),) * 3)}


def test_histories_that_are_nearly_the_same_go() -> None:
    crowd = [(f"user-{number}", f"item-{number}", number) for number in range(300)]  # a catalogue of 300 items
    copies = [
        (f"copy-{copy}", f"item-{item}", 1000 * copy + item)
        for copy in range(5)
        for item in {*range(100, 110)} - {100 + copy}  # 9 of 10: two of them share 8 of 10
    ]
    few = [(f"few-{copy}", f"item-{item}", 1000 * copy + item) for copy in range(4) for item in range(200, 210)]
    prepared, report = prepare(log_of([*crowd, *copies, *few]), bots(BotLimits(copies=5, alike=0.8)))
    left = {user.split("-")[0] for user, _, _ in rows_of(prepared)}
    assert left == {"user", "few"}
    assert (report.removed["copied"].users, report.removed["copied"].rows) == (5, 45)
    assert len(prepare(log_of([*crowd, *copies]), bots(BotLimits(alike=0.81)))[0]) == 345
    assert len(prepare(log_of([*crowd, *few]), bots(BotLimits(copies=4)))[0]) == 300


def test_in_a_small_catalogue_people_may_touch_the_same() -> None:
    rows = [(f"user-{number}", f"item-{item}", number) for number in range(20) for item in range(10)]
    assert len(prepare(log_of(rows))[0]) == 200


def test_caps_keep_the_latest() -> None:
    rows = [("a", "mug", 1), ("a", "mug", 2), ("a", "cup", 3), ("a", "mug", 4), ("b", "mug", 5), ("a", "jar", 6)]
    by_pair, report = prepare(log_of(rows), replace(OFF, caps=Caps(per_pair=2)))
    assert [when for _, _, when in rows_of(by_pair)] == [2, 3, 4, 5, 6]
    assert report.removed == {"over the cap of a user and item": Removal(1, 1, 1, (("a", "mug"),))}
    by_user, report = prepare(log_of(rows), replace(OFF, caps=Caps(per_pair=None, per_user=3)))
    assert [when for _, _, when in rows_of(by_user)] == [3, 4, 5, 6]
    assert report.removed == {"over the cap of a user": Removal(2, 1, 1, (("a", "mug"), ("a", "mug")))}


def test_the_cap_of_an_item_draws_the_same_users_whenever_they_came() -> None:
    rows = [(f"user-{number}", item, number) for number in range(40) for item in ("mug", "cup")]
    config = replace(OFF, caps=Caps(per_item=10))
    drawn = {(user, item) for user, item, _ in rows_of(prepare(log_of(rows), config)[0])}
    assert Counter(item for _, item in drawn) == {"mug": 10, "cup": 10}
    later = [(user, item, 1000 - when) for user, item, when in rows if (user, item) in drawn or when % 3]
    assert {(user, item) for user, item, _ in rows_of(prepare(log_of(later), config)[0])} == drawn
    positions = sorted(int(user.split("-")[1]) for user, item in drawn if item == "mug")
    assert positions[0] < 20 <= positions[-1]  # neither the first nor the last ten


def test_weights_are_bounded() -> None:
    prepared, report = prepare(
        log_of([("a", "mug", 1), ("b", "mug", 2), ("c", "mug", 3)], [0.5, 1e30, -2.0]),
        replace(OFF, caps=Caps(weight=5.0)),
    )
    assert prepared.table["weight"].to_pylist() == [0.5, 5.0, -2.0]
    assert report.changed == {"lowered to the cap": 1}


@given(rows=rows_of_logs, items_a_user=st.integers(1, 3), users_an_item=st.integers(1, 4))
def test_the_core_equals_a_plain_loop(rows: list[Row], items_a_user: int, users_an_item: int) -> None:
    pairs = {(user, item) for user, item, _ in rows}
    while True:
        users, items = Counter(user for user, _ in pairs), Counter(item for _, item in pairs)
        kept = {(u, i) for u, i in pairs if users[u] >= items_a_user and items[i] >= users_an_item}
        if kept == pairs:
            break
        pairs = kept
    config = replace(OFF, k_core=(items_a_user, users_an_item))
    if not pairs:
        with pytest.raises(InputError, match=r"none is left: .*'outside the k-core': "):
            prepare(log_of(rows), config)
        return
    prepared, report = prepare(log_of(rows), config)
    assert {(user, item) for user, item, _ in rows_of(prepared)} == pairs
    assert report.users[1] == len({user for user, _ in pairs})
    assert report.items[1] == len({item for _, item in pairs})


def test_weights_decay_by_age() -> None:
    log = log_of([("a", "mug", 0), ("a", "cup", 5 * DAY), ("a", "jar", 10 * DAY)], [8.0, 8.0, 8.0])
    np.testing.assert_allclose(decayed(log, 5).table["weight"], [2, 4, 8])
    earlier = decayed(log, 5, now=START + 5 * DAY)
    np.testing.assert_allclose(earlier.table["weight"], [4, 8, 8])
    assert rows_of(earlier) == rows_of(log)
    with pytest.raises(InputError, match="half-life of 0 days"):
        decayed(log, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrepareConfig(repeat_seconds=0), "repeat_seconds=0 must be 1 or more"),
        (lambda: PrepareConfig(latest=5), "latest=5 is before earliest"),
        (lambda: PrepareConfig(k_core=(5, 0)), r"a core of \(5, 0\); give two numbers of 1 and more"),
        (lambda: BotLimits(per_hour=0), "per_hour=0 must be positive"),
        (lambda: BotLimits(alike=0.4), "alike=0.4 must be from 0.5 to 1"),
        (lambda: BotLimits(copies=1), "copies=1 must be 2 or more"),
        (lambda: PushLimits(window_days=()), r"window_days=\(\) must be positive numbers"),
        (lambda: PushLimits(lift=-1.0), "lift=-1.0 must be positive"),
        (lambda: Caps(weight=float("inf")), "weight=inf must be positive"),
    ],
)
def test_senseless_limits_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_the_report_is_json_and_lines() -> None:
    log = log_of([("a", "mug", 5), ("a", "mug", 5)])
    _, report = prepare(replace(log, dropped={"blank user_id": 3}))
    assert report.to_json()["removed"] == {
        "duplicate": {"rows": 1, "users": 1, "items": 1, "examples": (("a", "mug"),)}
    }
    assert report.summary() == {
        "interactions": "1 kept of 2",
        "users": "1 kept of 1",
        "items": "1 kept of 1",
        "left out when read: blank user_id": "3",
        "duplicate": "1 of 1 users on 1 items, as a mug",
    }


def test_an_empty_log_stays_empty() -> None:
    empty = Interactions(SCHEMA.empty_table())
    prepared, report = prepare(empty)
    assert prepared == empty
    assert (report.rows, report.kept, report.removed) == (0, 0, {})


def test_every_rule_is_reported_before_it_is_tried() -> None:
    calls: list[str] = []
    prepare(log_of([("a", "mug", 1)]), replace(PrepareConfig(), k_core=(1, 1)), on_rule=calls.append)
    assert calls == [
        "impossible time",
        "duplicate",
        "too fast",
        "of one item",
        "copied",
        "pushed",
        "pushed",
        "over the cap of a user and item",
        "outside the k-core",
    ]
