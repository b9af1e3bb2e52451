"""The server: uvicorn, with the settings of this service."""

import socket
from typing import Any

import uvicorn

from retrieval.serving.app import create_app
from retrieval.serving.config import ServiceConfig

BACKLOG = 512
KEEP_ALIVE = 20  # seconds
DRAIN = 10  # seconds in which requests that have begun may end, after SIGTERM


def serve(config: ServiceConfig, *, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then no new request is taken, and those that have begun are answered."""
    uvicorn.Server(uvicorn_config(create_app(config), config)).run(sockets)


def uvicorn_config(app: Any, config: ServiceConfig) -> uvicorn.Config:  # noqa: ANN401 - an application
    """Give the settings of uvicorn: no access log, which would name users, and no header that names the server."""
    return uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=DRAIN,
    )
