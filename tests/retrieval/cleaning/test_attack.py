"""Fake users who push an item: found or not, what it does to lists, and what happens to everybody else."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.evaluation.baselines import EASE, Popularity
from retrieval.interactions.cleaning import Caps, PrepareConfig, PushLimits, prepare
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions
from scripts.benchmarks.fit.attack import FAKE, plant, pushes_left
from tests.retrieval.cleaning.logs import DAY, Row, log_of, rows_of, shop

PUSHED = "item-90"  # one in sixteen users has it
SHOP = shop(users=600)


def real_rows(interactions: Interactions) -> list[Row]:
    return [row for row in rows_of(interactions) if not row[0].startswith(FAKE)]


def starts(rows: list[Row]) -> dict[str, int]:
    first: dict[str, int] = {}
    for user, _, when in rows:
        first.setdefault(user, when)
    return first


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_taken_for_a_fake_in_a_shop_without_them(seed: int) -> None:
    log = shop(seed)
    prepared, report = prepare(log)
    assert report.removed == {}
    assert prepared == log


@pytest.mark.parametrize("share", [0.03, 0.05, 0.1])
def test_pushes_are_found(share: float) -> None:
    attacked = plant(SHOP, PUSHED, share, "burst", seed=1)
    fakes = round(share * len(pc.unique(SHOP.table["user_id"])))
    assert pushes_left(attacked, PUSHED) == fakes
    prepared, _ = prepare(attacked)
    assert pushes_left(prepared, PUSHED) <= 0.2 * fakes  # as many as are likely genuine stay
    lost = set(rows_of(SHOP)) - set(real_rows(prepared))
    assert {item for _, item, _ in lost} <= {PUSHED}
    assert len(lost) <= 10
    prepared, _ = prepare(attacked, PrepareConfig(pushes=PushLimits(drop="users")))
    assert pushes_left(prepared, PUSHED) <= 0.1 * fakes
    lost_users = {user for user, _, _ in set(rows_of(SHOP)) - set(real_rows(prepared))}
    assert len(lost_users) <= 12  # genuine newcomers of the group go with it


def test_copies_go_with_all_they_did() -> None:
    catalogue = [(f"user-{number}", f"other-{number}", number * 600) for number in range(300)]
    attacked = plant(log_of([*rows_of(SHOP), *catalogue]), PUSHED, 0.01, "copies", seed=1)
    prepared, report = prepare(attacked)
    assert report.removed["copied"].users == 6
    assert rows_of(prepared) == real_rows(attacked)


def test_the_report_tells_who_pushed_what() -> None:
    attacked = plant(SHOP, PUSHED, 0.05, "burst", seed=1)
    (push,) = prepare(attacked)[1].pushes
    assert push.item_id == PUSHED
    assert 30 <= push.users <= 40
    assert push.expected < 15
    last = int(SHOP.table["timestamp"][-1].as_py())
    assert last - 7 * DAY <= push.start <= last
    assert str(push).startswith(f"item-90: {push.users} newcomers from 20")


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05])
def test_with_the_defences_the_share_of_lists_grows_less_than_threefold(share: float) -> None:
    items = ItemIds(sorted(pc.unique(SHOP.table["item_id"]).to_pylist()))
    real = [history.rows for history in histories(SHOP, items)]
    targets = ["item-30", "item-55", "item-70", "item-90"]

    def lists(logs: list[Interactions]) -> list[float]:
        """Mean share of lists that hold the target of each log: of what is popular lately, and of EASE."""
        found = []
        for log, target in zip(logs, targets, strict=True):
            models = (Popularity.fit(log, items, decay_days=10), EASE.fit(log, items, regularisation=20.0))
            lines = [model.recommend(real, 10).rows for model in models]
            found.append([(rows == items.row(target)).any(axis=1).mean() for rows in lines])
        means: list[float] = np.mean(found, axis=0).tolist()
        return means

    attacked = [plant(SHOP, target, share, "burst", seed=3) for target in targets]
    allowed = [3 * max(share, 10 / len(items)) for share in lists([SHOP] * len(targets))]
    assert np.all(np.array(lists([prepare(log)[0] for log in attacked])) < allowed)
    if share > 0.01:
        assert lists(attacked)[0] > allowed[0]  # what the defences are for


def test_what_is_not_found() -> None:
    """Fakes with long histories of their own are no newcomers; the documentation says so."""
    attacked = plant(SHOP, PUSHED, 0.05, "old", seed=1)
    assert pushes_left(prepare(attacked)[0], PUSHED) > 20


def test_what_users_of_long_standing_run_after_too_is_no_push() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(SHOP)
    last = rows[-1][2]
    old = [user for user, when in starts(rows).items() if when < last - 40 * DAY][:80]
    theirs = [(user, PUSHED if rng.random() < 0.7 else "item-3", last - int(rng.integers(DAY))) for user in old]
    novices = [(f"novice-{number}", PUSHED, last - int(rng.integers(DAY))) for number in range(30)]
    assert prepare(log_of([*rows, *theirs, *novices]))[1].pushes == ()
    (alone,) = prepare(log_of([*rows, *novices]))[1].pushes  # the same newcomers without the others
    assert (alone.item_id, alone.users >= 30) == (PUSHED, True)


def test_a_new_item_that_stays_popular_is_no_push() -> None:
    """Users who come once; from day 60 of 90 on, two of five touch it: three times what they are of all users."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(1200):
        when = user * 90 * DAY // 1200
        rows += [(f"user-{user}", f"item-{item}", when) for item in rng.choice(300, 5, replace=False).tolist()]
        if when > 60 * DAY and rng.random() < 0.4:
            rows.append((f"user-{user}", "new", when))
    assert prepare(log_of(rows))[1].pushes == ()


