"""An empty log, in a file of SQLite and on a server of PostgreSQL: what holds of one holds of the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.serving.events import EventLog
from tests.databases import fresh_database, postgresql, server_programs


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    if (programs := server_programs()) is None:
        pytest.skip("no server of PostgreSQL is installed (Debian: postgresql)")
    with postgresql(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'events.db'}"
        return
    with fresh_database(request.getfixturevalue("server")) as made:
        yield made


@pytest.fixture
def log(url: str) -> Iterator[EventLog]:
    with EventLog.open(url) as opened:
        yield opened
