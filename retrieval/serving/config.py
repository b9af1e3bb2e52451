"""Settings of the service, and the limits that every request keeps."""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from indexing.errors import InputError, import_extra
from indexing.filesystem.file_checks import CHECKS, Check
from indexing.runtime.arguments import (
    check_choice,
    check_kind,
    check_local_path,
    check_number,
    check_path,
    check_whole,
    shown,
)

READ_TOKEN, WRITE_TOKEN = "COMMONSPACE_READ_TOKEN", "COMMONSPACE_WRITE_TOKEN"
ADMIN_TOKEN = "COMMONSPACE_ADMIN_TOKEN"  # noqa: S105 - a name
TOKENS = {"read_token": READ_TOKEN, "write_token": WRITE_TOKEN, "admin_token": ADMIN_TOKEN}
TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TRACE_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
TRACE_PROTOCOL = "http/protobuf"
SHORTEST_TOKEN = 16
MAX_K = 1_000
MAX_CANDIDATES = 10_000
MAX_BATCH = 256
MAX_HITS = 32_000  # of all queries of a request
MAX_ALL_CANDIDATES = 32_000  # of all queries of a request
MAX_COMPARED = 4_000_000  # pairs of candidates that a request compares, to choose diverse or distinct ones
MAX_EXPLAINED = 160_000  # hits by the parts of their queries, or by the items of their histories
MAX_VECTOR_NUMBERS = 1_000_000  # of the vectors of all hits of a request
MAX_TEXT_BYTES = 4_096
MAX_ID_CHARACTERS = 1_000
MAX_NAME_CHARACTERS = 256  # of users, sessions and items in the log of live events
MAX_POSITION = 1_000_000
MAX_FILTER_VALUES = 10_000
MAX_HISTORY = 10_000
MAX_RULES = 100
MAX_PARTS = 32
MAX_PAGE = 1_000
MAX_USERS = 10_000
MAX_EVENTS_READ = 200_000  # of the log of live events, of all users of a request
MAX_FILES = 16
MAX_URL_CHARACTERS = 2_048
LOOPBACK_NAMES = ("localhost",)
USUAL_PORTS = frozenset({80, 443})
_HOST = re.compile(r"((?:[a-z0-9-]{1,63}\.)*[a-z][a-z0-9-]{0,62})(?::(\d{1,5}))?", re.ASCII)  # not an address


@dataclass(frozen=True)
class Limits:
    """What requests may cost.

    Attributes:
        body_bytes: Most bytes of a body.
        upload_bytes: Most bytes of a body with uploaded files.
        image_bytes, image_pixels: Most bytes and pixels of a picture.
        audio_bytes, audio_seconds: Most bytes of a sound; the seconds of it that are decoded.
        concurrency: Requests of a kind of work that compute at once; one for each core when 0.
        queue: Queries of a kind of work that may wait; further requests are refused.
        deadline: Seconds from the arrival of a request until it is given up.
        body_seconds: Seconds in which the body of a request must arrive.
        url_seconds: Seconds in which the pictures of the URLs of a request must arrive.
        admin_bytes, admin_seconds: Most bytes of a file that is uploaded to change the bundle; seconds in which it must
            arrive.
        open_versions: Other versions of the bundle that requests ask for and that are open at once, beside those of
            scenarios; none can be asked for when 0.
    """

    body_bytes: int = 16_000_000
    upload_bytes: int = 24_000_000
    image_bytes: int = 10_000_000
    image_pixels: int = 40_000_000
    audio_bytes: int = 20_000_000
    audio_seconds: float = 60.0
    concurrency: int = 0
    queue: int = 64
    deadline: float = 5.0
    body_seconds: float = 10.0
    url_seconds: float = 5.0
    admin_bytes: int = 256_000_000
    admin_seconds: float = 600.0
    open_versions: int = 2

    def __post_init__(self) -> None:
        for name in ("concurrency", "open_versions"):
            check_whole(getattr(self, name), name, 0)
        sizes = ("body_bytes", "upload_bytes", "image_bytes", "image_pixels", "audio_bytes", "admin_bytes")
        for name in (*sizes, "queue"):
            check_whole(getattr(self, name), name)
        for name in ("audio_seconds", "deadline", "body_seconds", "url_seconds", "admin_seconds"):
            if check_number(getattr(self, name), name, "give seconds above 0") <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; give seconds above 0")


