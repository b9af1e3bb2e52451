"""The server: uvicorn, with the settings of this service, and one that gives up slow and endless headers."""

import asyncio
import contextlib
import functools
import multiprocessing
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from indexing.errors import InputError
from indexing.filesystem.file_checks import shared_outcomes
from retrieval.serving.app import create_app, service_for
from retrieval.serving.config import ServiceConfig
from retrieval.serving.observability.logs import LogConfig
from retrieval.serving.observability.workers import shared_metrics

BACKLOG = 512
KEEP_ALIVE = 20  # seconds that a connection without a request is kept
HEADER_SECONDS = 10.0  # in which the headers of a request must arrive
HEADER_BYTES = 64_000
STARTED = 120  # seconds in which a worker must answer its parent, also while it opens the bundle
DRAIN = 10  # seconds in which requests that have begun may end, after SIGTERM


class GuardedProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with bounds on the time and size of headers, of which it has none."""

    _timer: asyncio.TimerHandle | None = None
    _in_headers = True
    _received = 0  # bytes, also of parts of headers that are not whole yet
    _in_whole_headers = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self._received += len(data)
        super().data_received(data)
        if self._in_headers and self._received > HEADER_BYTES:
            self._stop_waiting()
            self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        """Begin a request, perhaps not the first of the connection."""
        if not self._in_headers:
            self._await_headers()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; an error here is answered with 400."""
        self._in_whole_headers += len(name) + len(value)
        if self._in_whole_headers > HEADER_BYTES:
            raise ValueError("the headers are too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the headers."""
        self._stop_waiting()
        self._in_headers = False
        super().on_headers_complete()

    def _await_headers(self) -> None:
        self._stop_waiting()
        self._in_headers, self._received, self._in_whole_headers = True, 0, 0
        self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # or else an answer is on its way
            self.transport.close()


def serve(
    config: ServiceConfig,
    workers: int = 1,
    *,
    ready: Callable[[str, str | None], None] | None = None,
    log: LogConfig | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then no new request is taken, and those that have begun are answered.

    It returns after SIGTERM, with any number of workers.

    Args:
        config: The settings.
        workers: Processes that answer; each opens the bundle, and they share the memory of files that are mapped, and
            which files one of them has compared.
        ready: Called with the address, and that of `/admin` where it has one of its own, when the ports are taken and
            the bundle and all else that the settings name is open; with several workers, when it could be opened.
        log: How the log is written to standard error; `LogConfig.for_stderr` when None.

    Raises:
        InputError: When the port is taken by another.
        CommonspaceError: As `create_app`, before ``ready``.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_listening(config.host, config.port))]
        if config.admin_port is not None:
            sockets.append(stack.enter_context(_listening(config.admin_host, config.admin_port)))
            config = replace(config, admin_port=sockets[1].getsockname()[1])
        log = log or LogConfig.for_stderr()
        log.apply()
        app = create_app(config) if workers == 1 else None
        if app is None:  # workers open it, each for itself
            stack.enter_context(shared_outcomes())
            check_elsewhere(config)
        if ready is not None:
            ready(_url(sockets[0]), _url(sockets[1]) if len(sockets) > 1 else None)
        if app is not None:
            with ending_at_sigterm():
                uvicorn.Server(uvicorn_config(app)).run(sockets)
        else:
            settings = uvicorn_config(functools.partial(worker_app, config, log), workers=workers, factory=True)
            with shared_metrics():
                Workers(settings, sockets=sockets).run()


@contextlib.contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end a server without ending the process, so that it exits with 0, as several workers do.

    uvicorn stops gracefully, and then raises the signal once more for the handler that was there before: usually the
    one of the system, which ends the process as if it had been killed.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may listen to signals, as in uvicorn
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_elsewhere(config: ServiceConfig) -> None:
    """Open once, in a process that ends then, what each worker will open: none of them could tell what is wrong.

    Raises:
        CommonspaceError: As `create_app`.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(open_and_close, config).result()


def open_and_close(config: ServiceConfig) -> None:
    """Open a service, and close it."""
    service = service_for(config)
    service.admission.close()
    service.served.close()
    if service.events is not None:
        service.events.close()


class Workers(Multiprocess):
    """Processes that answer, of which one that ends is replaced at once.

    uvicorn waits for the answer of each to a ping. As it holds both ends of the pipe, it would wait for one that has
    been killed meanwhile as for one that is busy.
    """

    def keep_subprocess_alive(self) -> None:
        """Replace processes that have ended, or do not answer."""
        for process in self.processes:
            process.child_conn.close()
        super().keep_subprocess_alive()


def worker_app(config: ServiceConfig, log: LogConfig) -> FastAPI:
    """Give the application of one of several processes, which begins with nothing of its parent."""
    log.apply()
    return create_app(config)


def uvicorn_config(app: Any, **more: Any) -> uvicorn.Config:  # noqa: ANN401 - an application
    """Give the settings of uvicorn: no access log, which would name users, and no header that names the server."""
    return uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws="none",
        log_config=None,  # its loggers write as all others do
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=DRAIN,
        timeout_worker_healthcheck=STARTED,
        **more,
    )


def _url(listening: socket.socket) -> str:
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(
            f"the service cannot listen on {host}:{port}: {error.strerror or error}; choose another port"
        ) from error
