"""A saved evaluation comes back as it was, and nothing else is taken for one."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.errors import InputError
from retrieval.evaluation import Evaluation
from retrieval.evaluation.results_file import CHECKSUM, SavedEvaluation, load, save, with_checksum
from retrieval.evaluation.tracking import flat_metrics, metric_name


def measured() -> Evaluation:
    rng = np.random.default_rng(0)
    values = {"recall@10": rng.random(50) / 3, "diversity@10": np.where(rng.random(50) < 0.1, np.nan, rng.random(50))}
    return Evaluation(tuple(f"ann {n} \u202e" for n in range(50)), values, {"coverage@10": 1 / 3}, 4)


def test_it_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.json"
    save(SavedEvaluation(measured(), {"asked": "log <1>"}), path)
    back = load(path)
    assert back.about == {"asked": "log <1>"}
    assert back.evaluation.query_ids == measured().query_ids
    assert (back.evaluation.coverage, back.evaluation.skipped) == ({"coverage@10": 1 / 3}, 4)
    assert list(back.evaluation.per_query) == ["recall@10", "diversity@10"]
    for measure, values in measured().per_query.items():
        np.testing.assert_array_equal(back.evaluation.per_query[measure], values)
    assert "NaN" not in path.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is no saved evaluation; write one with"),
        ({"version": 3}, "is of version 3, and this program reads 2"),
        ({"query_ids": ["a"]}, "is damaged: not one value of recall@10 for each of 1 queries"),
        ({"per_query": {}}, "holds no query or no measure"),
        ({"per_query": {"recall@10": ["x"] * 50}}, "is damaged: ValueError"),
        ({"per_query": [1]}, "is damaged: AttributeError"),
        ({"skipped": None}, "is damaged: TypeError"),
        ({"coverage": {"coverage@10": "much"}}, "is damaged: ValueError"),
    ],
)
def test_what_is_none_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save(SavedEvaluation(measured()), path)
    content = json.loads(path.read_text())
    del content[CHECKSUM]
    path.write_bytes(with_checksum(content | change))
    with pytest.raises(InputError, match=re.escape(message)):
        load(path)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match="there is no such file"):
        load(path)
    for text in ("", "{", "[" * 100_000, "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match="it is no JSON"):
            load(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="is no saved evaluation"):
        load(path)


def test_flat_names_are_valid_in_both_and_values_are_those_of_the_table() -> None:
    one = measured()
    flat = flat_metrics(Evaluation(one.query_ids, {"recall@10": one.per_query["recall@10"]}, one.coverage, 0))
    (row,) = Evaluation(one.query_ids, {"recall@10": one.per_query["recall@10"]}, {}, 0).table()
    assert flat == {
        "recall_at_10": row.mean,
        "recall_at_10_low": row.low,
        "recall_at_10_high": row.high,
        "coverage_at_10": 1 / 3,
        "queries": 50,
    }
    # What MLflow allows, as its validation has it.
    assert all(re.fullmatch(r"[/\w.\- :]*", name, re.ASCII) for name in [*flat, metric_name("größe@5 (%)")])
    undefined = Evaluation(("a",), {"x": np.array([1.0])}, {"gini@10": float("nan")}, 0)
    assert flat_metrics(undefined) == {"x": 1, "x_low": 1, "x_high": 1, "queries": 1}


@pytest.mark.parametrize("seed", range(40))
def test_any_flipped_bit_is_noticed(seed: int, tmp_path: Path) -> None:
    path, rng = tmp_path / "a.json", np.random.default_rng(seed)
    save(SavedEvaluation(measured()), path)
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged|is no JSON|is no saved evaluation|is of version"):
        load(path)


def test_one_of_an_earlier_version_has_no_checksum_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save(SavedEvaluation(measured()), path)
    content = json.loads(path.read_text())
    del content[CHECKSUM]
    path.write_text(json.dumps(content | {"version": 1}))
    assert load(path).evaluation.means == pytest.approx(measured().means)
    path.write_text(json.dumps(content))  # of this version it must have one
    with pytest.raises(InputError, match="is damaged"):
        load(path)
