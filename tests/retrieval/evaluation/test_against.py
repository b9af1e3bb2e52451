"""Baselines beside recommendations: what each is worth by hand, and what is said of it."""

import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.evaluation import AgainstBaselines, against_baselines, evaluate
from retrieval.evaluation.baselines import families as baseline_families
from retrieval.evaluation.baselines.families import DECAYED, TrainingData, UserBatch
from retrieval.evaluation.baselines.tuned import tuned_baselines
from retrieval.evaluation.statistics import bootstrap_intervals
from retrieval.interactions.interactions import Interactions

DAY = 86_400
PAIRS = 5
ITEMS = ItemIds(["p0", "p1", *(f"a{n}" for n in range(PAIRS)), *(f"b{n}" for n in range(PAIRS)), "q"])
NOBODY: Rows = np.empty(0, np.int64)
ASKING = [f"t{n}" for n in range(2 * PAIRS)]  # each has come to one a, and will come to its b
FOUND = 1 / (1 + 1 / np.log2(3))  # ndcg@10 of one of two items in the first place


def log(rows: Sequence[tuple[str, str]], times: Sequence[int] = (), ratings: Sequence[float] = ()) -> Interactions:
    table = {"user_id": [row[0] for row in rows], "item_id": [row[1] for row in rows]}
    more = {"timestamp": list(times)} if len(times) else {}
    weighed = {"rating": list(ratings)} if len(ratings) else {}
    return Interactions.from_arrow(pa.table(table | more | weighed))


@pytest.fixture(scope="module")
def past() -> Interactions:
    """30 users who came to a pair each, 12 to what is popular, and those who will be asked."""
    pairs = [(f"u{n:02}", f"{kind}{n % PAIRS}") for n in range(30) for kind in "ab"]
    popular = [(f"v{n:02}", item) for n in range(12) for item in ("p0", "p1")]
    return log([*pairs, *popular, *((user, f"a{n % PAIRS}") for n, user in enumerate(ASKING))])


def listed(lists: Sequence[Sequence[str]], histories: Sequence[Rows]) -> Candidates:
    rows = np.full((len(lists), 10), -1, np.int64)
    for line, one in enumerate(lists):
        rows[line, : len(one)] = ITEMS.rows(list(one))
    scores = np.where(rows < 0, -np.inf, -np.arange(10.0)).astype(np.float32)
    nothing = np.zeros((len(lists), 0), np.float32)
    return Candidates(nothing, rows, scores, ITEMS, "retrieve", tuple(ASKING[: len(lists)]), tuple(histories))


def histories() -> list[Rows]:
    return [ITEMS.rows([f"a{n % PAIRS}"]) for n in range(len(ASKING))]


def wanted(*more: str) -> list[list[str]]:
    return [[f"b{n % PAIRS}", *more] for n in range(len(ASKING))]


@pytest.fixture
def content() -> Vectors:
    """The two of a pair are alike."""
    vectors = np.zeros((len(ITEMS), PAIRS + 2), np.float32)
    for row, item in enumerate(ITEMS):
        vectors[row, int(item[1]) if item[0] in "ab" else PAIRS + (item == "q")] = 1
    return vectors


def test_each_baseline_is_worth_what_it_is_by_hand(past: Interactions, content: Vectors) -> None:
    """p0 and p1 have 12 users, an a 8, a b 6, ties by row: popularity has the b of pair n at rank 7 + n."""
    found = against_baselines(listed(wanted(), histories()), wanted(), past, content=content)
    values = {row.baseline.name: row.evaluation.per_query["ndcg@10"] for row in found.rows}
    by_rank = [1 / np.log2(8 + n) if n < 4 else 0.0 for n in range(PAIRS)]
    np.testing.assert_allclose(values["popularity"], by_rank * 2, atol=1e-12)
    for name in ("item-kNN", "EASE", "content"):  # nothing but its pair goes with an a
        np.testing.assert_allclose(values[name], 1.0, atol=1e-12)
    assert values["iALS"].mean() > values["popularity"].mean()
    assert found.baselines.left_out == {DECAYED: "the log has no times"}
    assert (found.users, found.available_users, found.new_users) == (10, 10, None)
    means = sorted(map(np.mean, values.values()), reverse=True)
    assert [row.evaluation.means["ndcg@10"] for row in found.rows] == means


@pytest.fixture
def bare(past: Interactions, monkeypatch: pytest.MonkeyPatch) -> Interactions:
    """The log where nothing but popularity and EASE can be fitted; EASE has the b first, and never the q."""
    for module in [name for name in sys.modules if name.partition(".")[0] == "implicit"]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("implicit", "implicit.nearest_neighbours", "implicit.cpu.als"):
        monkeypatch.setitem(sys.modules, module, None)
    return past


