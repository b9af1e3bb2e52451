"""What both clients do with a call: where it is sent, with which token and time, and what comes of it."""

import contextlib
import contextvars
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeVar

import httpx2

from indexing.errors import CommonspaceWarning, InputError
from indexing.runtime.arguments import check_kind, check_number, check_whole, shown
from indexing.runtime.warn import warn
from retrieval.serving.client.calls import Access, Call
from retrieval.serving.client.errors import ExpiredCursorError, ServiceError, UnreachableError
from retrieval.serving.client.json_values import to_json
from retrieval.serving.client.retries import Retries
from retrieval.serving.config import ADMIN_TOKEN, READ_TOKEN, WRITE_TOKEN

T = TypeVar("T")
URL = "http://127.0.0.1:8080"
_MADE = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")  # events that give a stream
_UNTIL: contextvars.ContextVar[float | None] = contextvars.ContextVar("until", default=None)
"""When the call of this thread is given up, by `time.monotonic`."""


@dataclass(frozen=True)
class Connection:
    """Where a service is, and how it is asked.

    Attributes:
        url: Of the service, without a slash at its end.
        tokens: What is sent, by what a call needs; None sends nothing.
        timeout: Seconds of a request, with all that is tried again.
        retries: How often it is sent again.
    """

    url: str
    tokens: Mapping[Access, str | None] = field(repr=False)
    timeout: float
    retries: Retries

    @classmethod
    def checked(cls, url: str, token: str | None, timeout: float, retries: int) -> "Connection":
        """Check what a client is made of; tokens that are not given are those of the environment.

        Raises:
            InputError: When one cannot be used.
        """
        try:
            parsed = httpx2.URL(check_kind(url, str, "url", f"give one, as {URL!r}"))
        except httpx2.InvalidURL as error:
            raise InputError(f"url cannot be read ({error}); give one, as {URL!r}") from error
        if parsed.userinfo:
            raise InputError("url has a user or a password in it; give a token as token=")
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
            raise InputError(f"url is {shown(url)}; give one that begins with http:// or https://, as {URL!r}")
        if check_number(timeout, "timeout", "give seconds above 0") <= 0:
            raise InputError(f"timeout is {shown(timeout)}; give seconds above 0")
        read, write, admin = token, token, token
        if token is None:
            read, write, admin = (os.environ.get(name) or None for name in (READ_TOKEN, WRITE_TOKEN, ADMIN_TOKEN))
        elif not check_kind(token, str, "token", "give a text, or None").isascii() or not token.isprintable():
            raise InputError(f"the token has {len(token)} characters, some not printable ASCII; give it as it was made")
        tokens: dict[Access, str | None] = {"read": read or write, "write": write or read, "admin": admin}
        return cls(url.rstrip("/"), tokens, timeout, Retries(check_whole(retries, "retries", 0)))

    def until(self, call: Call[Any]) -> float:
        """Give when a request is given up, by `time.monotonic`."""
        return time.monotonic() + (call.options.get("timeout") or self.timeout)

    def arguments(self, call: Call[Any], seconds: float) -> dict[str, Any]:
        """Give the arguments of `httpx2.Client.build_request` for a call that may take so many seconds."""
        token = self.tokens[call.access]
        headers = {"accept": "application/json", "user-agent": f"commonspace/{metadata.version('commonspace')}"}
        headers |= {} if token is None else {"authorization": f"Bearer {token}"}
        headers |= {"x-request-id": name} if (name := call.options.get("request_id")) else {}
        sent: dict[str, Any] = {}
        if call.files is not None:
            sent = {"files": list(call.files), "data": {"request": to_json(call.body or {}).decode()}}
        elif call.body is not None:
            sent = {"content": to_json(call.body)}
            headers["content-type"] = "application/json"
        where: dict[str, Any] = {"method": call.method, "url": self.url + call.path, "params": dict(call.params)}
        return where | sent | {"headers": headers, "timeout": max(seconds, 1e-3)}

    def pause(self, call: Call[Any], error: ServiceError, number: int, until: float) -> float | None:
        """Give the seconds until a request is sent again, None where it is not."""
        draw = random.random()  # noqa: S311 - no secret
        return self.retries.pause(call, error, number, until - time.monotonic(), draw)

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Tell what goes wrong on the way as an `UnreachableError`.

        Raises:
            UnreachableError: When no answer comes.
        """
        try:
            yield
        except (httpx2.TransportError, httpx2.DecodingError, TimeoutError) as error:
            timed_out = isinstance(error, httpx2.TimeoutException | TimeoutError)
            problem = "did not answer in time" if timed_out else f"cannot be reached: {error or type(error).__name__}"
            made = UnreachableError(
                f"the service at {self.url} {problem}",
                "give it more time with timeout=" if timed_out else "check the URL, and that it runs",
            )
            made.sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
            raise made from error


def received(call: Call[T], response: httpx2.Response, content: bytes) -> T:
    """Read an answer, and warn of what is unusual about the request.

    Raises:
        ServiceError: When it is an error, or cannot be read.
    """
    answer = call.answer(response.status_code, response.headers, content)
    for note in getattr(answer, "notes", None) or ():
        warn(note, CommonspaceWarning)
    return answer


@contextlib.contextmanager
def bounded(request: httpx2.Request, until: float) -> Iterator[None]:
    """Give up what this thread asks for within the block when its time is over, by `time.monotonic`.

    httpx2 bounds each step, read and write alone, so that headers or a body that come byte by byte take as long as they
    like. Here each of these has what is left. Connections that others made, by a client of httpx2 that was given, are
    bounded as httpx2 does.
    """
    seconds: dict[str, float] = request.extensions["timeout"]

    def traced(event: str, info: Mapping[str, Any]) -> None:
        seconds.update(dict.fromkeys(seconds, max(until - time.monotonic(), 1e-3)))
        if event.endswith(_MADE):
            _bound(info["return_value"])

    request.extensions = {**request.extensions, "trace": traced}
    token = _UNTIL.set(until)
    try:
        yield
    finally:
        _UNTIL.reset(token)


def _bound(stream: Any) -> None:  # noqa: ANN401 - a stream of httpcore2
    """Let each read and write of a connection end with the call that it is for."""
    read, write = stream.read, stream.write

    def read_until(max_bytes: int, timeout: float | None = None) -> bytes:
        return bytes(read(max_bytes, _left(timeout)))

    def write_until(buffer: bytes, timeout: float | None = None) -> None:
        write(buffer, _left(timeout))

    stream.read, stream.write = read_until, write_until


def _left(timeout: float | None) -> float | None:
    """Give the seconds that the call of this thread has left; ``timeout`` where there is none."""
    if (until := _UNTIL.get()) is None:
        return timeout
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError("the time of the call is over")
    return left


def content_until(response: httpx2.Response, until: float) -> bytes:
    """Read an answer part by part, and give it up when its time is over, by `time.monotonic`.

    Raises:
        TimeoutError: When it is not complete then.
    """
    parts = []
    for part in response.iter_bytes():
        parts.append(part)
        if time.monotonic() > until:
            raise TimeoutError("the answer came too slowly")
    return b"".join(parts)


@contextlib.contextmanager
def listing() -> Iterator[None]:
    """Say what to do where items cannot be listed on.

    Raises:
        ExpiredCursorError: When the bundle was built anew meanwhile.
    """
    try:
        yield
    except ExpiredCursorError as error:
        raise ExpiredCursorError(
            "the bundle was built anew while its items were listed",
            "list them again from the beginning, and leave those of the earlier pages",
            type=error.type,
            request_id=error.request_id,
            status=error.status,
        ) from error
