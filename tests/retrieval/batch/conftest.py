"""One shop for all tests of jobs: nothing changes it."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.edits.edit import add, delete
from indexing.catalogue.catalogue import Catalogue
from retrieval import Retriever
from tests.retrieval.batch.shop import built
from tests.toy import ToyEncoder, toy_table


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def retriever(bundle: Path) -> Retriever:
    return Retriever.load(bundle, ToyEncoder())


@pytest.fixture(scope="session")
def unlearned(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return Retriever.load(built(tmp_path_factory.mktemp("plain"), learn=False), ToyEncoder())


@pytest.fixture(scope="session")
def changed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """The shop with a twin of the red mug that nobody has met, and without the blue mug and the red shoe."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(bundle, folder / "bundle")
    twin = toy_table().slice(0, 1).set_column(0, "item_id", pa.array(["twin"]))
    pq.write_table(twin, folder / "twin.parquet")
    add(folder / "bundle", Catalogue.from_parquet(folder / "twin.parquet"), ToyEncoder())
    delete(folder / "bundle", ["blue-mug", "red-shoe"])
    return Retriever.open(folder / "bundle", ToyEncoder())
