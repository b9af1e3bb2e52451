"""Two losses apart: what the model lost (exact search falls short of perfect), and the index (it is not exact)."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Rows
from indexing.errors import InputError, ShapeError
from indexing.index import FlatIndex, VectorIndex
from indexing.index.search import retrieve
from retrieval.candidates import Candidates
from retrieval.evaluation.evaluate import DEFAULT_MEASURES, number
from retrieval.evaluation.metrics import cutoffs, per_query
from retrieval.evaluation.statistics.bootstrap import bootstrap_intervals
from retrieval.retriever.retriever import Retriever


class Loss(NamedTuple):
    """Where a measure was lost, for one kind of query.

    Attributes:
        kind: What the queries are, as ``"text"`` or ``"history"``.
        measure: Which.
        queries: How many were measured.
        perfect: Mean of a ranking with all that is relevant and may be shown on top; below 1 where more is relevant
            than fits in k, or is not in the catalogue, or is excluded.
        exact: Mean of exact search over the same vectors.
        served: Mean of the index.
        lost_by_model: ``perfect - exact``: only another model can win it.
        model_interval: Its paired bootstrap interval, low and high.
        lost_by_index: ``exact - served``: a greater effort or a larger index can win it; below 0 where to miss the
            nearest was luck.
        index_interval: Its paired bootstrap interval, low and high.
    """

    kind: str
    measure: str
    queries: int
    perfect: float
    exact: float
    served: float
    lost_by_model: float
    model_interval: tuple[float, float]
    lost_by_index: float
    index_interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        numbers = {name: number(value) for name, value in self._asdict().items() if isinstance(value, float)}
        intervals = {"model_interval": list(self.model_interval), "index_interval": list(self.index_interval)}
        return self._asdict() | numbers | intervals


def losses(
    retriever: Retriever,
    asked: Candidates,
    relevant: Sequence[Collection[str]],
    *,
    kind: str,
    measures: Sequence[str] = DEFAULT_MEASURES,
    level: float = 0.95,
    seed: int = 0,
) -> list[Loss]:
    """Tell what the model lost from what the index lost, in the first stage.

    Each query is searched anew, exactly and by the index, as deep as the measures look, without the rows of its
    history; an item query (kind ``"item"``) without its own. Filters and reranking that the candidates went through are
    not repeated. Between equal scores both take the lower row.

    Args:
        retriever: What is measured: its vectors, and its index.
        asked: Whose queries (B, D) and histories to take, as `Retriever.search_texts` or `Retriever.recommend` gives.
        relevant: For each query the item_ids that should be found; queries with none are left out.
        kind: What the queries are: the index tries as hard as it was tuned to for this kind.
        measures: Any of ``KNOWN_MEASURES``, with a number for k.
        level: Of the intervals.
        seed: Makes the intervals repeatable.

    Returns:
        One line a measure. Lists of several kinds may be joined.

    Raises:
        InputError: For an unknown measure, or when no query has anything relevant.
        ShapeError: When there are not as many collections as queries.
    """
    if len(relevant) != len(asked):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(asked)} queries; one a query")
    depth = max(cutoffs(measures).values())
    judged = [query for query, ids in enumerate(relevant) if len(ids)]
    if not judged:
        raise InputError(f"none of {len(relevant)} queries has relevant items, so nothing can be lost")
    asked, wanted = asked.take(judged).pointing_into(retriever.items), [relevant[query] for query in judged]
    hidden = list(retriever.items.rows(asked.query_ids)[:, None]) if kind == "item" else list(asked.histories)
    rankings = {
        "perfect": _perfect(retriever, wanted, hidden, depth),
        "exact": _exact(retriever, asked, hidden, depth),
        "served": retrieve(retriever.index, asked.queries, depth, exclude=hidden, kind=kind)[1],
    }
    found = {name: per_query(rows, wanted, retriever.items, measures) for name, rows in rankings.items()}
    perfect, exact, served = (np.column_stack(list(found[name].values())) for name in rankings)
    by_model = bootstrap_intervals(perfect - exact, level=level, seed=seed)
    by_index = bootstrap_intervals(exact - served, level=level, seed=seed)
    means = [one.mean(axis=0).tolist() for one in (perfect, exact, served)]
    return [
        Loss(kind, measure, len(wanted), p, e, s, p - e, _bounds(by_model, n), e - s, _bounds(by_index, n))
        for n, (measure, p, e, s) in enumerate(zip(found["exact"], *means, strict=True))
    ]


def _perfect(retriever: Retriever, wanted: Sequence[Collection[str]], hidden: Sequence[Rows], depth: int) -> Rows:
    """Rank what is relevant, is in the catalogue and may be shown: (B, depth) rows, -1 where nothing else is."""
    rows = np.full((len(wanted), depth), -1, np.int64)
    for line, (ids, gone) in enumerate(zip(wanted, hidden, strict=True)):
        best = np.setdiff1d(retriever.items.rows(retriever.items.known(set(ids))), gone)[:depth]
        rows[line, : len(best)] = best
    return rows


def _exact(retriever: Retriever, asked: Candidates, hidden: Sequence[Rows], depth: int) -> Rows:
    """Search all living items that have a vector, exactly."""
    there = np.flatnonzero(retriever.bundle.alive & retriever.vectors.any(axis=1))
    position = np.full(len(retriever.items), -1, np.int64)
    position[there] = np.arange(len(there))
    exclude = [position[rows][position[rows] >= 0] for rows in hidden]
    oracle: VectorIndex = FlatIndex(retriever.indexed[there])
    rows = retrieve(oracle, asked.queries, depth, exclude=exclude)[1]
    return np.where(rows >= 0, there[rows], -1)


def _bounds(intervals: NDArray[np.float64], line: int) -> tuple[float, float]:
    return float(intervals[line, 0]), float(intervals[line, 1])