def compared(lists: Sequence[Sequence[str]], past: Interactions) -> AgainstBaselines:
    return against_baselines(listed(lists, histories()[: len(lists)]), wanted("q")[: len(lists)], past)


@pytest.mark.parametrize(
    ("lists", "verdict", "relative", "sentence"),
    [
        (
            wanted("q"),
            "better",
            1 / np.log2(3),
            "63 % better than the best baseline, EASE, on 10 users [63, 63] (ndcg@10 1.0000 against 0.6131)",
        ),
        (
            wanted(),
            "no clear difference",
            0.0,
            "no clear difference from the best baseline, EASE, on 10 users: 0.0 % [0.0, 0.0] "
            "(ndcg@10 0.6131 against 0.6131)",
        ),
        (
            [["p0", "p1", *ids] for ids in wanted()],
            "worse",
            -0.5,
            "50 % worse than the best baseline, EASE, on 10 users [50, 50] (ndcg@10 0.3066 against 0.6131)",
        ),
        (
            wanted("q")[:4],
            "too few users",
            1 / np.log2(3),
            "4 users are too few to tell whether this is better than the best baseline, EASE "
            "(ndcg@10 1.0000 against 0.6131)",
        ),
    ],
)
def test_one_sentence_says_whether_it_is_good(
    lists: list[list[str]], verdict: str, relative: float, sentence: str, bare: Interactions
) -> None:
    found = compared(lists, bare)
    assert (found.verdict, str(found)) == (verdict, sentence)
    assert found.relative == pytest.approx((relative,) * 3, abs=1e-12)
    assert found.best.mean_a == pytest.approx(FOUND, abs=1e-12)
    report = found.to_json()
    assert (report["sentence"], report["verdict"], report["best"], report["users"]) == (
        sentence,
        verdict,
        "EASE",
        len(lists),
    )
    assert report["relative"] == dict(zip(("difference", "low", "high"), found.relative or (), strict=True))


def test_an_interval_over_zero_decides_nothing(bare: Interactions) -> None:
    """Half of the users have both, the others nothing."""
    found = compared([*wanted("q")[:5], *[[]] * 5], bare)
    apart = np.array([1 - FOUND] * 5 + [-FOUND] * 5)
    low, high = bootstrap_intervals(apart[:, None])[0] / FOUND
    assert found.relative == pytest.approx((apart.mean() / FOUND, low, high), abs=1e-12)
    assert low < 0 < high
    assert found.verdict == "no clear difference"
    assert f"-18 % [{100 * low:.0f}, +{100 * high:.0f}]" in str(found)


def test_nothing_is_no_more_than_a_hundred_per_cent_worse(bare: Interactions) -> None:
    """Users have one item or two to find, so that the baseline is worth more to some than to others."""
    ids = [*wanted()[:5], *wanted("q")[5:]]
    found = against_baselines(listed([[]] * 10, histories()), ids, bare)
    assert found.relative == (-1.0, -1.0, -1.0)
    assert str(found).startswith("100 % worse than the best baseline, EASE, on 10 users [100, 100]")
    lists = [["p0", "p1", f"b{n % PAIRS}"] for n in range(10)]  # the third place counts half the first
    half = against_baselines(listed(lists, histories()), ids, bare)
    assert half.relative == pytest.approx((-0.5,) * 3, abs=1e-12)
    assert half.best.low < half.best.difference < half.best.high < 0
    assert half.best.difference == pytest.approx(-(1 + FOUND) / 4, abs=1e-12)


def test_what_is_missing_is_said(bare: Interactions) -> None:
    found = compared(wanted(), bare)
    assert [row.baseline.name for row in found.rows] == ["EASE", "popularity"]
    for name in ("item-kNN", "iALS"):
        assert 'pip install ".[baselines]"' in found.baselines.left_out[name]
    notes = "\n".join(found.notes())
    assert "content left out: there are no content vectors" in notes
    assert "item-kNN left out" in notes


def test_users_without_a_history_get_what_is_popular(bare: Interactions) -> None:
    """Five of ten have none, and come to p0; EASE serves them as popularity does."""
    asked = [*histories()[:5], *[NOBODY] * 5]
    ids = [*wanted()[:5], *[["p1"]] * 5]
    found = against_baselines(listed(ids, asked), ids, bare)
    assert found.new_users is not None
    for row in found.rows:
        np.testing.assert_allclose(row.evaluation.per_query["ndcg@10"][5:], 1 / np.log2(3), atol=1e-12)
    assert (found.new_users.users, found.new_users.verdict) == (5, "too few users")
    assert found.new_users.best.mean_a == pytest.approx(1 / np.log2(3), abs=1e-12)
    assert found.to_json()["new_users"]["users"] == 5


