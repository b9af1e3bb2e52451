"""URLs that would lead into the machine or its network: each is refused, and nobody is connected to."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from retrieval.serving import Limits, ServiceConfig, create_app
from retrieval.serving.engine.image_urls import ImageUrls
from tests.toy import ToyEncoder, picture

HOST, PUBLIC = "images.example.org", "93.184.215.14"

URLS = [
    "http://127.0.0.1:{port}/x.png",
    "http://localhost:{port}/x.png",
    "http://localhost.:{port}/x.png",
    "http://LOCALHOST:{port}/x.png",
    "http://2130706433:{port}/x.png",  # 127.0.0.1 as one number
    "http://0x7f000001:{port}/x.png",
    "http://0x7f.0x0.0x0.0x1:{port}/x.png",
    "http://017700000001:{port}/x.png",
    "http://0177.0.0.01:{port}/x.png",
    "http://127.1:{port}/x.png",
    "http://127.0.1:{port}/x.png",
    "http://0:{port}/x.png",
    "http://0.0.0.0:{port}/x.png",
    "http://127.0.0.1.:{port}/x.png",
    "http://127.0.0.1.nip.io:{port}/x.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://192.168.0.1/",
    "http://93.184.215.14/x.png",  # public, but no name
    "http://[::1]:{port}/x.png",
    "http://[::]:{port}/x.png",
    "http://[::ffff:127.0.0.1]:{port}/x.png",
    "http://[::ffff:7f00:1]:{port}/x.png",
    "http://[0:0:0:0:0:ffff:7f00:1]:{port}/x.png",
    "http://[64:ff9b::7f00:1]:{port}/x.png",
    "http://[2002:7f00:1::]:{port}/x.png",
    "http://[fec0::1]/x.png",
    "http://[fe80::1%25eth0]/x.png",
    "http://[images.example.org]/x.png",
    "http://images.example.org@127.0.0.1:{port}/x.png",
    "http://images.example.org:80@127.0.0.1:{port}/x.png",
    "http://user:password@images.example.org/x.png",
    "http://@images.example.org/x.png",
    "http://127.0.0.1:{port}#@images.example.org/x.png",
    "http://127.0.0.1:{port}?@images.example.org/x.png",
    "http://127.0.0.1:{port}/@images.example.org/x.png",
    "http://images.example.org#@127.0.0.1:{port}/x.png",
    "http://images.example.org/x.png#fragment",
    "http://127.0.0.1:{port}\\@images.example.org/x.png",
    "http://images.example.org\\@127.0.0.1:{port}/x.png",
    "http:\\\\127.0.0.1:{port}\\x.png",
    "http:/images.example.org/x.png",
    "http:images.example.org/x.png",
    "http:///images.example.org/x.png",
    "http:////127.0.0.1:{port}/x.png",
    "http://",
    "http:///x.png",
    "http://:{port}/x.png",
    "//images.example.org/x.png",
    "images.example.org/x.png",
    "/etc/passwd",
    "file:///etc/passwd",
    "file://images.example.org/etc/passwd",
    "FILE:///etc/passwd",
    "gopher://127.0.0.1:{port}/_GET%20/",
    "ftp://images.example.org/x.png",
    "ws://images.example.org/x.png",
    "data:image/png;base64,iVBORw0KGgo=",
    "javascript:alert(1)",
    "jar:http://images.example.org/x.jar!/",
    "url:http://images.example.org/x.png",
    "http://images.example.org./x.png",
    "http://images.example.org../x.png",
    "http://.images.example.org/x.png",
    "http://images.example.org.evil.example/x.png",
    "http://evil-images.example.org/x.png",
    "http://sub.images.example.org/x.png",
    "http://example.org/x.png",
    "http://images%2eexample.org/x.png",
    "http://images.example.org%00.evil.example/x.png",
    "http://images.example.org%23.evil.example/x.png",
    "http://①②⑦.⓪.⓪.①:{port}/x.png",
    "http://１２７.0.0.1:{port}/x.png",  # noqa: RUF001
    "http://127。0。0。1:{port}/x.png",
    "http://ｉmages.example.org/x.png",  # noqa: RUF001
    "http://images.example.org/ü.png",
    "http://images.example.org/x.png\r\nHost: 127.0.0.1",
    "http://images.example.org /x.png",
    " http://images.example.org/x.png",
    "http://images.example.org/x.png\n",
    "http://images.example.org/\x00x.png",
    "http://images.example.org:22/x.png",
    "http://images.example.org:6379/x.png",
    "http://images.example.org:0/x.png",
    "http://images.example.org:65536/x.png",
    "http://images.example.org:99999/x.png",
    "http://images.example.org:-80/x.png",
    "http://images.example.org:8٠/x.png",  # noqa: RUF001
    "http://images.example.org:0x50/x.png",
    "http://images.example.org:/x.png",
    "http://images.example.org:80:80/x.png",
]

ADDRESSES = [
    ["127.0.0.1"], ["127.8.8.8"], ["0.0.0.0"], ["0.1.2.3"], ["10.0.0.1"], ["172.16.0.1"], ["192.168.1.1"],  # noqa: S104
    ["169.254.169.254"], ["100.64.0.1"], ["100.100.100.200"], ["192.0.0.8"], ["192.0.2.1"], ["192.88.99.1"],
    ["198.18.0.1"], ["198.51.100.1"], ["203.0.113.1"], ["224.0.0.1"], ["239.1.1.1"], ["240.0.0.1"],
    ["255.255.255.255"], ["::"], ["::1"], ["::127.0.0.1"], ["::ffff:127.0.0.1"], ["::ffff:10.0.0.1"],
    ["::ffff:169.254.169.254"], ["64:ff9b::7f00:1"], ["64:ff9b::a9fe:a9fe"], ["64:ff9b:1::1"], ["100::1"],
    ["2001::1"], ["2001:db8::1"], ["2002:7f00:1::"], ["3fff::1"], ["5f00::1"], ["fc00::1"], ["fd00:ec2::254"],
    ["fe80::1"], ["fe80::1%lo"], ["fec0::1"], ["ff02::1"], ["ff0e::1"], [PUBLIC, "127.0.0.1"], ["::1", PUBLIC],
]  # fmt: skip


class Asking(NamedTuple):
    """A service whose every connection would be one to the canary."""

    client: TestClient
    canary: socket.socket

    @property
    def port(self) -> int:
        port: int = self.canary.getsockname()[1]
        return port

    def refused(self, **body: object) -> str:
        """Send a search that is refused without a connection; give the message."""
        answer = self.client.post("/search", json=body)
        assert answer.status_code == 422, answer.text
        self.assert_untouched()
        error: dict[str, str] = answer.json()["error"]
        return f"{error['message']}; {error['hint']}"

    def assert_untouched(self) -> None:
        with pytest.raises(BlockingIOError, match="unavailable"):
            self.canary.accept()

    def resolve_to(self, *lists: Sequence[str]) -> list[str]:
        """Let each look-up of a name give the next addresses; give the names that are looked up."""
        names, left = list[str](), list(lists)

        def resolve(name: str, port: int, **_: object) -> list[Any]:
            names.append(name)
            return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

        def connect(*_: object) -> socket.socket:
            return socket.create_connection(("127.0.0.1", self.port))

        hosts = [HOST, f"{HOST}:{self.port}"]
        self.client.app.state.service.image_urls = ImageUrls(  # type: ignore[attr-defined]
            hosts, Limits(), resolve=resolve, connect=connect
        )
        return names


@pytest.fixture(scope="module")
def asking(shop: Path) -> Iterator[Asking]:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        app = create_app(ServiceConfig(shop, image_hosts=(HOST,)), encoder=ToyEncoder())
        with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
            yield Asking(client, canary)


@pytest.mark.parametrize("url", URLS)
def test_urls_that_are_not_of_an_allowed_host(asking: Asking, url: str) -> None:
    names = asking.resolve_to([PUBLIC])
    url = url.replace("{port}", str(asking.port))
    said = asking.refused(image_urls=[url])
    assert said == asking.refused(queries=[{"parts": [{"image_url": url}]}])
    assert "--image-hosts" in said or "https://HOST/PATH" in said
    assert names == []


@pytest.mark.parametrize("addresses", ADDRESSES, ids=" ".join)
def test_addresses_that_are_not_public(asking: Asking, addresses: list[str]) -> None:
    names = asking.resolve_to(addresses)
    said = asking.refused(image_urls=[f"http://{HOST}:{asking.port}/x.png"])
    assert "images.example.org has an address that is not of the public Internet" in said
    assert not any(address in said for address in addresses)
    assert names == [HOST]


def test_the_table_is_long() -> None:
    assert len({*URLS}) + len(ADDRESSES) >= 120


def test_one_that_is_refused_refuses_all_of_a_request(asking: Asking) -> None:
    asking.resolve_to([PUBLIC])
    assert "URL 1 is of the host 'localhost'" in asking.refused(
        image_urls=[f"http://{HOST}/x.png", f"http://localhost:{asking.port}/x.png"]
    )


def test_no_url_is_fetched_by_default(asking: Asking, shop: Path) -> None:
    with TestClient(create_app(ServiceConfig(shop), encoder=ToyEncoder()), "http://127.0.0.1") as client:
        for url in (f"http://{HOST}/x.png", f"http://127.0.0.1:{asking.port}/x.png"):
            said = Asking(client, asking.canary).refused(image_urls=[url])
            assert "fetches no pictures of URLs" in said
            assert "--image-hosts" in said


def test_texts_are_never_fetched_nor_opened(asking: Asking, shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    encoder = ToyEncoder()
    app = create_app(ServiceConfig(shop, image_hosts=(HOST,)), encoder=encoder)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        before = encoder.pictures
        for text in (f"http://127.0.0.1:{asking.port}/x.png", f"http://{HOST}:{asking.port}/x.png", str(path)):
            names = Asking(client, asking.canary).resolve_to([PUBLIC])
            for query in ({"texts": [text]}, {"queries": [{"parts": [{"text": text}]}]}, {"queries": [f'"{text}"']}):
                encoder.encoded.clear()
                assert client.post("/search", json={**query, "rerank": True}).status_code == 200
                assert encoder.encoded == [text]
            for path_of, body in {
                "/search": {"queries": [f"image:{text}", f"red - {text}", text]},
                "/similar": {"item_ids": [text]},
                "/rerank": {"texts": [text], "candidates": [["red-mug"]]},
                "/recommend": {"histories": [[text]]},
                "/tastes": {"history": [text]},
            }.items():
                assert client.post(path_of, json=body).status_code in (200, 422)
            for field in (
                {"images": [text]},
                {"texts": ["red"], "where": [text]},
                {"texts": ["red"], "group_by": text},
            ):
                assert client.post("/search", json=field).status_code == 422
            assert client.post("/search/upload", files={"image": (text, b"no picture")}).status_code == 422
            asking.assert_untouched()
            assert names == []
    assert encoder.pictures == before
