"""Pictures of URLs of allowed hosts: from the address that was checked, whole, in time, and without redirects."""

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from indexing.errors import InputError
from retrieval import Query, Retriever
from retrieval.serving import Limits, ServiceConfig
from retrieval.serving.config import allowed_ports
from retrieval.serving.engine.image_urls import ImageUrls
from tests.retrieval.serving.conftest import Started
from tests.retrieval.serving.test_search_routes import hits_in, hits_of
from tests.toy import picture

HOST, OTHER, PUBLIC, SECOND = "images.example.org", "cdn.example.org", "93.184.215.14", "2600:1406::1"
Serve = Callable[..., "Served"]


class Served:
    """A server of this machine, as what names that are looked up lead to.

    Attributes:
        asked: The head of each request.
        connections: The address and port of each connection.
        names: The names that were looked up.
    """

    def __init__(self, parts: Sequence[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.asked, self.connections, self.names = list[str](), list[tuple[str, int]](), list[str]()
        self.addresses = [[PUBLIC]]
        self._parts, self._tls = parts, tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def urls(self, *hosts: str, **limits: Any) -> ImageUrls:  # noqa: ANN401
        return ImageUrls(hosts or (HOST,), Limits(**limits), resolve=self._resolve, connect=self._connect)

    def close(self) -> None:
        self._ended.set()
        with socket.create_connection(self._listening.getsockname()):
            self._thread.join()
        self._listening.close()

    def _resolve(self, name: str, port: int, **_: object) -> list[Any]:
        self.names.append(name)
        addresses = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    def _connect(self, address: str, port: int, seconds: float) -> socket.socket:
        self.connections.append((address, port))
        if address == SECOND:
            raise ConnectionRefusedError
        return socket.create_connection(self._listening.getsockname(), seconds)

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                if self._ended.is_set():
                    return
                try:
                    if self._tls is None:
                        self._answer(connection)
                    else:
                        with self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as own:
                            own.do_handshake()
                            self._answer(own)
                except OSError:  # the client went away, as it should
                    continue

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (part := connection.recv(1_000)):
                return
            head += part
        self.asked.append(head.decode())
        for part in self._parts:
            connection.sendall(part)
            if self._ended.wait(0.02 if len(self._parts) > 5 else 0):
                return
        connection.shutdown(socket.SHUT_WR)


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", *(headers or (f"Content-Length: {len(body)}",)), "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*parts: bytes, tls: ssl.SSLContext | None = None) -> Served:
            served = Served(parts, tls)
            stack.callback(served.close)
            return served

        yield start


def test_a_picture_of_an_allowed_host_is_found_as_its_bytes(
    serve: Serve, started: Started, shop: Path, retriever: Retriever
) -> None:
    served = serve(answer(picture("blue")))
    client = started(shop, image_hosts=[HOST])
    client.app.state.service.image_urls = served.urls()  # type: ignore[attr-defined]
    body = {"image_urls": ["HTTP://Images.Example.org/a.png?size=8&x=%20", f"http://{HOST}:443?b"], "k": 3}
    expected = retriever.search_images([picture("blue")] * 2, 3)
    assert hits_in(client.post("/search", json=body).json()) == hits_of(expected)
    assert [head.split("\r\n")[:3:2] for head in served.asked] == [
        ["GET /a.png?size=8&x=%20 HTTP/1.1", f"Host: {HOST}"], ["GET /?b HTTP/1.1", f"Host: {HOST}:443"],
    ]  # fmt: skip
    part = {"parts": [{"image_url": f"http://{HOST}/a.png"}, {"text": "red mug", "weight": -0.5}]}
    composed = retriever.search([Query.image(picture("blue")) - 0.5 * Query.text("red mug")], 3)
    assert hits_in(client.post("/search", json={"queries": [part], "k": 3}).json()) == hits_of(composed)
    assert served.names == [HOST] * len(served.connections)


def test_ports_that_are_named(serve: Serve) -> None:
    served = serve(answer(b"file"))
    urls = served.urls(f"{HOST}:8080", OTHER)
    assert urls.fetch([f"http://{HOST}:8080/x", f"http://{OTHER}/x", f"http://{OTHER}:443/x"]) == [b"file"] * 3
    assert [port for _, port in served.connections] == [8080, 80, 443]
    for url in (f"http://{HOST}/x", f"http://{OTHER}:8080/x"):
        with pytest.raises(InputError, match=r"port \d+ of .* --image-hosts"):
            urls.fetch([url])
    assert len(served.connections) == 3


def test_the_address_that_was_checked_is_the_one_that_is_asked(serve: Serve) -> None:
    """A name that leads to this machine when it is looked up again is not looked up again."""
    served = serve(answer(b"file"))
    served.addresses = [[PUBLIC], ["127.0.0.1"]]
    assert served.urls().fetch([f"http://{HOST}/x"]) == [b"file"]
    assert (served.names, served.connections) == ([HOST], [(PUBLIC, 80)])
    with pytest.raises(InputError, match="not of the public Internet"):
        served.urls().fetch([f"http://{HOST}/x"])
    assert served.connections == [(PUBLIC, 80)]


def test_a_host_with_several_addresses(serve: Serve) -> None:
    served = serve(answer(b"file"))
    served.addresses = [[SECOND, PUBLIC]]
    assert served.urls().fetch([f"http://{HOST}/x"]) == [b"file"]
    assert served.connections == [(SECOND, 80), (PUBLIC, 80)]
    served.addresses = [[SECOND]]
    with pytest.raises(InputError, match=f"{HOST} cannot be reached"):
        served.urls().fetch([f"http://{HOST}/x"])


@contextmanager
def canary() -> Iterator[int]:
    """A port of this machine that nobody connects to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
        listening.setblocking(False)
        with pytest.raises(BlockingIOError, match="unavailable"):
            listening.accept()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("place", ["http://127.0.0.1:{}/x", f"http://{HOST}/y", "//127.0.0.1:{}/", "/y"])
def test_redirects_are_not_followed(serve: Serve, status: str, place: str) -> None:
    with canary() as port:
        served = serve(answer(b"", status, f"Location: {place.format(port)}", "Content-Length: 0"))
        with pytest.raises(InputError, match=f"{HOST} redirects to another URL, which is not followed") as refused:
            served.urls().fetch([f"http://{HOST}/x"])
        assert str(port) not in str(refused.value)
    assert len(served.asked) == 1


def test_proxies_of_the_environment_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with canary() as port:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert serve(answer(b"file")).urls().fetch([f"http://{HOST}/x"]) == [b"file"]


ENDLESS = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 100] * 10_000]
SLOW_HEADERS = [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 10_000]
SLOW_CHUNKS = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 10_000]
CHUNKS = b"1000\r\n" + b"x" * 4096 + b"\r\n"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([answer(b"x" * 5_001)], "more than 5000 bytes"),
        ([answer(b"x", "200 OK", "Content-Length: 1000000000000")], "more than 5000 bytes"),
        ([answer(b"x" * 5_001, "200 OK", "Connection: close")], "more than 5000 bytes"),
        ([answer(CHUNKS * 3 + b"0\r\n\r\n", "200 OK", "Transfer-Encoding: chunked")], "more than 5000 bytes"),
        ([answer(b"x" * 100, "200 OK", "Content-Length: 200")], "part of the picture alone"),
        ([answer(CHUNKS[:99], "200 OK", "Transfer-Encoding: chunked")], "cannot be reached over HTTP"),
        ([answer(b"x", "404 Not Found")], "status 404"),
        ([answer(b"x", "204 No Content")], "status 204"),
        ([answer(b"x", "500 Failed")], "status 500"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "cannot be reached over HTTP"),
        ([b""], "cannot be reached over HTTP"),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000], "cannot be reached over HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000], "cannot be reached over HTTP"),
        (ENDLESS, "in time, at most 0.3 s"),
        (SLOW_HEADERS, "in time, at most 0.3 s"),
        (SLOW_CHUNKS, "in time, at most 0.3 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answers_that_are_no_file_within_the_limits(serve: Serve, parts: list[bytes], reason: str) -> None:
    urls = serve(*parts).urls(image_bytes=5_000, url_seconds=0.3)
    with pytest.raises(InputError, match=rf"{HOST}.*{reason}.*; "):
        urls.fetch([f"http://{HOST}/x"])


def test_the_largest_file_and_all_files_of_a_request(serve: Serve) -> None:
    urls = serve(answer(b"x" * 5_000)).urls(image_bytes=5_000, upload_bytes=12_000)
    assert [len(file) for file in urls.fetch([f"http://{HOST}/x"] * 2)] == [5_000] * 2
    with pytest.raises(InputError, match="more than 2000 bytes; give smaller ones, or fewer"):
        urls.fetch([f"http://{HOST}/x"] * 3)


def test_a_name_that_takes_too_long(serve: Serve) -> None:
    found = threading.Event()
    urls = ImageUrls([HOST], Limits(url_seconds=0.05), resolve=lambda *_, **__: [found.wait(60)])
    with pytest.raises(InputError, match=r"in time, at most 0\.05 s"):
        urls.fetch([f"http://{HOST}/x"])
    found.set()


@pytest.mark.parametrize("file", [b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture("red")[:-30]])
def test_what_is_fetched_is_decoded_as_any_file(serve: Serve, started: Started, shop: Path, file: bytes) -> None:
    client = started(shop, image_hosts=[HOST])
    client.app.state.service.image_urls = serve(  # type: ignore[attr-defined]
        answer(file, "200 OK", "Content-Type: image/png", f"Content-Length: {len(file)}")
    ).urls()
    found = client.post("/search", json={"image_urls": [f"http://{HOST}/x.png"]})
    assert (found.status_code, "picture 0" in found.text) == (422, True)


def test_too_many_urls(started: Started, shop: Path) -> None:
    client = started(shop, image_hosts=[HOST])
    urls = [f"http://{HOST}/{place}.png" for place in range(17)]
    assert "image_urls" in client.post("/search", json={"image_urls": urls}).json()["error"]["message"]
    parts = [{"parts": [{"image_url": url}]} for url in urls]
    assert "at most 16" in client.post("/search", json={"queries": parts}).json()["error"]["message"]
    long = f"http://{HOST}/{'x' * 2_048}"
    assert "2048" in client.post("/search", json={"image_urls": [long]}).json()["error"]["message"]


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    """A server's settings with a certificate that it has signed itself, and the file of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2200))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, folder / "key.pem")
    return context, path


def test_certificates_are_checked(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, path = certificate(tmp_path, HOST)
    served = serve(answer(b"file"), tls=context)
    with pytest.raises(InputError, match=f"{HOST} has no certificate that can be trusted"):
        served.urls().fetch([f"https://{HOST}/x"])
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert served.urls().fetch([f"https://{HOST}/x"]) == [b"file"]
    assert served.connections[-1] == (PUBLIC, 443)
    assert f"Host: {HOST}\r\n" in served.asked[-1]
    with pytest.raises(InputError, match=f"{OTHER} has no certificate that can be trusted"):
        served.urls(OTHER).fetch([f"https://{OTHER}/x"])


@pytest.mark.parametrize(
    "host",
    ["", "http://images.example.org", "images.example.org/", "*.example.org", "127.0.0.1", "127.1", "0x7f.1", "[::1]",
     "::1", "2130706433", "user@images.example.org", "images.example.org:", "images.example.org:0",
     "images.example.org:65536", "images.example.org:x", "images example.org", "bücher.example", ".example.org",
     "example.org.", "a." * 127 + "org", "x" * 64 + ".org", "images.example.org\n"],
)  # fmt: skip
def test_hosts_that_cannot_be_allowed(shop: Path, host: str) -> None:
    with pytest.raises(InputError, match="give names of hosts"):
        ServiceConfig(shop, image_hosts=[HOST, host])


def test_hosts_are_a_list_of_names(shop: Path) -> None:
    with pytest.raises(InputError, match="give a list of names"):
        ServiceConfig(shop, image_hosts=HOST)
    with pytest.raises(InputError, match="give a name"):
        ServiceConfig(shop, image_hosts=[8080])  # type: ignore[list-item]
    ports = allowed_ports(["Images.Example.ORG", f"{HOST}:8080", "minio:9000"])
    assert ports == {HOST: {80, 443, 8080}, "minio": {9000}}
