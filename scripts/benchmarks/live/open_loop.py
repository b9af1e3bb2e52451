"""Requests over HTTP at fixed times, whether answers have come or not, at little cost to who asks.

A client that waits for an answer before it asks again asks a slow service less often, and then misses what others would
have waited (coordinated omission). Here each request has a time at which it is due, and its latency counts from then.
How late requests were sent is kept beside it: it says how far a latency is that of the client.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

FAILED = 0  # in place of a status: the connection ended before the answer was whole
END_SECONDS = 30.0  # after the last request, for answers that are still missing


class Reply(NamedTuple):
    """One request: when it was due, was sent and was answered, by `time.perf_counter`, and the status of the answer."""

    due: float
    sent: float
    ended: float
    status: int

    @property
    def seconds(self) -> float:
        """From the time at which it was due."""
        return self.ended - self.due


def post_bytes(url: str, path: str, body: bytes) -> bytes:
    """Give a request as it is sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def at_rate(url: str, requests: Sequence[bytes], rate: float, seconds: float) -> list[Reply]:
    """Send so many requests a second, in turn those given; on a connection that is free, or else on a new one."""
    clients, asked, start = Clients(url), list["asyncio.Task[Reply]"](), perf_counter()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (early := due - perf_counter()) > 0:
            await asyncio.sleep(early)
        asked.append(asyncio.create_task(clients.ask(requests[number % len(requests)], due)))
    done, missing = await asyncio.wait(asked, timeout=END_SECONDS)
    clients.close()
    for one in missing:
        one.cancel()
    return [one.result() for one in done] + [Reply(start, start, perf_counter(), FAILED) for _ in missing]


async def one_by_one(url: str, requests: Sequence[bytes], seconds: float, clients: int = 1) -> list[Reply]:
    """Let so many clients ask, each as soon as it has its answer, and at least once."""
    until = perf_counter() + seconds

    async def ask(number: int) -> list[Reply]:
        client, replies = Clients(url), list[Reply]()
        while not replies or perf_counter() < until:
            request = requests[(number + len(replies) * clients) % len(requests)]
            replies.append(await client.ask(request, perf_counter()))
        client.close()
        return replies

    return [one for replies in await asyncio.gather(*map(ask, range(clients))) for one in replies]


class Clients:
    """Connections to a service, as many as are needed at once."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._free: list[Connection] = []
        self._open: list[Connection] = []

    async def ask(self, request: bytes, due: float) -> Reply:
        """Send a request that is due at a time, and await its answer."""
        connection = self._free.pop() if self._free else await self._connected()
        return await connection.send(request, due)

    def close(self) -> None:
        """End all connections."""
        for connection in self._open:
            connection.transport.close()

    async def _connected(self) -> "Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._free), self._host, self._port)
        self._open.append(connection)
        return connection


class Connection(asyncio.Protocol):
    """A connection, on which one request at a time is answered; free again when it is.

    Args:
        free: Where it puts itself when it is free.
    """

    transport: asyncio.Transport

    def __init__(self, free: list["Connection"]) -> None:
        self._free, self._received = free, bytearray()
        self._reply: asyncio.Future[Reply] | None = None
        self._due = self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - that of TCP is one
        self.transport = transport

    def send(self, request: bytes, due: float) -> "asyncio.Future[Reply]":
        """Send a request that is due at a time; give its reply when it is there."""
        self._reply = asyncio.get_running_loop().create_future()
        self._due, self._sent = due, perf_counter()
        self.transport.write(request)
        return self._reply

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer, whose length its headers say."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) >= length:
            status = int(head.split(b" ", 2)[1])
            self._received.clear()
            self._end(status)
            if not self.transport.is_closing():
                self._free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Fail what is not answered."""
        if self in self._free:
            self._free.remove(self)
        self._end(FAILED)

    def _end(self, status: int) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(Reply(self._due, self._sent, perf_counter(), status))
