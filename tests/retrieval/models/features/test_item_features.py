"""Items are described by what is known of them without users."""

import json

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

from indexing.arrays import unit
from indexing.errors import DamagedFileError
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from retrieval.models.features.column_encoders import CENTRES, Categories, Numbers, split_values
from retrieval.models.features.item_features import (
    FINER_SHARE,
    FURTHER_SHARE,
    NUMBERS_SHARE,
    TEXT_SHARE,
    WORDS_SHARE,
    ItemFeatures,
)

RNG = np.random.default_rng(0)
TEXT = unit(RNG.normal(size=(6, 4)).astype(np.float32)).astype(np.float16)
FROZEN = ModalityVectors(
    {Modality.TEXT: TEXT, Modality.IMAGE: TEXT[::-1]},
    {Modality.TEXT: np.array([1, 1, 1, 1, 0, 1], bool), Modality.IMAGE: np.array([1, 0, 1, 1, 1, 1], bool)},
)
TABLE = pa.table(
    {
        "item_id": [f"i{n}" for n in range(6)],
        "genres": ["Drama|Comedy", "Drama", "Comedy|War", None, "Comedy", "Western"],
        "tags": [["a", "b"], ["a"], [], None, ["b", "b"], ["c"]],
        "year": [1990.0, None, 1994.0, 2000.0, 1980.0, 1990.0],
        "same": [7] * 6,
    }
)


def test_each_part_stands_beside_the_others() -> None:
    description = ItemFeatures.fit(FROZEN, TABLE, exclude=["item_id"])
    assert [one.column for one in description.columns] == ["genres", "tags", "year"]
    described = description.of(FROZEN, TABLE)
    found = described.values
    assert [one.column for one in description.amounts] == ["genres (how many)", "tags (how many)"]
    finer = [len(one.quantiles) for one in numbers_of(description)]
    assert (described.additive, described.words) == (sum(finer), None)
    assert found.shape == (6, 4 + 4 + 2 + 2 + 3 * CENTRES + sum(finer))
    there = FROZEN.exists[Modality.TEXT]
    vectors = unit(TEXT)
    mean = vectors[there].mean(axis=0)
    np.testing.assert_allclose(found[there, :4], unit(vectors[there] - mean), atol=1e-6)
    assert not found[4, :4].any()
    assert not found[1, 4:8].any()
    np.testing.assert_allclose(np.linalg.norm(found[[0, 2, 3, 4, 5], 4:8], axis=1), 0.5, atol=1e-6)
    half = 2**-0.5
    # Western and War name one film each: they say nothing of others.
    genres = np.array([[half, half], [0, 1], [1, 0], [0, 0], [1, 0], [0, 0]])
    tags = np.array([[half, half], [1, 0], [0, 0], [0, 0], [0, 1], [0, 0]])
    np.testing.assert_allclose(found[:, 8:12], np.concatenate([genres, tags], axis=1), atol=1e-6)
    counts = [2, 1, 2, None, 1, 1], [2, 1, None, None, 1, 1]  # of genres and tags
    logs = [pa.chunked_array([[n and np.log1p(n) for n in line]]) for line in counts]
    place, beside = 12, 12 + 3 * CENTRES
    for line, one in zip([TABLE["year"], *logs], numbers_of(description), strict=True):
        np.testing.assert_allclose(found[:, place : place + CENTRES], NUMBERS_SHARE * one.encode(line), atol=1e-6)
        wide = len(one.quantiles)
        np.testing.assert_allclose(
            found[:, beside : beside + wide], FINER_SHARE * one.encode_quantiles(line), atol=1e-6
        )
        place, beside = place + CENTRES, beside + wide
    assert not found[1, 12 : 12 + CENTRES].any()


def test_near_numbers_are_near() -> None:
    numbers = Numbers.of("year", np.array([1980.0, 1985, 1990, 2000, np.nan]))
    assert numbers is not None
    lines = numbers.encode(pa.chunked_array([[1990, 1991, 1999, None, 5000]]))
    step = numbers.centres[1] - numbers.centres[0]
    by_hand = np.exp(-(((1991 - np.array(numbers.centres)) / (0.8 * step)) ** 2))
    np.testing.assert_allclose(lines[1], by_hand, rtol=1e-5)
    assert lines[0] @ lines[1] > 2 * lines[0] @ lines[2]
    assert not lines[3].any()
    assert lines[4].argmax() == CENTRES - 1


def test_where_many_lines_are_numbers_are_distinguished_more_finely() -> None:
    years = [*range(1930, 1990, 6), *([1994] * 40), *([1995] * 40), *([1996] * 40)]
    numbers = Numbers.of("year", np.array(years, float))
    assert numbers is not None
    column = pa.chunked_array([[1994, 1995, None]])
    lines, finer = unit(numbers.encode(column)), unit(numbers.encode_quantiles(column))
    assert lines[0] @ lines[1] > 0.99
    assert finer[0] @ finer[1] < 0.5
    assert not finer[2].any()


