"""What holds for every test: the same examples in each run, no clock, no width of a terminal; a toy to start from."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from tests.databases import fresh_database, postgresql, server_programs
from tests.order import slow_first
from tests.ray_cluster import running_cluster
from tests.toy import ToyEncoder, toy_file

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

# A test that fails must fail again; and how long an example takes is another thing on a busy machine.
settings.register_profile(
    "alike", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("alike")


@pytest.hookimpl(trylast=True)  # after pytest's own ordering
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each of several workers begin with slow tests."""
    if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
        slow: dict[Path, list[pytest.Item]] = {}  # those of a file start from the same
        others: list[pytest.Item] = []
        for item in items:
            (slow.setdefault(item.path, []) if item.get_closest_marker("slow") else others).append(item)
        items[:] = slow_first(list(slow.values()), others, workers)


def pytest_runtest_setup() -> None:
    """Tables are as wide as they are: who runs the tests, as pytest-xdist, may set a width."""
    os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session", autouse=True)
def one_decoder() -> Iterator[None]:
    """A build starts one process for its few small pictures, not one a core, which takes longer than to decode them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("indexing.store.encode.cores", lambda: 1)
        yield


@pytest.fixture(scope="session")
def toy_bundle(one_decoder: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the toy catalogue, with the table beside it; nothing changes it."""
    folder = tmp_path_factory.mktemp("toy")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def own_toy_bundle(toy_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the toy bundle in the folder of the test, which may change it; the table is beside it."""
    shutil.copytree(toy_bundle.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "bundle"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server of PostgreSQL, one for all tests, which write to databases of their own."""
    if (programs := server_programs()) is None:
        pytest.skip("no server of PostgreSQL is installed (Debian: postgresql)")
    with postgresql(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, a file of SQLite and one of a server: what holds of one holds of the other."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shop.db'}"
        return
    with fresh_database(request.getfixturevalue("server")) as made:
        yield made


@pytest.fixture(scope="module")
def cluster() -> "Iterator[Cluster]":
    """A cluster of Ray with one node, to which this process is connected."""
    with running_cluster() as started:
        yield started
