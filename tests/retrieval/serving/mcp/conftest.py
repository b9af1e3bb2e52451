"""Tools of a service, called by the official client."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import CallToolResult

from retrieval.serving import ServiceConfig
from retrieval.serving.app import service_for
from retrieval.serving.engine.messages import warnings_as_notes
from retrieval.serving.engine.service import Service
from retrieval.serving.mcp.server import server_of
from tests.toy import ToyEncoder

Call = tuple[str, dict[str, Any]]
Hire = Callable[..., "Assistant"]


class Assistant:
    """Calls tools of one service, in this process."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def run(self, work: Callable[[Client], Awaitable[Any]]) -> Any:  # noqa: ANN401
        async def connected() -> Any:  # noqa: ANN401
            with warnings_as_notes():
                async with Client(server_of(self.service)) as client:
                    return await work(client)

        return anyio.run(connected)

    def results(self, *calls: Call) -> list[CallToolResult]:
        results: list[CallToolResult] = self.run(lambda client: called(client, *calls))
        return results

    def answer(self, name: str, **arguments: Any) -> tuple[dict[str, Any], str]:  # noqa: ANN401
        """Give the structured answer of a tool, and its text."""
        (result,) = self.results((name, arguments))
        assert not result.is_error, text_of(result)
        return result.structured_content, text_of(result)

    def failure(self, name: str, **arguments: Any) -> str:  # noqa: ANN401
        """Give what a tool says that fails."""
        (result,) = self.results((name, arguments))
        assert result.is_error
        assert result.structured_content is None
        return text_of(result)


async def called(client: Client, *calls: Call) -> list[CallToolResult]:
    """Call tools one after the other."""
    return [await client.call_tool(name, arguments) for name, arguments in calls]


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert content.type == "text"
    return content.text


def hits_in(answer: dict[str, Any]) -> list[tuple[str, int, float]]:
    return [(hit["item_id"], hit["rank"], hit["score"]) for hit in answer["hits"]]


@pytest.fixture
def hired() -> Iterator[Hire]:
    """Hire assistants of services, which end with the test; arguments are those of `ServiceConfig`."""
    services: list[Service] = []

    def hire(bundle: Path, **settings: Any) -> Assistant:  # noqa: ANN401
        services.append(service_for(ServiceConfig(bundle, **settings), ToyEncoder()))
        return Assistant(services[-1])

    yield hire
    for service in services:
        service.admission.close()
        service.served.close()


@pytest.fixture
def assistant(hired: Hire, shop: Path) -> Assistant:
    return hired(shop)
