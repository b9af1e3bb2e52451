"""How a route answers: its work in a thread, from one state of the bundle, as one body."""

from collections.abc import Callable
from typing import Any

from fastapi.responses import Response
from pydantic_core import to_json

from retrieval.serving.engine.admission import Kind
from retrieval.serving.engine.request import current_request, stage
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service


async def reply(service: Service, kind: Kind, work: Callable[[Served], dict[str, Any]], *, cost: int = 1) -> Response:
    """Run work when its turn comes, and give what it gives together with the names of request and state."""

    def job() -> bytes:
        served = service.served.current  # one for the whole request
        return in_json(named(served, work(served)))

    return Response(await service.admission.run(kind, job, cost=cost), media_type="application/json")


def named(served: Served, body: dict[str, Any]) -> dict[str, Any]:
    """Put the names of the request and of the state before the body of an answer."""
    request = current_request()
    request.generation = served.generation
    names: dict[str, Any] = {
        "request_id": request.request_id,
        "generation": served.generation,
        "change": served.change,
    }
    return names | body | ({"notes": request.notes} if request.notes else {})


def in_json(body: dict[str, Any]) -> bytes:
    """Give a body as JSON; numbers that are not finite are null."""
    with stage("serialise"):
        return to_json(body, inf_nan_mode="null", bytes_mode="base64", serialize_unknown=True)
