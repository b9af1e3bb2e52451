"""`/complements`, `/next-items`, `/trending` and `/users-for`."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from retrieval.serving.engine.answering import Answers
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import ServiceDep
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.http.routes.steps import filters, in_body
from retrieval.serving.schemas.answers import Answer, UsersAnswer
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.queries import ComplementsRequest, NextItemsRequest, TrendingRequest, UsersForRequest

router = APIRouter(tags=["recommend"], responses=error_responses(410))


@router.post("/complements", response_model=Answer, summary="Find what users take with baskets")
async def complements(service: ServiceDep, body: ComplementsRequest) -> Response:
    """See `Retriever.complements`; needs what `fit` learned of users."""

    def work(served: Served) -> dict[str, Any]:
        found = served.retriever.complements(body.baskets, body.k, where=filters(body))
        return in_body(served.retriever, Answers(found), body)

    return await reply(service, "recommend", work, cost=len(body.baskets), version=body.version)


@router.post("/next-items", response_model=Answer, summary="Find what users take soon after items")
async def next_items(service: ServiceDep, body: NextItemsRequest) -> Response:
    """See `Retriever.next_items`; needs a second stage."""

    def work(served: Served) -> dict[str, Any]:
        found = served.retriever.next_items(body.item_ids, body.k, where=filters(body))
        return in_body(served.retriever, Answers(found.named(body.item_ids)), body)

    return await reply(service, "recommend", work, cost=len(body.item_ids), version=body.version)


@router.post("/trending", response_model=Answer, summary="Give what is trending, popular or newest")
async def trending(service: ServiceDep, body: TrendingRequest) -> Response:
    """See `Retriever.top_items`; one list, or one for each value of an attribute."""

    def work(served: Served) -> dict[str, Any]:
        found = served.retriever.top_items(body.order, body.k, where=filters(body), by=body.by, date=body.date)
        return in_body(served.retriever, Answers(found), body)

    return await reply(service, "recommend", work, version=body.version)


@router.post("/users-for", response_model=UsersAnswer, summary="Find the users whom items suit")
async def users_for(service: ServiceDep, body: UsersForRequest) -> Response:
    """See `Retriever.users_for`; the users are those named, by the log of live events."""

    def work(served: Served) -> dict[str, Any]:
        retriever = served.retriever
        log = service.log.interactions_of(body.user_ids, retriever.state.learned.live_types)
        ranked = retriever.users_for(body.item_ids, log, body.k, times=body.times)
        hits = [[hit._asdict() for hit in users] for users in ranked]
        return {"results": [{"item_id": one, "users": users} for one, users in zip(body.item_ids, hits, strict=True)]}

    return await reply(service, "recommend", work, cost=len(body.item_ids), version=body.version)
