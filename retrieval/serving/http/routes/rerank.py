"""`/rerank`: items that the client names, in a better order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError
from retrieval.batch.answering import listed_candidates
from retrieval.batch.input_rows import UserLines
from retrieval.candidates import Candidates
from retrieval.postprocess.duplicates import Collapse
from retrieval.retriever.queries import Query
from retrieval.retriever.queries.compose import compose, encoded_queries
from retrieval.retriever.query_inputs import UserHistories
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.answering import Answers, check_compared, check_size
from retrieval.serving.engine.cross_encoding import cross_encoded
from retrieval.serving.engine.histories import known_of
from retrieval.serving.engine.request import stage
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.http.routes.steps import (
    after_steps,
    filters,
    in_body,
    reasons_of_recommendation,
    reasons_of_search,
    shown_once,
)
from retrieval.serving.http.unreadable import StrictRoute
from retrieval.serving.schemas.answers import Answer
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.queries import RerankRequest

router = APIRouter(route_class=StrictRoute, tags=["search"], responses=error_responses(410))


@router.post("/rerank", response_model=Answer, summary="Order given items for texts or for histories")
async def rerank(service: ServiceDep, body: RerankRequest) -> Response:
    """For texts by the exact score or by the cross-encoder, for histories by the published head.

    Candidates that do not satisfy ``where`` are left out first; variants and near-duplicates are folded afterwards.
    Items of histories that the bundle lacks are left out, as ``notes`` says; candidates that it lacks are refused.
    """
    return await reply(
        service,
        "search",
        lambda served: reranked(service, served, body),
        cost=len(body.candidates),
        version=body.version,
    )


def reranked(service: Service, served: Served, body: RerankRequest) -> dict[str, Any]:
    """Order candidates as a request says."""
    retriever = served.retriever
    count, candidates = len(body.candidates), sum(map(len, body.candidates))
    check_size(retriever, count, body.k, vectors=body.vectors, candidates=candidates)
    rows = _rows(retriever, body)
    why = None
    if body.texts is None:
        given = for_histories(retriever, body, rows)
        with stage("rerank"):
            found = folded(retriever, retriever.rerank(given), body)
        hits, earlier = after_steps(retriever, found, body, given)
        why = reasons_of_recommendation(retriever, hits) if body.explain else None
    else:
        with stage("encode"):
            queries = encoded_queries(retriever.state, body.texts)
        given = for_texts(retriever, queries, rows)
        with stage("rerank"):
            if body.cross_encoder:
                found = cross_encoded(service.cross_encoder, retriever, body.texts, given)
            else:
                found = retriever.rerank(given)
            found = folded(retriever, found, body)
        hits, earlier = after_steps(retriever, found, body, given)
        why = reasons_of_search(retriever, queries, hits) if body.explain else None
    return in_body(retriever, Answers(hits, earlier, why), body)


def _rows(retriever: Retriever, body: RerankRequest) -> list[Rows]:
    """Give the rows of the candidates of each query that satisfy the filters of a request.

    Raises:
        UnknownItemError: When an item is not in the bundle.
        InputError: When one is named twice.
    """
    found = [retriever.items.rows(item_ids) for item_ids in body.candidates]
    for place, rows in enumerate(found):
        if len(np.unique(rows)) < len(rows):
            raise InputError(f"candidates[{place}] has an item twice; name each once")
    allowed = retriever.state.allowed_rows(filters(body)) if body.where else None
    return found if allowed is None else [rows[allowed[rows]] for rows in found]


def folded(retriever: Retriever, found: Candidates, body: RerankRequest) -> Candidates:
    """Show variants and near-duplicates once, where a request asks for it."""
    once = Collapse.of(shown_once(body))
    if not once:
        return found
    if once.min_similarity is not None:
        check_compared(sum(len(hits) ** 2 for hits in body.candidates), "finding near-duplicates")
    return retriever.collapse(found, group_by=once.group_by, min_similarity=once.min_similarity)


def for_texts(retriever: Retriever, asked: Sequence[Query], item_rows: list[Rows]) -> Candidates:
    """Give candidates of texts, in the order of the cosine."""
    vectors, _ = compose(retriever.state, asked)
    queries: Vectors = retriever.state.space.content_queries(vectors)
    width = max(map(len, item_rows))
    rows = np.full((len(asked), width), -1, np.int64)
    for place, one in enumerate(item_rows):
        rows[place, : len(one)] = one
    scores = np.where(rows >= 0, np.float32(0), np.float32(-np.inf))
    given = Candidates(queries, rows, scores, retriever.items, "retrieve").coming_from("content")
    exact = np.einsum("bkd,bd->bk", retriever.indexed[rows], queries)
    return given.reordered(exact, "retrieve")


def for_histories(retriever: Retriever, body: RerankRequest, item_rows: list[Rows]) -> Candidates:
    """Give candidates of histories, in the order in which retrieval has them."""
    histories = UserHistories.of_lists(known_of(retriever.items, body.histories or []), retriever.items)
    names = tuple(map(str, range(len(item_rows))))
    return listed_candidates(retriever, UserLines(names, tuple(histories.rows), candidates=tuple(item_rows)))
