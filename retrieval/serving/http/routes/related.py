"""`/complements`, `/next-items`, `/trending` and `/users-for`."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from indexing.errors import examples
from retrieval.interactions.parse_values import request_seconds
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.answering import Answers, check_size
from retrieval.serving.engine.histories import histories_of, histories_of_users, known_of, log_of_users
from retrieval.serving.engine.request import check_reads_users, current_request, stage
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.http.routes.steps import filters, in_body
from retrieval.serving.http.unreadable import StrictRoute
from retrieval.serving.schemas.answers import Answer, UsersAnswer
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.queries import ComplementsRequest, NextItemsRequest, TrendingRequest, UsersForRequest

router = APIRouter(route_class=StrictRoute, tags=["recommend"], responses=error_responses(410))


@router.post("/complements", response_model=Answer, summary="Find what users take with baskets")
async def complements(service: ServiceDep, body: ComplementsRequest) -> Response:
    """See `Retriever.complements`; needs what `fit` learned of users.

    Items that the bundle lacks are left out, as ``notes`` says; a basket of such items alone has no hits.
    """

    def work(served: Served) -> dict[str, Any]:
        check_size(served.retriever, len(body.baskets), body.k, vectors=body.vectors)
        return _complements_of(served, body)

    return await reply(service, "recommend", work, cost=len(body.baskets), version=body.version)


def _complements_of(served: Served, body: ComplementsRequest) -> dict[str, Any]:
    retriever = served.retriever
    baskets = known_of(retriever.items, body.baskets, ("basket", "baskets"))
    asked = [place for place, basket in enumerate(baskets) if basket]
    found = retriever.complements([baskets[place] for place in asked], body.k, where=filters(body))
    answered = in_body(retriever, Answers(found.named(list(map(str, asked)))), body)["results"]
    results = dict(zip(asked, answered, strict=True))
    nothing = ({"query_id": str(place), "hits": []} for place in range(len(baskets)))
    return {"results": [results.get(place, empty) for place, empty in enumerate(nothing)]}


@router.post("/next-items", response_model=Answer, summary="Find what users take soon after items")
async def next_items(service: ServiceDep, body: NextItemsRequest) -> Response:
    """See `Retriever.next_items`; needs a second stage."""

    def work(served: Served) -> dict[str, Any]:
        check_size(served.retriever, len(body.item_ids), body.k, vectors=body.vectors)
        found = served.retriever.next_items(body.item_ids, body.k, where=filters(body))
        return in_body(served.retriever, Answers(found.named(body.item_ids)), body)

    return await reply(service, "recommend", work, cost=len(body.item_ids), version=body.version)


@router.post("/trending", response_model=Answer, summary="Give what is trending, popular or newest")
async def trending(service: ServiceDep, body: TrendingRequest) -> Response:
    """See `Retriever.top_items`; one list, or one for each value of an attribute.

    Items that a named user has in the log of live events, or those of a history, are left out. A list without them
    tells what they are, so a `user_id` needs a token.
    """
    if body.user_id is not None:
        check_reads_users("a list without what a user of the log took tells what that is", "give items as a history")

    def work(served: Served) -> dict[str, Any]:
        where = [*filters(body), *not_seen(service, served.retriever, body)]
        found = served.retriever.top_items(body.order, body.k, where=where, by=body.by, date=body.date)
        check_size(served.retriever, len(found), body.k, vectors=body.vectors)
        return in_body(served.retriever, Answers(found), body)

    return await reply(service, "recommend", work, version=body.version)


def not_seen(service: Service, retriever: Retriever, body: TrendingRequest) -> list[Any]:
    """Give the filter that leaves out what a user has seen, if one is named."""
    if body.user_id is not None:
        with stage("history"):
            (rows,) = histories_of_users(retriever.state, service.log, [body.user_id]).rows
        seen = [retriever.items[row] for row in rows.tolist()]
    else:
        seen = [item for item in body.history or () if item in retriever.items]
    return [("item_id", "not in", seen)] if seen else []


@router.post("/users-for", response_model=UsersAnswer, summary="Find the users whom items suit")
async def users_for(service: ServiceDep, body: UsersForRequest) -> Response:
    """See `Retriever.users_for`; the users are those named, by the log of live events.

    Users without an event with an item of the bundle are in no list; ``notes`` counts them.
    """

    def work(served: Served) -> dict[str, Any]:
        check_size(served.retriever, len(body.item_ids), body.k)
        return _users_of(service, served, body)

    return await reply(service, "recommend", work, cost=len(body.item_ids), version=body.version)


def _users_of(service: Service, served: Served, body: UsersForRequest) -> dict[str, Any]:
    state, user_ids = served.retriever.state, list(dict.fromkeys(body.user_ids))
    log = log_of_users(state, service.log, user_ids)
    histories = histories_of(state, log, user_ids).rows
    unknown = [user for user, rows in zip(user_ids, histories, strict=True) if not len(rows)]
    if unknown:
        current_request().note(
            f"{len(unknown)} of {len(user_ids)} users have no event with an item of this bundle, e.g. "
            f"{examples(unknown)}; they are in no list"
        )
    if len(unknown) < len(user_ids):
        ranked = served.retriever.users_for(body.item_ids, log, body.k, times=body.times)
        hits = [[hit._asdict() for hit in users] for users in ranked]
    else:
        state.items.rows(body.item_ids)  # raises where one is unknown
        request_seconds([] if body.times is None else [body.times], "times")
        hits = [[] for _ in body.item_ids]
    return {"results": [{"item_id": one, "users": users} for one, users in zip(body.item_ids, hits, strict=True)]}