def test_settings_are_those_that_do_best_on_the_last_of_the_past() -> None:
    """Each day has an item of its own that all come to; what was popular days ago is of no use."""
    items = ItemIds([f"i{n:02}" for n in range(30)])
    visits = [(day, n) for day in range(30) for n in range(20 - day // 3)]
    some = log([(f"u{day:02}-{n}", f"i{day:02}") for day, n in visits], [day * DAY + n for day, n in visits])
    baselines = tuned_baselines(TrainingData(some, items), way="time", share=0.05)
    assert baselines.chosen_by >= 10
    settings = {one.name: one.settings for one in baselines.fitted}
    assert settings[DECAYED]["decay_days"] in (1.0, 3.0, 10.0)
    lately = next(one for one in baselines.fitted if one.name == DECAYED)
    assert lately.recommend(UserBatch([NOBODY], [np.empty(0, np.float32)], [NOBODY]), 1).rows.tolist() == [[29]]
    plain = next(one for one in baselines.fitted if one.name == "popularity")
    assert plain.recommend(UserBatch([NOBODY], [np.empty(0, np.float32)], [NOBODY]), 1).rows.tolist() == [[0]]


def rated() -> TrainingData:
    """Two camps with their own items, and one item that all disliked; ratings of 1 and 5, and of 4."""
    rng = np.random.default_rng(0)
    items = ItemIds([f"i{n:02}" for n in range(21)])
    rows = [(f"u{user:02}", f"i{user % 2 * 10 + item:02}") for user in range(40) for item in rng.permutation(10)[:6]]
    ratings = [4.0 + (number % 2) for number in range(len(rows))]
    disliked = [(f"u{user:02}", "i20") for user in range(40)]
    some = log([*disliked, *rows], range(len(rows) + 40), [*[1.0] * 40, *ratings])
    return TrainingData(some, items, min_relevance=2.5, content=np.eye(21, dtype=np.float32))


def test_what_was_seen_or_disliked_never_comes_up() -> None:
    past = rated()
    assert past.feedback == ("liked", "all")
    assert past.weighted_feedback == ("liked", "all", "by weight")
    assert "i20" not in past.interactions("liked").table["item_id"].to_pylist()
    by_weight = past.interactions("by weight").table["weight"].to_numpy()
    np.testing.assert_allclose(by_weight.mean(), 1, rtol=1e-5)
    np.testing.assert_allclose(by_weight.max() / by_weight.min(), 5, rtol=1e-5)
    baselines = tuned_baselines(past)
    assert {one.name for one in baselines.fitted} == {"popularity", DECAYED, "item-kNN", "EASE", "iALS", "content"}
    asked = UserBatch([np.array([20, 0, 1])], [np.array([1, 5, 4], np.float32)], [np.array([20, 0, 1])])
    for one in baselines.fitted:
        rows = one.recommend(asked, 8).rows[0]
        assert not set(rows.tolist()) & {20, 0, 1}
        if one.name in ("item-kNN", "EASE", "iALS"):
            assert set(rows[:5].tolist()) <= set(range(10))  # those of the own camp


def test_a_large_catalogue_is_cut_for_ease_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    past = rated()
    monkeypatch.setattr(baseline_families, "EASE_MAX_ITEMS", 4)
    ease = next(one for one in tuned_baselines(past).fitted if one.name == "EASE")
    counts = np.bincount([int(item[1:]) for item in past.log.table["item_id"].to_pylist()], minlength=21)
    most = np.argsort(-counts, kind="stable")[:4]
    asked = UserBatch([np.array([0])], [np.array([5], np.float32)], [NOBODY])
    rows = ease.recommend(asked, 10).rows[0]
    assert set(rows[rows >= 0].tolist()) <= set(most.tolist())
    assert ease.note == "fitted on the 4 most popular items only, for time"
    monkeypatch.setattr(baseline_families, "EASE_MAX_INTERACTIONS", 100)
    assert tuned_baselines(past).left_out["EASE"] == ("it is fitted on at most 100 interactions, and the log has 280")


def test_no_past_with_known_items_is_refused(past: Interactions) -> None:
    strange = log([("u", "nothing"), ("v", "else")])
    with pytest.raises(InputError, match="no interaction in the log is with an item of this bundle"):
        against_baselines(listed(wanted(), histories()), wanted(), strange)


def test_the_same_users_are_judged(bare: Interactions) -> None:
    """Users who come to nothing are left out on both sides."""
    ids: list[list[str]] = [[], *wanted()[1:]]
    ours = listed(wanted(), histories())
    found = against_baselines(ours, ids, bare)
    assert found.users == 9
    assert found.rows[0].evaluation.query_ids == evaluate(ours, ids).query_ids
