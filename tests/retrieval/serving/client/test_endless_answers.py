"""Answers that do not end in time, though each part of them comes soon after the one before."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import anyio
import httpx2
import pytest

from retrieval.serving.client import AsyncClient, Client, UnreachableError

LIVE = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{"status":"live"}'
HEADERS = b"HTTP/1.1 200 OK\r\nx-long: "
BODY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"
SECONDS, PARTS = 0.02, 500  # between parts; until the connection ends, so that nothing waits for ever


def drops(listening: socket.socket, begun: bytes) -> None:
    """Answer the first request of each connection, and the second by one byte after the other."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # closed
            return
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(LIVE)
            connection.recv(65_536)
            connection.sendall(begun)
            for _ in range(PARTS):
                connection.sendall(b" ")
                time.sleep(SECONDS)


@pytest.fixture(params=[HEADERS, BODY], ids=["headers", "body"])
def dripping(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a service whose second answer comes byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drops, args=(listening, request.param), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(20)


@pytest.mark.parametrize("is_given", [False, True])
def test_an_answer_that_comes_byte_by_byte_is_given_up(dripping: str, is_given: bool) -> None:
    """Where only its parts were bounded, the connection would end before, and the error would be another one."""
    with httpx2.Client() as http, Client(dripping, timeout=20, retries=0, http=http if is_given else None) as client:
        assert client.live().status == "live"
        with pytest.raises(UnreachableError, match="did not answer in time"):
            client.live(timeout=0.3)


def test_the_other_client_gives_it_up(dripping: str) -> None:
    async def asked() -> None:
        async with AsyncClient(dripping, timeout=20, retries=0) as client:
            assert (await client.live()).status == "live"
            with pytest.raises(UnreachableError, match="did not answer in time"):
                await client.live(timeout=0.3)

    anyio.run(asked)
