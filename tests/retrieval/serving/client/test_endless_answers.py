"""Answers that never end, though each part of them comes in time."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import anyio
import pytest

from retrieval.serving.client import AsyncClient, Client, UnreachableError


def drops(listening: socket.socket) -> None:
    """Answer each connection by a body of one byte after the other, until the client goes away."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # closed
            return
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(head)
            while True:
                connection.sendall(b" ")
                time.sleep(0.02)


@pytest.fixture
def dripping() -> Iterator[str]:
    """The address of a service whose answers never end, though each part comes in time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drops, args=(listening,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(20)


def test_an_answer_that_never_ends_is_given_up(dripping: str) -> None:
    """Without a bound of the whole this would not end before 100,000 parts came."""
    with Client(dripping, timeout=0.3, retries=0) as client:  # noqa: SIM117
        with pytest.raises(UnreachableError, match="did not answer in time"):
            client.live()

    async def asked() -> None:
        async with AsyncClient(dripping, timeout=0.3, retries=0) as client:
            await client.live()

    with pytest.raises(UnreachableError, match="did not answer in time"):
        anyio.run(asked)
