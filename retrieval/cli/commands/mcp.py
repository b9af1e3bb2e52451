"""`commonspace mcp`."""

import signal
from dataclasses import replace
from typing import Annotated, Any

import typer

from indexing.errors import require_extra
from retrieval.cli.display.terminal import UsageError, say
from retrieval.cli.options.search import BundleFolder
from retrieval.cli.options.service import SERVICE, AnsweringWith, LogOptions, OptionalHost, OptionalPort, RequestLimits


def mcp(
    bundle: BundleFolder,
    http: Annotated[
        bool,
        typer.Option(
            "--http", rich_help_panel=SERVICE, help="Answer over HTTP, at /mcp, rather than standard input and output."
        ),
    ] = False,
    host: OptionalHost = None,
    port: OptionalPort = None,
    *,
    answering: AnsweringWith,
    limits: RequestLimits,
    logging: LogOptions,
) -> None:
    """Answer assistants over MCP, from one bundle.

    MCP is the Model Context Protocol. An assistant starts this command itself, and asks over its standard input. With
    --http it runs by itself; whoever asks must have the token that is in COMMONSPACE_READ_TOKEN, if there is one.
    Nothing can be changed.
    """
    for module in ("mcp", "fastapi", "uvicorn"):
        require_extra(module, "mcp")
    if not http and (host is not None or port is not None):
        raise UsageError("--host and --port are of HTTP; give --http too, or leave them out")
    from retrieval.serving.config import ServiceConfig

    address: dict[str, Any] = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    config = ServiceConfig.from_environment(
        bundle, mcp="alone" if http else "off", limits=limits.read(), **address, **answering.settings()
    )
    config = replace(config, write_token=None, admin_token=None)
    if http:
        from retrieval.serving.server.uvicorn_server import serve

        def ready(url: str, _: str | None) -> None:
            say(f"serving {bundle} to assistants at {url}/mcp; Ctrl-C ends it")

        serve(config, ready=ready, log=logging.read())
    else:
        from retrieval.serving.app import service_for
        from retrieval.serving.mcp.server import serve_stdio

        # A thread that waits for a line of standard input cannot be interrupted, and there is nothing to be ended.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        logging.read().apply()
        say(f"answering an assistant from {bundle} over standard input and output", err=True)
        serve_stdio(lambda: service_for(config))