def test_a_group_below_the_least_is_no_push() -> None:
    attacked = plant(SHOP, PUSHED, 0.05, "burst", seed=1)
    off = PrepareConfig(pushes=PushLimits(min_users=40))
    assert prepare(attacked, off)[0] == attacked
    off = PrepareConfig(pushes=PushLimits(min_share=0.1))
    assert prepare(attacked, off)[0] == attacked
    assert prepare(attacked, replace(off, pushes=None))[0] == attacked


def test_a_senseless_way_to_drop_is_refused() -> None:
    with pytest.raises(InputError, match="drop='all' is neither"):
        PushLimits(drop="all")  # type: ignore[arg-type]


rows_of_logs = st.lists(
    st.tuples(
        st.sampled_from([f"user-{number}" for number in range(12)]),
        st.sampled_from([f"item-{number}" for number in range(9)]),
        st.integers(0, 40 * DAY),
    ),
    min_size=1,
    max_size=120,
)
EAGER = PushLimits(min_users=2, lift=1.2, lift_of_new=1.5, false_alarms=10.0)
CONFIG = PrepareConfig(
    repeat_seconds=3600,
    pushes=EAGER,
    caps=Caps(per_pair=2, per_user=9, per_item=8, weight=3.0),
    k_core=(1, 2),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(rows=rows_of_logs, pushes=st.sampled_from([EAGER, replace(EAGER, drop="users")]))
def test_preparing_again_or_a_log_with_a_replay_changes_nothing(rows: list[Row], pushes: PushLimits) -> None:
    config = replace(CONFIG, pushes=pushes)
    weights = [float(place % 5) for place in range(len(rows))]
    log = log_of(rows, weights)
    try:
        once, report = prepare(log, config)
    except InputError:
        with pytest.raises(InputError, match="none is left"):
            prepare(log_of(rows + rows, weights + weights), config)
        return
    assert report.kept + sum(removal.rows for removal in report.removed.values()) == report.rows == len(rows)
    again, second = prepare(once, config)
    assert again == once
    assert (second.removed, second.changed, second.pushes) == ({}, {}, ())
    replayed, third = prepare(log_of(rows + rows, weights + weights), config)
    assert replayed == once
    assert third.rows == 2 * len(rows)


def test_the_group_s_likely_genuine_members_stay() -> None:
    """Thirty fakes of a minute, and genuine newcomers of whom about one in ten has the item anyway."""
    noon = 45 * DAY
    rows = rows_of(SHOP)
    fakes = [(f"fake-{number:02d}", item, noon) for number in range(30) for item in (PUSHED, f"item-{number}")]
    stays = [("stays", PUSHED, noon), ("stays", "item-3", noon + 30 * DAY)]
    log_rows = [*rows, *fakes, *stays]
    prepared, report = prepare(log_of(log_rows))
    (push,) = report.pushes
    assert push.users > 30
    kept = {user for user, item, _ in rows_of(prepared) if item == PUSHED}
    lost = {user for user, item, _ in log_rows if item == PUSHED} - kept
    assert "stays" in kept
    assert 1 <= push.users - len(lost) <= 8  # about a tenth of the newcomers of nine days


def test_pushes_are_among_what_the_property_meets() -> None:
    rng = np.random.default_rng(0)
    rows = [(f"user-{rng.integers(12)}", f"item-{rng.integers(9)}", int(rng.integers(40 * DAY))) for _ in range(120)]
    rows += [(f"new-{number}", "item-8", 39 * DAY) for number in range(6)]
    assert prepare(log_of(rows), replace(CONFIG, k_core=None))[1].pushes


def test_an_attack_that_is_replayed_is_prepared_alike() -> None:
    attacked = plant(SHOP, PUSHED, 0.05, "burst", seed=1)
    rows = rows_of(attacked)
    assert prepare(log_of(rows + rows))[0] == prepare(log_of(rows))[0]
