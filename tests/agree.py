"""Lists that came by different paths agree: in what they hold and score, and in order but for what rounding decides.

The same product is rounded differently in a batch of another size, by another routine or on another processor. Scores
that differ by no more than that may stand in either order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows
from retrieval.candidates import Hit

Floats = NDArray[np.floating[Any]]
Lists = tuple[Floats, Rows]
"""Scores and rows, (B, k) each, best first; row -1 and minus infinity where there is none."""


def assert_lists_agree(found: Lists, expected: Lists, *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Check that two ways to find the same lists found the same.

    Args:
        found: By one way.
        expected: By the other.
        rtol: By how much of themselves scores may differ; 1e-5 is a hundred steps of float32.
        atol: By how much they may differ besides; 1e-6 is ten steps of float32 at 1.
    """
    (scores, rows), (known_scores, known_rows) = found, expected
    assert scores.shape == rows.shape == known_scores.shape == known_rows.shape
    np.testing.assert_array_equal(np.isneginf(scores), rows < 0)
    for line, (there, known) in enumerate(zip(rows >= 0, known_rows >= 0, strict=True)):
        one = [Hit(str(row), score, 0) for row, score in zip(rows[line, there], scores[line, there], strict=True)]
        other = zip(known_rows[line, known], known_scores[line, known], strict=True)
        assert_hits_agree(one, [Hit(str(row), score, 0) for row, score in other], rtol=rtol, atol=atol)


def assert_hits_agree(found: Sequence[Hit], expected: Sequence[Hit], *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Check that two ways to find the same hits of one query found the same; see `assert_lists_agree`."""
    own, others = [hit.item_id for hit in found], [hit.item_id for hit in expected]
    message = f"{own} where {others} was expected"
    assert len(own) == len(others), message
    assert len(set(own)) == len(own), f"an item comes twice: {own}"
    scores = [hit.score for hit in found]
    np.testing.assert_allclose(scores, [hit.score for hit in expected], rtol=rtol, atol=atol, err_msg=message)
    score_of = {hit.item_id: hit.score for hit in expected}
    last = min(score_of.values(), default=-np.inf)  # what is in one list alone ties with the last of the other
    wanted = [score_of.get(item_id, last) for item_id in own]
    np.testing.assert_allclose(scores, wanted, rtol=rtol, atol=atol, err_msg=message)


def assert_best(rows: Rows, scores: Floats, *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Check that (B, k) rows are the best by (B, N) scores, best first; see `assert_lists_agree`."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, : rows.shape[1]]
    own, best = (np.take_along_axis(scores, one, axis=1) for one in (rows, order))
    assert_lists_agree((own, rows), (best, order), rtol=rtol, atol=atol)
