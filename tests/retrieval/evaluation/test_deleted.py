"""Measures of a catalogue with deleted items are those of a catalogue that never had them."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval import Interactions, evaluate
from retrieval.candidates import Candidates
from retrieval.evaluation import Beyond, Evaluation
from retrieval.postprocess.rules import Fresh, Rules

LOG = Interactions.from_arrow(pa.table({"user": ["u", "v", "u", "w"], "item": ["a", "a", "c", "f"]}))
LISTS = [["a", "c"], ["c", "e"], ["a", "f"]]
RELEVANT = [["c"], ["e"], ["a"]]


def measured(items: ItemIds) -> Evaluation:
    rows = np.array([items.rows(line) for line in LISTS])
    found = Candidates(np.zeros((3, 1), np.float32), rows, -rows.astype(np.float32) * 0, items, "retrieve")
    return evaluate(found, RELEVANT, measures=["recall@2", "hit_rate@1"], beyond=Beyond(past=LOG))


@pytest.mark.parametrize(
    "changes",
    [
        [(["b", "d"], [])],
        [(["b"], []), (["d"], [])],
        [([], ["b", "c"]), (["b", "d"], [])],  # put in again: the row of before is nobody's
    ],
)
def test_measures_are_those_without_deleted_items(changes: list[tuple[list[str], list[str]]]) -> None:
    edited, fresh = measured(ItemIds([*"abcdef"]).changed(*changes)), measured(ItemIds([*"acef"]))
    assert edited.coverage == fresh.coverage == {"coverage@1": 0.5, "coverage@2": 1.0}
    assert edited.catalogue == pytest.approx(fresh.catalogue)
    assert edited.catalogue["gini@2"] == pytest.approx(1 / 6)  # two, two, one and one of six places
    assert edited.means == pytest.approx(fresh.means)


def test_what_is_new_is_the_newest_that_is_there() -> None:
    table = pa.table({"item_id": list("abc"), "year": [2000, 2010, 2050]})
    items = ItemIds([*"abc"]).changed((["c"], []))
    rows, scores = np.array([[0, 1]]), np.array([[1.0, 0.9]], np.float32)
    found = Candidates(np.zeros((1, 1), np.float32), rows, scores, items, "retrieve")
    rules = Rules([Fresh("year", half_life=10.0, by=1.0)])
    # The span is 0.1: b, the newest, is raised by all of it, and a, ten years older, by half.
    (line,) = rules.apply(found, table)
    assert {hit.item_id: hit.score for hit in line} == pytest.approx({"a": 1.05, "b": 1.0}, abs=1e-6)
    everything = replace(found, items=ItemIds([*"abc"]))
    (line,) = rules.apply(everything, table)
    assert {hit.item_id: hit.score for hit in line} == pytest.approx(
        {"a": 1.0 + 0.1 * 0.5**5, "b": 0.9 + 0.1 * 0.5**4}, abs=1e-6
    )
