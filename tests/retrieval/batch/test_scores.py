"""Scores of candidates are numbers, whatever the file holds them as, in one call and in a job."""

import decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.errors import InputError
from retrieval import Interactions, Retriever
from retrieval.batch import Answers, BatchConfig, FlatCandidates, LoggedHistories, ParquetFiles, answers
from retrieval.batch.in_memory import candidates_from_table
from tests.retrieval.batch.shop import shop_log, written

ITEMS = ["red-mug", "blue-shoe", "green-lamp"]


def taken(scores: pa.Array, retriever: Retriever, items: pa.DataType | None = None) -> list[tuple[str, float]]:
    """The candidates of one user, best first, as they are before any stage."""
    ids = pa.array(ITEMS, items or pa.string())
    table = pa.table({"query_id": pa.array(["u0-0"] * 3, items or pa.string()), "item_id": ids, "score": scores})
    users = LoggedHistories.of(Interactions.from_arrow(shop_log()), retriever.items)
    return [(hit.item_id, hit.score) for hit in candidates_from_table(table, retriever, users)[0]]


def through(scores: pa.Array, retriever: Retriever, folder: Path) -> Answers:
    """What a job makes of the same table."""
    table = pa.table({"query_id": ["u0-0"] * 3, "item_id": ITEMS, "score": scores})
    held = LoggedHistories.of(Interactions.from_arrow(shop_log()), retriever.items)
    source = FlatCandidates(ParquetFiles(written(table, folder / "c.parquet")), held, retriever.items, {})
    (found,) = answers(retriever, source, steps=(), config=BatchConfig())
    return found


NUMBERS = {
    "text": pa.array(["1.5", "3", "2"]),
    "half float": pa.array(np.array([1.5, 3, 2], np.float16)),
    "decimal": pa.array([decimal.Decimal("1.5"), decimal.Decimal(3), decimal.Decimal(2)]),
    "double": pa.array([1.5, 3, 2]),
    "text in a dictionary": pa.array(["1.5", "3", "2"]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_any_column_of_numbers_is_read(kind: str, retriever: Retriever, tmp_path: Path) -> None:
    wanted = [("blue-shoe", 3.0), ("green-lamp", 2.0), ("red-mug", 1.5)]
    assert taken(NUMBERS[kind], retriever) == wanted
    found = through(NUMBERS[kind], retriever, tmp_path).to_arrow()
    assert list(zip(found["item_id"].to_pylist(), found["score"].to_pylist(), strict=True)) == wanted


def test_large_integers_are_scores(retriever: Retriever, tmp_path: Path) -> None:
    scores = pa.array([2**63 + 1, 2**63 + 2**50, 5], pa.uint64())
    assert [item_id for item_id, _ in taken(scores, retriever)] == ["blue-shoe", "red-mug", "green-lamp"]
    found = through(scores, retriever, tmp_path).to_arrow()
    assert found["item_id"].to_pylist() == ["blue-shoe", "red-mug", "green-lamp"]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_ids_of_any_text_type_are_read(kind: pa.DataType, retriever: Retriever) -> None:
    assert [item_id for item_id, _ in taken(pa.array([3.0, 2, 1]), retriever, kind)] == ITEMS


REFUSED = {
    "list": (pa.array([[1.0]] * 3), r"'score' holds list<.*; give numbers"),
    "date": (pa.array([1, 2, 3], pa.date32()), r"'score' holds date32\[day\]; give numbers"),
    "time": (pa.array([1, 2, 3], pa.timestamp("us")), r"'score' holds timestamp\[us\]; give numbers"),
    "struct": (pa.array([{"a": 1}] * 3), "'score' holds struct<.*; give numbers"),
    "text": (pa.array(["1", "good", "2"]), "'score' holds string, which cannot be read as double.*'good'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_column_of_no_numbers_is_refused(kind: str, retriever: Retriever, tmp_path: Path) -> None:
    scores, shown_value = REFUSED[kind]
    with pytest.raises(InputError, match=shown_value):
        taken(scores, retriever)
    with pytest.raises(InputError, match=shown_value):
        through(scores, retriever, tmp_path)


@pytest.mark.parametrize(
    ("bad", "shown_value"), [(None, "None"), (float("nan"), "nan"), (float("inf"), "inf"), (1e39, "1e.39")]
)
def test_a_score_that_is_no_number_is_named(
    bad: float | None, shown_value: str, retriever: Retriever, tmp_path: Path
) -> None:
    scores = pa.array([1.0, bad, 0.5])
    message = rf"1 of 3 scores .*of item 'blue-shoe' for query 'u0-0' in row 2: {shown_value}; mend them, or leave out"
    with pytest.raises(InputError, match=message):
        taken(scores, retriever)
    set_aside = through(scores, retriever, tmp_path).quarantined().to_pylist()
    assert set_aside == [{"line": 0, "query_id": "u0-0", "reason": "a score that is no finite number"}]
