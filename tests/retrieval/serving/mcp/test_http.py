"""Tools over HTTP: beside the routes or alone, to whoever may read, in both eras of the protocol."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.testclient import TestClient

from indexing.errors import InputError, MissingExtraError
from retrieval import Retriever
from retrieval.serving import Limits, ServiceConfig, create_app
from tests.retrieval.serving.conftest import READ, WRITE, Started
from tests.retrieval.serving.mcp.conftest import called, hits_in, text_of
from tests.retrieval.serving.test_search_routes import hits_of
from tests.toy import ToyEncoder

URL = "http://127.0.0.1:8080"
JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def asked(
    bundle: Path,
    work: Callable[[Client], Awaitable[Any]],
    *,
    mode: str = "auto",
    token: str = "",
    **settings: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Connect the official client to an application that listens nowhere, and let it work."""
    app = create_app(ServiceConfig(bundle, mcp="alone", **settings), encoder=ToyEncoder())
    headers = {"authorization": f"Bearer {token}"} if token else {}

    async def connected() -> Any:  # noqa: ANN401
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url=URL, headers=headers) as http,
            Client(streamable_http_client(f"{URL}/mcp", http_client=http), mode=mode) as client,
        ):
            return await work(client)

    return anyio.run(connected)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_tools_are_those_of_the_verbs(shop: Path, retriever: Retriever, mode: str) -> None:
    async def work(client: Client) -> Any:  # noqa: ANN401
        names = [tool.name for tool in (await client.list_tools()).tools]
        return names, await called(
            client,
            ("search", {"text": "red mug", "k": 3}),
            ("similar", {"item_id": "red-mug", "k": 3}),
            ("recommend", {"history": ["red-mug"], "k": 3}),
            ("explain", {"item_ids": ["red-mug"], "text": "red"}),
            ("catalogue", {}),
            ("similar", {"item_id": "nope"}),
        )

    names, (*answers, explained, catalogue, unknown) = asked(shop, work, mode=mode)
    assert names == ["catalogue", "search", "similar", "recommend", "explain"]
    found = retriever.search_texts(["red mug"], 3), retriever.similar_items(["red-mug"], 3)
    expected = [hits_of(one)[0] for one in (*found, retriever.recommend([["red-mug"]], 3))]
    assert [hits_in(answer.structured_content) for answer in answers] == expected
    assert explained.structured_content["hits"][0]["why"]["parts"]
    assert catalogue.structured_content["items"] == 20
    assert unknown.is_error
    assert "'nope'" in text_of(unknown)


def test_what_is_unusual_is_a_note(shop: Path) -> None:
    async def work(client: Client) -> Any:  # noqa: ANN401
        return await called(client, ("search", {"text": "red", "where": ["title = 'none such'"]}))

    (answer,) = asked(shop, work)
    assert "none such" in answer.structured_content["notes"][0]


def test_who_may_read_may_ask(shop: Path) -> None:
    async def work(client: Client) -> Any:  # noqa: ANN401
        return await called(client, ("catalogue", {}))

    for token in (READ, WRITE):
        assert not asked(shop, work, token=token, read_token=READ, write_token=WRITE)[0].is_error


def test_what_users_took_is_explained_to_those_with_a_token_alone(shop: Path, database: str) -> None:
    async def work(client: Client) -> Any:  # noqa: ANN401
        return await called(client, ("recommend", {"user_id": "ann", "explain": True}))

    (refused,) = asked(shop, work, events=database, write_token=WRITE)
    assert refused.is_error
    assert text_of(refused).startswith("explain names what users of the log took, and this request has no token; ")
    assert not asked(shop, work, events=database, write_token=WRITE, token=WRITE)[0].is_error


def test_tokens_and_names_of_hosts(started: Started, shop: Path) -> None:
    open_to_all, guarded = started(shop, mcp="beside"), started(shop, mcp="beside", read_token=READ)
    assert open_to_all.post("/mcp", json=PING, headers=JSON).status_code == 200
    for header in (None, "Bearer wrong"):
        headers = JSON | ({} if header is None else {"authorization": header})
        answer = guarded.post("/mcp", json=PING, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    known = JSON | {"authorization": f"Bearer {READ}", "host": "shop.example", "origin": "https://shop.example"}
    assert guarded.post("/mcp", json=PING, headers=known).status_code == 200
    for host in ("shop.example", "127.0.0.1.shop.example:80"):
        assert open_to_all.post("/mcp", json=PING, headers=JSON | {"host": host}).status_code == 421
    for origin in ("http://shop.example", "https://127.0.0.1.shop.example", "http://localhost.shop.example", "null"):
        assert open_to_all.post("/mcp", json=PING, headers=JSON | {"origin": origin}).status_code == 403
    for origin in ("http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080"):
        assert open_to_all.post("/mcp", json=PING, headers=JSON | {"origin": origin}).status_code == 200


def test_what_is_no_question_of_an_assistant(started: Started, shop: Path) -> None:
    client = started(shop, mcp="beside", limits=Limits(body_bytes=1_000))
    for method in ("GET", "DELETE", "PUT"):
        assert client.request(method, "/mcp", headers=JSON).status_code == 405
    assert client.post("/mcp", content=b"{}", headers=JSON | {"content-type": "text/plain"}).status_code == 400
    assert client.post("/mcp", content=b"{", headers=JSON).status_code == 400
    assert client.post("/mcp", content=b"[]", headers=JSON).status_code == 400
    assert client.post("/mcp", content=b" " * 1_001, headers=JSON).status_code == 413
    assert client.post("/mcp", content=(b" " * 100 for _ in range(20)), headers=JSON).status_code == 413


def test_beside_the_routes_alone_and_not_at_all(started: Started, shop: Path) -> None:
    def statuses(client: TestClient) -> list[int]:
        search = client.post("/search", json={"texts": ["red"]})
        return [client.post("/mcp", json=PING, headers=JSON).status_code, search.status_code,
                client.get("/live").status_code]  # fmt: skip

    beside = started(shop, mcp="beside")
    assert statuses(beside) == [200, 200, 200]
    assert statuses(started(shop, mcp="alone")) == [200, 404, 200]
    assert statuses(started(shop)) == [404, 200, 200]
    assert "/mcp" not in beside.get("/openapi.json").json()["paths"]
    with pytest.raises(InputError, match="give 'off', 'beside' or 'alone'"):
        ServiceConfig(shop, mcp="on")  # type: ignore[arg-type]


def test_requests_are_counted_under_their_route(started: Started, shop: Path) -> None:
    client = started(shop, mcp="beside")
    call = {"name": "search", "arguments": {"text": "red mug"}}
    asked = PING | {"method": "tools/call", "params": call}
    assert client.post("/mcp", json=asked, headers=JSON).json()["result"]["structuredContent"]["hits"]
    measured = client.get("/metrics").text
    assert re.search(r'request_seconds_count\{.*route="/mcp",status="200".*\} 1\.0', measured)
    for stage in ("queue", "encode", "search"):
        assert re.search(rf'stage_seconds_count\{{.*stage="{stage}".*\}} 1\.0', measured), stage


def test_a_missing_package_is_named(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.errors.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[mcp\]"'):
        create_app(ServiceConfig(shop, mcp="beside"), encoder=ToyEncoder())
