"""From candidates to the body of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.catalogue.arrow_values import python_values
from indexing.errors import FilterError, InputError, did_you_mean, examples
from retrieval.candidates import SOURCES, Candidates
from retrieval.postprocess.rules import Ruled
from retrieval.postprocess.titles import titles_at
from retrieval.ranking.confidence import MatchConfidence
from retrieval.ranking.fusion import Fused
from retrieval.retriever.retriever import Retriever
from retrieval.serving.config import MAX_ALL_CANDIDATES, MAX_COMPARED, MAX_EXPLAINED, MAX_HITS, MAX_VECTOR_NUMBERS

ITEM_ID = "item_id"


@dataclass(frozen=True, eq=False)
class Answers:
    """The hits of a request, with what was asked for beside them.

    Attributes:
        candidates: The hits.
        earlier: What earlier stages gave, for the scores that hits had there.
        why: For each query the reasons of each hit.
        confidence: Whether each query has a good match.
    """

    candidates: Candidates
    earlier: tuple[Candidates, ...] = ()
    why: Sequence[Sequence[dict[str, Any]]] | None = None
    confidence: MatchConfidence | None = None


def check_size(retriever: Retriever, queries: int, k: int, *, vectors: bool = False, candidates: int = 0) -> None:
    """Refuse an answer that would take too much memory, and time to write, before it is worked on.

    Args:
        retriever: That answers.
        queries: Lists of hits of the answer.
        k: Hits of each.
        vectors: Whether each hit has its vector.
        candidates: What later steps choose from, of all queries together.

    Raises:
        InputError: When there are too many hits, candidates, or numbers of vectors.
    """
    hits, dim = queries * k, retriever.vectors.shape[1]
    asked = f"{queries} queries, users or items with a k of {k} ask for up to {hits} hits"
    if hits > MAX_HITS:
        raise InputError(
            f"{asked}, and an answer has at most {MAX_HITS}; give at most {MAX_HITS // k} of them, or a smaller k"
        )
    if candidates > MAX_ALL_CANDIDATES:
        raise InputError(
            f"{queries} queries, users or items choose from {candidates} candidates in all, and a request has at most "
            f"{MAX_ALL_CANDIDATES}; give fewer of them, or at most {MAX_ALL_CANDIDATES // queries} candidates for each"
        )
    if vectors and hits * dim > MAX_VECTOR_NUMBERS:
        raise InputError(
            f"{asked} with vectors of {dim} numbers, and an answer has at most {MAX_VECTOR_NUMBERS} of these; "
            f"leave vectors out, or ask for at most {MAX_VECTOR_NUMBERS // dim} hits in all"
        )


def check_compared(count: int, what: str) -> None:
    """Refuse to compare the vectors of more pairs of candidates than a request may, as each step of a choice does.

    Raises:
        InputError: Then.
    """
    if count > MAX_COMPARED:
        raise InputError(
            f"{what} compares {count} pairs of candidates, and a request has at most {MAX_COMPARED}; ask for fewer "
            "hits, of fewer candidates, or for fewer queries at once"
        )


def check_explained(count: int, of: str) -> None:
    """Refuse to explain more than a request may: each hit by each part of its query, or item of its history.

    Raises:
        InputError: Then.
    """
    if count > MAX_EXPLAINED:
        raise InputError(
            f"explain weighs {count} {of}, and a request has at most {MAX_EXPLAINED}; ask for fewer hits, or explain "
            "fewer queries at once"
        )


def results_of(
    retriever: Retriever, answers: Answers, attributes: str | Sequence[str] = (), *, vectors: bool = False
) -> list[dict[str, Any]]:
    """Give the results of all queries as plain values."""
    candidates = answers.candidates
    is_hit = candidates.rows >= 0
    rows = candidates.rows[is_hit]
    columns: dict[str, Sequence[Any]] = {"title": titles_at(retriever.bundle, rows)}
    if attributes:
        columns["attributes"] = attributes_at(retriever, rows, attributes)
    if vectors:
        columns["vector"] = retriever.vectors[rows].tolist()
    results, start = [], 0
    for query, count in enumerate(is_hit.sum(axis=1).tolist()):
        beside = {name: values[start : start + count] for name, values in columns.items()}
        results.append(_result(answers, query, beside))
        start += count
    return results


def _result(answers: Answers, query: int, columns: dict[str, Sequence[Any]]) -> dict[str, Any]:
    candidates = answers.candidates
    rows = candidates.rows[query]
    rows = rows[rows >= 0]
    scores = candidates.scores[query, : len(rows)].tolist()
    codes = [-1] * len(rows) if candidates.sources is None else candidates.sources[query].tolist()
    known, stage = stage_scores(answers, query), candidates.stage_of(query)
    if candidates.folded:
        columns = {**columns, "folded": [ids or None for ids in candidates.folded_ids(query)]}
    if isinstance(candidates, Ruled):
        columns = {**columns, "rules": [list(rules) or None for rules in candidates.rules_of(query)]}
    if answers.why is not None:
        columns = {**columns, "why": answers.why[query]}
    hits = []
    for place, row in enumerate(rows.tolist()):
        hit = {
            "item_id": candidates.items[row],
            "rank": place + 1,
            "score": scores[place],
            "source": SOURCES[codes[place]] if codes[place] >= 0 else None,
            "stage": stage,
            "scores": {**{name: at[row] for name, at in known.items() if row in at}, stage: scores[place]},
        }
        hits.append(hit | {name: values[place] for name, values in columns.items()})
    result: dict[str, Any] = {"query_id": candidates.query_ids[query], "hits": hits}
    if answers.confidence is not None:
        confidence = answers.confidence
        result["verdict"] = {
            "probability": float(confidence.probability[query]),
            "good": bool(confidence.good[query]),
        }
    if isinstance(candidates, Ruled):
        result["excluded"] = dict(candidates.excluded[query])
    return result


def stage_scores(answers: Answers, query: int) -> dict[str, dict[int, float]]:
    """Give by the name of each earlier stage the score that it gave to rows."""
    known: dict[str, dict[int, float]] = {}
    for found in answers.earlier:
        known.setdefault(found.stage_of(query), {}).update(
            zip(found.rows[query].tolist(), found.scores[query].tolist(), strict=True)
        )
        if isinstance(found, Fused):
            for row, places in found.places[query].items():
                for name, at in places.items():
                    known.setdefault(name, {})[row] = at.score
    return known


def attributes_at(retriever: Retriever, rows: Any, names: str | Sequence[str]) -> list[dict[str, Any]]:  # noqa: ANN401
    """Give attributes of rows, without those that an item lacks.

    Raises:
        FilterError: When the bundle has no such attribute.
    """
    table = retriever.bundle.attributes
    columns = table.column_names if names == "all" else list(names)
    if missing := [name for name in columns if name not in table.column_names]:
        raise FilterError(
            f"there is no attribute {examples(missing)}{did_you_mean(missing[0], table.column_names)}; give some of "
            f"{examples(table.column_names, 20)}, or 'all'"
        )
    unique, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
    taken = table.select([name for name in columns if name != ITEM_ID]).take(pa.array(unique))
    values = {name: list(python_values(taken[name])) for name in taken.column_names}
    described = [
        {name: of_column[place] for name, of_column in values.items() if of_column[place] is not None}
        for place in range(len(unique))
    ]
    return [described[place] for place in inverse.tolist()]
