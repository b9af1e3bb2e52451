"""Logs of plays and logs without times: a count counts by its logarithm, and the order of rows teaches nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from retrieval import FitReport, Interactions, Retriever, fit
from retrieval.fitting.log_kind import LogKind
from retrieval.interactions.histories import histories
from retrieval.models.user_model import ALL_ALIKE, UserModel
from retrieval.ranking.second_stage import SecondStage
from tests.groups import COUNT, SMALL, STAGE, catalogue, items, walks

ITEMS = ItemIds([f"i{row:03}" for row in range(COUNT)])


def plays(order: int, column: str = "plays") -> pa.Table:
    """The walks as a log of plays without times, most of one and some of hundreds, in an order that is drawn."""
    table = walks().table
    drawn = np.random.default_rng(1)
    played = np.where(
        drawn.random(len(table)) < 0.1, drawn.integers(100, 900, len(table)), 1 + drawn.poisson(1, len(table))
    )
    played_log = pa.table({"user": table["user_id"], "item": table["item_id"], column: played})
    return played_log.take(np.random.default_rng(order).permutation(len(played_log)))


def read(order: int) -> Interactions:
    return Interactions.from_arrow(plays(order))


def fitted(folder: Path, log: Interactions) -> tuple[FitReport, Retriever]:
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    report = fit(folder / "bundle", log, replace(SMALL, reranker=STAGE))
    return report, Retriever.load(folder / "bundle")


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[FitReport, Retriever]:
    return fitted(tmp_path_factory.mktemp("heard"), read(0))


def test_plays_are_no_ratings_and_few_of_them_no_dislike(heard: tuple[FitReport, Retriever]) -> None:
    report, retriever = heard
    assert report.published == ("behaviour", "reranker"), report
    assert report.users == 200  # half of the largest count would leave nobody to judge by
    assert report.notes["weights"].startswith("counts, up to 8")
    assert (retriever.users.min_relevance, retriever.users.counts) == (0, True)


def test_the_order_of_rows_without_times_teaches_nothing(heard: tuple[FitReport, Retriever], tmp_path: Path) -> None:
    report, retriever = heard
    again, other = fitted(tmp_path, read(7))
    assert again.ndcg == pytest.approx(report.ndcg, abs=2e-3)  # sums of other orders
    assert again.users == report.users
    assert retriever.users.half_life == other.users.half_life == ALL_ALIKE
    history = ["i000", "i003", "i009", "i014"]
    for stages in ("all", "retrieval"):
        one, two, back = (
            shop.recommend([asked], COUNT, stages=stages)
            for shop, asked in ((retriever, history), (other, history), (retriever, history[::-1]))
        )
        scores = [
            dict(zip(found.rows[0].tolist(), found.scores[0].tolist(), strict=True)) for found in (one, two, back)
        ]
        assert scores[2] == pytest.approx(scores[0], rel=1e-3, abs=1e-3)
        if stages == "retrieval":
            assert scores[1] == pytest.approx(scores[0], rel=1e-2, abs=1e-2)


def test_a_log_with_times_is_read_in_their_order() -> None:
    user_histories = histories(walks(), ITEMS)
    kind = LogKind.of(user_histories, "max")
    assert kind.in_order
    assert not kind.counts
    assert kind.notes == {}
    assert kind.config(SMALL) == SMALL


@pytest.mark.parametrize(
    ("weights", "repeats", "counts"),
    [
        ([1, 1, 1, 5], "max", False),  # views and a purchase
        ([1, 1, 1, 20], "max", False),  # that is worth twenty views
        ([*range(1, 20), 200], "sum", True),
        ([*range(1, 20), 99], "sum", False),
        ([*range(1, 20), 200], "last", False),  # ratings, whatever they are
        ([0, 0, 0, 0], "max", False),
    ],
)
def test_counts_are_distinguished_from_other_weights(weights: list[int], repeats: str, counts: bool) -> None:
    many = len(weights)
    table = pa.table({"user": ["a"] * many, "item": list(ITEMS)[:many], "time": range(many), "weight": weights})
    log = replace(Interactions.from_arrow(table), repeats=repeats)  # type: ignore[arg-type]
    assert LogKind.of(histories(log, ITEMS), log.repeats).counts is counts


def by_logarithm(retriever: Retriever) -> tuple[SecondStage, SecondStage]:
    """The same stage, and one that takes weights as they are."""
    stage = retriever.reranker
    assert isinstance(stage, SecondStage)
    plain = replace(stage.space, users=replace(stage.space.users, counts=False))
    return stage, replace(stage, features=stage.features.in_space(plain))


def test_each_part_is_asked_with_the_logarithm_of_counts(heard: tuple[FitReport, Retriever]) -> None:
    _, retriever = heard
    rows = np.array([3, 7, 11, 80])
    weights: Vectors = np.array([1, 3, 511, 7], np.float32)
    as_counted = np.array([1, 2, 9, 3], np.float32)  # log2(1 + weight)
    stage, plain = by_logarithm(retriever)
    np.testing.assert_allclose(
        stage.space.user_queries([rows], [weights]),
        plain.space.user_queries([rows], [as_counted]),
        rtol=1e-5,
        atol=1e-6,
    )
    pools = [
        retriever.recommend([[ITEMS[row] for row in rows]], 30, weights=[given.tolist()])
        for given in (weights, as_counted)
    ]
    np.testing.assert_array_equal(pools[0].weights[0], weights)  # candidates keep what was given
    features = [one.features.of(pools[0]) for one in (stage, plain)]
    features.append(plain.features.of(replace(pools[0], weights=(as_counted,))))
    np.testing.assert_allclose(features[0], features[2], rtol=1e-4, atol=1e-4)
    assert np.abs(features[0] - features[1]).max() > 0.01
    explanation = retriever.explain(pools[0])[0][0]
    assert explanation.stages["rerank"] == pytest.approx(float(pools[0].scores[0, 0]), rel=1e-4, abs=1e-4)


def test_a_weight_and_what_it_counts_are_distinguished_from_each_other() -> None:
    users = UserModel(counts=True)
    for weight in (0.0, 1.0, 6.5, 1000.0):
        assert users.weight_of(float(users.interaction_weights(np.array([weight]))[0])) == pytest.approx(
            weight, rel=1e-5, abs=1e-6
        )
    assert UserModel().weight_of(4.0) == 4.0
