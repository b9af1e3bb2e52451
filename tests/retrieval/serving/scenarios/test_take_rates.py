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
