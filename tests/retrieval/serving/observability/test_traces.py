"""Spans: one for a request, one for each stage within it, in the trace that the client names; off by default."""

import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from indexing.errors import InputError, MissingExtraError
from retrieval.serving import Limits, ServiceConfig, create_app
from retrieval.serving.observability.traces import Traces
from tests.retrieval.serving.conftest import Started
from tests.toy import ToyEncoder

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def client(shop: Path, exporter: InMemorySpanExporter) -> Iterator[TestClient]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(ServiceConfig(shop), encoder=ToyEncoder(), tracer_provider=provider)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = exporter.get_finished_spans()
    found = {span.name: span for span in spans}
    assert len(found) == len(spans)
    return found


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def test_a_request_and_its_stages(client: TestClient, exporter: InMemorySpanExporter) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "request-1"}
    answer = client.post("/search", json={"texts": ["red"]}, headers=headers)
    spans = named(exporter)
    whole, work = spans["POST /search"], spans["other"]
    assert set(spans) == {"POST /search", "queue", "other", "encode", "search", "postprocess", "serialise"}
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    assert f"{parent_of(whole):016x}" == CALLER
    assert whole.kind is SpanKind.SERVER
    assert dict(whole.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/search",
        "http.response.status_code": 200,
        "commonspace.request_id": "request-1",
        "commonspace.generation": answer.json()["generation"],
    }
    assert parent_of(spans["queue"]) == parent_of(work) == whole.context.span_id
    assert {parent_of(spans[name]) for name in ("encode", "search", "serialise")} == {work.context.span_id}
    for name, span in spans.items():
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time, name  # type: ignore[operator]
    assert spans["encode"].end_time <= spans["search"].start_time  # type: ignore[operator]


def test_without_a_caller_a_request_begins_a_trace(client: TestClient, exporter: InMemorySpanExporter) -> None:
    for headers in ({}, {"traceparent": "00-nonsense"}):
        client.get("/items/nope", headers=headers)
    whole = [span for span in exporter.get_finished_spans() if span.name == "GET /items/{item_id}"]
    assert [parent_of(span) for span in whole] == [None, None]
    assert whole[0].context.trace_id != whole[1].context.trace_id
    assert whole[0].status.status_code is StatusCode.UNSET  # a fault of the client is none of the service


def test_a_trace_that_is_not_sampled_is_not(client: TestClient, exporter: InMemorySpanExporter) -> None:
    client.post("/search", json={"texts": ["red"]}, headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
    assert not exporter.get_finished_spans()


def test_faults_are_marked_without_their_message(
    client: TestClient, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("hidden-message")

    monkeypatch.setattr("retrieval.retriever.retriever.Retriever.search", fail)
    client.post("/search", json={"texts": ["red"]})
    spans = named(exporter)
    assert spans["POST /search"].status.status_code is StatusCode.ERROR
    assert "hidden" not in "".join(span.to_json() for span in spans.values())
    assert not any(span.events for span in spans.values())


def test_probes_make_no_spans(client: TestClient, exporter: InMemorySpanExporter) -> None:
    for path in ("/live", "/ready", "/metrics"):
        assert client.get(path).status_code == 200
    assert not exporter.get_finished_spans()


def test_off_unless_the_environment_names_a_collector(started: Started, shop: Path) -> None:
    def wanted(environment: Mapping[str, str]) -> bool:
        return ServiceConfig.from_environment(shop, environment=environment).traces

    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert not wanted({})
    assert not wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_SERVICE_NAME": "shop"})
    assert wanted(endpoint)
    assert wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"})
    assert wanted({**endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    with pytest.raises(InputError, match="OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; spans are sent by http/protobuf"):
        wanted({**endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    observers = started(shop).app.state.service.observers  # type: ignore[attr-defined]
    assert not [one for one in observers if isinstance(getattr(one, "__self__", None), Traces)]


def test_without_the_extra_it_is_named(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"\.\[otel\]"):
        ServiceConfig.from_environment(shop, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})


class Collector(BaseHTTPRequestHandler):
    """Takes spans by OTLP."""

    received: "list[tuple[str, ExportTraceServiceRequest]]"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_spans_reach_a_collector_at_the_latest_when_the_service_ends(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Collector.received = []
    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    config = ServiceConfig.from_environment(shop, limits=Limits(), environment={
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}"
    })  # fmt: skip
    with TestClient(create_app(config, encoder=ToyEncoder()), "http://127.0.0.1") as asking:
        asking.post("/search", json={"texts": ["red"]})
    server.shutdown()
    server.server_close()
    thread.join()
    assert {path for path, _ in Collector.received} == {"/v1/traces"}
    (resource,) = [one for _, body in Collector.received for one in body.resource_spans]
    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert attributes["service.name"] == "commonspace"
    assert {"POST /search", "encode"} <= {span.name for scope in resource.scope_spans for span in scope.spans}
