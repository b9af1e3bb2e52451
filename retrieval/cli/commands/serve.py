"""`commonspace serve`."""

from typing import Annotated

import typer

from indexing.errors import require_extra
from retrieval.cli.display.terminal import say
from retrieval.cli.options.search import BundleFolder
from retrieval.cli.options.service import SERVICE, Host, LogOptions, Port, RequestLimits, ServingWith


def serve(
    bundle: BundleFolder,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", rich_help_panel=SERVICE, min=1, max=256, help="Processes that answer, each with the bundle."
        ),
    ] = 1,
    *,
    serving: ServingWith,
    limits: RequestLimits,
    logging: LogOptions,
) -> None:
    """Answer queries over HTTP, from one bundle.

    Tokens are read from the environment: COMMONSPACE_READ_TOKEN, which readers must have, COMMONSPACE_WRITE_TOKEN,
    without which nobody can write, and COMMONSPACE_ADMIN_TOKEN, without which nobody can change the bundle.
    Spans are sent where OTEL_EXPORTER_OTLP_ENDPOINT says, if it does.
    """
    for module in ("fastapi", "uvicorn"):
        require_extra(module, "serve")
    from retrieval.serving.config import ServiceConfig
    from retrieval.serving.server.uvicorn_server import serve as run_server

    config = ServiceConfig.from_environment(bundle, host, port, limits=limits.read(), **serving.settings())

    def ready(url: str, admin: str | None) -> None:
        say(f"serving {bundle} at {url}; {f'/admin at {admin}; ' if admin else ''}Ctrl-C ends it")

    run_server(config, workers, ready=ready, log=logging.read())
