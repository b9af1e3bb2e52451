"""A service that listens on this machine, in a thread."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from indexing.encoders import Encoder
from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.server.uvicorn_server import uvicorn_config
from tests.toy import ToyEncoder


@contextlib.contextmanager
def listening(config: ServiceConfig, encoder: Encoder | None = None) -> Iterator[tuple[str, uvicorn.Server]]:
    """Serve a bundle, of the toy encoder when None, at a free port; gives the address and the server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = uvicorn.Server(uvicorn_config(create_app(config, encoder=encoder or ToyEncoder())))
        thread = threading.Thread(target=server.run, args=([taken],))
        thread.start()
        until = time.monotonic() + 60
        while not server.started and time.monotonic() < until:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/", server
        server.should_exit = True
        thread.join()
