"""Items that are kept apart: a case by hand, and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.postprocess.diversify import MaxSimilarity, Relevant, diversified, greedy
from tests.retrieval.diversify.lists import cosine, lists, vectors


def test_by_hand() -> None:
    # Cosines with the first: .8, 0 and .6; of the second with the last .96.
    shown = np.array([[1, 0], [0.8, 0.6], [0, 2], [0.6, 0.8]], np.float32)
    found = Candidates(
        np.zeros((1, 2), np.float32),
        np.array([[0, 1, 2, 3]]),
        np.array([[4, 3, 2, 1]], np.float32),
        ItemIds([*"abcd"]),
        "retrieve",
    )
    for most, rows in ((1.0, [0, 1, 2, 3]), (0.85, [0, 1, 2, 3]), (0.79, [0, 2, 1, 3]), (0.5, [0, 2, 1, 3])):
        assert diversified(found, Relevant(), 3, caps=[MaxSimilarity(shown, most)]).rows.tolist() == [rows]
    assert diversified(found, Relevant(), 4, caps=[MaxSimilarity(shown, 0.85)]).rows.tolist() == [[0, 1, 2, 3]]
    # From (1, 1) they point to (0, -1), (-.2, -.4), (-1, 1) and (-.4, -.2): the first two are alike, .89.
    apart = MaxSimilarity(shown, 0.85, centre=np.array([1, 1], np.float32))
    assert diversified(found, Relevant(), 3, caps=[apart]).rows.tolist() == [[0, 2, 3, 1]]


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.integers(1, 14))
@settings(max_examples=40)
def test_no_two_are_nearer_while_others_are_left(seed: int, most: float, k: int) -> None:
    found, shown = lists(seed), vectors(seed)
    kept = diversified(found, Relevant(), k, caps=[MaxSimilarity(shown, most)])
    for rows, line in zip(found.rows.tolist(), kept.rows.tolist(), strict=True):
        left = [row for row in rows if row >= 0]
        picked: list[int] = []
        while left and len(picked) < k:
            far = [row for row in left if all(cosine(shown[row], shown[one]) <= most for one in picked)]
            picked.append((far or left)[0])
            left.remove(picked[-1])
        assert [row for row in line if row >= 0] == [*picked, *left]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found, apart = lists(4), MaxSimilarity(vectors(4), 0.3)
    whole = diversified(found, Relevant(), 6, caps=[apart])
    monkeypatch.setattr(greedy, "_AT_ONCE", 1)
    assert (diversified(found, Relevant(), 6, caps=[apart]).rows == whole.rows).all()


def test_faults() -> None:
    with pytest.raises(InputError, match=r"max_similarity is 1\.5; give a cosine from 0 to 1"):
        MaxSimilarity(vectors(0), 1.5)
