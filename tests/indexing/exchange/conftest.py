"""An S3 server of this process, and bundles to push."""

import shutil
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import add
from indexing.catalogue.catalogue import Catalogue
from tests.indexing.exchange.shops import ENCODE, items
from tests.toy import ToyEncoder, toy_table


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """Where a server of S3 is, which has a bucket named ``bucket``."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    connection = HTTPConnection(host, port)
    connection.request("PUT", "/bucket")
    assert connection.getresponse().status == 200
    connection.close()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops")
    pq.write_table(toy_table().slice(0, 6).drop_columns(["tags"]), folder / "items.parquet")
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), ToyEncoder(), folder / "shop", encode=ENCODE)
    add(folder / "shop", items("red kite"), ToyEncoder(), encode=ENCODE)
    return folder / "shop"


@pytest.fixture
def shop(built_shop: Path, tmp_path: Path) -> Path:
    """A bundle with one change."""
    shutil.copytree(built_shop, tmp_path / "shop")
    return tmp_path / "shop"
