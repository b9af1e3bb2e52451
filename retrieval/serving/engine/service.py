"""What the routes share: the configuration, the bundle that is served, the admission of work, events and metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request
from threadpoolctl import threadpool_limits

from indexing.errors import InputError
from retrieval.serving.config import ServiceConfig
from retrieval.serving.engine.admission import Admission
from retrieval.serving.engine.image_urls import ImageUrls
from retrieval.serving.engine.messages import in_words_of_service, warnings_as_notes, without_places
from retrieval.serving.engine.metering import Meter, NoMeter, Observer
from retrieval.serving.engine.served_bundle import ServedBundle

if TYPE_CHECKING:
    from retrieval.ranking.cross_encoder import PairScorer
    from retrieval.serving.admin.runner import JobRunner
    from retrieval.serving.events.event_log import EventLog
    from retrieval.serving.scenarios.scenarios import Scenarios


@dataclass
class Service:
    """One service, as ``app.state.service``.

    Attributes:
        config: Its settings.
        served: The bundle.
        admission: Runs work in threads.
        metrics: Takes measurements.
        observers: Are called with each request that was answered.
        events: The log of live events, if there is one.
        scenarios: Named configurations, if there are any.
        cross_encoder: Orders texts, if there is one; one thread at a time uses it.
        image_urls: Fetches pictures, if URLs of any host are allowed.
        jobs: Begins jobs that change the bundle, where there is an admin token.
    """

    config: ServiceConfig
    served: ServedBundle
    admission: Admission
    metrics: Meter = field(default_factory=NoMeter)
    observers: Sequence[Observer] = ()
    events: "EventLog | None" = None
    scenarios: "Scenarios | None" = None
    cross_encoder: "PairScorer | None" = None
    image_urls: ImageUrls | None = None
    jobs: "JobRunner | None" = None

    def told(self, error: Exception) -> str:
        """Give the message of an error as clients are told it."""
        return self.without_places(in_words_of_service(error))

    def without_places(self, text: str) -> str:
        """Leave out of a text where the bundle and the log of live events are."""
        return without_places(text, self.served.root, None if self.events is None else self.events.database.shown)

    @property
    def log(self) -> "EventLog":
        """The log of live events.

        Raises:
            InputError: When this service has none.
        """
        if self.events is None:
            raise InputError("this service has no log of live events; start it with --events URL")
        return self.events


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Follow the bundle, and end the threads at the end.

    Each request computes in one thread of BLAS, as there are as many requests at once as cores: its products are small,
    all threads of a process share one pool of OpenBLAS, and those of the pool spin after each product, on the cores
    that other requests need. It holds for the process.
    """
    watching = asyncio.create_task(service.served.watch(service.config.poll_seconds))
    try:
        with warnings_as_notes(), threadpool_limits(1, "blas"):
            yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await asyncio.to_thread(service.admission.close)
        await asyncio.to_thread(service.served.close)
        if service.events is not None:
            await asyncio.to_thread(service.events.close)


async def service_of(request: Request) -> Service:
    """Give the service of a request; a coroutine, as FastAPI calls plain functions in threads."""
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(service_of)]
