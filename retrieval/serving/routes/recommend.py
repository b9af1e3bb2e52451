"""`/recommend`."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from retrieval.candidates import Candidates
from retrieval.retriever.recommend import recommended_once, request_of
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.answering import Answers
from retrieval.serving.engine.live_users import histories_of_session, histories_of_users
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.routes.reply import reply
from retrieval.serving.routes.steps import (
    after_steps,
    depth,
    filters,
    in_body,
    reasons_of_recommendation,
    shown_once,
)
from retrieval.serving.schemas.answers import Answer
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.queries import RecommendRequest

router = APIRouter(tags=["recommend"], responses=error_responses())


@router.post("/recommend", response_model=Answer, summary="Recommend items to users")
async def recommend(service: ServiceDep, body: RecommendRequest) -> Response:
    """See `Retriever.recommend`: by all published stages, as they were validated."""

    def work(served: Served) -> dict[str, Any]:
        retriever = served.retriever
        with service.metrics.stage("recommend"):
            found = recommended(service, retriever, body)
        hits, earlier = after_steps(retriever, found, body)
        why = reasons_of_recommendation(retriever, hits) if body.explain else None
        return in_body(retriever, Answers(hits, earlier, why), body)

    return await reply(service, "recommend", work, cost=body.size)


def recommended(service: Service, retriever: Retriever, body: RecommendRequest) -> Candidates:
    """Recommend as a request says; ``last_times`` has None for empty histories."""
    if body.histories is None:
        return recommended_live(service, retriever, body)
    return retriever.recommend(
        body.histories,
        depth(body),
        stages=body.stages,
        where=filters(body),
        exclude_seen=body.exclude_seen,
        weights=body.weights,
        times=body.times,
        last_times=body.last_times,
        profiles=body.profiles,
        context=body.context,
        min_relevance=body.min_relevance,
        **shown_once(body),
    )


def recommended_live(service: Service, retriever: Retriever, body: RecommendRequest) -> Candidates:
    """Recommend to users, or to a session, by what the log of live events has of them now."""
    state = retriever.state
    with service.metrics.stage("history"):
        if body.user_ids is not None:
            users = histories_of_users(state, service.events, body.user_ids, body.times)
        else:
            users = histories_of_session(state, service.events, body.session or "", body.times)
    request = request_of(
        state,
        users,
        body.profiles,
        body.context,
        filters(body),
        body.exclude_seen,
        body.min_relevance,
        body.stages,
    )
    return recommended_once(state, request, depth(body), body.stages, shown_once(body))
