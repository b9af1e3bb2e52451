"""`Client` and `AsyncClient`: the same calls, sent in two ways."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Self, TypeVar, Unpack

import anyio
import httpx2

from retrieval.filters import Where
from retrieval.serving.client.calls import Call
from retrieval.serving.client.catalogue import Attributes
from retrieval.serving.client.connection import URL, Connection, bounded, content_until, listing, received
from retrieval.serving.client.errors import ServiceError
from retrieval.serving.client.options import PerCall
from retrieval.serving.client.verbs import Verbs
from retrieval.serving.schemas.answers import Item

T = TypeVar("T")


class Client(Verbs):
    """Asks a service, with the verbs and arguments of `Retriever`; safe to share between threads.

    Connections are kept and used again: make one client, and close it, or use it in a ``with`` block.

    Methods raise a `ServiceError`; see `retrieval.serving.client.errors`. What is unusual about a request is a
    `CommonspaceWarning`, as in Python, and in ``notes`` of the answer.

    Args:
        url: Of the service.
        token: Sent with each request; of the environment where None: ``COMMONSPACE_READ_TOKEN``,
            ``COMMONSPACE_WRITE_TOKEN`` to write, and ``COMMONSPACE_ADMIN_TOKEN`` to change the bundle.
        timeout: Seconds until a request is given up, with all that is tried again, whatever the service does.
        retries: How often a request is sent again at most, where the service says when to, or gives no connection. What
            would do more the second time is not.
        http: The client of httpx2 that sends requests, which stays open; one with a proxy or certificates, say. Use it
            for nothing else: on a connection that others made with it, ``timeout`` bounds each read of headers, not
            their sum, so that a service that sends them byte by byte can hold a call for longer.

    Example::

        with Client("http://127.0.0.1:8080") as client:
            answer = client.search(["a red mug"], k=3)
            answer.results[0].hits[0].item_id
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        http: httpx2.Client | None = None,
    ) -> None:
        self._connection = Connection.checked(url, token, timeout, retries)
        self._http, self._is_own = http or httpx2.Client(), http is None

    def __repr__(self) -> str:
        return f"<Client of {self._connection.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._is_own:
            self._http.close()

    def items(
        self,
        where: Where = (),
        *,
        attributes: Attributes = "all",
        page_size: int = 500,
        **options: Unpack[PerCall],
    ) -> Iterator[Item]:
        """Give all items that a filter selects, page by page, in the order in which the bundle has them.

        Raises:
            ExpiredCursorError: When the bundle was built anew meanwhile: earlier pages are of another generation.
        """
        cursor: str | None = ""
        while cursor is not None:
            with listing():
                page = self.items_page(cursor, page_size, where=where, attributes=attributes, **options)
            yield from page.items
            cursor = page.next_cursor

    def _send(self, call: Call[T]) -> T:
        until, number = self._connection.until(call), 0
        while True:
            try:
                return self._sent(call, until)
            except ServiceError as error:
                if (pause := self._connection.pause(call, error, number, until)) is None:
                    raise
            time.sleep(pause)
            number += 1

    def _sent(self, call: Call[T], until: float) -> T:
        with self._connection.sending():
            request = self._http.build_request(**self._connection.arguments(call, until - time.monotonic()))
            with (
                bounded(request, until),
                contextlib.closing(self._http.send(request, stream=True, follow_redirects=False)) as response,
            ):
                content = content_until(response, until)
        return received(call, response, content)


class AsyncClient(Verbs):
    """Asks a service as `Client` does, without waiting for it: each method gives a coroutine.

    Example::

        async with AsyncClient() as client:
            answer = await client.search(["a red mug"], k=3)
            async for item in client.items("price < 20"):
                print(item.item_id)
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._connection = Connection.checked(url, token, timeout, retries)
        self._http, self._is_own = http or httpx2.AsyncClient(), http is None

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._connection.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._is_own:
            await self._http.aclose()

    async def items(
        self,
        where: Where = (),
        *,
        attributes: Attributes = "all",
        page_size: int = 500,
        **options: Unpack[PerCall],
    ) -> AsyncIterator[Item]:
        """Give all items that a filter selects, as `Client.items` does."""
        cursor: str | None = ""
        while cursor is not None:
            with listing():
                page = await self.items_page(cursor, page_size, where=where, attributes=attributes, **options)
            for item in page.items:
                yield item
            cursor = page.next_cursor

    async def _send(self, call: Call[T]) -> T:
        until, number = self._connection.until(call), 0
        while True:
            try:
                return await self._sent(call, until)
            except ServiceError as error:
                if (pause := self._connection.pause(call, error, number, until)) is None:
                    raise
            await anyio.sleep(pause)
            number += 1

    async def _sent(self, call: Call[T], until: float) -> T:
        with self._connection.sending():
            request = self._http.build_request(**self._connection.arguments(call, until - time.monotonic()))
            with anyio.fail_after(until - time.monotonic()):
                response = await self._http.send(request, follow_redirects=False)
        return received(call, response, response.content)
