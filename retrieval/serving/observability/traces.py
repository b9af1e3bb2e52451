"""Spans of OpenTelemetry: one for each request, with one for each of its stages; off unless they are asked for."""

import threading
import time
from importlib import metadata
from typing import TYPE_CHECKING

from retrieval.serving.engine.request import RequestContext
from retrieval.serving.observability.logs import PROBES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as ExportingProvider
    from opentelemetry.trace import Span, TracerProvider

SERVICE = "service.name"
FLUSH = 3.0  # seconds at the end in which spans that are left may be sent


class Traces:
    """Makes the spans of requests that were answered.

    Spans are made at the end of a request, with the times at which it and its stages began and ended. They have no
    text of a request: names of routes and stages, numbers, and the id of the request.

    Args:
        provider: Gives the tracer, and so decides where spans go.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("commonspace", metadata.version("commonspace"))
        self._propagator = TraceContextTextMapPropagator()
        self._server, self._error = SpanKind.SERVER, StatusCode.ERROR

    def answered(self, request: RequestContext, route: str, status: int) -> None:
        """Make the spans of a request; an `Observer`. A request with the header ``traceparent`` is of that trace."""
        if route in PROBES and status < 400:
            return
        epoch = time.time_ns() - int(time.perf_counter() * 1e9)
        carrier = {} if request.traceparent is None else {"traceparent": request.traceparent}
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "http.route": route,
            "http.response.status_code": status,
            "commonspace.request_id": request.request_id,
        }
        if request.generation is not None:
            attributes["commonspace.generation"] = request.generation
        span = self._tracer.start_span(
            f"{request.method} {route}",
            self._propagator.extract(carrier),
            self._server,
            attributes,
            start_time=epoch + int(request.started * 1e9),
        )
        if span.is_recording():
            if status >= 500:
                span.set_status(self._error)
            self._add_stages(request, span, epoch)
        span.end(epoch + int((request.started + request.stages.close()) * 1e9))

    def _add_stages(self, request: RequestContext, whole: "Span", epoch: int) -> None:
        from opentelemetry.trace import set_span_in_context

        made: list[Span] = []
        for stage in request.stages.spans:
            around = whole if stage.parent is None else made[stage.parent]
            start = epoch + int(stage.start * 1e9)
            made.append(self._tracer.start_span(stage.name, set_span_in_context(around), start_time=start))
        for stage, span in zip(request.stages.spans, made, strict=True):
            span.end(epoch + int(stage.end * 1e9))


def exporting_provider() -> "ExportingProvider":
    """Give a provider that sends spans by OTLP, as the variables OTEL_… of the environment say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes[SERVICE]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE: "commonspace"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def shut_down(provider: "ExportingProvider") -> None:
    """Send the spans that are left, and end; a collector that does not answer is not waited for."""
    thread = threading.Thread(target=provider.shutdown, name="commonspace-spans", daemon=True)
    thread.start()
    thread.join(FLUSH)
