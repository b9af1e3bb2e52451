"""What `fit` says of columns of the context: numbers in ranges, and columns that tell the item or are told by it."""

import numpy as np
import pyarrow as pa
import pytest

from retrieval import Interactions
from retrieval.fitting.context_checks import context_notes

RNG = np.random.default_rng(0)
ITEMS = RNG.integers(40, size=800)


def notes(values: list[str]) -> dict[str, str]:
    columns = {"user": [f"u{row // 8}" for row in range(800)], "item": [f"i{item}" for item in ITEMS]}
    table = pa.table(columns | {"time": [*range(800)], "place": values})
    log = Interactions.from_arrow(table, context=["place"])
    return context_notes(log.table, log.context_columns)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([f"title {item}" for item in ITEMS], "one value of 'place', 100% are with the same item"),
        ([f"{item}{row % 2}a" for row, item in enumerate(ITEMS)], "one value of 'place', 100% are with the same item"),
        (
            [f"title {item if row % 8 else 99}" for row, item in enumerate(ITEMS)],
            "one value of 'place', 56% are with the same item",
        ),
        ([f"genre {item % 4}" for item in ITEMS], "one item, 100% have the same value of 'place'"),
    ],
)
def test_a_column_that_tells_the_item_or_is_told_by_it_is_named(values: list[str], text: str) -> None:
    told = notes(values)["context and items"]
    assert text in told
    assert told.endswith(("nobody knows at a request; leave it out", "nobody knows it at a request; leave it out"))


@pytest.mark.parametrize(
    "values",
    [
        [("desk", "phone")[item % 2 if row % 5 else 0] for row, item in enumerate(ITEMS)],  # tells much, not all
        [f"session {row // 8}" for row in range(800)],
        [f"{row}a" for row in range(800)],  # each once
        ["phone"] * 790 + ["desk"] * 10,
        [""] * 800,
        [f"title {item}" if row < 40 else "" for row, item in enumerate(ITEMS)],  # too few
    ],
)
def test_a_moment_is_not_named(values: list[str]) -> None:
    assert "context and items" not in notes(values)


def test_one_item_that_most_took_is_no_knowledge_of_a_column() -> None:
    columns = {"user": [f"u{row}" for row in range(400)], "item": ["hit"] * 390 + [f"i{row}" for row in range(10)]}
    table = pa.table(columns | {"time": [*range(400)], "place": [f"{row % 2}a" for row in range(400)]})
    log = Interactions.from_arrow(table, context=["place"])
    assert context_notes(log.table, ["place"]) == {}


def test_numbers_in_ranges_are_told_with_a_way_out() -> None:
    assert notes([str(cap) for cap in RNG.integers(1000, size=800)]) == {
        "numbers of the context": "'place' in 10 ranges, as they are of more than 32 numbers; where these are names, "
        "write them as text, such as p17"
    }
    caps = [*map(str, RNG.integers(1000, size=400)), *["9999"] * 300, *["none"] * 100]
    assert notes(caps)["numbers of the context"].startswith("'place' in 10 ranges and '9999', 'none', as they are of")
