"""Objectives beside relevance, by hand."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.postprocess.blend import Blend
from retrieval.retriever.retriever import Retriever
from tests.toy import ToyEncoder, toy_file

ATTRIBUTES = pa.table(
    {
        "margin": [1.0, 3.0, None, 5.0],
        "fresh": [datetime.date(2024, 1, day) for day in (1, 2, 3, 4)],
        "sold": [True, False, None, True],
        "alike": [7, 7, 7, 7],
        "colour": ["red", "red", "blue", "blue"],
        "none": pa.array([None] * 4, pa.float64()),
        "odd": [np.inf, 1.0, np.nan, 2.0],
    }
)


def listed(rows: list[list[int]], scores: list[list[float]]) -> Candidates:
    given = np.array(scores, np.float32)
    return Candidates(np.zeros((len(rows), 2), np.float32), np.array(rows), given, ItemIds([*"abcd"]), "rerank")


FOUND = listed([[0, 1, 2, 3], [3, 0, -1, -1]], [[0.9, 0.8, 0.7, 0.6], [0.5, 0.5, -np.inf, -np.inf]])


def test_an_objective_is_worth_its_weight_in_deviations() -> None:
    blended = Blend(ATTRIBUTES, {"margin": 2.0}).rerank(FOUND)
    # margins 1, 3, 5: mean 3, deviation sqrt(8 / 3); scores .9 to .6: deviation sqrt(.0125)
    step = 2 * np.sqrt(0.0125) * 2 / np.sqrt(8 / 3)
    expected = {0: 0.9 - step, 1: 0.8, 2: 0.7, 3: 0.6 + step}
    order = sorted(expected, key=lambda row: -expected[row])
    assert blended.rows[0].tolist() == order == [3, 1, 2, 0]
    np.testing.assert_allclose(blended.scores[0], [expected[row] for row in order], rtol=1e-6)
    # alike in relevance, the objective decides: margins 5 and 1 are one deviation from their mean
    assert blended.rows[1].tolist() == [3, 0, -1, -1]
    np.testing.assert_allclose(blended.scores[1, :2], [2.5, -1.5])
    assert np.isneginf(blended.scores[1, 2:]).all()
    assert Blend(ATTRIBUTES, {"margin": -1}).rerank(FOUND).rows[1].tolist() == [0, 3, -1, -1]
    assert blended.stage == "blend"


def test_objectives_add_up_and_may_be_dates_and_booleans() -> None:
    both = Blend(ATTRIBUTES, {"fresh": 0.5, "sold": 1.0}).rerank(FOUND).scores[0]
    spread = np.sqrt(0.0125)
    fresh = (np.arange(4) - 1.5) / np.sqrt(1.25)
    sold = np.array([1 / 3, -2 / 3, 0, 1 / 3]) / np.sqrt(2 / 9)
    expected = np.array([0.9, 0.8, 0.7, 0.6]) + spread * (0.5 * fresh + sold)
    np.testing.assert_allclose(both, np.sort(expected)[::-1], rtol=1e-6)
    odd = Blend(ATTRIBUTES, {"odd": 1.0}).rerank(FOUND)  # infinite and NaN count as missing
    np.testing.assert_allclose(np.sort(odd.scores[0]), np.sort([0.9, 0.8 - spread, 0.7, 0.6 + spread]), rtol=1e-6)


@pytest.mark.parametrize("weights", [{}, {"margin": 0}, {"alike": 5.0}, {"none": 5.0}])
def test_what_weighs_nothing_changes_nothing(weights: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(size=(50, 4)).astype(np.float32), axis=1)
    found = listed([rng.permutation(4).tolist() for _ in range(50)], scores.tolist())
    blended = Blend(ATTRIBUTES, weights).rerank(found)
    np.testing.assert_array_equal(blended.rows, found.rows)
    np.testing.assert_array_equal(blended.scores, found.scores)


def test_what_cannot_be_weighed_is_refused() -> None:
    with pytest.raises(InputError, match=r"no attribute 'margn' to weigh; did you mean one of \['margin'\]"):
        Blend(ATTRIBUTES, {"margn": 1})
    with pytest.raises(InputError, match="attribute 'colour' is string: weigh one of numbers, booleans or dates"):
        Blend(ATTRIBUTES, {"colour": 1})
    with pytest.raises(InputError, match="the weight of 'margin' is nan"):
        Blend(ATTRIBUTES, {"margin": float("nan")})
    empty = replace(listed([[-1]], [[-np.inf]]), items=ItemIds([]))
    assert Blend(ATTRIBUTES.slice(0, 0), {"margin": 1}).rerank(empty).rows.tolist() == [[-1]]


def test_a_retriever_blends_by_its_attributes(tmp_path: Path) -> None:
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "bundle")
    retriever = Retriever.load(tmp_path / "bundle", ToyEncoder())
    found = retriever.search_texts(["red mug"], 20)
    cheap = retriever.blend(found, {"price": -100.0})
    prices = retriever.bundle.attributes.column("price").to_pylist()
    assert [prices[row] for row in cheap.rows[0]] == sorted(prices)
    np.testing.assert_array_equal(retriever.blend(found, {"price": 0}).rows, found.rows)
