"""`/media`: pictures and sounds of items, where the service has the catalogue."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic_core import to_json

from indexing.errors import UnknownItemError
from retrieval.serving.engine.admission import OverloadedError
from retrieval.serving.engine.request import stage
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.http.routes.paths import ITEM_ID
from retrieval.serving.http.unreadable import StrictRoute
from retrieval.serving.insight.media import MediaLibrary
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.insight import MediaAnswer, MediaRequest

router = APIRouter(route_class=StrictRoute, tags=["media"], responses=error_responses())
MAX_WAITING = 500  # pictures
HEADERS = {
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, max-age=300",
}
FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}, "audio/wav": {}, "audio/flac": {}, "audio/ogg": {}, "audio/mpeg": {}}}
}


def library_of(request: Request) -> MediaLibrary | None:
    """Give the pictures and sounds of the service, None where it has none."""
    found: MediaLibrary | None = getattr(request.app.state, "media", None)
    return found


async def _in_turn(service: Service, library: MediaLibrary, work: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
    """Run work in a thread, beside the queues of queries: a page asks for all pictures of its results at once.

    Raises:
        OverloadedError: When too many wait.
    """
    if library.waiting >= MAX_WAITING:
        service.metrics.rejected("queue_full")
        raise OverloadedError(429, "queue_full")
    library.waiting += 1
    try:
        with stage("media"):
            async with library.turns:
                return await asyncio.to_thread(work)
    finally:
        library.waiting -= 1


@router.post("/media", response_model=MediaAnswer, summary="Which items have a picture or a sound")
async def media(request: Request, body: MediaRequest) -> Response:
    """Items that have neither are left out."""
    library = library_of(request)
    found = {} if library is None else library.kinds(body.item_ids)
    return Response(to_json({"media": found}), media_type="application/json")


@router.get(
    f"/media/{ITEM_ID}",
    response_class=Response,
    summary="A picture or a sound of an item",
    responses={**FILES, **error_responses(404)},
)
async def medium(
    service: ServiceDep,
    request: Request,
    item_id: Annotated[str, Path(examples=["mug"])],
    kind: Literal["image", "audio"] = "image",
    size: Annotated[Literal["160", "320", "640"], Query(description="Pixels of the longer side.")] = "320",
) -> Response:
    """A picture is a JPEG drawn anew from its pixels; a sound is the file as it is, of a type told by its bytes."""
    library = library_of(request)
    if library is None:
        raise UnknownItemError("this service has no pictures and sounds; start it with the catalogue of its items")

    def work() -> tuple[bytes, str]:
        return (library.picture(item_id, int(size)), "image/jpeg") if kind == "image" else library.sound(item_id)

    content, media_type = await _in_turn(service, library, work)
    return Response(content, headers=HEADERS, media_type=media_type)
