"""How a route answers: its work in a thread, from one state of the bundle, as one body."""

from collections.abc import Callable
from typing import Any

from fastapi.responses import Response
from pydantic_core import to_json

from retrieval.serving.engine.admission import Kind
from retrieval.serving.engine.messages import without_places
from retrieval.serving.engine.request import current_request, stage
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service
from retrieval.serving.engine.versions import AS_SERVED, Version


async def reply(
    service: Service,
    kind: Kind,
    work: Callable[[Served], dict[str, Any]],
    *,
    cost: int = 1,
    version: Version = AS_SERVED,
    of_health: bool = False,
) -> Response:
    """Run work when its turn comes, and give what it gives together with the names of request and state.

    Another version than the one that is served is opened before, outside of the queues. Nothing is answered of files
    that are known to be damaged, but what says how the service is (``of_health``).

    Raises:
        DamagedFileError: When one is.
    """
    other = None if version == AS_SERVED else await service.served.opened(version)

    def job() -> bytes:
        served = other or service.served.current  # one for the whole request
        if not of_health:
            served.refuse_damage()
        return in_json(named(served, work(served)))

    return Response(await service.admission.run(kind, job, cost=cost), media_type="application/json")


def named(served: Served, body: dict[str, Any]) -> dict[str, Any]:
    """Put the names of the request and of the state before the body of an answer."""
    request = current_request()
    answer = {"request_id": request.request_id} | names_of(served) | body
    request.generation = answer["generation"]
    notes = [without_places(note, served.retriever.bundle.root) for note in request.notes]
    return answer | ({"notes": notes} if notes else {})


def names_of(served: Served) -> dict[str, Any]:
    """Name a state, and whether what it learned was left out."""
    names: dict[str, Any] = {"generation": served.generation, "change": served.change}
    return names if served.learned else names | {"learned": False}


def in_json(body: dict[str, Any]) -> bytes:
    """Give a body as JSON; numbers that are not finite are null."""
    with stage("serialise"):
        return to_json(body, inf_nan_mode="null", bytes_mode="base64", serialize_unknown=True)
