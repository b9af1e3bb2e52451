"""Random candidates, and the plainest way to say what each method should give for one query."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates

ITEMS, DIM = 40, 6


def lists(seed: int, queries: int = 5, length: int = 12, *, rough: bool = False) -> Candidates:
    """Sorted candidates, lines of every length from none on; rough scores have many ties."""
    rng = np.random.default_rng(seed)
    rows = np.full((queries, length), -1, np.int64)
    scores = np.full((queries, length), -np.inf, np.float32)
    for line in range(queries):
        count = rng.integers(0, length + 1) if line else length
        rows[line, :count] = rng.permutation(ITEMS)[:count]
        drawn = rng.integers(0, 3, count) if rough else 5 * rng.normal(size=count)
        scores[line, :count] = np.sort(drawn)[::-1]
    histories = tuple(rng.permutation(ITEMS)[: rng.integers(0, 6)] for _ in range(queries))
    names = tuple(f"q{line}" for line in range(queries))
    return Candidates(
        np.zeros((queries, DIM), np.float32), rows, scores, ItemIds(map(str, range(ITEMS))), "x", names, histories
    )


def vectors(seed: int) -> Vectors:
    """Item vectors of any length, some of them zero."""
    drawn = np.random.default_rng(seed).normal(size=(ITEMS, DIM)).astype(np.float32)
    drawn[::13] = 0
    return drawn


def genres(seed: int) -> list[list[str] | None]:
    """None, one or several values an item."""
    rng = np.random.default_rng(seed)
    many = rng.integers(0, 4, ITEMS)
    return [[f"g{n}" for n in rng.permutation(5)[:count]] if count else None for count in many]


def plain_relevance(scores: Sequence[float]) -> list[float]:
    """Scores of one line, without padding, from 0 to 1."""
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def picked_plainly(rows: Rows, k: int, value: Callable[[list[int], int], float]) -> list[int]:
    """Pick k places one by one; value(picked places, place) says what a place is worth. The rest follows."""
    places: list[int] = []
    left = [place for place, row in enumerate(rows.tolist()) if row >= 0]
    while left and len(places) < k:
        best = max(left, key=lambda place: (round(value(places, place), 9), -place))
        places.append(best)
        left.remove(best)
    return [int(rows[place]) for place in (*places, *left)]


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Of two vectors; 0 when one has no direction."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else 0.0
