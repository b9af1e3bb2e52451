"""How much is said of items, by hand."""

import numpy as np
import pyarrow as pa

from retrieval.models.features.column_encoders import Categories, Numbers
from retrieval.models.features.item_features import TEXT, ItemFeatures, count_features
from tests.retrieval.models.features.test_item_features import FROZEN

TABLE = pa.table(
    {
        "title": ["Nine char", None, "", "été"],
        "plot": ["short", "a longer plot", None, None],
        "genres": ["Drama|Comedy|Drama", None, "War", "x"],
        "price": [1.0, 2.0, 3.0, 4.0],
    }
)
COLUMNS = (Categories("genres", ("Drama", "War")), Numbers("price", (1.0, 4.0)))


def test_values_are_counted_once_and_the_longest_text_is_measured_in_characters() -> None:
    found = count_features(COLUMNS, ["title", "plot"], TABLE)
    assert found.column_names == ["genres (how many)", TEXT]
    np.testing.assert_allclose(found["genres (how many)"].to_numpy(), np.log([3, np.nan, 2, 2]))
    np.testing.assert_allclose(found[TEXT].to_numpy(), np.log([10, 14, np.nan, 4]))


def test_a_list_is_as_long_as_all_its_values() -> None:
    table = pa.table({"tags": [["ab", "cd"], ["abc"], [], None, ["éa", None]], "other": ["abc", None, "", "x", "y"]})
    found = count_features((), ["tags", "other"], table)[TEXT].to_numpy()
    np.testing.assert_allclose(found, np.log([5, 4, np.nan, 2, 3]))


def test_without_texts_or_categories_there_is_nothing_to_count() -> None:
    assert count_features(COLUMNS[1:], [], TABLE).num_columns == 0
    assert np.isnan(count_features(COLUMNS[1:], ["gone"], TABLE)[TEXT].to_numpy()).all()
    there = count_features(COLUMNS, [], TABLE.drop_columns(["genres"]))
    assert np.isnan(there["genres (how many)"].to_numpy()).all()


def test_a_description_tells_short_texts_from_long_ones() -> None:
    plots = ["brief", "plots", "much longer than the others", "a longer plot, too, by far", "words", "short"]
    table = pa.table({"plot": plots, "same": ["x"] * 6})
    description = ItemFeatures.fit(FROZEN, table, texts=["plot"])
    assert (description.columns, [one.column for one in description.amounts]) == ((), [TEXT])
    found = description.of(FROZEN, table).values[:, 8:]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[0], found[4], atol=1e-6)
    assert np.linalg.norm(found[0] - found[2]) > np.linalg.norm(found[3] - found[2]) > 0
    later = description.of(FROZEN, table.select(["same"]))
    assert not later.values[:, 8:].any()
