"""Requests at fixed times: answers in parts, refusals, lost connections, and requests that wait for no other."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from scripts.benchmarks.live.open_loop import FAILED, Reply, at_rate, one_by_one, post_bytes

Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def head(status: int, length: int) -> bytes:
    return b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n" % (status, length)


def asked(answer: Answering, ask: Callable[[str], Awaitable[list[Reply]]]) -> tuple[list[Reply], int]:
    """Ask a server of the test; give the replies, and how many connections it had."""
    served_by = set["asyncio.Task[None] | None"]()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served_by.add(asyncio.current_task())
        while not writer.is_closing() and (line := await reader.readline()):
            assert line == b"POST /search HTTP/1.1\r\n"
            headers = await reader.readuntil(b"\r\n\r\n")
            length = int(headers.split(b"content-length: ")[1].split(b"\r\n")[0])
            await answer(await reader.readexactly(length), writer)
        writer.close()
        await writer.wait_closed()

    async def run() -> list[Reply]:
        async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
            replies = await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.gather(*(task for task in served_by if task is not None))
        return replies

    return asyncio.run(run()), len(served_by)


async def by_body(body: bytes, writer: asyncio.StreamWriter) -> None:
    """Answer in parts, refuse, or end the connection."""
    if body == b"lost":
        writer.close()
        return
    answer = head(200 if body == b"good" else 429, 4) + b"body"
    for part in (answer[:11], answer[11:-2], answer[-2:]):
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)


def test_each_request_has_its_status_and_its_times() -> None:
    def ask(url: str) -> Awaitable[list[Reply]]:
        return at_rate(url, [post_bytes(url, "/search", body) for body in (b"good", b"refused", b"lost")], 300, 0.1)

    replies, connections = asked(by_body, ask)
    assert Counter(one.status for one in replies) == {200: 10, 429: 10, FAILED: 10}
    assert all(one.due <= one.sent <= one.ended for one in replies)
    assert sorted(round((one.due - replies[0].due) * 300) % 30 for one in replies) == list(range(30))
    assert connections >= 10  # as many as were lost


def test_a_request_does_not_wait_for_the_answer_of_another() -> None:
    together = asyncio.Event()
    waiting: list[bytes] = []

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        waiting.append(body)
        if len(waiting) == 5:
            together.set()
        await together.wait()
        writer.write(head(200, 0))

    replies, connections = asked(answer, lambda url: at_rate(url, [post_bytes(url, "/search", b"")], 500, 0.01))
    assert [one.status for one in replies] == [200] * 5
    assert connections == 5


def test_clients_that_wait_for_answers_ask_one_by_one() -> None:
    async def ask(url: str) -> list[Reply]:
        return await one_by_one(url, [post_bytes(url, "/search", b"good")], 0, clients=3)

    replies, connections = asked(by_body, ask)
    assert [one.status for one in replies] == [200] * 3
    assert connections == 3
