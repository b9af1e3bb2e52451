"""`/live`, `/ready`, `/info` and `/metrics`."""

import asyncio
from importlib import metadata
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic_core import to_json

from retrieval.serving.config import (
    MAX_ALL_CANDIDATES,
    MAX_BATCH,
    MAX_CANDIDATES,
    MAX_COMPARED,
    MAX_EXPLAINED,
    MAX_HITS,
    MAX_K,
    MAX_TEXT_BYTES,
    MAX_VECTOR_NUMBERS,
    Limits,
)
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.schemas.answers import Info, Live, Ready
from retrieval.serving.schemas.errors import error_responses

router = APIRouter(tags=["health"])
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.head("/live", include_in_schema=False)
@router.get("/live", response_model=Live, summary="Whether the process answers")
async def live() -> Response:
    """Outside of the queues."""
    return Response(b'{"status":"live"}', media_type="application/json")


@router.head("/ready", include_in_schema=False)
@router.get("/ready", response_model=Ready, summary="Whether queries are answered", responses={503: {"model": Ready}})
async def ready(service: ServiceDep) -> Response:
    """Outside of the queues; 503 while the service stops, and once a file of the bundle is found to be damaged."""
    problems = [service.without_places(problem) for problem in service.served.problems(brief=True)]
    stopping = service.admission.stopping
    files = service.served.files
    damaged = files.damaged is not None
    status = "stopping" if stopping else "damaged" if damaged else "degraded" if problems else "ready"
    served = service.served.current
    body = {"status": status, "generation": served.generation, "change": served.change, "problems": problems}
    body |= {"files": files.counts()}
    return Response(to_json(body), 503 if stopping or damaged else 200, media_type="application/json")


@router.get(
    "/metrics",
    response_class=Response,
    summary="Metrics for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **error_responses()},
)
async def metrics(service: ServiceDep) -> Response:
    """Outside of the queues, for whoever may read."""
    text = await asyncio.to_thread(service.metrics.exposition)
    return Response(text, media_type=PROMETHEUS)


@router.get("/info", response_model=Info, summary="What is served", responses=error_responses())
async def info(service: ServiceDep) -> Response:
    """The encoder, the index, what was learned, the attributes and the limits."""
    return await reply(service, "search", lambda served: described(service, served), of_health=True)


def described(service: Service, served: Served) -> dict[str, Any]:
    """Describe what is served."""
    retriever, limits = served.retriever, service.config.limits
    bundle, table = retriever.bundle, retriever.bundle.attributes
    encoder = bundle.manifest.encoder.to_json()
    recall = {str(kind): value for kind, value in retriever.status.recall.items()}
    return {
        "version": metadata.version("commonspace"),
        "items": int(bundle.is_live.sum()),
        "encoder": {name: encoder[name] for name in ("name", "dim", "modalities")},
        "index": {
            "kind": bundle.index.kind,
            "recall": recall,
            "degraded": retriever.status.degraded,
            "measured": retriever.status.measured,
        },
        "files": bundle.generation.checks.progress.counts(),
        "learned": {
            "adapter": retriever.adapter is not None,
            "behaviour": retriever.behaviour is not None,
            "second_stage": retriever.reranker.__class__.__name__ == "SecondStage",
        },
        "attributes": {name: str(table.schema.field(name).type) for name in table.column_names},
        "limits": _bounds(limits),
        "writes": service.config.write_token is not None,
        "events": service.events is not None,
    }


def _bounds(limits: Limits) -> dict[str, float]:
    """Give what a request may be."""
    return {
        "k": MAX_K,
        "candidates": MAX_CANDIDATES,
        "all_candidates": MAX_ALL_CANDIDATES,
        "batch": MAX_BATCH,
        "hits": MAX_HITS,
        "compared": MAX_COMPARED,
        "explained": MAX_EXPLAINED,
        "vector_numbers": MAX_VECTOR_NUMBERS,
        "text_bytes": MAX_TEXT_BYTES,
        "body_bytes": limits.body_bytes,
        "upload_bytes": limits.upload_bytes,
        "image_bytes": limits.image_bytes,
        "image_pixels": limits.image_pixels,
        "audio_bytes": limits.audio_bytes,
        "audio_seconds": limits.audio_seconds,
        "queue": limits.queue,
        "deadline_seconds": limits.deadline,
    }
