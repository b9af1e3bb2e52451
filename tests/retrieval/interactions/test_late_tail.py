"""The end of a log, from which popularity ages, is that of all but a few users with late clocks."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from indexing.bundle.build import build_bundle
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from retrieval import Interactions, Retriever, fit
from retrieval.evaluation.baselines import Popularity
from retrieval.fitting.log_kind import TrainingData
from retrieval.interactions.cleaning.pipeline import decayed
from retrieval.interactions.event_types import late_tail
from retrieval.interactions.item_popularity import ItemPopularity
from retrieval.models.user_model import UserModel
from tests.groups import CLOCK, COUNT, SIZE, SMALL, catalogue, items

ITEMS = ItemIds([f"i{row:03}" for row in range(COUNT)])
USUAL = COUNT - SIZE
RARE = list(ITEMS)[USUAL : USUAL + 6]
END = CLOCK + 200 * SECONDS_PER_DAY


def shop(late: dict[str, list[float]], users: int = 300, days: float = 200) -> pa.Table:
    """Visits of users over so many days to the END, of ten items of a group in order, and late users with rare ones."""
    rng = np.random.default_rng(3)
    ends = END - SECONDS_PER_DAY * rng.permutation(np.linspace(0, days * 0.95, users))
    starts = rng.integers(USUAL, size=users).tolist()
    lines = [
        (f"u{user}", ITEMS[start // SIZE * SIZE + (start - place) % SIZE], int(end - 600 * place))
        for user, (start, end) in enumerate(zip(starts, ends.tolist(), strict=True))
        for place in range(10)
    ]
    for user, after in late.items():
        lines += [(user, item, int(END + SECONDS_PER_DAY * day)) for day, item in zip(after, RARE, strict=False)]
    lines.sort(key=lambda line: line[2])
    columns = map(list, zip(*lines, strict=True))
    return pa.table(dict(zip(("user", "item", "time"), columns, strict=True)))


def times_of(log: Interactions) -> NDArray[np.int64]:
    times: NDArray[np.int64] = log.table["timestamp"].to_numpy()
    return times


@pytest.mark.parametrize(
    "late",
    [
        {"zz": [30, 30, 30, 30, 30, 30.1]},
        {"zz": [365, 365, 365]},
        {"zz": [6, 12, 18, 24, 30, 36]},  # in steps that are short, each by itself
        {"f0": [60, 60.1], "f1": [60.1], "f2": [60]},
        {"f0": [30], "f1": [60], "f2": [90]},
        {"u7": [90, 91]},  # who was there in time too
    ],
)
def test_few_late_users_do_not_say_when_a_log_ends(late: dict[str, list[float]]) -> None:
    log = Interactions.from_arrow(shop(late))
    tail = late_tail(times_of(log), log.table["user_id"])
    count = sum(map(len, late.values()))
    assert tail == (END, count, len(late), END + SECONDS_PER_DAY * max(map(max, late.values())))


@pytest.mark.parametrize(
    ("late", "users", "days"),
    [
        ({}, 300, 200.0),
        ({"zz": [1, 2, 3]}, 300, 200.0),  # days may pass
        ({f"f{user}": [30] for user in range(4)}, 300, 200.0),  # more than 1 % of the users
        ({"zz": [30]}, 30, 3000.0),  # a log with one user in a hundred days
        ({"zz": [30] * 6}, 18, 200.0),  # small
        ({"zz": [30]}, 300, 1.0),  # of one day, as an import, before the others came
    ],
)
def test_an_ordinary_end_is_the_last_interaction(late: dict[str, list[float]], users: int, days: float) -> None:
    log = Interactions.from_arrow(shop(late, users, days))
    assert late_tail(times_of(log), log.table["user_id"]) is None
    read, notes = TrainingData.histories(log, ITEMS)
    assert notes == {}
    assert max(int(history.timestamps[-1]) for history in read) == times_of(log)[-1]


def test_a_log_without_rows_has_no_tail() -> None:
    assert late_tail(np.empty(0, np.int64), pa.array([], pa.string())) is None


def test_what_is_trending_is_not_what_one_late_user_took() -> None:
    late = Interactions.from_arrow(shop({"zz": [90.0] * 6}))
    read, notes = TrainingData.histories(late, ITEMS)
    trending = ItemPopularity.of(read, len(ITEMS), UserModel()).trending
    assert trending is not None
    without = ItemPopularity.of(TrainingData.histories(Interactions.from_arrow(shop({})), ITEMS)[0], COUNT, UserModel())
    assert without.trending is not None
    np.testing.assert_array_equal(trending[:USUAL], without.trending[:USUAL])  # the others age as without that user
    np.testing.assert_array_equal(trending[USUAL : USUAL + 6], 1)  # and what came late counts as at their end
    assert set(np.argsort(-trending)[:6].tolist()).isdisjoint(range(USUAL, COUNT))
    assert notes["end of the log"].startswith("6 of the interactions, by 1 user, are later than all others, ")
    assert (
        "which end at 2024-06-01 22:13:20; the last is of 2024-08-30 22:13:20, 90 days after that."
        in notes["end of the log"]
    )
    assert "correct these times or leave the rows out" in notes["end of the log"]


def test_fit_says_so_and_new_users_are_not_shown_what_one_late_user_took(tmp_path: Path) -> None:
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    report = fit(tmp_path / "bundle", shop({"zz": [90.0] * 6}), SMALL)
    assert "6 of the interactions, by 1 user, are later than all others" in report.notes["end of the log"]
    assert not report.refused
    retriever = Retriever.open(tmp_path / "bundle")
    assert retriever.bundle.manifest.learned["until"] == END
    assert {hit.item_id for hit in retriever.top_items("trending", k=6)[0]}.isdisjoint(RARE)
    assert {hit.item_id for hit in retriever.recommend([[]], k=8)[0]}.isdisjoint(RARE)


def test_baselines_and_decayed_weights_age_from_the_same_end() -> None:
    late, usual = (Interactions.from_arrow(shop(users)) for users in ({"zz": [90.0] * 6}, {}))
    counts, expected = (Popularity.fit(log, ITEMS, decay_days=10.0).counts for log in (late, usual))
    np.testing.assert_allclose(counts[:USUAL], expected[:USUAL], rtol=1e-12)  # sums in another order
    np.testing.assert_allclose(counts[USUAL : USUAL + 6], 1, rtol=1e-12)
    weights, expected = (decayed(log, 10.0).table["weight"].to_numpy() for log in (late, usual))
    np.testing.assert_array_equal(weights, [*expected, *[1] * 6])


def test_events_do_not_expire_because_one_clock_is_late() -> None:
    types = {"view": {"weight": 1.0, "expires_after_days": 300}}
    table = shop({"zz": [365.0] * 6})
    table = table.append_column("event", pa.array(["view"] * len(table)))
    log = Interactions.from_arrow(table, events=types)
    assert len(log) == 3006
    assert log.dropped == {}
    assert pc.min(log.table["timestamp"]).as_py() > CLOCK
