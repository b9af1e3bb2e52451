"""Lines of the log: one object of JSON each, with a closed set of fields, and errors without their messages."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from indexing.errors import InputError
from retrieval.serving.observability.logs import LogConfig
from tests.retrieval.serving.conftest import READ, Started


def line_of(record: logging.LogRecord, **settings: Any) -> str:  # noqa: ANN401
    return LogConfig(**{"format": "json", **settings}).formatter().format(record)


def record_of(
    message: str, *args: object, logger: str = "commonspace.serving", exc_info: Any = None, **extra: object  # noqa: ANN401
) -> logging.LogRecord:  # fmt: skip
    return logging.getLogger(logger).makeRecord(
        logger, logging.WARNING, __file__, 1, message, args, exc_info, extra=extra
    )


def failure() -> Any:  # noqa: ANN401
    try:
        raise RuntimeError("hidden-message")
    except RuntimeError:
        return sys.exc_info()


def test_a_line_is_one_object_with_known_fields() -> None:
    line = line_of(record_of("serving %s", "gen-1", request_id="request-1", status=200, user_id="hidden-user"))
    found = json.loads(line)
    assert "\n" not in line
    assert (found["event"], found["level"], found["logger"]) == ("serving gen-1", "warning", "commonspace.serving")
    assert (found["request_id"], found["status"]) == ("request-1", 200)
    assert found["timestamp"].endswith("Z")
    assert set(found) == {"event", "level", "logger", "timestamp", "request_id", "status"}


@pytest.mark.parametrize("format", ["json", "text"])
def test_errors_have_places_and_no_message(format: str) -> None:
    text = "Task exception was never retrieved\nfuture: <Task exception=RuntimeError('hidden-message')>"
    line = line_of(record_of(text, logger="asyncio", exc_info=failure()), format=format)
    assert "Task exception was never retrieved" in line
    assert "RuntimeError" in line
    assert "test_logs.py" in line
    assert "in failure" in line
    assert "hidden" not in line
    assert line.count("\n") == 0


def test_each_request_has_a_line(started: Started, shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = started(shop, read_token=READ)
    caplog.set_level(logging.INFO, "commonspace")
    headers = {"authorization": f"Bearer {READ}", "x-request-id": "request-of-mine"}
    answer = client.post("/search", json={"texts": ["red"]}, headers=headers)
    client.get("/items/nope", headers=headers)
    client.get("/items/nope")
    for probe in ("/live", "/ready", "/metrics"):
        client.get(probe, headers=headers)
    client.get("/metrics")
    lines = [json.loads(line_of(record)) for record in caplog.records if record.name == "commonspace.requests"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/search", 200),
        ("GET", "/items/{item_id}", 404),
        ("GET", "other", 401),
        ("GET", "other", 401),
    ]
    assert lines[0]["request_id"] == "request-of-mine"
    assert lines[0]["generation"] == answer.json()["generation"]
    assert lines[1]["generation"] is None
    assert all(0 < line["seconds"] < 60 for line in lines)


def test_what_is_written_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal, expected in ((True, "text"), (False, "json")):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        assert LogConfig.for_stderr() == LogConfig(expected, "info")  # type: ignore[arg-type]
        assert LogConfig.for_stderr("json", "warning") == LogConfig("json", "warning")
    with pytest.raises(InputError, match="format"):
        LogConfig("xml")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="level"):
        LogConfig("json", "loud")  # type: ignore[arg-type]