def test_earlier_descriptions_had_neither_quantiles_nor_amounts() -> None:
    description = ItemFeatures.fit(FROZEN, TABLE, exclude=["item_id"])
    tensors = load(description.to_bytes())
    to_json = [one | {"quantiles": ()} for one in json.loads(tensors.pop("columns").tobytes())]
    del to_json[-1]["quantiles"], tensors["amounts"], tensors["texts"]
    earlier = ItemFeatures.from_bytes(
        save(tensors | {"columns": np.frombuffer(json.dumps(to_json).encode(), np.uint8)})
    )
    assert (earlier.of(FROZEN, TABLE).additive, earlier.words) == (0, None)
    found, whole = earlier.of(FROZEN, TABLE).values, description.of(FROZEN, TABLE).values
    assert found.shape == (6, 12 + CENTRES)
    np.testing.assert_array_equal(found[:, :12], whole[:, :12])
    np.testing.assert_allclose(NUMBERS_SHARE * found[:, 12:], whole[:, 12 : 12 + CENTRES], rtol=1e-6)


def test_columns_that_name_items_or_say_nothing_are_left_out() -> None:
    assert Categories.of("name", [(f"n{n}",) for n in range(50)]) is None
    assert Categories.of("one", [("x",)] * 50) is None
    assert Numbers.of("same", np.full(5, 7.0)) is None
    assert Numbers.of("none", np.full(5, np.nan)) is None


def test_several_values() -> None:
    assert split_values(pa.chunked_array([["a|b|a", None, "c"]])) == [("a", "b"), (), ("c",)]


def test_later_items_without_a_column_are_described_by_the_rest() -> None:
    description = ItemFeatures.fit(FROZEN, TABLE, exclude=["item_id"])
    some = description.of(FROZEN, TABLE.drop_columns(["tags"])).values
    whole = description.of(FROZEN, TABLE).values
    width, finer = whole.shape[1], len(numbers_of(description)[-1].quantiles)
    tags = [10, 11, *range(12 + 2 * CENTRES, 12 + 3 * CENTRES), *range(width - finer, width)]
    np.testing.assert_array_equal(np.delete(some, tags, axis=1), np.delete(whole, tags, axis=1))
    assert not some[:, tags].any()


def test_vectors_describe_those_of_a_text_by_themselves_and_others_with_the_rest() -> None:
    table = pa.table(
        {
            "title": ["one", "two", "three", "four", "five", None],
            "title_vector": [[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], None, [float("nan"), 1.0], [1.0, 1.0, 1.0]],
            "back_vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(1, 19, dtype=np.float32)), 3),
        }
    )
    description = ItemFeatures.fit(FROZEN, table, texts=["title"])
    assert [one.column for one in description.columns] == ["title_vector", "back_vector"]
    found = description.of(FROZEN, table)
    half = 2**-0.5
    known = np.array([[1, 0], [0, 1], [half, half]])
    expected = np.zeros((6, 2))
    expected[:3] = TEXT_SHARE * unit((known - known.mean(axis=0)).astype(np.float32))
    np.testing.assert_allclose(found.additive_values[:, :2], expected, atol=1e-6)
    backs = unit(np.arange(1, 19, dtype=np.float32).reshape(6, 3))
    np.testing.assert_allclose(found.joint[:, 8:11], FURTHER_SHARE * unit(backs - backs.mean(axis=0)), atol=1e-5)
    assert found.untrained is not None
    beside = found.joint.shape[1]  # columns that say something by themselves come last, those of the title first
    assert np.flatnonzero(found.untrained).tolist() == [8, 9, 10, beside, beside + 1]
    np.testing.assert_array_equal(found.trained, np.delete(found.values, np.flatnonzero(found.untrained), axis=1))
    again = ItemFeatures.from_bytes(description.to_bytes())
    assert again.columns == description.columns
    without = again.of(FROZEN, table.select(["title"]))
    assert not without.additive_values[:, :2].any()
    assert without.values.shape == found.values.shape


def test_vectors_that_do_not_distinguish_are_left_out() -> None:
    table = pa.table(
        {"same": [[1.0, 2.0]] * 6, "none": pa.array([None, []] * 3, pa.list_(pa.float32())), "tags": [[1], [1, 2]] * 3}
    )
    assert [one.column for one in ItemFeatures.fit(FROZEN, table).columns] == ["tags"]


def test_words_describe() -> None:
    texts = ["a red shoe", "Red boots", "the red hat", *["plain"] * 57]
    frozen = ModalityVectors({Modality.TEXT: np.ones((60, 2), np.float16)}, {Modality.TEXT: np.ones(60, bool)})
    table = pa.table({"title": texts, "tags": [["velvet"]] * 3 + [[]] * 57})
    description = ItemFeatures.fit(frozen, table, texts=["title", "tags"])
    found = description.of(frozen, table).words
    assert description.words is not None
    assert found is not None
    assert description.words.vocabulary == ("red", "velvet")
    expected = WORDS_SHARE * np.array([[2**-0.5, 2**-0.5]] * 3 + [[0, 0]] * 57)
    np.testing.assert_allclose(found.dense(), expected, rtol=1e-6)


def numbers_of(description: ItemFeatures) -> list[Numbers]:
    return [one for one in (*description.columns, *description.amounts) if isinstance(one, Numbers)]


def test_saved_and_read_it_describes_alike() -> None:
    description = ItemFeatures.fit(FROZEN, TABLE, texts=["item_id"])
    again = ItemFeatures.from_bytes(description.to_bytes())
    assert (again.columns, again.amounts, again.texts) == (description.columns, description.amounts, ("item_id",))
    np.testing.assert_array_equal(again.of(FROZEN, TABLE).values, description.of(FROZEN, TABLE).values)
    with pytest.raises(DamagedFileError, match=r"cannot be read .*fit again"):
        ItemFeatures.from_bytes(b"nothing")
