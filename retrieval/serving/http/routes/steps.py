"""The steps after retrieval, as a request asks for them: rerank, diversify, rules, reasons, verdict."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from retrieval.candidates import Candidates
from retrieval.interactions.impressions import Impressions
from retrieval.postprocess.duplicates import Collapse, ShowOnce
from retrieval.postprocess.rules import Rules
from retrieval.ranking.explain import MAX_HISTORY, Explanation
from retrieval.ranking.fusion import Fused
from retrieval.retriever.queries import Query
from retrieval.retriever.queries.query import as_queries
from retrieval.retriever.retriever import Retriever
from retrieval.retriever.search import DEEPER
from retrieval.serving.engine.answering import Answers, check_compared, check_explained, results_of
from retrieval.serving.engine.request import stage
from retrieval.serving.schemas.base import Strict
from retrieval.serving.schemas.queries import Answering, Postprocessed, Retrieved, ShownOnce


def shown_once(body: ShownOnce) -> ShowOnce:
    """Give the keyword arguments that show variants and near-duplicates once."""
    once: ShowOnce = {"group_by": body.group_by, "duplicates": body.duplicates}
    if body.min_similarity is not None:
        once["min_similarity"] = body.min_similarity
    return once


def check_collapse(body: ShownOnce, queries: int, candidates: int) -> None:
    """Check how much it takes to find near-duplicates, which are sought among four times as many candidates.

    Raises:
        InputError: When it is more than a request may ask for.
    """
    if Collapse.of(shown_once(body)).min_similarity is not None:
        check_compared(queries * candidates * DEEPER * candidates, "finding near-duplicates")


def filters(body: Answering) -> list[Any]:
    """Give the filters of a request: texts, and conditions as tuples."""
    return [one if isinstance(one, str) else tuple(one) for one in body.where]


def depth(body: Retrieved, *, reranked: bool = False) -> int:
    """Give how many candidates to retrieve: more than the hits where later steps choose among them."""
    return max(body.k, body.num_candidates) if reranked or _chooses(body) else body.k


def _chooses(body: Retrieved) -> bool:
    return bool(body.blend or body.diversify or body.rules)


def after_steps(
    retriever: Retriever,
    found: Candidates,
    body: Postprocessed,
    *before: Candidates,
    reranked: bool = False,
    seen: Callable[[Rules], Impressions | None] | None = None,
) -> tuple[Candidates, tuple[Candidates, ...]]:
    """Apply the steps of a request; give the hits, and what each step before the last gave, with those ``before``.

    Rules of frequency count what the users have ``seen`` until now, where that is known.
    """
    stages = [*before, found]
    if reranked:
        with stage("rerank"):
            stages.append(retriever.rerank(stages[-1]))
    with stage("postprocess"):
        if body.blend:
            stages.append(retriever.blend(stages[-1], body.blend))
        if body.diversify is not None:
            counts = np.count_nonzero(stages[-1].rows >= 0, axis=1)
            chosen = counts if body.rules else np.minimum(counts, body.k)  # rules need all of them in order
            check_compared(int(counts @ chosen), "diversify")
            arguments = without_defaults(body.diversify)
            stages.append(retriever.diversify(stages[-1], None if body.rules else body.k, **arguments))
        if body.rules:
            rules = Rules.from_list(body.rules)
            shown = None if seen is None else seen(rules)
            at = None if shown is None else int(time.time())
            stages.append(retriever.apply_rules(stages[-1], rules, body.k, impressions=shown, at=at))
    last = stages.pop()
    return last.top(body.k), tuple(stages)


def without_defaults(part: Strict) -> dict[str, Any]:
    """Give what a request says itself, as keyword arguments."""
    return part.model_dump(exclude_unset=True)


def in_body(retriever: Retriever, answers: Answers, body: Answering) -> dict[str, Any]:
    """Give the results as a request wants to see them."""
    return {"results": results_of(retriever, answers, body.attributes, vectors=body.vectors)}


def reasons_of_search(
    retriever: Retriever, queries: Sequence[str | Query], found: Candidates
) -> list[list[dict[str, Any]]]:
    """Say of each hit what each part of its query adds, or its place in each list that was fused."""
    check_explained(
        sum(len(hits) * len(query.parts) for hits, query in zip(found, as_queries(queries), strict=True)),
        "parts of queries for hits",
    )
    if isinstance(found, Fused):
        return [
            [{"lists": {name: at._asdict() for name, at in places.items()}} for places in found.places_of(query)]
            for query in range(len(found))
        ]
    with stage("explain"):
        explained = retriever.explain_queries(queries, found)
    return [
        [
            {"parts": [{"part": part.label, "weight": part.weight, "score": float(score)} for part, score in hit]}
            for hit in hits
        ]
        for hits in explained
    ]


def reasons_of_recommendation(retriever: Retriever, found: Candidates) -> list[list[dict[str, Any]]]:
    """Say of each hit which items of the history and which features it is due to; nothing of users without either."""
    asks_behaviour = np.any(found.queries[:, retriever.vectors.shape[1] :], axis=1).tolist()
    explained = [at for at, history in enumerate(found.histories) if len(history) or asks_behaviour[at]]
    reasons: list[list[dict[str, Any]]] = [[{} for _ in hits] for hits in found]
    if explained:
        counts = [len(found[at]) * min(len(found.histories[at]), MAX_HISTORY) for at in explained]
        check_explained(sum(counts), "items of histories for hits")
        with stage("explain"):
            explanations = retriever.explain(found.take(explained))
        for at, hits in zip(explained, explanations, strict=True):
            reasons[at] = [_in_json(one) for one in hits]
    return reasons


def _in_json(explanation: Explanation) -> dict[str, Any]:
    fields = asdict(explanation)
    del fields["item_id"]
    return fields | {"history": [{"item_id": item, "effect": effect} for item, effect in explanation.history]}
