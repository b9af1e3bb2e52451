"""Codes of four bits for two dimensions, made without training, for a fast search of added rows within seconds.

The vectors are rotated at random and centred, and have codes for normal distributions. A search scans all codes, and
scores the best candidates exactly, on the vectors that a bundle has in memory anyway. How many candidates that takes is
measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.arrays import Mask, Rows, Vectors, check_vectors
from indexing.errors import InputError
from indexing.index.backends.faiss_base import check_row_range, incomplete_rows, list_search_params, selector
from indexing.index.backends.flat import search_vectors, top_k
from indexing.index.backends.normal_codes import normal_codes
from indexing.index.base import VectorIndex, check_search, padded
from indexing.index.config import IndexConfig
from indexing.index.tuning.families import FLAT_UP_TO
from indexing.index.tuning.recall import GroundTruth, Queries
from indexing.runtime.threads import about_to_compute

# So many vectors are scanned in about a millisecond, which is what a search of codes takes.
MIN_ADDED_ROWS = 4096
MAX_TAIL_ROWS = 1024  # rows after those that have codes; they are scanned
CODED_ROWS_PER_TAIL_ROW = 64  # one in so many rows, when that is more
CANDIDATES = (100, 200, 400, 800)
CANDIDATES_PER_HIT = 4  # candidates an answer, when many are asked for
NUM_ITEM_QUERIES = 64  # rows that are queries themselves
MISS_MARGIN = 0.5  # of those that are allowed; the queries are too few to go to the limit
BLOCK_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class CentredRotation:
    """How vectors become codes: (D', D) float32, and the mean (D',) that is taken away."""

    matrix: Vectors
    mean: Vectors

    @classmethod
    def of(cls, vectors: Vectors, seed: int = 0) -> "CentredRotation":
        """Draw a rotation for (N, D) vectors, with an even number of dimensions."""
        dim = vectors.shape[1]
        even = dim + dim % 2
        normal = np.random.default_rng(seed).normal(size=(even, even)).astype(np.float32)
        rotation = np.ascontiguousarray(np.linalg.qr(normal)[0][:, :dim])
        return cls(rotation, rotation @ vectors.mean(axis=0))

    def __call__(self, vectors: Vectors) -> Vectors:
        """Turn (N, D) vectors."""
        rotated: Vectors = vectors @ self.matrix.T - self.mean
        return rotated


@dataclass(frozen=True, eq=False)
class AddedCodes:
    """Codes of consecutive rows; never changed, so that states of a bundle share them.

    Attributes:
        start: The first row that has a code.
        stop: The row after the last.
        candidates: How many of the best codes are scored.
        recall: Share of the exact best that is found for each kind of query, measured.
        target: What each must reach.
        num_trained: How many rows there were when they were made at first.
    """

    start: int
    stop: int
    candidates: int
    recall: Mapping[str, float]
    target: float
    num_trained: int
    _rotation: CentredRotation
    _codes: Any
    _ground_truth: Mapping[str, GroundTruth]

    @classmethod
    def of(cls, vectors: Vectors, start: int, queries: Mapping[str, Queries], config: IndexConfig) -> "AddedCodes":
        """Make codes of the rows of (N, D) vectors from one on, measured by queries whose own rows count from 0."""
        coded_vectors = vectors[start:]
        item_rows = np.unique(np.linspace(0, len(coded_vectors) - 1, NUM_ITEM_QUERIES).astype(np.int64))
        sample = coded_vectors[np.linspace(0, len(coded_vectors) - 1, MIN_ADDED_ROWS).astype(np.int64)]
        turn = CentredRotation.of(sample)
        codes = _add_in_blocks(normal_codes(turn(sample).std(axis=0)), turn, coded_vectors)
        queries_by_kind = {
            kind: Queries(queries.vectors, None if queries.item_rows is None else queries.item_rows - start)
            for kind, queries in queries.items()
        }
        queries_by_kind["added"] = Queries(coded_vectors[item_rows], item_rows)
        ground_truth = {
            kind: GroundTruth.by(coded_vectors, queries, config.k)
            for kind, queries in queries_by_kind.items()
            if len(queries)
        }
        codes_ = cls(
            start, len(vectors), CANDIDATES[0], {}, config.min_recall, len(coded_vectors), turn, codes, ground_truth
        )
        return codes_._with_fewest_candidates(coded_vectors)

    def extended(self, vectors: Vectors) -> "AddedCodes":
        """Return codes of the rows after these too; those that are searched meanwhile stay as they are."""
        num_coded, new_vectors = self.stop - self.start, vectors[self.stop :]
        codes = _add_in_blocks(faiss.clone_index(self._codes), self._rotation, new_vectors)
        ground_truth = {
            kind: _extended_truth(truth, new_vectors, num_coded) for kind, truth in self._ground_truth.items()
        }
        grown = replace(self, stop=len(vectors), _codes=codes, _ground_truth=ground_truth)
        return grown._with_fewest_candidates(vectors[self.start :])

    @property
    def reached(self) -> bool:
        """Whether every kind of query reaches the required recall; otherwise the rows must be scanned."""
        return all(recall_ >= self.target for recall_ in self.recall.values())

    def _with_fewest_candidates(self, coded_vectors: Vectors) -> "AddedCodes":
        """Take the fewest candidates with which every kind of query reaches the required recall."""
        goal = 1 - (1 - self.target) * MISS_MARGIN
        for candidates in CANDIDATES:
            candidate = replace(self, candidates=candidates)
            index = CodedRows(candidate, coded_vectors)
            recall = {
                kind: round(truth.measure(index, coded_vectors)[0], 4) for kind, truth in self._ground_truth.items()
            }
            candidate = replace(candidate, recall=recall)
            if min(recall.values(), default=1) >= goal:
                break
        return candidate

    def nearest(self, queries: Vectors, count: int, allow: Mask | None) -> Rows:
        """Return the rows, counted from the first, of the best codes for each query: (B, count) int64, -1 for none."""
        about_to_compute(faiss.omp_get_max_threads())
        params = list_search_params(self._codes, 1, None if allow is None else selector(allow))
        # The mean changes no order: every score of a query changes alike.
        rows: Rows = self._codes.search(queries @ self._rotation.matrix.T, count, params=params)[1]
        return check_row_range(rows, self.stop - self.start)


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
        count = max(self.codes.candidates, CANDIDATES_PER_HIT * k)
        if len(queries) == 0 or allowed <= max(MAX_TAIL_ROWS, 2 * count):
            return padded(*search_vectors(self.vectors, queries, k, allow), k)
        rows = self.codes.nearest(queries, count, allow)
        scores = np.empty((len(queries), k), np.float32)
        found_rows = np.empty((len(queries), k), np.int64)
        incomplete = incomplete_rows(rows, allow)
        for query in np.flatnonzero(~incomplete):
            candidates = np.sort(rows[query])
            candidate_scores = self.vectors[candidates] @ queries[query]
            scores[query], found_rows[query] = (part[0] for part in top_k(candidate_scores[None], candidates, k))
        if incomplete.any():
            scores[incomplete], found_rows[incomplete] = search_vectors(self.vectors, queries[incomplete], k, allow)
        return scores, found_rows

    def save(self, path: Path) -> str:
        """Refuse: codes are made anew from the vectors whenever a bundle is opened."""
        raise InputError(f"codes of added rows are not written to {path}; compact the bundle, and save its index")


def codes_for(
    base: VectorIndex,
    vectors: Vectors,
    config: IndexConfig,
    held_out_queries: Callable[[], Mapping[str, Queries]],
    previous: AddedCodes | None = None,
) -> AddedCodes | None:
    """Return codes for a search of the rows added to an index; None where a scan is as fast, or was requested.

    A flat index that with the additions is larger than a build would choose a flat one for has codes too.

    Args:
        base: The index of the first rows.
        vectors: (N + M, D) float32, the rows of that index and those added after them.
        config: What the index must achieve.
        held_out_queries: Gives queries of each kind, to measure with; their own rows count from 0.
        previous: The codes of an earlier state.
    """
    flat = base.kind.endswith("flat")
    if len(vectors) - len(base) < MIN_ADDED_ROWS or config.kind == "flat" or (flat and len(vectors) <= FLAT_UP_TO):
        return None
    start = 0 if flat else len(base)
    if previous is None or len(vectors) - start > 2 * previous.num_trained:
        return AddedCodes.of(vectors, start, held_out_queries(), config)
    if len(vectors) - previous.stop <= max(MAX_TAIL_ROWS, (previous.stop - start) // CODED_ROWS_PER_TAIL_ROW):
        return previous
    return previous.extended(vectors)


def _extended_truth(truth: GroundTruth, new_vectors: Vectors, num_before: int) -> GroundTruth:
    """Return queries with what exact search finds when rows come after those that were known."""
    item_rows, k = truth.queries.item_rows, truth.exact.shape[1]
    new_truth = GroundTruth.by(
        new_vectors, Queries(truth.queries.vectors, None if item_rows is None else item_rows - num_before), k
    )
    exact = np.sort(np.hstack((truth.exact, new_truth.exact)), axis=1)[:, : -k - 1 : -1]
    return GroundTruth(truth.queries, np.ascontiguousarray(exact))


def _add_in_blocks(codes: Any, rotation: CentredRotation, vectors: Vectors) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Add vectors, some at a time: nothing of their size is copied."""
    about_to_compute(faiss.omp_get_max_threads())
    for start in range(0, len(vectors), BLOCK_ROWS):
        codes.add(np.ascontiguousarray(rotation(check_vectors(vectors[start : start + BLOCK_ROWS]))))
    return codes
