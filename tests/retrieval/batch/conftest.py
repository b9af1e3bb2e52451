"""One shop for all tests of jobs: nothing changes it."""

from pathlib import Path

import pytest

from retrieval import Retriever
from tests.retrieval.batch.shop import built
from tests.toy import ToyEncoder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def retriever(bundle: Path) -> Retriever:
    return Retriever.load(bundle, ToyEncoder())


@pytest.fixture(scope="session")
def unlearned(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return Retriever.load(built(tmp_path_factory.mktemp("plain"), learn=False), ToyEncoder())
