"""`/recommend`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response

from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates, source_code
from retrieval.interactions.impressions import Impressions
from retrieval.postprocess.rules import Rules, ShownRule
from retrieval.retriever.recommend import recommended_once, request_of
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.answering import Answers, check_size
from retrieval.serving.engine.histories import histories_of_session, histories_of_users, known_and_weights
from retrieval.serving.engine.request import check_reads_users, current_request, stage
from retrieval.serving.engine.served_bundle import Served, Unusable, usable
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.engine.versions import AS_SERVED, Version
from retrieval.serving.http.routes.reply import names_of, reply
from retrieval.serving.http.routes.steps import (
    after_steps,
    check_collapse,
    depth,
    filters,
    in_body,
    reasons_of_recommendation,
    shown_once,
)
from retrieval.serving.http.unreadable import StrictRoute
from retrieval.serving.observability.metrics import IMPERSONAL
from retrieval.serving.scenarios.assignment import assign, versions_of
from retrieval.serving.schemas.answers import Answer
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.queries import RecommendRequest

router = APIRouter(route_class=StrictRoute, tags=["recommend"], responses=error_responses(410))
NO_OTHERS: Mapping[Version, Served | Unusable] = {}


@router.post("/recommend", response_model=Answer, summary="Recommend items to users")
async def recommend(service: ServiceDep, body: RecommendRequest) -> Response:
    """See `Retriever.recommend`: by all published stages, as they were validated.

    Items of histories that the bundle lacks are left out; ``notes`` counts them.
    """
    others = await service.served.opened_all(versions_of(service.scenarios, body))
    return await reply(
        service, "recommend", lambda served: recommended_to(service, served, body, others), cost=body.size
    )


def recommended_to(
    service: Service, served: Served, body: RecommendRequest, others: Mapping[Version, Served | Unusable] = NO_OTHERS
) -> dict[str, Any]:
    """Recommend as a request says, to each user by the scenario that is theirs.

    Args:
        service: With its scenarios.
        served: Answers where neither the request nor its scenario says more.
        body: The request.
        others: Other versions that it names; those of scenarios are open always.
    """

    def served_by(version: Version) -> Served:
        if version == AS_SERVED:
            return served
        return usable(others[version] if version in others else service.served.view.pinned[version])

    assigned = assign(service.scenarios, service.events, of_each_user(body), served_by)
    for one in assigned:
        wanted = depth(one.body)
        check_size(one.served.retriever, body.size, one.body.k, vectors=one.body.vectors, candidates=body.size * wanted)
        check_collapse(one.body, body.size, wanted)
        if one.body.explain and one.body.histories is None:
            check_reads_users("explain names what users of the log took", "leave explain out")
    if len(assigned) == 1:
        variant = {} if assigned[0].variant is None else {"variant": assigned[0].variant}
        answer = answered(service, assigned[0].served.retriever, assigned[0].body)
        return names_of(assigned[0].served) | variant | answer
    results: dict[int, Any] = {}
    for one in assigned:
        with _notes_of_some(f"{len(one.places)} of {body.size} users have the variant {one.variant!r}, and of these: "):
            answer = answered(service, one.served.retriever, one.body)
        names = {"variant": one.variant} | ({} if one.served == served else names_of(one.served))
        for place, result in zip(one.places, answer["results"], strict=True):
            results[place] = {"query_id": result["query_id"]} | names | result
    return {"results": [results[place] for place in sorted(results)]}


@contextmanager
def _notes_of_some(who: str) -> Iterator[None]:
    """Say in the notes of a block which users of the request they speak of, and count."""
    notes = current_request().notes
    before = len(notes)
    yield
    notes[before:] = [f"{who}{note}" for note in notes[before:]]


def of_each_user(body: RecommendRequest) -> RecommendRequest:
    """Give a request whose lists have a value for each user, and whose context is one mapping, or one for each user.

    Raises:
        ShapeError: When a list has more or fewer values than there are users.
    """
    count, context = body.size, body.context
    if isinstance(context, dict):
        columns = {name: value for name, value in context.items() if isinstance(value, list)}
        for name, values in columns.items():
            _check_count(f"context.{name}", values, count)
        if columns:
            rows = [context | {name: values[place] for name, values in columns.items()} for place in range(count)]
            body = body.model_copy(update={"context": rows})
    for name in ("times", "profiles", "context", "weights", "last_times"):
        if isinstance(values := getattr(body, name), list):
            _check_count(name, values, count)
    return body


def of_known_items(retriever: Retriever, body: RecommendRequest) -> RecommendRequest:
    """Leave out items of histories that the bundle lacks, with their weights, and say so in a note."""
    if body.histories is None:
        return body
    histories, weights = known_and_weights(retriever.items, body.histories, body.weights)
    return body.model_copy(update={"histories": histories, "weights": weights})


def _check_count(name: str, values: Sequence[Any], count: int) -> None:
    if len(values) != count:
        raise ShapeError(f"{name} has {len(values)} values for {count} users; give one for each user")


def _check_last_times(body: RecommendRequest) -> None:
    for place, (items, at) in enumerate(zip(body.histories or (), body.last_times or (), strict=False)):
        if items and at is None:
            raise InputError(
                f"last_times has null for history {place}, which has items; give the time of the last one, or ask for "
                "users whose last time is not known in a request of their own without times"
            )


def answered(service: Service, retriever: Retriever, body: RecommendRequest) -> dict[str, Any]:
    """Answer a request as it stands, without items of histories that the bundle lacks."""
    body = of_known_items(retriever, body)
    _check_last_times(body)
    with stage("recommend"):
        found = recommended(service, retriever, body)
    hits, earlier = after_steps(retriever, found, body, seen=partial(seen_by, service, body))
    count_impersonal(service, hits)
    why = reasons_of_recommendation(retriever, hits) if body.explain else None
    return in_body(retriever, Answers(hits, earlier, why), body)


def count_impersonal(service: Service, hits: Candidates) -> None:
    """Count hits that are due to nothing that is known of the user, by their source."""
    if hits.sources is not None:
        for source in IMPERSONAL:
            if count := int(np.count_nonzero(hits.sources == source_code(source))):
                service.metrics.fallback(source, count)


def seen_by(service: Service, body: RecommendRequest, rules: Rules) -> Impressions | None:
    """Read what was shown to the users of a request until now, where a rule counts that; None of histories as lists."""
    if service.events is None or body.histories is not None:
        return None
    if not any(isinstance(rule, ShownRule) for rule in rules.rules):
        return None
    if body.user_ids is not None:
        return service.events.impressions_of(body.user_ids)
    return service.events.impressions_of([body.session or ""], "session")


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
    with stage("history"):
        if body.user_ids is not None:
            users = histories_of_users(state, service.log, body.user_ids, body.times)
        else:
            users = histories_of_session(state, service.log, body.session or "", body.times)
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
