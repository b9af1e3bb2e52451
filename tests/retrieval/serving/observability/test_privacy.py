"""Marker strings in every field, header and path of requests, and in errors: logs, metrics and spans have none."""

import base64
import io
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic.fields import FieldInfo
from starlette.testclient import TestClient

from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.observability.logs import LogConfig, log_warning
from retrieval.serving.schemas import events, insight, queries
from retrieval.serving.schemas.base import Strict
from tests.retrieval.serving.admin.conftest import ADMIN
from tests.retrieval.serving.admin.conftest import HEADERS as ADMIN_HEADERS
from tests.retrieval.serving.conftest import READ, WRITE
from tests.toy import ToyEncoder

MARK = "xmarkerx"
FILE = base64.b64encode(MARK.encode() * 20).decode()
AUTHORISED = {"authorization": f"Bearer {WRITE}"}
REQUESTS: dict[str, type[Strict]] = {
    "/search": queries.SearchRequest,
    "/similar": queries.SimilarRequest,
    "/recommend": queries.RecommendRequest,
    "/complements": queries.ComplementsRequest,
    "/next-items": queries.NextItemsRequest,
    "/trending": queries.TrendingRequest,
    "/users-for": queries.UsersForRequest,
    "/rerank": queries.RerankRequest,
    "/tastes": insight.TasteRequest,
    "/media": insight.MediaRequest,
    "/users/merge": events.MergeIn,
}
SHAPES: tuple[Any, ...] = (
    MARK, [MARK], [[MARK]], {MARK: MARK}, [{"rule": MARK}], [f"category = {MARK}"], [["category", "=", MARK]],
    [{"parts": [{"text": MARK}, {"item": MARK}]}], [FILE],
)  # fmt: skip
"""Values with the marker, of every shape that a field has; where one is of no such shape, the error is the test."""


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that all loggers of the process write, as a server has it."""
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LogConfig("json", "debug").formatter())
    before = root.level, logging.getLogger("commonspace").level
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("commonspace").setLevel(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = log_warning
        yield written
    root.removeHandler(handler)
    root.setLevel(before[0])
    logging.getLogger("commonspace").setLevel(before[1])


@pytest.fixture
def client(shop: Path, tmp_path: Path, log: io.StringIO, exporter: InMemorySpanExporter) -> Iterator[TestClient]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    shutil.copytree(shop, tmp_path / "bundle")
    config = ServiceConfig(
        tmp_path / "bundle",
        read_token=READ,
        write_token=WRITE,
        admin_token=ADMIN,
        events=f"sqlite:///{tmp_path / 'events.db'}",
        mcp="beside",
    )
    app = create_app(config, encoder=ToyEncoder(), tracer_provider=provider)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def bodies(model: type[Strict]) -> Iterator[dict[str, Any]]:
    """The examples of a request, with the marker in one field after the other; of the first also in further fields."""
    for place, example in enumerate(model.model_json_schema().get("examples", [{}])):
        fields: dict[str, FieldInfo] = model.model_fields
        for name in fields if place == 0 else example:
            for shape in SHAPES:
                yield {**example, name: shape}


def everything(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter) -> tuple[str, list[Any], str]:
    """All lines, all spans, all metrics."""
    metrics = client.get("/metrics", headers=AUTHORISED).text
    spans = [json.loads(span.to_json()) for span in exporter.get_finished_spans()]
    return log.getvalue(), spans, metrics


def assert_nothing(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter, asked: int) -> None:
    lines, spans, metrics = everything(client, log, exporter)
    assert lines.count('"event": "request"') >= asked > 0
    assert sum(1 for span in spans if "http.route" in span["attributes"]) == asked
    assert "commonspace_request_seconds_count" in metrics
    for text in (lines, json.dumps(spans), metrics):
        for secret in (MARK, FILE[:20], WRITE, READ, ADMIN):
            assert secret not in text


def test_fields_of_bodies(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter) -> None:
    asked = 0
    statuses = set()
    for path, model in REQUESTS.items():
        for body in bodies(model):
            statuses.add(client.post(path, json=body, headers=AUTHORISED).status_code)
            asked += 1
    assert statuses == {200, 410, 422}
    assert_nothing(client, log, exporter, asked)


def test_events(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter) -> None:
    event = {"user_id": MARK, "item_id": MARK, "session_id": MARK, "event_id": MARK, "type": "view", "variant": MARK}
    shown = {"impressions": [{"user_id": MARK, "request_id": MARK, "item_ids": [MARK, f"{MARK}2"]}]}
    given = [event, {**event, "type": MARK}, {**event, "time": MARK}, {"events": [event, event]}, shown, {MARK: MARK}]
    assert [client.post("/events", json=body, headers=AUTHORISED).status_code for body in given] == [
        200, 422, 422, 200, 200, 422,
    ]  # fmt: skip
    assert client.get(f"/users/{MARK}/events", headers=AUTHORISED).status_code == 200
    assert client.delete(f"/users/{MARK}", headers=AUTHORISED).status_code == 200
    assert_nothing(client, log, exporter, 8)


def test_paths_headers_and_files(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter) -> None:
    paths = [
        f"/items/{MARK}", f"/items?where={MARK}", f"/items?cursor={MARK}", f"/items?{MARK}={MARK}", f"/{MARK}",
        f"/media/{MARK}", f"/map?colour={MARK}", f"/page/{MARK}", f"/users/{MARK}/events",
    ]  # fmt: skip
    for path in paths:
        client.get(path, headers=AUTHORISED)
    names = ("user-agent", "cookie", "referer", "x-forwarded-for", "origin", "traceparent", "tracestate", "accept",
             "content-type", "x-request-id", "baggage", MARK)  # fmt: skip
    for name in names:
        client.post("/search", json={"texts": ["red"]}, headers={**AUTHORISED, name: f"{MARK}/{MARK}"})
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": f"{MARK}={MARK}", "baggage": f"{MARK}={MARK}"}
    client.post("/search", json={"texts": ["red"]}, headers={**AUTHORISED, **trace})
    for headers in ({"authorization": f"Bearer {MARK}"}, {"authorization": MARK}, {"host": f"{MARK}.example"}):
        client.get("/items", headers=headers)
    client.request(MARK.upper(), "/items", headers=AUTHORISED)
    file = (f"{MARK}.png", MARK.encode() * 9, f"image/{MARK}")
    client.post("/search/upload", files={"image": file}, data={"request": MARK}, headers=AUTHORISED)
    client.post("/search/upload", files={"image": file}, headers=AUTHORISED)
    client.post("/search", content=MARK.encode(), headers=AUTHORISED)
    assert_nothing(client, log, exporter, len(paths) + len(names) + 8)


def test_what_changes_the_bundle(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter) -> None:
    item = {"item_id": MARK, "title": MARK, "image": FILE}
    given: list[tuple[str, str, Any]] = [
        ("POST", "items", {"mode": "upsert", "items": [item, {MARK: MARK}, MARK]}),
        ("POST", "items", {"mode": MARK, "items": [item]}),
        ("POST", "items/delete", {"item_ids": [MARK], "missing_ok": True}),
        ("DELETE", f"items/{MARK}", None),
        ("POST", "rollback", {"generation": MARK}),
        ("POST", "publish", {MARK: MARK}),
        ("POST", "fit", {"effort": MARK, "context": [MARK]}),
        ("GET", f"jobs/{MARK}", None),
        ("DELETE", f"jobs/{MARK}", None),
    ]
    for method, path, body in given:
        answer = client.request(method, f"/admin/{path}", json=body, headers=ADMIN_HEADERS)
        assert answer.status_code in (200, 404, 409, 422), answer.text
    client.post("/admin/items/upload", files={"file": (f"{MARK}.csv", MARK.encode())}, headers=ADMIN_HEADERS)
    assert_nothing(client, log, exporter, len(given) + 1)


def test_assistants(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter) -> None:
    def call(name: str, arguments: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"jsonrpc": "2.0", "id": MARK, "method": "tools/call", "params": {"name": name, "arguments": arguments}}

    bodies = [
        call("search", {"text": MARK}),
        call("search", {"text": "red", MARK: MARK}),
        call("search", MARK),
        call(MARK, {}),
        call("recommend", {"history": [MARK]}),
        {**call("search", {"text": "red"}), "method": MARK},
        [MARK],
        {MARK: MARK},
        {"jsonrpc": MARK, "method": "ping"},
        {"jsonrpc": "2.0", "method": f"notifications/{MARK}", "params": {MARK: MARK}},
    ]
    json_alone = {**AUTHORISED, "accept": "application/json, text/event-stream"}
    for body in bodies:
        client.post("/mcp", json=body, headers=json_alone)
    headers = ("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id", "origin", "accept")
    for name in headers:
        client.post("/mcp", json=call("search", {"text": "red"}), headers={**json_alone, name: MARK})
    client.post("/mcp", content=MARK.encode(), headers={**json_alone, "content-type": "application/json"})
    assert_nothing(client, log, exporter, len(bodies) + len(headers) + 1)


def test_what_other_packages_say_of_requests(shop: Path, log: io.StringIO) -> None:
    app = create_app(ServiceConfig(shop, mcp="alone"), encoder=ToyEncoder())
    with TestClient(app, "http://127.0.0.1") as local:
        local.post("/mcp", json={}, headers={"origin": f"http://{MARK}"})
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["event"] for line in found if line["logger"].startswith("mcp")] == ["a message"]
    assert MARK not in log.getvalue()


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, OSError, ZeroDivisionError, RecursionError])
def test_errors(
    client: TestClient,
    log: io.StringIO,
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    def fail(*_: object, **__: object) -> None:
        warnings.warn(f"{MARK}\n{MARK}", RuntimeWarning, stacklevel=1)
        raise error(MARK) from ValueError(MARK)

    for place in (
        "retrieval.retriever.retriever.Retriever.search",
        "retrieval.serving.http.routes.reply.to_json",
        "retrieval.serving.events.event_log.EventLog.events_of",
    ):
        monkeypatch.setattr(place, fail)
    assert client.post("/search", json={"texts": ["red"]}, headers=AUTHORISED).status_code == 500
    assert client.get("/items", headers=AUTHORISED).status_code == 500
    assert client.get("/users/ann/events", headers=AUTHORISED).status_code == 500
    assert log.getvalue().count(f"unexpected {error.__name__}") == 3
    assert '"event": "RuntimeWarning"' in log.getvalue()
    assert_nothing(client, log, exporter, 3)


def test_the_marker_would_be_found(client: TestClient, log: io.StringIO, exporter: InMemorySpanExporter) -> None:
    client.get("/items", headers=AUTHORISED)
    assert_nothing(client, log, exporter, 1)
    logging.getLogger("commonspace.serving").warning(MARK)
    with pytest.raises(AssertionError, match=MARK):
        assert_nothing(client, log, exporter, 1)
