"""A planted leak of each kind is caught by name; what is clean passes."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import CommonspaceError, InputError, LeakError
from retrieval.candidates import Candidates
from retrieval.evaluation.splits import splits
from retrieval.evaluation.splits.leaks import (
    check_all,
    check_answers,
    check_candidates,
    check_duplicates,
    check_feature,
    check_negatives,
    check_order,
    check_past_only,
    item_counts,
)
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.interactions import Interactions

LOG = [
    ("ann", "mug", 10, 5.0),
    ("bob", "cup", 20, 2.0),
    ("ann", "cup", 30, 4.0),
    ("cem", "mug", 40, 3.0),
    ("ann", "jar", 50, 5.0),
    ("bob", "mug", 50, 1.0),
    ("bob", "pot", 60, 4.0),
]


def made_of(rows: list[tuple[str, str, int, float]]) -> Interactions:
    return Interactions.from_arrow(
        pa.table(dict(zip(("user", "item", "time", "weight"), zip(*rows, strict=True), strict=True)))
    )


@pytest.fixture
def split() -> Split:
    """Past: four interactions until second 40; future: three from 50."""
    return splits.at_time(made_of(LOG), 50)


def lists(*lines: list[str]) -> Candidates:
    items = ItemIds(["mug", "cup", "jar", "pot", "fan"])
    rows = np.array([items.rows(line) for line in lines])
    scores = np.tile(-np.arange(rows.shape[1], dtype=np.float32), (len(rows), 1))
    return Candidates(np.zeros((len(rows), 2), np.float32), rows, scores, items, "retrieve")


def test_every_clean_split_passes(split: Split) -> None:
    log = made_of(LOG)
    clean = [split, splits.by_user(log, 0.4), splits.leave_last_out(log), *splits.rolling_windows(log, 2, 15)]
    for one in [*clean, splits.cold_items(log, ["jar"]), splits.cold_users(log, 0.3)]:
        check_all(one, counts=item_counts(one.past))
    check_all(
        split,
        relevant={"ann": {"jar"}, "bob": {"mug", "pot"}},
        candidates=lists(["cup", "fan"], ["mug", "fan"]),
        negatives={"ann": ["pot", "fan"], "bob": ["jar"], "eve": ["mug"]},
        counts={"mug": 2, "cup": 2.0},
    )


def test_the_future_in_the_past_of_a_cut_is_caught(split: Split) -> None:
    leaky = replace(split, past=made_of([*LOG[:4], ("bob", "fan", 50, 1.0), ("eve", "fan", 70, 1.0)]))
    with pytest.raises(
        LeakError,
        match=r"^future in the past: 2 of 6 interactions of the past are at or after the cut "
        r"at 50, e.g. \('bob', 'fan', 50\), \('eve', 'fan', 70\); cut the log with .*at_time$",
    ):
        check_order(leaky)
    early = replace(split, future=made_of([("bob", "fan", 49, 1.0), *LOG[4:]]))
    with pytest.raises(LeakError, match=r"future in the past: 1 of 4 interactions of the future are before the cut"):
        check_order(early)


def test_the_future_in_the_past_of_a_user_is_caught() -> None:
    log = splits.by_user(made_of(LOG), 0.4)
    assert {line["user_id"] for line in log.future.table.to_pylist()} == {"ann", "bob"}
    swapped = Split("by_user", past=log.future, future=log.past)
    with pytest.raises(
        LeakError,
        match=r"future in the past: 2 of 3 users have a past that is later than their future "
        r"\(user, past until, future from\), e.g. \('ann', 50, 10\), \('bob', 60, 20\)",
    ):
        check_order(swapped)
    check_order(replace(swapped, in_time=False))


def test_one_second_on_both_sides_is_no_leak_without_a_cut() -> None:
    log = splits.by_user(made_of([("ann", "mug", 5, 1.0), ("ann", "cup", 5, 1.0)]), 0.5)
    check_order(log)
    with pytest.raises(LeakError, match="future in the past: 1 of 1 interactions of the past"):
        check_order(replace(log, cut=5))


def test_the_same_interaction_in_both_parts_is_caught(split: Split) -> None:
    check_duplicates(split.past, split.future)
    twice = made_of([("ann", "mug", 50, 5.0), ("bob", "mug", 10, 5.0), *LOG[4:]])
    check_duplicates(split.past, twice)  # another second, another user: not the same
    with pytest.raises(
        LeakError,
        match=r"^same interaction in both parts: 1 of 5 interactions of the future are in the "
        r"past as well, e.g. \('ann', 'mug', 50\)",
    ):
        check_duplicates(split.past, twice, within=40)
    check_duplicates(split.past, twice, within=39)
    with pytest.raises(LeakError, match=r"same interaction in both parts: 4 of 4"):
        check_duplicates(split.past, split.past)


def test_duplicates_agree_with_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    for within in (0, 1, 3):
        parts = [
            [(f"u{u}", f"i{i}", int(t), 1.0) for u, i, t in rng.integers(0, (3, 3, 30), (20, 3))] for _ in range(2)
        ]
        bad = [b for b in parts[1] if any(a[:2] == b[:2] and abs(a[2] - b[2]) <= within for a in parts[0])]
        with pytest.raises(LeakError, match=f"same interaction in both parts: {len(bad)} of 20"):
            check_duplicates(made_of(parts[0]), made_of(parts[1]), within=within)


def test_counts_over_all_time_are_caught(split: Split) -> None:
    check_past_only(item_counts(split.past), split.past)
    check_past_only({"mug": 2, "jar": 0, "fan": float("nan")}, split.past)  # nothing known of the others
    with pytest.raises(
        LeakError,
        match=r"^known only from the future: 3 of 4 values are not what the past gives \(key, "
        r"given, from the past\), e.g. \('mug', 3.0, 2.0\), \('jar', 1.0, 0.0\), \('pot', 1.0, 0.0\)",
    ):
        check_past_only(item_counts(made_of(LOG)), split.past)


def mean_weights(interactions: Interactions) -> dict[str, float]:
    means = interactions.table.group_by("item_id", use_threads=False).aggregate([("weight", "mean")])
    return dict(zip(means["item_id"].to_pylist(), means["weight_mean"].to_pylist(), strict=True))


def test_other_aggregates_are_checked_by_how_they_are_made(split: Split) -> None:
    check_past_only({"mug": 4.0, "cup": 3.0}, split.past, mean_weights)
    with pytest.raises(LeakError, match=r"known only from the future: 1 of 2 .*\('mug', 3.0, 4.0\)"):
        check_past_only({"mug": 3.0, "cup": 3.0}, split.past, mean_weights)


def test_a_feature_that_forgets_the_time_is_caught(split: Split) -> None:
    def careful(log: Interactions, second: int) -> dict[str, float]:
        return item_counts(Interactions(log.table.filter(pa.array(log.table["timestamp"].to_numpy() < second))))

    def careless(log: Interactions, second: int) -> dict[str, float]:
        return item_counts(log)

    def vanishing(log: Interactions, second: int) -> dict[str, float]:
        return {} if log.table["timestamp"].to_numpy().max() >= second else {"mug": 1.0}

    check_feature(careful, split)
    with pytest.raises(
        LeakError,
        match=r"known only from the future: 3 of 4 values change with what happens after 50 .*"
        r"\('mug', 3.0, 2.0\)",
    ):
        check_feature(careless, split)
    with pytest.raises(LeakError, match=r"1 of 0 values change .*\('mug', 0.0, 1.0\)"):
        check_feature(vanishing, split)
    with pytest.raises(InputError, match="'by_user' has no cut at which to ask a feature"):
        check_feature(careful, splits.by_user(made_of(LOG)))


def test_answers_among_the_negatives_are_caught(split: Split) -> None:
    negatives = {"ann": ["pot", "jar"], "bob": ["fan", "mug"], "eve": ["pot"]}
    with pytest.raises(
        LeakError,
        match=r"^answers among the negatives: 2 of 5 training negatives are what the same user "
        r"likes in the future \(user, item\), e.g. \('ann', 'jar'\), \('bob', 'mug'\)",
    ):
        check_negatives(negatives, split.future)
    with pytest.raises(LeakError, match=r"answers among the negatives: 1 of 5 .*\('ann', 'jar'\);"):
        check_negatives(negatives, split.future, min_weight=4)
    check_negatives(negatives, split.future, tolerance=0.4)
    with pytest.raises(LeakError, match="answers among the negatives"):
        check_negatives(negatives, split.future, tolerance=0.39)


def test_answers_already_seen_are_caught() -> None:
    check_answers({"ann": ["jar"], "bob": ["mug"]}, {"ann": ["mug"]})
    with pytest.raises(
        LeakError,
        match=r"^answers already seen: 1 of 3 relevant items are in the query's own history "
        r"\(query, item\), e.g. \('ann', 'mug'\)",
    ):
        check_answers({"ann": ["jar", "mug"], "bob": ["mug"]}, {"ann": ["mug"]})


def test_items_of_the_future_among_the_candidates_are_caught(split: Split) -> None:
    check_candidates(lists(["mug", "fan"]), split)  # nobody ever touched the fan: not new, only unpopular
    with pytest.raises(
        LeakError,
        match=r"^items of the future among the candidates: 2 items, in 2 of 3 lists, were first "
        r"touched after the past, e.g. 'jar', 'pot'",
    ):
        check_candidates(lists(["mug", "pot"], ["jar", "pot"], ["cup", "fan"]), split)
    short = lists(["mug", "pot"])
    check_candidates(replace(short, rows=np.array([[0, -1]])), split)


def test_all_leaks_are_named_at_once(split: Split) -> None:
    leaky = replace(split, past=made_of([*LOG[:4], LOG[6]]))
    with pytest.raises(CommonspaceError) as caught:
        check_all(
            leaky,
            relevant={"ann": ["mug"]},
            candidates=lists(["jar", "fan"]),
            negatives={"ann": ["jar"]},
            counts={"mug": 3},
        )
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "future in the past",
        "same interaction in both parts",
        "answers already seen",
        "items of the future among the candidates",
        "answers among the negatives",
        "known only from the future",
    ]