@dataclass(frozen=True)
class ServiceConfig:
    """What a service serves, where, and to whom.

    Attributes:
        bundle: Folder of the bundle.
        host: Address to listen on; one that is not of this machine alone needs a read token.
        port: Port; 0 takes a free one.
        read_token: Who asks must have it; anyone on this machine may ask when None.
        write_token: Who writes must have it; nobody can write when None.
        events: URL of the database of live events; no events are taken when None.
        scenarios: File of named configurations.
        cross_encoder: Name of the model that orders texts where a request asks for it; none when None.
        catalogue: The catalogue of the items, whose pictures and sounds the page shows; none are shown when None.
        admin_token: Who changes the bundle must have it; nobody can when None.
        admin_port: Port that alone answers `/admin`, and nothing else but `/live` and `/ready`; 0 takes a free one, and
            None lets ``port`` answer `/admin` too.
        admin_host: Address that `admin_port` listens on.
        limits: What requests may cost.
        poll_seconds: Seconds between two looks at whether the bundle has changed.
        image_hosts: Hosts from whose URLs pictures of queries are fetched, as ``"images.example.org"``, or with a port
            other than 80 and 443 as ``"images.example.org:8080"``; no URL is fetched when empty.
        traces: Send a span of each request and stage to where the variables OTEL_… of the environment say.
        check: When the files of the bundle are compared with what was written, see `Bundle.open`: ``"auto"`` before
            anything is answered for up to 1 GiB of them, in the background beyond; ``"all"``, ``"lazy"``,
            ``"background"``.
        mcp: Whether assistants are answered at `/mcp`: ``"off"``, ``"beside"`` the other routes, or ``"alone"``.

    Raises:
        InputError: When a value cannot be used, or the host is open to others without a token.
    """

    bundle: Path | str
    host: str = "127.0.0.1"
    port: int = 8080
    read_token: str | None = field(default=None, repr=False)
    write_token: str | None = field(default=None, repr=False)
    events: str | None = field(default=None, repr=False)
    scenarios: Path | str | None = None
    cross_encoder: str | None = None
    limits: Limits = field(default_factory=Limits)
    poll_seconds: float = 1.0
    catalogue: Path | str | None = None
    image_hosts: Sequence[str] = ()
    traces: bool = False
    admin_token: str | None = field(default=None, repr=False)
    admin_port: int | None = None
    admin_host: str = "127.0.0.1"
    mcp: Literal["off", "beside", "alone"] = "off"
    check: Check = "auto"

    def __post_init__(self) -> None:
        check_local_path(self.bundle, "the folder of the bundle")
        if self.catalogue is not None:
            check_path(self.catalogue, "catalogue")
        check_kind(self.host, str, "host", "give an address, as '127.0.0.1'")
        check_kind(self.admin_host, str, "admin_host", "give an address, as '127.0.0.1'")
        for name, port in (("port", self.port), ("admin_port", 0 if self.admin_port is None else self.admin_port)):
            if check_whole(port, name, 0) > 65_535:
                raise InputError(f"{name} is {port}; give one up to 65535")
        check_kind(self.limits, Limits, "limits", "give Limits(…)")
        if check_number(self.poll_seconds, "poll_seconds", "give seconds above 0") <= 0:
            raise InputError(f"poll_seconds is {self.poll_seconds}; give seconds above 0")
        allowed_ports(self.image_hosts)
        check_choice(self.check, "check", CHECKS)
        if self.mcp not in ("off", "beside", "alone"):
            raise InputError(f"mcp is {shown(self.mcp)}; give 'off', 'beside' or 'alone'")
        self._check_tokens()
        if not is_loopback(self.host) and self.read_token is None:
            raise InputError(
                f"host {shown(self.host)} is open to other machines, and there is no read token; set {READ_TOKEN}, or "
                "listen on 127.0.0.1"
            )

    def _check_tokens(self) -> None:
        known: dict[str, str] = {}
        for name, variable in TOKENS.items():
            token = getattr(self, name)
            _check_token(token, name, variable)
            if token is not None and token in known:
                first, second = (one.replace("_", " ") for one in (known[token], name))
                raise InputError(
                    f"the {first} and the {second} are the same; give each its own, so that none allows more"
                )
            known[token] = name
        if self.admin_port is None:
            return
        if self.admin_token is None:
            raise InputError(f"there is a port for `/admin`, and no token that opens it; set {ADMIN_TOKEN}")
        if self.admin_port and self.admin_port == self.port:
            raise InputError(f"port and admin_port are both {self.port}; give two, or leave admin_port out")

    @classmethod
    def from_environment(
        cls,
        bundle: Path | str,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        environment: Mapping[str, str] = os.environ,
        **settings: Any,  # noqa: ANN401 - fields of this class
    ) -> "ServiceConfig":
        """Take the tokens from environment variables, and whether to trace; empty ones are none."""
        read, write, admin = (environment.get(variable) or None for variable in TOKENS.values())
        settings = {"traces": wants_traces(environment), **settings}
        return cls(bundle, host, port, read, write, admin_token=admin, **settings)


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def allowed_ports(hosts: Sequence[str]) -> dict[str, frozenset[int]]:
    """Give by the name of each host the ports that pictures may be fetched from.

    Raises:
        InputError: For what is no name of a host.

    >>> sorted(allowed_ports(["images.example.org"])["images.example.org"])
    [80, 443]
    >>> allowed_ports(["images.example.org:8080"])
    {'images.example.org': frozenset({8080})}
    """
    if isinstance(hosts, str) or not isinstance(hosts, Sequence):
        raise InputError(f"image_hosts is {shown(hosts)}; give a list of names")
    ports: dict[str, frozenset[int]] = {}
    for host in hosts:
        match = _HOST.fullmatch(check_kind(host, str, "a host of image_hosts", "give a name").lower())
        if match is None or len(match[1]) > 253 or int(match[2] or 80) not in range(1, 65_536):
            raise InputError(
                f"image_hosts has {shown(host)}; give names of hosts as 'images.example.org', or with a port as "
                "'images.example.org:8080', and no URLs, addresses or patterns"
            )
        ports[match[1]] = ports.get(match[1], frozenset()) | (frozenset({int(match[2])}) if match[2] else USUAL_PORTS)
    return ports


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Say whether the environment names a collector of spans.

    Raises:
        InputError: When they are to go there by a protocol that this service does not speak.
        MissingExtraError: When the extra is not installed.
    """
    if not any(environment.get(name) for name in TRACE_ENDPOINTS):
        return False
    for name in TRACE_PROTOCOLS:
        if environment.get(name, TRACE_PROTOCOL) not in ("", TRACE_PROTOCOL):
            raise InputError(
                f"{name} is {environment[name]!r}; spans are sent by {TRACE_PROTOCOL} alone, usually to port 4318"
            )
    for module in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"):
        import_extra(module, "otel")
    return True


def _check_token(token: str | None, name: str, variable: str) -> None:
    if token is None:
        return
    check_kind(token, str, name, "give a text, or None")
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"the {name.replace('_', ' ')} has {len(token)} characters; give at least {SHORTEST_TOKEN} printable ASCII "
            f"characters without spaces, as `openssl rand -hex 32` makes, in {variable}"
        )
