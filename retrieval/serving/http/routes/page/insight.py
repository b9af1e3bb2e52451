"""`/facets`, `/map`, `/tastes`, `/status` and `/generations`: what the page shows beside hits."""

import time
from collections.abc import Set
from concurrent.futures import wait
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from indexing.bundle.word_files import word_settings
from indexing.errors import InputError
from retrieval.serving.admin.generations import described_generations
from retrieval.serving.config import MAX_ID_CHARACTERS
from retrieval.serving.engine.histories import known_and_weights
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.http.routes.page.media import library_of
from retrieval.serving.http.routes.queries import queries_of
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.http.routes.search import has_files
from retrieval.serving.http.security import is_elsewhere, is_off
from retrieval.serving.http.unreadable import StrictRoute
from retrieval.serving.insight.facets import facets_of
from retrieval.serving.insight.space_map import MODALITY, drawing, map_of, points_of
from retrieval.serving.insight.state_cache import per_state
from retrieval.serving.insight.tastes import tastes_of
from retrieval.serving.schemas.answers import Named
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.insight import (
    FacetsAnswer,
    KeptGenerationsAnswer,
    MapAnswer,
    PlacesAnswer,
    StatusAnswer,
    TasteAnswer,
    TasteRequest,
)
from retrieval.serving.schemas.queries import SearchRequest

OF_ADMIN = ("state", "made_on", "can_be_published")
"""What `/admin/generations` alone says of a generation."""
_OF_USERS = ("/users/merge", "/users/{user_id}", "/users/{user_id}/events")
OF_LOG = ("/events", "/users-for", *_OF_USERS, "/admin/events/export")
"""Paths that answer from the log of live events alone."""
OF_LIBRARY = ("/media/{item_id}",)
DRAWING_SECONDS = 0.5  # that a request waits for the map

router = APIRouter(route_class=StrictRoute, tags=["insight"], responses=error_responses())


@router.get("/facets", response_model=FacetsAnswer, summary="Attributes that make filters")
async def facets(service: ServiceDep) -> Response:
    """Their values with numbers of items, or smallest and largest numbers."""

    def work(served: Served) -> dict[str, Any]:
        retriever = served.retriever
        return {"facets": per_state(retriever, "facets", lambda: facets_of(retriever.bundle))}

    return await reply(service, "search", work)


@router.get(
    "/map",
    response_model=MapAnswer,
    summary="The space of items in two dimensions",
    responses={202: {"model": Named, "description": "The map is being drawn; ask again after `Retry-After` seconds."}},
)
async def space(
    service: ServiceDep,
    colour: Annotated[
        str | None,
        Query(max_length=MAX_ID_CHARACTERS, description="What points are coloured by.", examples=["category"]),
    ] = None,
) -> Response:
    """All items, or 20,000 of them; places and colours are numbers of few bytes in base64.

    It is drawn once for each state of the bundle, beside the queues of queries; until that is done the status is 202.
    """
    is_drawn = True

    def work(served: Served) -> dict[str, Any]:
        nonlocal is_drawn
        points = drawing(served.retriever, by_modality=colour == MODALITY)
        is_drawn = bool(wait([points], DRAWING_SECONDS).done)
        return map_of(served.retriever, colour) if is_drawn else {}

    answer = await reply(service, "search", work)
    if not is_drawn:
        answer.status_code, answer.headers["retry-after"] = 202, "1"
    return answer


@router.post(
    "/map/places", response_model=PlacesAnswer, summary="Where queries lie on the map", responses=error_responses(410)
)
async def places(service: ServiceDep, body: SearchRequest, modality: bool = False) -> Response:
    """A query is encoded as for `/search`, and placed on the axes of the items, or on those of their modalities."""

    def work(served: Served) -> dict[str, Any]:
        retriever = served.retriever
        queries = queries_of(service, retriever, body.model_copy(update={"mode": "vector"}))
        found = retriever.search(queries, 1).queries[:, : retriever.vectors.shape[1]]
        plane = points_of(retriever, by_modality=modality).plane
        return {"places": plane.place(found).tolist()}

    return await reply(service, "upload" if has_files(body) else "search", work, cost=body.size, version=body.version)


