"""Which column is taken for a label, and what its classes are."""

import numpy as np
import pyarrow as pa
import pytest

from indexing.errors import InputError
from retrieval.evaluation.encoder_benchmark.probes import find_label, label_column

COUNT = 60
TABLE = pa.table(
    {
        "item_id": [str(n) for n in range(COUNT)],
        "title": [f"t{n % 4}" for n in range(COUNT)],
        "serial": [f"s{n}" for n in range(COUNT)],
        "colour": [("red", "blue", "green")[n % 3] for n in range(COUNT)],
        "season": [("summer", "winter")[n % 2] for n in range(COUNT)],
        "rare": [f"r{n % 5}" if n < 25 else None for n in range(COUNT)],
        "sparse": [f"p{n % 2}" if n < 24 else "" for n in range(COUNT)],
        "year": [2000 + (n > 14) + (n > 39) for n in range(COUNT)],
        "tags": [["a"]] * COUNT,
    }
)


def test_the_column_of_strings_with_most_classes_is_found() -> None:
    found = find_label(TABLE, text=["title"])
    assert found is not None
    assert (found.name, found.classes) == ("colour", ("blue", "green", "red"))
    np.testing.assert_array_equal(found.of_item[:4], [2, 0, 1, 2])
    with_titles = find_label(TABLE)
    assert with_titles is not None
    assert with_titles.name == "title"
    assert find_label(TABLE.select(["item_id", "serial", "rare", "sparse", "year", "tags"])) is None


def test_classes_are_sorted_by_size_and_small_ones_left_out() -> None:
    found = label_column(TABLE, "year")
    assert found.classes == ("2001", "2002", "2000")
    assert np.bincount(found.of_item).tolist() == [25, 20, 15]
    few = label_column(TABLE.slice(6), "year")
    assert few.classes == ("2001", "2002")
    assert (few.of_item == -1).sum() == 9
    assert (label_column(TABLE, "sparse").of_item[24:] == -1).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("color", r"there is no column 'color' to take labels from; did you mean one of \['colour'\]"),
        ("tags", "column 'tags' holds lists, but an item can have one label only"),
        ("serial", "column 'serial' has 0 classes of at least 10 items; two are needed"),
    ],
)
def test_a_label_that_is_none_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_column(TABLE, name)
