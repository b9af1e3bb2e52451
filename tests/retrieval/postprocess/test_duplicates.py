"""Variants and near-duplicates shown once: a case by hand, plain loops, and the verbs on a small bundle."""

import re
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from indexing import Catalogue, build_bundle, update
from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import CommonspaceWarning, FilterError, InputError
from retrieval.candidates import Candidates
from retrieval.postprocess.duplicates import collapsed, group_codes
from retrieval.retriever import search as searching
from retrieval.retriever.queries import Query
from retrieval.retriever.retriever import Retriever
from tests.retrieval.diversify.lists import ITEMS, cosine, lists, vectors
from tests.toy import ToyEncoder

CODES = np.array([row % 7 - 1 for row in range(ITEMS)])


def by_hand() -> Candidates:
    rows, scores = np.array([[0, 1, 2, 3, 4, -1]]), np.array([[5, 4, 3, 2, 1, -np.inf]], np.float32)
    return Candidates(np.zeros((1, 2), np.float32), rows, scores, ItemIds([*"abcde"]), "retrieve")


def ids(found: Candidates, query: int = 0) -> list[str]:
    return [hit.item_id for hit in found[query]]


def test_the_best_ranked_of_a_group_stands_for_the_others() -> None:
    codes = np.array([7, -1, 7, -1, 7])
    kept = collapsed(by_hand(), codes=codes)
    assert (ids(kept), kept.folded_ids(0)) == (["a", "b", "d"], [["c", "e"], [], []])
    np.testing.assert_array_equal(kept.scores, [[5, 4, 2]])  # each hit keeps its own
    two = collapsed(by_hand(), 2, codes=codes)
    assert (ids(two), two.folded_ids(0)) == (["a", "b"], [["c", "e"], []])
    assert two.to_arrow()["folded"].to_pylist() == [["c", "e"], []]


def test_similarity_is_not_handed_on() -> None:
    # Cosines of neighbours are 0.96, those two apart 0.84: b is near a and c, but a and c are not near.
    angles = np.arccos(0.96) * np.arange(5)
    near = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * 3
    kept = collapsed(by_hand(), vectors=near, min_similarity=0.95)
    assert (ids(kept), kept.folded_ids(0)) == (["a", "c", "e"], [["b"], ["d"], []])
    assert ids(collapsed(by_hand(), vectors=np.zeros((5, 2), np.float32))) == [*"abcde"]
    same = np.tile(np.array([[0.1, 0.7]], np.float32), (5, 1))
    assert ids(collapsed(by_hand(), vectors=same, min_similarity=1.0)) == ["a"]


def test_what_was_folded_before_is_kept() -> None:
    first = collapsed(by_hand(), codes=np.array([-1, -1, 3, 3, -1]))
    second = collapsed(first, codes=np.array([1, -1, 1, 3, -1]))
    assert (ids(second), second.folded_ids(0)) == (["a", "b", "e"], [["c", "d"], [], []])


@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.6, 0.9]), st.sampled_from([None, 1, 3]))
@settings(max_examples=40)
def test_plain_loops(seed: int, similarity: float, k: int | None) -> None:
    found, near = lists(seed), vectors(seed)
    kept = collapsed(found, k, codes=CODES, vectors=near, min_similarity=similarity)
    for query, rows in enumerate(found.rows.tolist()):
        shown: dict[int, list[int]] = {}
        for row in (row for row in rows if row >= 0):
            leads = (
                lead for lead in shown if cosine(near[lead], near[row]) >= similarity or CODES[lead] == CODES[row] >= 0
            )
            if (lead := next(leads, None)) is not None:
                shown[lead].append(row)
            elif k is None or len(shown) < k:
                shown[row] = []
        assert [row for row in kept.rows[query].tolist() if row >= 0] == list(shown)
        assert kept.folded_ids(query) == [[str(row) for row in others] for others in shown.values()]


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (["x", None, "y", "x", ""], [0, -1, 1, 0, -1]),
        ([3, 3, None, 4, 4], [0, 0, -1, 1, 1]),
        ([0.5, float("nan"), 0.5, float("nan"), None], [0, -1, 0, -1, -1]),
        (pa.array(["x", None, "x", "y", " "]).dictionary_encode(), [0, -1, 0, 1, -1]),
    ],
)
def test_groups_are_equal_values(values: Any, codes: list[int]) -> None:  # noqa: ANN401 - values of any column
    assert group_codes(pa.table({"parent": values}), "parent").tolist() == codes


def test_an_attribute_of_several_values_is_refused() -> None:
    with pytest.raises(InputError, match=r"group_by='tags' holds list<.*one value for each item"):
        group_codes(pa.table({"tags": [["a", "b"]]}), "tags")
    with pytest.raises(FilterError, match="no attribute 'parnet'"):
        group_codes(pa.table({"parent": ["a"]}), "parnet")


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """60 red mugs, variants of one product, before 6 other things that are more or less red."""
    folder = tmp_path_factory.mktemp("variants")
    others = ["red shoe", "red lamp", "red book", "blue mug", "white mug", "green lamp"]
    table = {
        "item_id": [f"mug-{number:02}" for number in range(60)] + [f"other-{number}" for number in range(6)],
        "title": ["red mug"] * 60 + others,
        "parent_id": ["mug"] * 60 + [None] * 6,
    }
    pq.write_table(pa.table(table), folder / "items.parquet")
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), ToyEncoder(), folder / "bundle")
    return Retriever.open(folder / "bundle", ToyEncoder())


