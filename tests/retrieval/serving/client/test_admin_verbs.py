"""A bundle is changed by the clients as by `/admin` itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from retrieval.serving.client import AccessError, Client, ConflictError, NotFoundError
from retrieval.serving.client import admin as calls
from retrieval.serving.client.json_values import to_json
from tests.retrieval.serving.admin.conftest import ADMIN
from tests.retrieval.serving.client.conftest import ADDRESS, Ask, Asking
from tests.retrieval.serving.conftest import WRITE, Started
from tests.toy import COLOURS, picture

TWIN = {"item_id": "twin/é", "title": "red mug", "price": 4, "tags": ["red", "mug"]}


@pytest.fixture
def service(started: Started, shop: Path, tmp_path: Path) -> TestClient:
    shutil.copytree(shop, tmp_path / "bundle")
    events = f"sqlite:///{tmp_path / 'events.db'}"
    return started(tmp_path / "bundle", admin_token=ADMIN, write_token=WRITE, events=events, poll_seconds=3600.0)


@pytest.fixture
def ask(asking: Asking, service: TestClient) -> Ask:
    return asking(service, ADMIN)


def found(service: TestClient) -> list[str]:
    body = service.post("/search", json={"texts": ["red mug"], "k": 4}).json()
    return [hit["item_id"] for hit in body["results"][0]["hits"]]


def test_items_are_added_changed_and_deleted(ask: Ask, service: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    images = [picture("red"), path, Image.new("RGB", (8, 8), COLOURS["red"])]
    items = [{**TWIN, "item_id": f"{TWIN['item_id']}{n}", "image": image} for n, image in enumerate(images)]
    job = ask(lambda client: client.put_items(items)).job
    assert (job.kind, job.state, job.report["added"]) == ("add", "done", 3)
    assert job.report["encoded"] == 3  # one title, and two files of the same picture
    names = {item["item_id"] for item in items}
    assert names <= set(found(service))
    assert ask(lambda client: client.put_items([{"item_id": "twin/é0", "price": 5}], "update")).job.state == "done"
    assert service.get("/items/twin%2F%C3%A90").json()["item"]["attributes"]["price"] == 5
    assert ask(lambda client: client.delete_item("twin/é0")).job.report["removed"] == 1
    gone = ask(lambda client: client.delete_items(["twin/é0", "twin/é1", "twin/é2"], missing_ok=True)).job
    assert gone.report["removed"] == 2
    assert not names & set(found(service))
    with pytest.raises(NotFoundError, match="twin"):
        ask(lambda client: client.delete_item("twin/é0"))
    kept = ask(lambda client: client.job(gone.job_id)).job
    assert kept.model_dump() == gone.model_dump()
    listed = ask(lambda client: client.jobs(2)).jobs
    assert [job.kind for job in listed] == ["delete", "delete"]


def test_generations_are_listed_and_rolled_back(ask: Ask, service: TestClient) -> None:
    first = ask(lambda client: client.generations()).generations
    assert [one.state for one in first] == ["current", "kept"]
    assert first[0].learned == ["behaviour", "reranker"]
    done = ask(lambda client: client.rollback(first[1].generation)).job
    assert (done.state, done.generation) == ("done", first[1].generation)
    assert service.get("/ready").json()["generation"] == first[1].generation
    with pytest.raises(ConflictError, match="staged") as caught:
        ask(lambda client: client.publish())
    assert caught.value.status == 409


def test_events_are_exported(ask: Ask, service: TestClient) -> None:
    event = {"user_id": "ann", "item_id": "red-mug", "type": "like", "time": 1_700_000_000}
    Client(ADDRESS, token=WRITE, http=service).write_events([event])
    lines = ask(lambda client: client.export_events("jsonl")).decode().splitlines()
    assert [(row["user_id"], row["item_id"]) for row in map(json.loads, lines)] == [("ann", "red-mug")]


def test_another_token_does_not_open_it(asking: Asking, service: TestClient) -> None:
    with pytest.raises(AccessError, match="this token does not open `/admin`; send the admin token"):
        asking(service, WRITE)(lambda client: client.jobs())


@pytest.mark.parametrize(
    ("call", "route", "body"),
    [
        (calls.fit(refresh=True, publish=False, timeout=5.0), "/admin/fit", {"refresh": True, "publish": False}),
        (calls.fit("job-1"), "/admin/fit", {"resume": "job-1"}),
        (calls.fit(replace=True), "/admin/fit", {"replace": True}),
        (calls.fit_upload(b"log", effort="fast"), "/admin/fit/upload", {"effort": "fast"}),
        (calls.upload_items(b"items", "upsert"), "/admin/items/upload", {"mode": "upsert"}),
        (calls.compact(), "/admin/compact", None),
        (calls.publish("gen-1"), "/admin/publish", {"generation": "gen-1"}),
        (calls.rollback(), "/admin/rollback", {}),
    ],
)
def test_long_jobs(call: Any, route: str, body: Any) -> None:  # noqa: ANN401
    assert (call.method, call.route, call.access, call.repeatable) == ("POST", route, "admin", False)
    assert (None if call.body is None else json.loads(to_json(call.body))) == body
    assert call.options == {"timeout": 5.0 if "refresh" in (body or {}) else calls.SECONDS}
