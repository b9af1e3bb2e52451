"""The index of words agrees with BM25 written out, in memory, in files and after changes."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.errors import InputError, ShapeError
from indexing.index.words.tokenizer import QueryTokens, item_tokens, query_tokens
from indexing.index.words.word_index import K1, B, WordIndex

TEXTS = [
    "red canvas shoe red laces",
    "blue canvas shoe",
    "SKU-123 lamp",
    "",
    "a mug of red clay with a very long description of how it was made",
    "red mug",
    "red mug",
]


def written_out(texts: Sequence[str], query: Sequence[str], known: Sequence[str] | None = None) -> Vectors:
    """BM25 as Lucene has it, of texts by the statistics of others; see Robertson and Zaragoza (2009), section 3.2."""
    known = texts if known is None else known
    bags = [Counter(item_tokens(text)) for text in known]
    mean = sum(sum(bag.values()) for bag in bags) / len(bags)
    scores = []
    for text in texts:
        bag, score = Counter(item_tokens(text)), 0.0
        for word in query:
            having = sum(word in other for other in bags)
            idf = math.log(1 + (len(bags) - having + 0.5) / (having + 0.5))
            score += idf * bag[word] / (bag[word] + K1 * (1 - B + B * sum(bag.values()) / mean))
        scores.append(score)
    return np.array(scores, np.float32)


def saved(index: WordIndex, folder: Path) -> WordIndex:
    for name, content in index.contents().items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content(folder / name)
    return WordIndex.read(folder, index.mean_length)


@pytest.mark.parametrize(
    "query", ["red mug", "shoe", "red red shoe", "sku-123", "a lamp of clay", "nothing of it here"]
)
@pytest.mark.parametrize("in_files", [False, True], ids=["memory", "files"])
def test_scores_are_those_of_the_formula(tmp_path: Path, query: str, in_files: bool) -> None:
    index = WordIndex.build(TEXTS)
    index = saved(index, tmp_path) if in_files else index
    tokens = query_tokens(query)
    expected = written_out(TEXTS, [*tokens.words, *tokens.exact])
    # bm25s sums float32, the formula float64; scores are up to about 5
    np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5, atol=1e-6)


def test_answers_are_the_best_in_row_order_and_without_a_word_there_is_none() -> None:
    index = WordIndex.build(TEXTS)
    scores, rows = index.search(["red mug", "canvas", "zzz"], k=4)
    assert rows.tolist() == [[5, 6, 0, 4], [1, 0, -1, -1], [-1, -1, -1, -1]]
    assert np.isneginf(scores[rows < 0]).all()
    assert scores[0, 0] == scores[0, 1] > scores[0, 2] > scores[0, 3] > 0
    assert index.search(["red"], k=99)[1].shape == (1, len(TEXTS))
    assert index.search([], k=3)[1].shape == (0, 3)


def test_a_mask_leaves_the_best_of_what_is_allowed() -> None:
    index, allow = WordIndex.build(TEXTS), np.ones(len(TEXTS), np.bool_)
    allow[5] = False
    assert index.search(["red mug"], 2, allow)[1].tolist() == [[6, 0]]
    assert index.search(["red mug"], 2, np.zeros(len(TEXTS), np.bool_))[1].tolist() == [[-1, -1]]
    with pytest.raises(ShapeError, match=r"allow has shape \(3,\)"):
        index.search(["red"], 2, allow[:3])


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("SKU-123", "sku 123"),
        ("SKU-123", "SKU123"),
        ("SKU123", "sku-123"),
        ("Nike T-Shirt", "tshirt"),
        ("Men's Shirt", "mens"),
        ("Café crème", "cafe CREME"),
        ("Straße", "STRASSE"),
        ("\uff2e\uff29\uff2b\uff25", "nike"),
        ("抹茶入り玄米茶", "玄米茶"),
        ("绿茶", "茶"),
        ("iPhone手机壳", "手机"),
        ("กระเป๋าหนังสีดำ", "หนัง"),
        ("무선 이어폰", "이어폰"),
        ("हिन्दी किताब", "किताब"),
        ("women's running shoes", "womens runing shoes"),
        ("Kalenji Shirt", "kalnji"),
        ("embroidered top", "embriodered"),
    ],
)
def test_a_text_is_found_by_what_people_write(text: str, query: str) -> None:
    index = WordIndex.build(["something else entirely", "別の品", text, "blue hat"])
    assert index.search([query], 1)[1].tolist() == [[2]]


def test_only_words_of_letters_are_taken_for_misspelt() -> None:
    index = WordIndex.build(["model x200 blue", "model x201 blue", "red"])
    assert index.search(["x202"], 1)[1].tolist() == [[-1]]
    assert index.meanings("bleu modal rad model") == {"bleu": {"blue": 0.75}, "modal": {"model": 0.8}, "rad": {}}
    assert query_tokens("sku-9 cafés") == QueryTokens(["sku", "cafes"], ["9", "sku9"])


def test_changes_are_scored_by_the_statistics_of_the_first_items() -> None:
    rows, texts = np.array([1, 7, 8]), ["green canvas hat", "red mug red mug", "teapot"]
    index = WordIndex.build(TEXTS).with_changes(rows, texts, 9)
    for query in (["red", "mug"], ["canvas", "shoe"]):
        expected = np.append(written_out(TEXTS, query), [0, 0])
        expected[rows] = written_out(texts, query, TEXTS)
        np.testing.assert_allclose(index.scores(" ".join(query)), expected, rtol=1e-5, atol=1e-6)
    assert index.search(["teapot", "hat", "shoe"], 1)[1].tolist() == [[8], [1], [0]]
    assert index.with_changes(np.empty(0, np.int64), [], 7).search(["shoe"], 2)[1].tolist() == [[1, 0]]
    with pytest.raises(ShapeError, match="1 texts for 2 rows of 9 items, 7 of them indexed"):
        index.with_changes(np.array([1, 2]), ["one"], 9)


def test_files_are_mapped_plain_arrays(tmp_path: Path) -> None:
    index = saved(WordIndex.build(TEXTS), tmp_path)
    arrays = sorted(tmp_path.glob("*.npy"))
    assert len(arrays) == 6
    assert {np.load(path, allow_pickle=False).dtype.kind for path in arrays} == {"f", "i"}
    assert isinstance(index.base.scores["data"], np.memmap)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    index = WordIndex.build(TEXTS)
    saved(index, tmp_path)
    np.save(tmp_path / "indices.csc.index.npy", index.base.scores["indices"] + 100)
    with pytest.raises(ValueError, match="it names document 106 of 7"):
        WordIndex.read(tmp_path, index.mean_length)
    np.save(tmp_path / "indices.csc.index.npy", np.array([{}], object))
    with pytest.raises(ValueError, match="Python objects in dtype"):
        WordIndex.read(tmp_path, index.mean_length)


def test_without_a_word_there_is_no_index() -> None:
    with pytest.raises(InputError, match="no word in 2 texts; name other columns"):
        WordIndex.build(["", "!!"])
