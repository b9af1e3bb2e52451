"""Codes of four bits for two dimensions, made without training: what is added to a bundle is found fast within seconds.

The vectors are rotated at random and centred, after which their dimensions are about normal, and the codebook of every
pair is the best one for a normal distribution (Max 1960). A search scans all codes, and scores the best candidates
exactly, on the vectors that a bundle has in memory anyway. How many candidates that takes is measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.arrays import Mask, Rows, Vectors, check_vectors
from indexing.errors import InputError
from indexing.index.backends.faiss_base import check_found, misses, scanning, selector
from indexing.index.backends.flat import best, scanned
from indexing.index.base import VectorIndex, check_search, padded
from indexing.index.config import IndexConfig
from indexing.index.tuning.families import FLAT_UP_TO
from indexing.index.tuning.recall import Judged, Queries
from indexing.runtime.threads import about_to_compute

# So many vectors are scanned in about a millisecond, which is what a search of codes takes.
LEAST = 4096
TAIL = 1024  # rows after those that have codes; they are scanned
TAIL_SHARE = 64  # one in so many rows, when that is more
CANDIDATES = (100, 200, 400, 800)
DEEPER = 4  # candidates an answer, when many are asked for
ITEMS = 64  # rows that are queries themselves
OF_MISSES = 0.5  # of those that are allowed; the queries are too few to go to the limit
BLOCK = 16_384
# Where a normal distribution is cut into four levels with the least squared error (Max 1960).
LEVELS = np.array([-1.5104, -0.4528, 0.4528, 1.5104], np.float32)


@dataclass(frozen=True, eq=False)
class Turn:
    """How vectors become codes: (D', D) float32, and the mean (D',) that is taken away."""

    rotation: Vectors
    mean: Vectors

    @classmethod
    def of(cls, vectors: Vectors, seed: int = 0) -> "Turn":
        """Draw a rotation for (N, D) vectors, with an even number of dimensions."""
        dim = vectors.shape[1]
        even = dim + dim % 2
        drawn = np.random.default_rng(seed).normal(size=(even, even)).astype(np.float32)
        rotation = np.ascontiguousarray(np.linalg.qr(drawn)[0][:, :dim])
        return cls(rotation, rotation @ vectors.mean(axis=0))

    def __call__(self, vectors: Vectors) -> Vectors:
        """Turn (N, D) vectors."""
        turned: Vectors = vectors @ self.rotation.T - self.mean
        return turned


@dataclass(frozen=True, eq=False)
class AddedCodes:
    """Codes of consecutive rows; never changed, so that states of a bundle share them.

    Attributes:
        start: The first row that has a code.
        stop: The row after the last.
        candidates: How many of the best codes are scored.
        recall: Share of the exact best that is found for each kind of query, measured.
        target: What each must reach.
        trained: How many rows there were when they were made at first.
    """

    start: int
    stop: int
    candidates: int
    recall: Mapping[str, float]
    target: float
    trained: int
    _turn: Turn
    _codes: Any
    _asked: Mapping[str, Judged]

    @classmethod
    def of(cls, vectors: Vectors, start: int, asked: Mapping[str, Queries], config: IndexConfig) -> "AddedCodes":
        """Make codes of the rows of (N, D) vectors from one on, measured by queries whose own rows count from 0."""
        covered = vectors[start:]
        places = np.unique(np.linspace(0, len(covered) - 1, ITEMS).astype(np.int64))
        sample = covered[np.linspace(0, len(covered) - 1, LEAST).astype(np.int64)]
        turn = Turn.of(sample)
        codes = _filled(_empty(turn(sample).std(axis=0)), turn, covered)
        given = {
            kind: Queries(one.vectors, None if one.own is None else one.own - start) for kind, one in asked.items()
        }
        given["added"] = Queries(covered[places], places)
        judged = {kind: Judged.by(covered, one, config.k) for kind, one in given.items() if len(one)}
        made = cls(start, len(vectors), CANDIDATES[0], {}, config.min_recall, len(covered), turn, codes, judged)
        return made._measured(covered)

    def extended(self, vectors: Vectors) -> "AddedCodes":
        """Give codes of the rows after these too; those that are searched meanwhile stay as they are."""
        known, more = self.stop - self.start, vectors[self.stop :]
        codes = _filled(faiss.clone_index(self._codes), self._turn, more)
        asked = {kind: _judged_further(one, more, known) for kind, one in self._asked.items()}
        grown = replace(self, stop=len(vectors), _codes=codes, _asked=asked)
        return grown._measured(vectors[self.start :])

    @property
    def reached(self) -> bool:
        """Whether every kind of query finds what it must; otherwise the rows must be scanned."""
        return all(found >= self.target for found in self.recall.values())

    def _measured(self, covered: Vectors) -> "AddedCodes":
        """Take the fewest candidates with which every kind of query finds what it must."""
        wanted = 1 - (1 - self.target) * OF_MISSES
        for candidates in CANDIDATES:
            tried = replace(self, candidates=candidates)
            index = CodedRows(tried, covered)
            recall = {kind: round(one.measure(index, covered)[0], 4) for kind, one in self._asked.items()}
            tried = replace(tried, recall=recall)
            if min(recall.values(), default=1) >= wanted:
                break
        return tried

    def nearest(self, queries: Vectors, count: int, allow: Mask | None) -> Rows:
        """Give the rows, counted from the first, of the best codes for each query: (B, count) int64, -1 for none."""
        about_to_compute(faiss.omp_get_max_threads())
        chosen = scanning(self._codes, 1, None if allow is None else selector(allow))
        # The mean changes no order: every score of a query changes alike.
        rows: Rows = self._codes.search(queries @ self._turn.rotation.T, count, params=chosen)[1]
        return check_found(rows, self.stop - self.start)


class CodedRows:
    """A `VectorIndex` of codes and the vectors that they stand for.

    Args:
        codes: Of some rows.
        vectors: (M, D) float32, of just these.
    """

    kind = "coded"

    def __init__(self, codes: AddedCodes, vectors: Vectors) -> None:
        self.codes, self.vectors = codes, vectors

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self,
        queries: Vectors,
        k: int,
        allow: Mask | None = None,
        kind: str | None = None,  # noqa: ARG002 - the same for every kind
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries, k = check_search(self, queries, k, allow), int(k)
        allowed = len(self) if allow is None else int(np.count_nonzero(allow))
        count = max(self.codes.candidates, DEEPER * k)
        if len(queries) == 0 or allowed <= max(TAIL, 2 * count):
            return padded(*scanned(self.vectors, queries, k, allow), k)
        rows = self.codes.nearest(queries, count, allow)
        scores = np.empty((len(queries), k), np.float32)
        found = np.empty((len(queries), k), np.int64)
        wrong = misses(rows, allow)
        for line in np.flatnonzero(~wrong):
            among = np.sort(rows[line])
            own = self.vectors[among] @ queries[line]
            scores[line], found[line] = (part[0] for part in best(own[None], among, k))
        if wrong.any():
            scores[wrong], found[wrong] = scanned(self.vectors, queries[wrong], k, allow)
        return scores, found

    def save(self, path: Path) -> str:
        """Refuse: codes are made anew from the vectors whenever a bundle is opened."""
        raise InputError(f"codes of added rows are not written to {path}; compact the bundle, and save its index")


def codes_for(
    base: VectorIndex,
    vectors: Vectors,
    config: IndexConfig,
    asked: Callable[[], Mapping[str, Queries]],
    known: AddedCodes | None = None,
) -> AddedCodes | None:
    """Give codes for a search of what was added to an index; None where a scan is as fast, or was asked for.

    A flat index that with the additions is larger than a build would choose a flat one for has codes too.

    Args:
        base: What was indexed.
        vectors: (N + M, D) float32, the rows of that index and those added after them.
        config: What the index must achieve.
        asked: Gives queries of each kind, to measure with; their own rows count from 0.
        known: The codes of an earlier state.
    """
    flat = base.kind.endswith("flat")
    if len(vectors) - len(base) < LEAST or config.kind == "flat" or (flat and len(vectors) <= FLAT_UP_TO):
        return None
    start = 0 if flat else len(base)
    if known is None or len(vectors) - start > 2 * known.trained:
        return AddedCodes.of(vectors, start, asked(), config)
    if len(vectors) - known.stop <= max(TAIL, (known.stop - start) // TAIL_SHARE):
        return known
    return known.extended(vectors)


def _judged_further(known: Judged, more: Vectors, before: int) -> Judged:
    """Give queries with what exact search finds when rows come after those that were known."""
    own, k = known.queries.own, known.exact.shape[1]
    later = Judged.by(more, Queries(known.queries.vectors, None if own is None else own - before), k)
    exact = np.sort(np.hstack((known.exact, later.exact)), axis=1)[:, : -k - 1 : -1]
    return Judged(known.queries, np.ascontiguousarray(exact))


def _empty(deviations: Vectors) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Make one empty list of codes for dimensions of such deviations, (D,)."""
    dim = len(deviations)
    coarse = faiss.IndexFlatIP(dim)
    coarse.add(np.zeros((1, dim), np.float32))
    codes = faiss.IndexIVFPQFastScan(coarse, dim, 1, dim // 2, 4, faiss.METRIC_INNER_PRODUCT)
    places = np.arange(16)
    pairs = np.stack([LEVELS[places % 4], LEVELS[places // 4]], axis=1)
    book = pairs[None] * deviations.reshape(-1, 1, 2)
    faiss.copy_array_to_vector(book.astype(np.float32).ravel(), codes.pq.centroids)
    codes.is_trained = True
    codes.referenced_objects = (coarse,)  # FAISS points to it without owning it
    return codes


def _filled(codes: Any, turn: Turn, vectors: Vectors) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Add vectors, some at a time: nothing of their size is copied."""
    about_to_compute(faiss.omp_get_max_threads())
    for first in range(0, len(vectors), BLOCK):
        codes.add(np.ascontiguousarray(turn(check_vectors(vectors[first : first + BLOCK]))))
    return codes
