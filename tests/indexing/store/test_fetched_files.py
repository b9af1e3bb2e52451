"""Pictures behind URLs give the store that the same pictures on the disk give, and only what was allowed is fetched."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.errors import CatalogueError, InputError
from indexing.media import remote_files
from indexing.media.files import Modality
from indexing.media.images import ImageLimits
from indexing.media.remote_files import RemoteFile, RemoteFolder
from indexing.store.encode import EncodeConfig, EncodeReport, encode_catalogue
from indexing.store.store import EmbeddingStore
from tests.toy import COLOURS, DIM, ToyEncoder, picture

COUNT = 70
IMAGES = [f"pics/{'ü b' if number == 7 else ''}{number}.png" for number in range(COUNT)]
IMAGES[3], IMAGES[4] = f"{IMAGES[3]}|{IMAGES[5]}", "pics/none.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, and pictures of which one is broken, one empty, one larger than the limit and one missing."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "pics").mkdir()
    colours = list(COLOURS)
    for number in range(COUNT):
        name = f"{'ü b' if number == 7 else ''}{number}.png"
        (folder / "pics" / name).write_bytes(picture(colours[number % 4], 8 + number % 20))
    (folder / "pics" / "8.png").write_bytes(picture("red", 64)[:99])
    (folder / "pics" / "9.png").write_bytes(b"")
    (folder / "pics" / "10.png").write_bytes(bytes(5000))
    rows = [{"item_id": f"i{n}", "title": f"mug {n}", "image": image} for n, image in enumerate(IMAGES)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return folder


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and answers what a test wants instead."""

    answers: dict[str, list[int]] = {}  # noqa: RUF012 - of a test
    asked: Counter[str] = Counter()  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def send_head(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as there
        self.asked[self.path] += 1
        statuses = self.answers.get(self.path, [200])
        if (status := statuses.pop(0) if len(statuses) > 1 else statuses[0]) != 200:
            self.send_error(status)
            return None
        return super().send_head()


class ManyAtOnce(ThreadingHTTPServer):
    """Lets as many wait as ask; else a connection is tried again a second later."""

    request_queue_size = 64


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """The folder, behind HTTP."""
    Quiet.answers, Quiet.asked = {}, Counter()
    with ManyAtOnce(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The folder, in S3."""
    obstore, stores = pytest.importorskip("obstore.fsspec"), pytest.importorskip("obstore.store")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    connection = HTTPConnection(host, port)
    connection.request("PUT", "/shop")
    assert connection.getresponse().status == 200
    connection.close()
    files = stores.S3Store("shop")
    for path in folder.rglob("*.p*"):
        files.put(path.relative_to(folder).as_posix(), path.read_bytes())
    obstore.FsspecStore.clear_instance_cache()
    yield "s3://shop"
    obstore.FsspecStore.clear_instance_cache()
    server.stop()


def encoded(folder: Path, catalogue: Catalogue) -> tuple[EncodeReport, dict[tuple[str, str, int], tuple[object, ...]]]:
    store = EmbeddingStore(folder, DIM)
    config = EncodeConfig(8, workers=1, limits=ImageLimits(file_bytes=4000))
    report = encode_catalogue(catalogue, ToyEncoder(), store, config=config)
    return report, {
        (record.item_id, str(record.modality), record.part): (
            record.content_hash, record.reason, None if record.vector is None else record.vector.tobytes()
        )
        for record in store.records([f"i{number}" for number in range(COUNT)])
    }  # fmt: skip


def counts(report: EncodeReport) -> tuple[int, ...]:
    return report.encoded, report.copied, report.resumed, report.quarantined


@pytest.mark.parametrize("place", ["web", "bucket"])
def test_the_store_is_that_of_the_same_pictures_on_the_disk(
    place: str, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(place)
    local, expected = encoded(tmp_path / "local", Catalogue.open(folder / "items.parquet"))
    again, _ = encoded(tmp_path / "local", Catalogue.open(folder / "items.parquet"))
    reasons = sorted(str(reason) for _, reason, _ in expected.values() if reason)
    assert [reason.partition(":")[0] for reason in reasons if "broken" not in reason][:3] == [
        "image file is empty", "image file is missing", "image file of 5000 bytes is over the limit of 4000",
    ]  # fmt: skip
    assert len(reasons) == 4
    for name, catalogue in (
        ("beside", Catalogue.open(f"{url}/items.parquet", allow_urls=True)),
        ("named", Catalogue.open(folder / "items.parquet", image_dir=url, allow_urls=True)),
    ):
        report, found = encoded(tmp_path / name, catalogue)
        assert found == expected
        assert counts(report) == counts(local)
        assert counts(encoded(tmp_path / name, catalogue)[0]) == counts(again)


def images_of(catalogue: Catalogue) -> list[tuple[object, str | None]]:
    return [
        (medium.source, medium.problem) for batch in catalogue.batches(9) for item in batch for medium in item.media
    ]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("a/b c.png", "https://cdn.example.org/shop/a/b%20c.png"),
        ("a\\b#1.png", "https://cdn.example.org/shop/a/b%231.png"),
        (" https://cdn.example.org/shop/a.png?w=200 ", "https://cdn.example.org/shop/a.png?w=200"),
    ],
)
def test_a_path_and_a_url_name_a_file_below_the_folder(name: str, url: str) -> None:
    assert RemoteFolder("https://cdn.example.org/shop/").file(name, "image") == (RemoteFile(url), None)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../a.png", "image path leaves the folder of images: ../a.png"),
        ("/a.png", "image path leaves the folder of images: /a.png"),
        ("a\\..\\..\\b.png", "image path leaves the folder of images: "),
        ("https://cdn.example.org/shop/%2e%2e/a.png", "image path leaves the folder of images: "),
        ("https://cdn.example.org/shop", "URLs outside of image_dir are not fetched: "),
        ("https://cdn.example.org/shopping/a.png", "URLs outside of image_dir are not fetched: "),
        (
            "https://ann:s3cret@169.254.169.254/a?s3cret",
            "URLs outside of image_dir are not fetched: https://169.254.169.254/a$",
        ),
        ("file:///etc/passwd", "URLs outside of image_dir are not fetched: "),
        ("https://cdn.example.org/shop/a::file:///etc/passwd", "image path holds '::', which names a chain of URLs: "),
        ("a.zip::b.png", "image path holds '::', which names a chain of URLs: "),
        ("data:image/png;base64,AAAA", "URLs outside of image_dir are not fetched: "),
        ("a/", "image path is that of a folder: a/"),
    ],
)
def test_nothing_else_is_fetched(name: str, problem: str) -> None:
    file, why = RemoteFolder("https://cdn.example.org/shop").file(name, "image")
    assert file is None
    assert re.match(problem, why or "")
    assert "s3cret" not in (why or "")


def test_urls_of_folders_are_asked_for(folder: Path) -> None:
    table = folder / "items.parquet"
    for url in ("s3://bucket/pictures", Path("s3://bucket/pictures")):
        with pytest.raises(CatalogueError, match=r"^s3://bucket/pictures is a URL, and URLs are not fetched unless"):
            Catalogue.open(table, image_dir=url)
        found = images_of(Catalogue.open(table, image_dir=url, allow_urls=True))
        assert found[0] == (RemoteFile("s3://bucket/pictures/pics/0.png"), None)
        with pytest.raises(CatalogueError, match=r"pass allow_urls=True to Catalogue\.open"):
            Catalogue.from_parquet(table, image_dir=url)
    for url, message in (
        ("https://me:s3cret@example.org/a?token=s3cret", "'https://example.org/a' with a query"),
        ("file:///etc", "'file:///etc', a URL of this machine; give the path of the folder"),
        ("s3://shop/a::file:///etc", "'s3://shop/a::file:///etc', a chain of URLs, which may read files elsewhere"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            Catalogue.open(table, image_dir=url, allow_urls=True)
        assert "s3cret" not in str(caught.value)


def test_what_a_server_denies_is_told_apart_from_one_that_fails(web: str, folder: Path, tmp_path: Path) -> None:
    catalogue = Catalogue.open(folder / "items.parquet", image_dir=web, allow_urls=True)
    Quiet.answers = {"/pics/2.png": [403], "/pics/11.png": [410], "/pics/12.png": [503, 503, 429, 429, 200]}
    waited: list[float] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remote_files, "sleep", waited.append)
        _, found = encoded(tmp_path / "some", catalogue)
        reasons = {key[0]: reason for key, (_, reason, _) in found.items() if reason}
        assert reasons["i2"] == "image file cannot be read: the server answers 403: pics/2.png"
        assert reasons["i11"] == "image file is missing: pics/11.png"
        assert "i12" not in reasons
        Quiet.answers = {"/pics/40.png": [500]}
        with pytest.raises(CatalogueError, match=rf"^{web}/pics/40\.png cannot be read: .*500"):
            encoded(tmp_path / "failing", catalogue)
        Quiet.answers = {}
        resumed, whole = encoded(tmp_path / "failing", catalogue)
        assert resumed.resumed >= 8
        assert whole == encoded(tmp_path / "whole", catalogue)[1]
        Quiet.answers = {f"/{quote(part)}": [403] for name in IMAGES for part in name.split("|")}
        with pytest.raises(
            CatalogueError, match=r"0\.png cannot be read \(the server answers 403\), nor any file before"
        ):
            encoded(tmp_path / "denied", catalogue)
    assert waited[:2] == [0.5, 1.0]


def test_pictures_are_fetched_for_encoders_of_pictures_alone(web: str, folder: Path, tmp_path: Path) -> None:
    encoder = ToyEncoder()
    encoder.info = replace(encoder.info, modalities=(Modality.TEXT,))
    catalogue = Catalogue.open(folder / "items.parquet", image_dir=web, allow_urls=True)
    encode_catalogue(catalogue, encoder, EmbeddingStore(tmp_path, DIM))
    assert not Quiet.asked
