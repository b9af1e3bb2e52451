"""Thousands of requests drawn from the OpenAPI: nothing fails, answers are as described, and tokens are asked for."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from retrieval.serving import Limits, ServiceConfig, create_app
from tests.retrieval.batch.shop import ITEMS
from tests.retrieval.serving.conftest import READ, WRITE
from tests.toy import ToyEncoder

CASES = 100
"""Of each operation that takes anything; a few more than 2,000 together."""

# What the schema cannot say, as that an item must be in the bundle, is refused with 422.
NOT_CHECKED = [positive_data_acceptance]
NAMES = {"item_ids", "item_id", "item", "candidates", "histories", "baskets", "history", "user_ids", "user_id"}
KINDS = ("texts", "queries", "images", "sounds", "histories", "user_ids", "session")
ONE_OF: dict[str, list[dict[str, Any]]] = {
    "/search": [{"texts": ["red mug"]}, {"queries": ["2:red mug - box"]}],
    "/map/places": [{"texts": ["red mug"]}],
    "/recommend": [{"histories": [["red-mug"], []]}, {"user_ids": [ITEMS[0]]}, {"session": ITEMS[0]}],
}
"""Of which exactly one must be given; drawn bodies often have none."""


@pytest.fixture
def client(shop: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A service with a few events of users who are named as items are."""
    events = f"sqlite:///{tmp_path / 'events.db'}"
    config = ServiceConfig(shop, events=events, read_token=READ, write_token=WRITE, limits=Limits(deadline=60.0))
    with TestClient(create_app(config, encoder=ToyEncoder()), "http://127.0.0.1", headers=bearer(WRITE)) as client:
        batch = [{"user_id": item, "session_id": item, "item_id": item, "type": "view"} for item in ITEMS]
        assert client.post("/events", json={"events": batch}).status_code == 200
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "host": "127.0.0.1"}


def operations(client: TestClient) -> list[Any]:
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=bearer(WRITE))
    return [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]


def drawn(operation: Any, test: Callable[[Any], None]) -> None:  # noqa: ANN401
    """Run a test on requests for an operation, the same ones in every run."""
    run = given(case=operation.as_strategy())(lambda case: test(case))
    phases = [Phase.explicit, Phase.generate]
    settings(
        max_examples=CASES, deadline=None, derandomize=True, phases=phases, suppress_health_check=list(HealthCheck)
    )(run)()


def sensible(path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
    """Give a body with what the schema cannot say: most names are of things that are there, and there is a query."""
    body = with_known_items(body)
    if isinstance(body, dict) and _number(repr(body)) % 4:
        body.pop("generation", None)  # of no bundle
    if isinstance(body, dict) and path in ONE_OF and not any(body.get(name) for name in KINDS):
        body |= ONE_OF[path][_number(repr(body)) % len(ONE_OF[path])]
    if isinstance(body, dict) and path == "/rerank" and isinstance(body.get("candidates"), list):
        body["texts"] = ["red mug"] * len(body["candidates"])
        body.pop("histories", None)
    return body


def with_known_items(value: Any, *, named: bool = False) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str) and named and _number(value) % 4:
        return ITEMS[_number(value) % len(ITEMS)]
    if isinstance(value, list):
        return [with_known_items(one, named=named) for one in value]
    if isinstance(value, dict):
        return {name: with_known_items(one, named=name in NAMES) for name, one in value.items()}
    return value


def _number(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
def test_requests_of_all_kinds(client: TestClient) -> None:
    statuses = dict[str, Counter[int]]()
    for operation in operations(client):
        of_operation = statuses[operation.label] = Counter()

        def ask(case: Any, path: str = operation.path, counts: Counter[int] = of_operation) -> None:  # noqa: ANN401
            case.body = sensible(path, case.body)
            answer = case.call(headers=bearer(WRITE))
            counts[answer.status_code] += 1
            case.validate_response(answer, excluded_checks=NOT_CHECKED)

        drawn(operation, ask)
    total = sum((counts for counts in statuses.values()), Counter[int]())
    assert total.total() >= 2_000
    assert not {status for status in total if status >= 500}
    # The service has no token of its administrators, so that nobody may ask there.
    never_answered = {name for name, counts in statuses.items() if not counts[200] and " /admin/" not in name}
    assert never_answered <= {"POST /search/upload", "GET /items/{item_id}", "GET /media/{item_id}"}


@pytest.mark.parametrize("token", [None, READ, "wrong-" + "w" * 20])
def test_nothing_is_written_without_the_write_token(client: TestClient, token: str | None) -> None:
    client.headers.pop("authorization")
    headers = {} if token is None else bearer(token)
    refused = 0
    for path, methods in client.get("/openapi.json", headers=bearer(READ)).json()["paths"].items():
        for method in methods.keys() - {"get"}:
            if path.startswith(("/events", "/users/", "/admin")):
                status = client.request(method, re.sub(r"\{\w+\}", "ann", path), headers=headers).status_code
                assert status in (401, 403), f"{method} {path}"
                refused += 1
    assert refused >= 3
