"""Words of texts against scikit-learn's, and sparse lines against dense ones."""

import numpy as np
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer

from retrieval.models.features.tfidf import (
    MAX_FRACTION,
    MAX_WORDS,
    MIN_ITEMS,
    ROWS_PER_BATCH,
    SparseRows,
    Words,
    texts_of,
)

RNG = np.random.default_rng(0)


def random_texts(count: int, words: int = 40) -> list[str]:
    chance = 1 / np.arange(1, words + 1)
    drawn = (RNG.choice(words, RNG.integers(0, 9), p=chance / chance.sum()) for _ in range(count))
    return [" ".join(f"Word{number}" for number in one) for one in drawn]


def random_rows(count: int, width: int) -> SparseRows:
    lengths = RNG.integers(0, 4, count)
    places = np.concatenate([np.empty(0, np.int64), *(RNG.permutation(width)[:length] for length in lengths)])
    return SparseRows(places, RNG.normal(size=len(places)).astype(np.float32), lengths, width)


def test_lines_are_those_of_scikit_learn() -> None:
    texts = random_texts(200)
    oracle = TfidfVectorizer(sublinear_tf=True, min_df=MIN_ITEMS, max_df=MAX_FRACTION)
    expected = oracle.fit_transform(texts).toarray()
    words = Words.fit(texts)
    assert words is not None
    assert words.vocabulary == tuple(oracle.get_feature_names_out())
    assert 3 < len(words.vocabulary) < 40
    np.testing.assert_allclose(words.transform(texts).dense(), expected, atol=1e-6)
    unknown = words.transform(["", "nothing of the kind"])
    assert not unknown.dense().any()
    assert unknown.dense().shape == (2, len(words.vocabulary))
    np.testing.assert_allclose(words.transform(texts[:9], 0.5).dense(), 0.5 * expected[:9], atol=1e-6)


def test_where_there_are_too_many_words_the_most_common_are_kept() -> None:
    names = [f"w{number}" for number in range(MAX_WORDS + 7)]
    rare = " ".join(names[:7])
    texts = [" ".join(names)] * 3 + [" ".join(names[7:])] + ["x"] * 96
    words = Words.fit(texts)
    assert words is not None
    assert len(words.vocabulary) == MAX_WORDS
    assert not set(rare.split()) & set(words.vocabulary)


def test_where_items_share_no_words_there_are_none() -> None:
    assert Words.fit(["one", "two", "three", ""]) is None
    assert Words.fit([]) is None


def test_sparse_lines_are_taken_and_multiplied_as_dense_ones() -> None:
    lines, matrix = random_rows(ROWS_PER_BATCH + 50, 12), RNG.normal(size=(12, 5)).astype(np.float32)
    dense = lines.dense()
    np.testing.assert_allclose(lines.matmul(matrix), dense @ matrix, atol=1e-5)
    for rows in (
        np.array([5, 0, ROWS_PER_BATCH + 3, 5]),
        np.empty(0, np.int64),
        slice(10, 20),
        slice(ROWS_PER_BATCH, None),
    ):
        np.testing.assert_array_equal(lines.take(rows).dense(), dense[rows])
    assert lines.take(slice(0, 0)).matmul(matrix).shape == (0, 5)


def test_all_texts_of_an_item_are_read() -> None:
    table = pa.table({"title": ["Red", None], "tags": [["shoe", None, "sole"], None], "note": ["", "x"]})
    assert [text.split() for text in texts_of(table, ["title", "tags", "note"])] == [["Red", "shoe", "sole"], ["x"]]
    assert texts_of(table, ["gone"]) == ["", ""]
    assert texts_of(table, []) == []
