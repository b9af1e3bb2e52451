"""What hostile requests get from a service, and the memory that they cost it.

    python -m scripts.benchmarks.live.service_hostile BUNDLE

The service is a process of its own on this machine, with a bundle whose encoder takes pictures. It is sent files that
are broken, misleading or bombs, huge numbers, deep JSON, bodies without end, and sockets that are slow or send headers
for ever. Each must get a clear answer of 4xx, or 200 where it is only odd; after each the same query is asked, and must
be answered as before. Memory is that of the service and of the processes that decode for it, sampled all the time.
"""

import argparse
import contextlib
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx2

from scripts.benchmarks.live.service_latency import service
from scripts.benchmarks.record import keep
from tests.hostile import HOSTILE_TEXTS, hostile_bodies, hostile_images, hostile_sounds

SLOW_SOCKETS = 200
ENDLESS = 1_000_000_000  # bytes of a body
GOOD = {"texts": ["a slice of fruit"], "k": 5}
Attack = Callable[[httpx2.Client], int]


def main() -> None:
    """Attack, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--name", default="service_hostile", help="of the file of results")
    given = parser.parse_args()
    with service(given.bundle) as (process, url), httpx2.Client(base_url=url, timeout=60) as client:
        expected = asked(client)
        with sampled_memory(process.pid) as memory:
            sleep(1)
            rest = max(memory)
            result = attacked(client, url, expected)
            result["megabytes_at_rest"] = round(rest / 1e6)
            result["megabytes_above_rest"] = round((max(memory) - rest) / 1e6)
    keep(given.name, result, 0)


def asked(client: httpx2.Client) -> Any:  # noqa: ANN401 - any JSON
    """Ask the query that must always be answered."""
    return client.post("/search", json=GOOD).raise_for_status().json()["results"]


def attacked(client: httpx2.Client, url: str, expected: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Send everything; count statuses, and keep what was no clear answer."""
    statuses, unclear, slowest = dict[str, Counter[str]](), list[str](), ("", 0.0)
    for kind, name, attack in attacks(url):
        start = perf_counter()
        status = attack(client)
        seconds = perf_counter() - start
        slowest = max(slowest, (name, seconds), key=lambda one: one[1])
        statuses.setdefault(kind, Counter())[str(status)] += 1
        if not (status == 200 or 400 <= status < 500):
            unclear.append(f"{name}: {status}")
        if asked(client) != expected:
            unclear.append(f"after {name} the answer is another one")
    counts = {kind: dict(sorted(of_kind.items())) for kind, of_kind in statuses.items()}
    return {
        "requests": sum(sum(of_kind.values()) for of_kind in counts.values()),
        "statuses": counts,
        "unclear": unclear,
        "slowest": {"what": slowest[0], "seconds": round(slowest[1], 2)},
    }


def attacks(url: str) -> Iterator[tuple[str, str, Attack]]:
    """Give all attacks with their kinds and names."""
    for name, data in hostile_images():
        yield "pictures", name, uploading("image", data)
    for name, data in hostile_sounds():
        yield "sounds", name, uploading("audio", data)
    for name, text in HOSTILE_TEXTS.items():
        yield "texts", name, posting(json.dumps({"texts": [text]}).encode("utf-8", "surrogatepass"))
    for name, body in hostile_bodies():
        yield "bodies", name, posting(body)
    yield "streams", "a body without end", lambda _: streamed(url, b"Transfer-Encoding: chunked")
    yield (
        "streams",
        "a body that is longer than it says",
        lambda _: streamed(url, f"Content-Length: {ENDLESS}".encode()),
    )
    yield "headers", "headers without end", lambda _: headers_without_end(url)
    yield "headers", "a thousand headers", lambda client: many_headers(client, 1_000)
    yield "headers", f"{SLOW_SOCKETS} slow clients", lambda client: beside_slow_clients(url, client)


def uploading(field: str, data: bytes) -> Attack:
    """Upload a file."""
    return lambda client: int(client.post("/search/upload", files={field: ("x", data)}).status_code)


def posting(body: bytes) -> Attack:
    """Post bytes as JSON."""
    headers = {"content-type": "application/json"}
    return lambda client: int(client.post("/search", content=body, headers=headers).status_code)


def streamed(url: str, header: bytes) -> int:
    """Send a body until it is refused; give the status."""
    with opened(url) as connection:
        connection.sendall(
            b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + header + b"\r\n\r\n"
        )
        part = b"x" * 65_536
        chunk = part if b"Length" in header else b"10000\r\n" + part + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(ENDLESS // len(part)):
                connection.sendall(chunk)
        return status_in(connection)


def headers_without_end(url: str) -> int:
    """Send headers until refused."""
    with opened(url) as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                connection.sendall(b"a" * 10_000)
        return status_in(connection)


def many_headers(client: httpx2.Client, count: int) -> int:
    """Send a request of many headers."""
    return int(client.get("/live", headers={f"x-{at}": "a" * 100 for at in range(count)}).status_code)


def beside_slow_clients(url: str, client: httpx2.Client) -> int:
    """Ask while others have begun a request and do not go on; 408 stands for their being given up."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(opened(url)) for _ in range(SLOW_SOCKETS)]
        for connection in slow:
            connection.sendall(b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        asked(client)
        for connection in slow:
            with contextlib.suppress(ConnectionError):
                if connection.recv(1):
                    return 500
    return 408


def opened(url: str) -> socket.socket:
    """Connect."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def status_in(connection: socket.socket) -> int:
    """Read the status of an answer; 400 where the connection was ended without one."""
    with contextlib.suppress(ConnectionError):
        if answer := connection.recv(100):
            return int(answer.split()[1])
    return 400


@contextlib.contextmanager
def sampled_memory(pid: int) -> Iterator[list[int]]:
    """Sample the memory of a process and of its children, in bytes, for as long as this is entered."""
    samples, ended = list[int](), threading.Event()

    def sample() -> None:
        while not ended.wait(0.02):
            samples.append(sum(own_memory(one) for one in family(pid)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def family(pid: int) -> list[int]:
    """Give a process and all below it."""
    with contextlib.suppress(OSError):
        children = [
            int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
        return [pid, *(below for child in children for below in family(child))]
    return []


def own_memory(pid: int) -> int:
    """Give the memory that a process has for itself: without pages of files, which others share."""
    with contextlib.suppress(OSError):
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")
    return 0


if __name__ == "__main__":
    main()
