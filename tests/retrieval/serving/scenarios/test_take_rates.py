"""Rates are counted by hand, intervals agree with a bootstrap over users, and what is missing is said."""

from typing import Any

import numpy as np
import pytest

from indexing.errors import InputError
from retrieval.evaluation.statistics import bootstrap_means
from retrieval.interactions.event_types import EventTypes
from retrieval.serving.events import Event, EventLog, impressions
from retrieval.serving.scenarios import take_rates

NOW = 1_700_000_000


def shown(user: str, request: str, variant: str | None, count: int = 4) -> list[Event]:
    return impressions([f"i{n}" for n in range(count)], request, user_id=user, time=NOW, variant=variant)


def take(user: str, request: str, item: str, kind: str = "view") -> Event:
    return Event(item, kind, user_id=user, time=NOW + 5, request_id=request)


def test_rates_are_what_was_taken_of_what_was_shown(log: EventLog) -> None:
    log.append(
        [*shown("ann", "r1", "a"), *shown("bob", "r2", "b"), *shown("cat", "r3", "b", 2), *shown("dan", "r4", None)]
    )
    log.append(
        [
            take("ann", "r1", "i0"), take("ann", "r1", "i0", "buy"),  # one impression, taken once
            take("ann", "r1", "i1", "hide"),  # speaks against it
            take("bob", "r2", "i1"), take("bob", "r2", "i2"), take("bob", "r2", "i9"),  # the last was not shown
            take("cat", "r9", "i0"), Event("i0", "view", user_id="cat", time=NOW),  # of no list, or of another
        ]
    )  # fmt: skip
    found = take_rates(log)
    assert found.baseline == "b"
    counts = {rate.variant: (rate.users, rate.shown, rate.taken, rate.rate) for rate in found.rates}
    assert counts == {"a": (1, 4, 1, 0.25), "b": (2, 6, 2, pytest.approx(1 / 3))}
    (difference,) = found.differences
    assert difference.variant == "a"
    assert difference.difference == pytest.approx(0.25 - 1 / 3)
    assert found.without_variant == 4
    assert take_rates(log, "a").differences[0].difference == pytest.approx(1 / 3 - 0.25)
    likes_hiding = EventLog(log.database, EventTypes.open({"hide": 1.0}))
    assert {rate.variant: rate.taken for rate in take_rates(likes_hiding).rates} == {"a": 1, "b": 0}
    likes_hiding._writer.close()


def test_only_the_person_who_was_shown_an_item_takes_it(log: EventLog) -> None:
    log.append([*shown("ann", "r1", "a", 3), *shown("bob", "r1", "b", 3)])  # one answer to both
    log.append(impressions(["i0", "i1"], "r2", session_id="s1", time=NOW, variant="a"))
    log.append(impressions(["i0"], "r3", user_id="cat", session_id="s2", time=NOW, variant="b"))
    log.append(
        [
            take("bob", "r1", "i0"), take("bob", "r1", "i1"), take("eve", "r1", "i2"),
            Event("i0", "view", user_id="dan", session_id="s1", time=NOW, request_id="r2"),  # has logged in since
            Event("i0", "view", session_id="s2", time=NOW, request_id="r3"), take("eve", "r2", "i1"),
        ]
    )  # fmt: skip
    assert {rate.variant: rate.taken for rate in take_rates(log).rates} == {"a": 1, "b": 3}
    log.merge("eve", "ann")
    assert {rate.variant: rate.taken for rate in take_rates(log).rates} == {"a": 2, "b": 3}


def test_types_count_as_they_weigh_and_unknown_ones_are_said(log: EventLog) -> None:
    types = EventTypes.open({"view": 1.0, "booked": 3.0})
    log.append([*shown("ann", "r1", "a"), *shown("bob", "r2", None)])
    taken = [take("ann", "r1", "i0", "booked"), take("ann", "r1", "i9", "booked"), take("bob", "r2", "i0", "booked")]
    log.append([*taken, take("ann", "r1", "i1")], types)
    found = take_rates(log)
    assert (found.rates[0].taken, found.without_weight) == (1, {"booked": 1})
    assert found.to_json()["without_weight"] == {"booked": 1}
    found = take_rates(log, types=types)
    assert (found.rates[0].taken, found.without_weight) == (2, {})


def test_intervals_agree_with_a_bootstrap_over_users(log: EventLog) -> None:
    rng = np.random.default_rng(5)
    events: list[Event] = []
    for number in range(300):
        user, taste = f"u{number}", rng.beta(1, 3)  # users differ, so that their impressions hang together
        for visit in range(rng.integers(1, 4)):
            variant = "a" if number % 2 else "b"
            if number % 10 == 0 and visit:  # some see both
                variant = "a"
            name = f"{number}-{visit}"
            events += shown(user, name, variant, 5)
            events += [take(user, name, f"i{n}") for n in range(5) if rng.random() < taste]
    for start in range(0, len(events), 5_000):
        log.append(events[start : start + 5_000])
    found = take_rates(log, "b")
    counts: dict[str, Any] = {}
    taken = {(one.request_id, one.item_id) for one in events if one.type == "view"}
    for one in events:
        if one.type == "impression":
            column = 0 if one.variant == "a" else 2
            row = counts.setdefault(one.user_id, [0, 0, 0, 0])
            row[column] += 1
            row[column + 1] += (one.request_id, one.item_id) in taken
    means = bootstrap_means(np.array([*counts.values()], np.float64), seed=1, resamples=4000)
    rates = {"a": means[:, 1] / means[:, 0], "b": means[:, 3] / means[:, 2]}
    for rate in found.rates:
        low, high = np.quantile(rates[rate.variant], [0.025, 0.975])
        assert [rate.low, rate.high] == pytest.approx([low, high], abs=0.008)
    low, high = np.quantile(rates["a"] - rates["b"], [0.025, 0.975])
    (difference,) = found.differences
    assert [difference.low, difference.high] == pytest.approx([low, high], abs=0.01)
    assert take_rates(log, "b", level=0.5).differences[0].low > difference.low


def test_what_is_missing_is_said(log: EventLog) -> None:
    with pytest.raises(InputError, match=r"has no impressions that name a variant \(0 name none\)"):
        take_rates(log)
    log.append([*shown("ann", "r1", "a"), *shown("ann", "r2", None)])
    with pytest.raises(InputError, match="no impression is of the variant 'x'; give one of 'a'"):
        take_rates(log, "x")
    with pytest.raises(InputError, match="the level is 1; give a number between"):
        take_rates(log, level=1)
    (rate,) = take_rates(log).rates
    assert (rate.users, rate.shown, rate.taken) == (1, 4, 0)
    assert np.isnan(rate.low)  # of one user nothing can be said
    log.merge("ann", "bob")
    assert take_rates(log).rates[0].users == 1
