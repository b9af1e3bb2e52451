"""The application: routes, what surrounds them, and how errors are told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from indexing.encoders import Encoder
from indexing.errors import (
    BundleError,
    BundleLockedError,
    CommonspaceError,
    DecoderError,
    EncoderError,
    EventsBusyError,
    EventsError,
    GenerationError,
    InputError,
    MissingExtraError,
    UnknownItemError,
    require_extra,
)
from retrieval.serving.admin.generations import UnknownGenerationError
from retrieval.serving.admin.jobs import JobConflictError, UnknownJobError
from retrieval.serving.admin.runner import JobRunner
from retrieval.serving.config import ServiceConfig
from retrieval.serving.engine.admission import Admission, OverloadedError
from retrieval.serving.engine.cross_encoding import OneAtATime
from retrieval.serving.engine.image_urls import ImageUrls
from retrieval.serving.engine.messages import split_hint
from retrieval.serving.engine.request import AccessError
from retrieval.serving.engine.served_bundle import ServedBundle
from retrieval.serving.engine.service import Service, running, service_of
from retrieval.serving.http.middleware import RefusedBodyError, Surroundings, overloaded
from retrieval.serving.http.openapi import with_whole_examples
from retrieval.serving.http.routes import admin, events, health, items, recommend, related, rerank, search
from retrieval.serving.http.routes.page import files, insight, media
from retrieval.serving.http.unknown_paths import which_method, which_path
from retrieval.serving.http.unreadable import unreadable
from retrieval.serving.insight.media import MediaLibrary
from retrieval.serving.observability.logs import log_answered
from retrieval.serving.observability.metrics import Metrics
from retrieval.serving.observability.traces import Traces, exporting_provider, shut_down
from retrieval.serving.scenarios.scenarios import Scenarios
from retrieval.serving.schemas.errors import error_response

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

ROUTERS: Sequence[APIRouter] = (
    search.router,
    recommend.router,
    related.router,
    rerank.router,
    items.router,
    events.router,
    admin.router,
    health.router,
    insight.router,
    media.router,
    files.router,
)
ALONE: Sequence[APIRouter] = (health.router,)
"""Routes beside `/mcp` where assistants alone are answered."""
TITLE = "Commonspace"
DESCRIPTION = "Search and recommendations from one bundle: texts, pictures, sounds, items and users in one space."


def create_app(
    config: ServiceConfig, *, encoder: Encoder | None = None, tracer_provider: "TracerProvider | None" = None
) -> FastAPI:
    """Open a bundle and give the application that serves it.

    Args:
        config: The settings.
        encoder: The encoder that built the bundle; loaded by name when None.
        tracer_provider: Takes spans, whatever the settings say of traces; who gives it ends it.

    Raises:
        BundleError: When there is no bundle, or it is damaged.
    """
    service = service_for(config, encoder)
    own_provider = exporting_provider() if config.traces and tracer_provider is None else None
    if (provider := tracer_provider or own_provider) is not None:
        service.observers = (*service.observers, Traces(provider).answered)
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=metadata.version("commonspace"),
        lifespan=_lifespan,
        docs_url=None,  # the page of FastAPI loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service, app.state.tracer_provider = service, own_provider
    app.state.media = None if config.catalogue is None else MediaLibrary(config.catalogue, config.limits)
    for router in ROUTERS if config.mcp != "alone" else ALONE:
        app.include_router(router)
    with_whole_examples(app)
    app.state.mcp = None if config.mcp == "off" else _add_mcp(app, service)
    app.add_middleware(Surroundings, service=service)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(CommonspaceError, _told)
    app.add_exception_handler(OverloadedError, _overloaded)
    return app


def _add_mcp(app: FastAPI, service: Service) -> Any:  # noqa: ANN401 - of a package that may be missing
    """Answer assistants at `/mcp`; give what must run meanwhile."""
    require_extra("mcp", "mcp")
    from retrieval.serving.mcp.server import over_http

    manager, route = over_http(service)
    app.router.routes.append(route)
    return manager


def service_for(config: ServiceConfig, encoder: Encoder | None = None) -> Service:
    """Open what the routes share."""
    meter = Metrics()
    served = ServedBundle(config.bundle, encoder, meter, open_versions=config.limits.open_versions, check=config.check)
    service = Service(config, served, Admission(config.limits, meter), meter, (meter.answered, log_answered))
    if config.image_hosts:
        service.image_urls = ImageUrls(config.image_hosts, config.limits)
    if config.events is not None:
        from retrieval.serving.events.event_log import EventLog  # loads sqlalchemy

        service.events = log = EventLog.open(config.events)
        served.events_problem = lambda: log.problem
    if config.admin_token is not None:
        service.jobs = JobRunner(config, service.served)
    if config.scenarios is not None:
        service.scenarios = scenarios = Scenarios.open(config.scenarios)
        served.pin(scenarios.versions)
        scenarios.check(served.view)
        served.checks.append(scenarios.problems)  # before another state is served
    if config.cross_encoder is not None:
        from indexing.encoders.cross_encoder import load_cross_encoder  # loads torch

        service.cross_encoder = OneAtATime(load_cross_encoder(config.cross_encoder))
    return service


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Let the service run, and what answers assistants."""
    assistants = contextlib.nullcontext() if app.state.mcp is None else app.state.mcp.run()
    try:
        async with running(app.state.service), assistants:
            yield
    finally:
        if app.state.tracer_provider is not None:
            await asyncio.to_thread(shut_down, app.state.tracer_provider)


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RefusedBodyError):
        return error.response()
    status = error.status_code if isinstance(error, HTTPException) else 500
    kinds = {404: "NotFoundError", 405: "MethodError"}
    message = str(error.detail) if isinstance(error, HTTPException) else "the service failed"
    headers = error.headers if isinstance(error, HTTPException) else None
    hint = "send JSON as /openapi.json describes it, without deep nesting" if status == 400 else ""
    if status == 404:
        message, hint = "there is nothing at this path", which_path(request)
    elif status == 405:
        message, hint = "this path has no such method", which_method(request)
    return error_response(status, kinds.get(status, "RequestError"), message, hint, headers)


async def _told(request: Request, error: Exception) -> Response:
    service = await service_of(request)
    message, hint = split_hint(service.told(error))
    headers = {"www-authenticate": "Bearer"} if isinstance(error, AccessError) and error.status == 401 else None
    if isinstance(error, EventsBusyError):
        service.metrics.rejected("events_busy")
        headers = {"retry-after": "1"}
    elif isinstance(error, EventsError):
        (await service_of(request)).metrics.event_log_failed()
    return error_response(status_of(error, request.method), type(error).__name__, message, hint, headers)


def status_of(error: Exception, method: str) -> int:
    """Give the status that tells an error of this project."""
    if isinstance(error, AccessError):
        return error.status
    if isinstance(error, UnknownItemError) and method in ("GET", "DELETE"):
        return 404
    if isinstance(error, UnknownJobError | UnknownGenerationError):
        return 404
    if isinstance(error, JobConflictError | BundleLockedError):
        return 409
    if isinstance(error, MissingExtraError):
        return 501
    if isinstance(error, items.ExpiredCursorError | GenerationError):
        return 410
    if isinstance(error, BundleError | DecoderError | EventsError):
        return 503
    return 422 if isinstance(error, InputError | EncoderError) else 500


async def _overloaded(_: Request, error: Exception) -> Response:
    if not isinstance(error, OverloadedError):
        raise error
    return overloaded(error)
