"""Options of a service: where it listens, and what it answers with beside its bundle."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from indexing.filesystem.file_checks import Check
from retrieval.cli.options.log import OptionalEventsUrl, ScenariosFile
from retrieval.cli.options.search import CrossEncoderName
from retrieval.serving.config import Limits
from retrieval.serving.observability.logs import Format, Level, LogConfig

SERVICE = "Service"

_host = typer.Option(
    "--host", rich_help_panel=SERVICE, help="Address; one that other machines reach needs a read token."
)
_port = typer.Option("--port", rich_help_panel=SERVICE, min=0, max=65_535, help="Port.")
Host = Annotated[str, _host]
Port = Annotated[int, _port]
OptionalHost = Annotated[str | None, _host]
OptionalPort = Annotated[int | None, _port]


def _names(hosts: str | None) -> Any:  # noqa: ANN401 - typer knows a text alone
    """Split a list with commas."""
    return () if hosts is None else tuple(host.strip() for host in hosts.split(","))


@dataclass(frozen=True)
class AnsweringWith:
    """What a service answers with beside its bundle; the names are those of `ServiceConfig`."""

    events: OptionalEventsUrl = None
    scenarios: ScenariosFile = None
    cross_encoder: CrossEncoderName = None
    image_hosts: Annotated[
        str | None,
        typer.Option(
            "--image-hosts",
            rich_help_panel=SERVICE,
            metavar="HOSTS",
            callback=_names,
            help="Hosts from whose URLs pictures of queries are fetched, as images.example.org,cdn.example.org.",
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        """Give them as keyword arguments of `ServiceConfig`."""
        return asdict(self)


@dataclass(frozen=True)
class RequestLimits:
    """What an operator says of requests by the machine and by what is promised; others stay those of `Limits`."""

    deadline: Annotated[
        float,
        typer.Option(
            "--deadline",
            rich_help_panel=SERVICE,
            metavar="SECONDS",
            help="Seconds from the arrival of a request until it is given up.",
        ),
    ] = Limits.deadline
    queue: Annotated[
        int,
        typer.Option(
            "--queue",
            rich_help_panel=SERVICE,
            min=1,
            metavar="QUERIES",
            help="Queries of each kind of work that may wait; further requests are refused.",
        ),
    ] = Limits.queue
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            rich_help_panel=SERVICE,
            min=0,
            metavar="REQUESTS",
            help="Requests of each kind of work that compute at once; 0 is one for each core.",
        ),
    ] = Limits.concurrency
    open_versions: Annotated[
        int,
        typer.Option(
            "--open-versions",
            rich_help_panel=SERVICE,
            min=0,
            metavar="VERSIONS",
            help="Other generations that requests name and that stay open, beside those of scenarios; 0 opens none.",
        ),
    ] = Limits.open_versions

    def read(self) -> Limits:
        """Give the limits of the service.

        Raises:
            InputError: When one cannot be used.
        """
        return Limits(**asdict(self))


@dataclass(frozen=True)
class LogOptions:
    """How the log is written to standard error."""

    log_format: Annotated[
        Format | None,
        typer.Option(
            "--log-format", rich_help_panel=SERVICE, help="The form of the log: text to a terminal, JSON to programs."
        ),
    ] = None
    log_level: Annotated[
        Level,
        typer.Option(
            "--log-level", rich_help_panel=SERVICE, help="The least that is logged: at info a line for each request."
        ),
    ] = "info"

    def read(self) -> LogConfig:
        """Give the settings of the log."""
        return LogConfig.for_stderr(self.log_format, self.log_level)


@dataclass(frozen=True)
class ServingWith(AnsweringWith):
    """What a service over HTTP has beside."""

    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue",
            rich_help_panel=SERVICE,
            help="The catalogue of the items, whose pictures and sounds the page shows.",
        ),
    ] = None
    mcp: Annotated[
        bool, typer.Option("--mcp", rich_help_panel=SERVICE, help="Answer assistants at /mcp, as `mcp` does.")
    ] = False

    check: Annotated[
        Check,
        typer.Option(
            "--check",
            rich_help_panel=SERVICE,
            help="When files are compared with what was written: all before the first answer, lazy each before its "
            "first use, in the background; auto is all up to 1 GiB, and the background beyond.",
        ),
    ] = "auto"
    admin_port: Annotated[
        int | None,
        typer.Option(
            "--admin-port",
            rich_help_panel=SERVICE,
            min=0,
            max=65_535,
            help="Port that alone answers /admin; by default the other one does.",
        ),
    ] = None
    admin_host: Annotated[
        str, typer.Option("--admin-host", rich_help_panel=SERVICE, help="Address of --admin-port.")
    ] = "127.0.0.1"

    def settings(self) -> dict[str, Any]:
        """Give them as keyword arguments of `ServiceConfig`."""
        return super().settings() | {"mcp": "beside" if self.mcp else "off"}
