"""Pictures from URLs of named hosts: fetched from the very address that was checked, and from nowhere else.

A name is resolved once. No redirect is followed, and no proxy of the environment is used.
"""

import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from indexing.errors import InputError
from retrieval.serving.config import Limits, allowed_ports
from retrieval.serving.engine.request import current_request

Connect = Callable[[str, int, float], socket.socket]
PART = 65_536  # bytes that are read at once
SHARE = 0.8  # of the time that a request has left, for pictures; the rest is for its answer
RESOLVERS = 4  # names that are resolved at once
_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([a-z0-9.-]+)(?::([0-9]{1,5}))?([/?][^ #\\]*)?", re.ASCII | re.IGNORECASE)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # not site-local, NAT64 or with an IPv4 address
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # assignments of protocols
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # assignments of protocols, Teredo with them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)


class Target(NamedTuple):
    """What a URL names."""

    scheme: str
    host: str
    port: int
    path: str


def is_public(address: str) -> bool:
    """Say whether an address is one of the public Internet, and of no machine or network around this one.

    >>> is_public("93.184.215.14"), is_public("100.64.0.1"), is_public("::ffff:127.0.0.1"), is_public("64:ff9b::a00:1")
    (True, False, False, False)
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if not found.is_global or found.is_multicast or any(found in network for network in _NOT_PUBLIC):
        return False
    return found.version == 4 or found in _GLOBAL_UNICAST


def connected(address: str, port: int, seconds: float) -> socket.socket:
    """Connect to an address."""
    return socket.create_connection((address, port), seconds)


class ImageUrls:
    """Fetches pictures of URLs.

    Args:
        hosts: Names of hosts, see `allowed_ports`.
        limits: Most bytes of a picture and of all pictures of a request, and the seconds for these.
        resolve: Gives the addresses of a name, as `socket.getaddrinfo`.
        connect: Connects to an address.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        limits: Limits,
        *,
        resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo,
        connect: Connect = connected,
    ) -> None:
        self.limits, self._resolve, self._connect = limits, resolve, connect
        self._ports = allowed_ports(hosts)
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "commonspace-resolver")

    def fetch(self, urls: Sequence[str]) -> list[bytes]:
        """Give what N URLs name: N files, of which nothing is read.

        Raises:
            InputError: When a URL is none of an allowed host, or does not give a file within the limits.
        """
        targets = [self._target(place, url) for place, url in enumerate(urls)]
        until = time.monotonic() + min(self.limits.url_seconds, SHARE * current_request().seconds_left)
        files: list[bytes] = []
        for target in targets:
            most = min(self.limits.image_bytes, self.limits.upload_bytes - sum(map(len, files)))
            files.append(self._file(target, most, until))
        return files

    def _target(self, place: int, url: str) -> Target:
        match = _URL.fullmatch(url) if url.isascii() and url.isprintable() else None
        if match is None:
            raise InputError(
                f"URL {place} is none of a picture; give https://HOST/PATH in ASCII, with neither a user nor a "
                "fragment, spaces or backslashes"
            )
        scheme, host, path = match[1].lower(), match[2].lower(), match[4] or "/"
        port = int(match[3] or _PORTS[scheme])
        if host not in self._ports:
            raise InputError(
                f"URL {place} is of the host {host[:100]!r}, from which this service fetches no pictures; send the "
                "bytes of the file, or start the service with the host in --image-hosts"
            )
        if port not in self._ports[host]:
            raise InputError(
                f"URL {place} is of port {port} of {host!r}, from which this service fetches no pictures; send the "
                f"bytes of the file, or start the service with {host}:PORT in --image-hosts"
            )
        return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")

    def _file(self, target: Target, most: int, until: float) -> bytes:
        """Fetch a file of at most so many bytes."""
        try:
            connection = self._connection(target, until)
            try:
                return _body(_answer(connection, target, until), target, most)
            finally:
                connection.close()
        except TimeoutError as error:
            raise InputError(
                f"{target.host} did not give the picture in time, at most {self.limits.url_seconds:g} s; send the "
                "bytes of the file"
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise InputError(
                f"{target.host} has no certificate that can be trusted; send the bytes of the file"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"{target.host} cannot be reached over HTTP; send the bytes of the file") from error

    def _connection(self, target: Target, until: float) -> socket.socket:
        """Connect to one of the addresses of a host, all of which are public."""
        addresses = self._addresses(target, until)
        for place, address in enumerate(addresses):
            try:
                connection = self._connect(address, target.port, _left(until) / (len(addresses) - place))
            except OSError:
                if place == len(addresses) - 1:
                    raise
                continue
            if target.scheme == "http":
                return connection
            try:
                connection.settimeout(_left(until))
                return ssl.create_default_context().wrap_socket(connection, server_hostname=target.host)
            except BaseException:
                connection.close()
                raise
        raise OSError("the host has no address")

    def _addresses(self, target: Target, until: float) -> list[str]:
        looked_up = self._resolvers.submit(self._resolve, target.host, target.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(one[4][0] for one in looked_up.result(_left(until))))
        if not all(map(is_public, addresses)):
            raise InputError(
                f"{target.host} has an address that is not of the public Internet, from which this service fetches no "
                "pictures; send the bytes of the file"
            )
        return addresses


def _left(until: float) -> float:
    """Give the seconds that are left."""
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _answer(connection: socket.socket, target: Target, until: float) -> http.client.HTTPResponse:
    """Ask for a file, over a connection."""
    asking = http.client.HTTPConnection(target.host, target.port)
    asking.sock = _TimedSocket(connection, until)
    named = target.host if target.port == _PORTS[target.scheme] else f"{target.host}:{target.port}"
    asking.request(
        "GET",
        target.path,
        headers={"Host": named, "User-Agent": "commonspace", "Accept": "image/*", "Connection": "close"},
    )
    answer = asking.getresponse()
    if 300 <= answer.status < 400:
        raise InputError(f"{target.host} redirects to another URL, which is not followed; give that URL")
    if answer.status != 200:
        raise InputError(f"{target.host} answers with the status {answer.status}; give the URL of a picture")
    return answer


def _body(answer: http.client.HTTPResponse, target: Target, most: int) -> bytes:
    """Read a body of at most so many bytes."""
    body = bytearray()
    while len(body) <= most and (answer.length or 0) <= most and (part := answer.read(PART)):
        body += part
    if len(body) > most or (answer.length or 0) > most:
        raise InputError(f"a picture of {target.host} has more than {most} bytes; give smaller ones, or fewer")
    if answer.length:
        raise InputError(f"{target.host} gave a part of the picture alone; ask again, or send the bytes of the file")
    return bytes(body)


class _TimedSocket:
    """What `http.client` needs of a connection: each step takes no longer than what is left of the whole."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection, self._until = connection, until

    def sendall(self, data: bytes) -> None:
        """Send a request."""
        self._connection.settimeout(_left(self._until))
        self._connection.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        """Give what is received as a file."""
        return io.BufferedReader(_Received(self._connection, self._until))

    def close(self) -> None:
        """Leave the connection to whoever opened it."""


class _Received(io.RawIOBase):
    def __init__(self, connection: socket.socket, until: float) -> None:
        super().__init__()
        self._connection, self._until = connection, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        self._connection.settimeout(_left(self._until))
        return self._connection.recv_into(buffer)
