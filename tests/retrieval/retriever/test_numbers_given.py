"""Numbers and rules that cannot be used are refused before they become scores."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import CommonspaceError, FilterError, InputError
from retrieval import FitConfig
from retrieval.candidates import Candidates
from retrieval.filters.text import parse_filter
from retrieval.models.features.attribute_values import Attribute
from retrieval.postprocess.blend import Blend
from retrieval.postprocess.diversify import Cap
from retrieval.postprocess.rules import Boost, Fresh, Rules
from retrieval.training.config import AdapterConfig, BehaviourConfig
from retrieval.training.settings import read_settings

TABLE = pa.table({"item_id": list("abc"), "price": [1.0, 2.0, 9.0], "cat": ["x", "y", "x"]})
SCORES = np.array([[3.0, 2.0, 1.0]], np.float32)
FOUND = Candidates(np.zeros((1, 2), np.float32), np.array([[0, 1, 2]]), SCORES, ItemIds([*"abc"]), "retrieve")


@pytest.mark.parametrize("weight", [1e308, -1e300, float("nan"), float("inf"), True, "1", None])
def test_weights_of_a_blend_are_finite_numbers(weight: Any) -> None:  # noqa: ANN401 - what anybody may give
    with pytest.raises(InputError, match="the weight of 'price' is"):
        Blend(TABLE, {"price": weight})


def test_the_largest_weight_gives_finite_scores_in_the_order_of_the_objective() -> None:
    found = Blend(TABLE, {"price": 1e6}).rerank(FOUND)
    assert np.isfinite(found.scores).all()
    assert [hit.item_id for hit in found[0]] == ["c", "b", "a"]
    with pytest.raises(InputError, match="some scores are not finite"):
        Blend(TABLE, {"price": 1.0}).rerank(replace(FOUND, scores=np.array([[np.inf, 2, 1]], np.float32)))


@pytest.mark.parametrize("by", [1e308, 2e6, float("inf"), float("nan"), True, 0])
def test_a_boost_is_within_limits(by: Any) -> None:  # noqa: ANN401 - what anybody may give
    with pytest.raises(InputError, match=r"a boost by .* a number above 0, at most 1e"):
        Boost("cat = x", by)
    with pytest.raises(InputError, match="a fresh by"):
        Fresh("price", 2.0, by)


def test_two_of_the_largest_boosts_give_finite_scores() -> None:
    found = Rules([Boost("cat = x", 1e6), Boost("price > 5", 1e6)]).apply(FOUND, TABLE)
    assert [hit.item_id for hit in found[0]] == ["c", "a", "b"]
    assert found.scores[0].tolist() == pytest.approx([4e6, 2e6, 2.0], rel=1e-5)
    wide = replace(FOUND, scores=np.array([[3e38, 0, -3e38]], np.float32))
    with pytest.raises(InputError, match="beyond what a float32 holds"):
        Rules([Boost("cat = x", 1e6)]).apply(wide, TABLE)


@pytest.mark.parametrize("most", [float("nan"), 2.5, True, "3", 0, -1])
def test_a_cap_is_a_whole_number(most: Any) -> None:  # noqa: ANN401 - what anybody may give
    with pytest.raises(InputError, match="a cap of"):
        Cap(Attribute.named(TABLE, "cat"), most)


@pytest.mark.parametrize("k", [-1, -3, 2.5, True, None, float("nan")])
def test_the_best_are_a_whole_number(k: Any) -> None:  # noqa: ANN401 - what anybody may give
    with pytest.raises(InputError, match=r"k is .* whole number of at least 0"):
        FOUND.top(k)
    assert FOUND.top(int(np.int64(2))).rows.tolist() == [[0, 1]]


@pytest.mark.parametrize("given", ['[{"rule": {}}]', '[{"rule": ["pin"]}]', '[{"rule": null}]', "[" * 100_000, "[1]"])
def test_rules_that_are_none_are_refused(given: str, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(given)
    with pytest.raises(InputError, match=r"rules\.json"):
        Rules.from_json(tmp_path / "rules.json")


@pytest.mark.parametrize("text", ["cat = \ud800", "cat in x, \udfff", "\udcff = 1"])
def test_half_a_character_is_no_filter(text: str) -> None:
    with pytest.raises(FilterError, match="half a character"):
        parse_filter(text, TABLE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"behaviour": {"closed": 100_000_000}}, "behaviour.ease_dims is 100000000; .* to 16384"),
        ({"behaviour": {"closed": 1e8}}, "behaviour.ease_dims is 100000000.0; give a whole number"),
        ({"adapter": {"hidden": 0}}, "adapter.hidden is 0; give a finite number from 1"),
        ({"reranker": {"neural": {"batch_size": 0}}}, "reranker.neural.batch_size is 0"),
        ({"reranker": {"each": -5}}, "reranker.candidates_per_source is -5; give a finite number from 1"),
        ({"reranker": {"each": True}}, "reranker.candidates_per_source is True; give a whole number"),
        ({"exposure_floor": float("nan")}, "exposure_floor is nan"),
        ({"search_loss": float("nan")}, "search_loss is nan, and there is no such setting any more"),
        ({"behaviour": {"next_items": {"dims": -1}}}, "behaviour.next_items.dims is -1"),
        ({"reranker": 3}, "reranker is 3; give settings"),
    ],
)
def test_settings_that_cannot_teach_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=message):
        read_settings(FitConfig, tmp_path / "config.json")


def test_settings_in_python_are_checked_too_and_nested_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CommonspaceError, match="hidden is 0"):
        FitConfig(adapter=AdapterConfig(hidden=0))
    with pytest.raises(CommonspaceError, match="ridge is -1"):
        FitConfig(behaviour=BehaviourConfig(ridge=-1.0))
    (tmp_path / "deep.json").write_text('{"a":' * 100_000)
    with pytest.raises(InputError, match=r"the settings in .*deep\.json cannot be read"):
        read_settings(FitConfig, tmp_path / "deep.json")
    (tmp_path / "twice.json").write_text('{"effort": "fast", "effort": "default"}')
    with pytest.raises(InputError, match=r"twice\.json cannot be read: the key 'effort' comes 2 times"):
        read_settings(FitConfig, tmp_path / "twice.json")
