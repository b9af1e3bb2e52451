"""A service over the toy shop, with what was learned of its users."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from retrieval import Retriever
from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.events import EventLog
from tests.retrieval.batch.shop import built
from tests.toy import ToyEncoder

READ, WRITE = "read-" + "r" * 20, "write-" + "w" * 20
Started = Callable[..., TestClient]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that has learned from a log; nothing changes it."""
    return built(tmp_path_factory.mktemp("served"))


@pytest.fixture
def own_shop(shop: Path, tmp_path: Path) -> Path:
    """A copy of it that the test may change, with the table of its items beside it."""
    shutil.copytree(shop.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "bundle"


@pytest.fixture(scope="session")
def retriever(shop: Path) -> Retriever:
    return Retriever.open(shop, ToyEncoder())


@pytest.fixture
def started() -> Iterator[Started]:
    """Start services, which end with the test; arguments are those of `ServiceConfig`."""
    with ExitStack() as stack:

        def start(bundle: Path, encoder: ToyEncoder | None = None, **settings: object) -> TestClient:
            config = ServiceConfig(bundle, **settings)  # type: ignore[arg-type]
            app = create_app(config, encoder=encoder or ToyEncoder())
            return stack.enter_context(TestClient(app, "http://127.0.0.1", raise_server_exceptions=False))

        yield start


@pytest.fixture
def client(started: Started, shop: Path) -> TestClient:
    return started(shop)


@pytest.fixture
def log(database: str) -> Iterator[EventLog]:
    """An empty log of events."""
    with EventLog.open(database) as opened:
        yield opened