@router.post("/tastes", response_model=TasteAnswer, summary="A history in words")
async def tastes(service: ServiceDep, body: TasteRequest) -> Response:
    """The values of attributes whose items lie in the direction of the history, seen from the middle of all items.

    Items that the bundle lacks are left out, with their weights; ``notes`` counts them.
    """
    weights = [1.0] * len(body.history) if body.weights is None else body.weights
    if len(weights) != len(body.history):
        raise InputError(f"there are {len(body.history)} items and {len(weights)} weights; give a weight for each item")

    def work(served: Served) -> dict[str, Any]:
        (history,), known = known_and_weights(served.retriever.items, [body.history], [weights])
        return tastes_of(served.retriever, history, known[0] if known else weights, body.k)

    return await reply(service, "search", work)


@router.get("/status", response_model=StatusAnswer, summary="How well the service does")
async def status(service: ServiceDep, request: Request) -> Response:
    """Recall as promised and as found, what was learned and until when, and the age of the last live event."""
    beside = {"media": library_of(request) is not None, "routes": _answered(service, request)}
    return await reply(service, "search", lambda served: _status(service, served) | beside, of_health=True)


@router.get("/generations", response_model=KeptGenerationsAnswer, summary="The generations that the bundle keeps")
async def kept(service: ServiceDep) -> Response:
    """When they were made, what they learned, and which one is served; requests may name any of them.

    The one that a fit with `publish` false staged is among them.
    """

    def work(served: Served) -> dict[str, Any]:
        found = described_generations(served.retriever.bundle.root)
        is_open = service.served.open_generations()
        return {"generations": [_asked(one, served.generation, is_open) for one in found]}

    return await reply(service, "search", work, of_health=True)


def _asked(described: dict[str, Any], served: str, is_open: Set[str]) -> dict[str, Any]:
    """Say of a generation what whoever asks by its name must know."""
    name = described["generation"]
    marks = {"served": name == served, "open": name in is_open, "staged": described["state"] == "staged"}
    return {field: value for field, value in described.items() if field not in OF_ADMIN} | marks


def _answered(service: Service, request: Request) -> list[str]:
    """Give the paths that answer at the address of a request, with a token where they need one."""
    config, port = service.config, (request.scope.get("server") or (None, None))[1]
    missing = (OF_LOG if service.events is None else ()) + (OF_LIBRARY if library_of(request) is None else ())
    return sorted(
        path
        for path, methods in request.app.openapi()["paths"].items()
        if not (path in missing or is_elsewhere(config, path, port))
        and not all(is_off(config, path, method.upper()) for method in methods)
    )


def _status(service: Service, served: Served) -> dict[str, Any]:
    bundle, retriever = served.retriever.bundle, served.retriever
    learned: dict[str, Any] | None = None
    if bundle.manifest.features:
        until = bundle.manifest.learned.get("until")
        learned = {
            "parts": list(bundle.manifest.features),
            "interactions": bundle.manifest.learned.get("interactions"),
            "until": None if until is None else datetime.fromtimestamp(until, UTC).isoformat(),
        }
    last = None if service.events is None else service.events.last_event_time()
    return {
        "created": bundle.manifest.created,
        "batches_since": len(bundle.batches),
        "promised_recall": bundle.manifest.index_config().min_recall,
        "recall": {str(kind): float(value) for kind, value in retriever.status.recall.items()},
        "problems": [service.without_places(problem) for problem in service.served.problems()],
        "files": service.served.files.counts(),
        "learned": learned,
        "words": word_settings(bundle) is not None,
        "scenarios": [] if service.scenarios is None else sorted(service.scenarios.settings),
        "event_lag_seconds": None if last is None else max(0.0, time.time() - float(last)),
    }