def test_k_are_shown_where_k_exist(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({hit.item_id[:3] for hit in retriever.search_texts(["red mug"], 5)[0]}) == 1
    everything = retriever.search_texts(["red mug", "green lamp"], 66)
    for once in ({"group_by": "parent_id"}, {"duplicates": "collapse"}):
        for most in (2_000_000, 1):  # and query by query
            monkeypatch.setattr(searching, "MAX_CANDIDATES", most)
            found = retriever.search_texts(["red mug", "green lamp"], 5, **once)  # type: ignore[arg-type]
            wanted = retriever.collapse(everything, 5, group_by="parent_id", min_similarity=0.98)
            for query in (0, 1):  # equal scores have no order: any mug may stand for the others
                shown, expected = (
                    [hit_id.partition("mug-")[0] for hit_id in ids(one, query)] for one in (found, wanted)
                )
                assert shown == expected
                assert len(shown) == 5
            assert len(found.folded_ids(0)[0]) == 59


def test_queries_are_encoded_once_however_deep_the_search(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths: list[int] = []
    search_content = retriever.state.search_content

    def counted(vectors: Vectors, k: int, *arguments: Any, **options: Any) -> Candidates:  # noqa: ANN401 - any options
        depths.append(k)
        return search_content(vectors, k, *arguments, **options)

    monkeypatch.setattr(retriever.state, "search_content", counted)
    encoder = retriever.encoder
    assert isinstance(encoder, ToyEncoder)
    encoded, pictures = len(encoder.encoded), encoder.pictures
    texts, red = ["red mug", "red mug now"], Image.new("RGB", (8, 8), "red")
    retriever.search_texts(texts, 5, group_by="parent_id")
    assert (encoder.encoded[encoded:], depths) == (texts, [20, 66])
    composed: list[str | Query] = [Query.text("red mug") + 0.1 * Query.image(red), "red mug"]
    retriever.search(composed, 5, group_by="parent_id")
    assert (encoder.encoded[encoded + 2 :], encoder.pictures - pictures) == (["red mug", "red mug"], 1)
    retriever.search_images([red], 5, group_by="parent_id")
    assert (encoder.pictures - pictures, depths) == (2, [20, 66] * 3)


def test_near_duplicates_are_sought_among_so_many_candidates(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that leaves fewer than k, a warning says so; values of an attribute are sought to the end."""
    monkeypatch.setattr(searching, "NEAR_DEPTH", 30)
    texts, said = (
        ["red mug", "green lamp"],
        (
            "near-duplicates are sought among the best 30 candidates of a list, and 1 of 2 lists have fewer than 5 "
            "distinct hits there; raise min_similarity, or ask for fewer hits"
        ),
    )
    deep = retriever.search_texts(texts, 30)
    with pytest.warns(CommonspaceWarning, match=re.escape(said)):
        found = retriever.search_texts(texts, 5, duplicates="collapse")
    wanted = retriever.collapse(deep, 5, min_similarity=0.98)
    assert (len(ids(found, 0)), len(ids(found, 1))) == (len(ids(wanted, 0)), 5) == (1, 5)
    assert len(found.folded_ids(0)[0]) == 29
    with warnings.catch_warnings(action="error"):
        assert len(ids(retriever.search_texts(texts, 5, group_by="parent_id"), 0)) == 5
        monkeypatch.setattr(searching, "NEAR_DEPTH", 66)  # nothing more can be found
        few = retriever.search_texts(texts, 5, where="parent_id = mug", duplicates="collapse")
    assert len(ids(few, 0)) == 1


def test_all_verbs_show_once(retriever: Retriever) -> None:
    for found in (
        retriever.similar_items(["mug-07"], 5, group_by="parent_id"),
        retriever.recommend([["mug-07"]], 5, group_by="parent_id"),
        retriever.search_vectors(retriever.vectors[:1], 5, group_by="parent_id"),
        retriever.search(["red mug"], 5, group_by="parent_id"),
    ):
        assert sum(item_id.startswith("mug") for item_id in ids(found)) == 1
        assert len(ids(found)) == 5
    few = retriever.search_texts(["red mug"], 5, where="parent_id = mug", group_by="parent_id")
    assert len(ids(few)) == 1
    assert len(retriever.search_texts(["red mug"], 3, group_by="parent_id").rows[0]) == 3


def test_groups_follow_updates(retriever: Retriever) -> None:
    update(
        retriever.bundle.root, [{"item_id": "mug-00", "parent_id": "own"}, {"item_id": "other-0", "parent_id": "mug"}]
    )
    found = retriever.latest().search_texts(["red mug"], 66, group_by="parent_id")
    shown = ids(found)
    assert "mug-00" in shown
    assert sum(item_id.startswith("mug") for item_id in shown) == 2
    assert "other-0" not in shown


@pytest.mark.parametrize(
    ("once", "message"),
    [
        ({"duplicates": "hide"}, "duplicates"),
        ({"group_by": 3}, "group_by"),
        ({"group_by": "parent"}, "no attribute 'parent'"),
        ({"duplicates": "collapse", "min_similarity": 1.5}, "min_similarity is 1.5; give a cosine above 0"),
        ({"min_similarity": 0.9}, "duplicates are shown; collapse them"),
    ],
)
def test_faults(retriever: Retriever, once: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, FilterError), match=message):
        retriever.search_texts(["red mug"], 5, **once)
