"""`/events` and `/users`: what users do, in the very next answer."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from fastapi.responses import Response
from pydantic_core import to_json

from indexing.errors import EventsBusyError
from retrieval.interactions.known_items import known_row
from retrieval.serving.config import MAX_NAME_CHARACTERS
from retrieval.serving.engine.request import current_request, stage
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.events import Event, impressions
from retrieval.serving.events.event import seconds_of
from retrieval.serving.http.routes.paths import USER_ID
from retrieval.serving.http.unreadable import StrictRoute
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.events import (
    Accepted,
    EventIn,
    EventsBody,
    EventsIn,
    ForgottenUser,
    MergedUsers,
    MergeIn,
    UserEvents,
)

router = APIRouter(route_class=StrictRoute, tags=["events"], responses=error_responses())
UserId = Annotated[str, Path(min_length=1, max_length=MAX_NAME_CHARACTERS, examples=["ann"])]
_EXAMPLES: list[Any] = [
    {"user_id": "ann", "item_id": "mug", "type": "view", "event_id": "e-1"},
    {
        "events": [
            {"session_id": "s-1", "item_id": "cup", "type": "cart"},
            {"user_id": "ann", "item_id": "cup", "type": "buy"},
        ]
    },
    {"impressions": [{"user_id": "ann", "request_id": "r-1", "item_ids": ["mug", "cup"]}]},
]
_NUM_UNKNOWN = 3  # items that an answer names


@router.post("/events", response_model=Accepted, summary="Write what users do")
async def events(service: ServiceDep, body: Annotated[EventsBody, Body(examples=_EXAMPLES)]) -> Response:
    """Write one event or a batch, whole or not at all; it is on disk when this answers.

    The next answer to that user or session reflects it. What was shown of an answer is written by its `request_id`.
    """
    log = service.log
    batch = events_of(body)

    def work() -> dict[str, Any]:
        retriever = service.served.current.retriever
        with stage("events"):
            done = log.append(batch, retriever.state.learned.live_types, within=current_request().seconds_left)
        count(service, batch)
        names = dict.fromkeys(event.item_id for event in batch)
        unknown = [name for name in names if known_row(retriever.items, name) is None]
        return {**vars(done), "unknown_items": unknown[:_NUM_UNKNOWN]}

    return _answer(await service.admission.run("events", work, cost=1, unknown=_unknown(service)))


def count(service: Service, batch: list[Event]) -> None:
    """Count events that were written, and how old they are; those without a time are as old as the request."""
    now, least = time.time(), time.perf_counter() - current_request().started
    for event in batch:
        service.metrics.event(event.type, least if event.time is None else max(now - seconds_of(event.time), least))


def events_of(body: EventIn | EventsIn) -> list[Event]:
    """Give the events of a body, impressions first."""
    if isinstance(body, EventIn):
        return [_event(body)]
    shown = [
        event
        for part in body.impressions
        for event in impressions(
            part.item_ids,
            part.request_id,
            user_id=part.user_id or "",
            session_id=part.session_id,
            time=part.time,
            variant=part.variant,
        )
    ]
    return shown + [_event(event) for event in body.events]


def _event(body: EventIn) -> Event:
    values = body.model_dump()
    return Event(**{**values, "user_id": body.user_id or "", "event_id": body.event_id or ""})


@router.post("/users/merge", response_model=MergedUsers, summary="Say that two names are one person")
async def merge(service: ServiceDep, body: MergeIn) -> Response:
    """Earlier and later events of the anonymous name belong to the known one."""
    log = service.log

    def work() -> dict[str, Any]:
        return vars(log.merge(body.anonymous, body.known, within=current_request().seconds_left))

    return _answer(await in_turn(service, work, _unknown(service)))


@router.delete(f"/users/{USER_ID}", response_model=ForgottenUser, summary="Forget a user")
async def forget(service: ServiceDep, user_id: UserId) -> Response:
    """Remove all events, sessions and names of a user; a dump that is restored later does not bring them back."""
    log = service.log

    def work() -> dict[str, Any]:
        return vars(log.forget(user_id, within=current_request().seconds_left))

    return _answer(await in_turn(service, work, _unknown(service)))


@router.get(f"/users/{USER_ID}/events", response_model=UserEvents, summary="The last events of a user")
async def user_events(
    service: ServiceDep,
    user_id: UserId,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
) -> Response:
    """Give them as they were written, the latest first."""
    log = service.log

    def work() -> dict[str, Any]:
        found = log.events_of(user_id, limit, before)
        return {"events": found, "next_before": found[-1]["sequence"] if len(found) == limit else None}

    return _answer(await in_turn(service, work))


async def in_turn(
    service: Service, work: Callable[[], dict[str, Any]], unknown: Exception | None = None
) -> dict[str, Any]:
    """Ask the log when the turn comes, or change it; ``unknown`` is as in `Admission.run`."""

    def timed() -> dict[str, Any]:
        with stage("events"):
            return work()

    return await service.admission.run("events", timed, unknown=unknown)


def _unknown(service: Service) -> EventsBusyError:
    """Give what is told of a change that has begun and not ended in time."""
    return EventsBusyError(
        f"{service.log.database.shown} has not said yet whether it is written: it may be done still; send it again: an "
        "event with the same event_id counts once"
    )


def _answer(body: dict[str, Any]) -> Response:
    names = {"request_id": current_request().request_id}
    return Response(to_json(names | body), media_type="application/json")
