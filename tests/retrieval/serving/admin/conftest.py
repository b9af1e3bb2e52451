"""A service whose bundle may be changed, over a copy of the toy shop."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.retrieval.serving.conftest import Started

Body = dict[str, Any]
ADMIN = "admin-" + "a" * 20
HEADERS = {"authorization": f"Bearer {ADMIN}"}


class AdminClient:
    """Asks `/admin` with its token."""

    def __init__(self, client: TestClient, root: Path) -> None:
        self.client, self.root = client, root

    def post(self, path: str, body: Any = None, status: int = 200) -> Body:  # noqa: ANN401 - any JSON
        content = {} if body is None else {"json": body}
        return checked(self.client.post(f"/admin/{path}", headers=HEADERS, **content), status)

    def upload(self, path: str, files: dict[str, bytes], request: str = "{}", status: int = 202) -> Body:
        """Send files of a form."""
        answer = self.client.post(f"/admin/{path}", files=files, data={"request": request}, headers=HEADERS)
        return checked(answer, status)

    def get(self, path: str, status: int = 200) -> Body:
        return checked(self.client.get(f"/admin/{path}", headers=HEADERS), status)

    def delete(self, path: str, status: int = 200) -> Body:
        return checked(self.client.delete(f"/admin/{path}", headers=HEADERS), status)

    def put(self, *items: Any, mode: str = "add") -> Body:  # noqa: ANN401 - any JSON
        report: Body = self.post("items", {"mode": mode, "items": list(items)})["job"]["report"]
        return report

    def found(self, text: str, k: int = 3) -> list[str]:
        answer = self.client.post("/search", json={"texts": [text], "k": k}).json()
        return [hit["item_id"] for hit in answer["results"][0]["hits"]]

    def until_ended(self, answer: Body) -> Body:
        """Ask for a job until it has ended."""
        return self.until(answer, lambda job: job["state"] != "running")

    def until(self, answer: Body, is_so: Callable[[Body], bool]) -> Body:
        for _ in range(3_000):
            job: Body = self.get(f"jobs/{answer['job']['job_id']}")["job"]
            if is_so(job):
                return job
            time.sleep(0.05)
        raise AssertionError(f"it is {job}")


def checked(answer: Any, status: int) -> Body:  # noqa: ANN401 - of the test client
    assert answer.status_code == status, answer.text
    body: Body = answer.json()
    return body


@pytest.fixture
def own_shop(shop: Path, tmp_path: Path) -> Path:
    shutil.copytree(shop, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def admin(started: Started, own_shop: Path) -> AdminClient:
    return AdminClient(started(own_shop, admin_token=ADMIN, poll_seconds=3600.0), own_shop)
