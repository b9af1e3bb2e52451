"""Both clients, over a service in this process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from retrieval.serving.client import AsyncClient, Client
from tests.retrieval.serving.conftest import Started

ADDRESS = "http://127.0.0.1"
Question = Callable[[Any], Any]
Ask = Callable[[Question], Any]
Asking = Callable[[TestClient, str], Ask]


@pytest.fixture(params=["at once", "later"])
def asking(request: pytest.FixtureRequest, started: Started) -> Iterator[Asking]:  # services end after their clients
    """Give what asks a service by a client with a token: by `Client`, or by `AsyncClient` in its loop."""
    with ExitStack() as stack:

        def at_once(service: TestClient, token: str) -> Ask:
            client = stack.enter_context(Client(ADDRESS, token=token, http=service))
            return lambda question: question(client)

        def later(service: TestClient, token: str) -> Ask:
            portal = service.portal
            assert portal is not None
            http = httpx2.AsyncClient(transport=httpx2.ASGITransport(service.app))
            client = AsyncClient(ADDRESS, token=token, http=http)
            stack.callback(portal.call, http.aclose)

            async def asked(question: Question) -> Any:  # noqa: ANN401 - an answer
                return await question(client)

            return lambda question: portal.call(asked, question)

        yield at_once if request.param == "at once" else later
