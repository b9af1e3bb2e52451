"""What docs/how-to/serve.md, docs/reference/http.md and docs/reference/limits.md say of the service."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from retrieval.serving import Limits, ServiceConfig, config, create_app
from retrieval.serving.server import uvicorn_server
from tests.paths import ROOT
from tests.toy import ToyEncoder, picture

SERVE = (ROOT / "docs/how-to/serve.md").read_text()
HTTP = (ROOT / "docs/reference/http.md").read_text()
LIMITS = (ROOT / "docs/reference/limits.md").read_text()


@pytest.fixture
def client(toy_bundle: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceConfig(toy_bundle), encoder=ToyEncoder()), "http://localhost") as client:
        yield client


def test_the_table_of_routes_is_that_of_the_application(client: TestClient) -> None:
    named = set(re.findall(r"`((?:GET|POST|DELETE) /[\w/{}-]*)`", HTTP))
    paths = client.get("/openapi.json").json()["paths"]
    assert named == {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_fields_of_the_table_are_those_of_requests(client: TestClient) -> None:
    table = HTTP.split("## Fields of requests")[1].split("## Statuses")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    known = {name for kind in ("SearchRequest", "RecommendRequest") for name in schemas[kind]["properties"]}
    own = {"texts", "queries", "images", "image_urls", "sounds", "histories", "user_ids", "session"}
    assert named == known - own


PAGE_ALONE = {"/map/places", "/media"}  # a search drawn on the map of the page
ALSO = {"lists": ["search", "similar", "recommend", "complements", "next-items", "trending", "rerank"]}
PATHS = {"items": "/items", "item": "/items/{item_id}"}


def test_each_field_is_of_the_routes_that_the_table_names(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    taken: dict[str, set[str]] = {}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            contents = operation.get("requestBody", {}).get("content", {}).values()
            models = [one["schema"].get("$ref", "").rpartition("/")[2] for one in contents]
            fields = [
                name for model in models if model for name in document["components"]["schemas"][model]["properties"]
            ]
            for name in [*fields, *(one["name"] for one in operation.get("parameters", ()))]:
                if path not in PAGE_ALONE and not path.startswith("/admin"):
                    taken.setdefault(name, set()).add(path)
    lists = [f"/{name}" for name in ALSO["lists"]]
    assert all(f"`{path}`" in HTTP.split("`lists` are the routes")[1].split("| field")[0] for path in lists)
    rows = re.findall(
        r"^\| (`[^|]*) \| ([^|]*) \|", HTTP.split("## Fields of requests")[1].split("## Status")[0], re.MULTILINE
    )
    assert len(rows) > 15
    for fields, routes in rows:
        names = [name for word in routes.split(", ") for name in ALSO.get(word, [word])]
        named = {PATHS.get(name, f"/{name}") for name in names}
        for field in re.findall(r"`(\w+)`", fields):
            assert named == taken[field], field


@pytest.mark.parametrize("path", ["/search", "/recommend"])
def test_requests_of_the_page_are_understood(client: TestClient, path: str) -> None:
    found = re.findall(rf"localhost:8080{path} .*?-d '(.*?)'", SERVE, re.DOTALL)
    assert found
    for body in found:
        answer = client.post(path, json=json.loads(body))
        if answer.status_code == 200:  # the toy has other items, which are left out of histories
            assert any("not in this bundle" in note for note in answer.json()["notes"])
        else:
            assert answer.status_code == 422  # and other attributes
            message = answer.json()["error"]["message"]
            assert re.search(r"no attribute|not in this bundle|fetches no pictures", message), message


def test_uploads_of_the_page_are_understood(client: TestClient) -> None:
    (request,) = re.findall(r"-F image=@pool.jpg -F 'request=(.*?)'", SERVE)
    answer = client.post("/search/upload", files={"image": picture("red")}, data={"request": request})
    assert len(answer.json()["results"][0]["hits"]) == 5


def test_limits_are_those_of_the_code() -> None:
    limits = Limits()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", LIMITS.split("## The service")[1], re.MULTILINE))
    said = {
        name: [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]
        for name, text in rows.items()
    }
    assert said["body; with uploaded files"] == [limits.body_bytes, limits.upload_bytes]
    assert said["file of `/admin`; time for it"] == [limits.admin_bytes, limits.admin_seconds]
    assert said["picture"] == [limits.image_bytes, limits.image_pixels]
    assert said["sound"] == [limits.audio_bytes, limits.audio_seconds]
    assert said["files of an upload"] == [config.MAX_FILES]
    urls = [config.MAX_FILES, limits.upload_bytes, limits.url_seconds]
    assert said["URLs of pictures; bytes of all; time for these"] == urls
    assert said["queries, users or items of a request"] == [config.MAX_BATCH]
    assert said["hits of each (`k`); candidates"] == [config.MAX_K, config.MAX_CANDIDATES]
    hits = "hits of all queries, users or items of a request; numbers of all of their vectors"
    assert said[hits] == [config.MAX_HITS, config.MAX_VECTOR_NUMBERS]
    assert said["text; item_id or user_id"] == [config.MAX_TEXT_BYTES, config.MAX_ID_CHARACTERS]
    users = [config.MAX_USERS, config.MAX_EVENTS_READ]
    assert said["users of `/users-for`; events that are read of all users of a request"] == users
    assert said["values of a filter; items of a history"] == [config.MAX_FILTER_VALUES, config.MAX_HISTORY]
    assert said["parts of a query; rules"] == [config.MAX_PARTS, config.MAX_RULES]
    assert said["queries that wait, for each kind of work"] == [limits.queue]
    times = [limits.deadline, uvicorn_server.HEADER_SECONDS, limits.body_seconds]
    assert said["deadline of a request; time for its headers, and for its body"] == times
    assert said["headers"] == [uvicorn_server.HEADER_BYTES]
