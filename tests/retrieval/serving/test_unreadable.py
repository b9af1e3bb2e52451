"""Requests that cannot be read: the answer says which field may be meant, and what the body or its type should be."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from starlette.testclient import TestClient

from retrieval.serving.schemas.events import EventsBody
from retrieval.serving.schemas.problems import problems_in_words
from retrieval.serving.schemas.queries import RecommendRequest, SearchRequest
from tests.retrieval.serving.conftest import WRITE, Started
from tests.toy import picture

ADMIN = "admin-" + "a" * 20
RED = {"texts": ["red"]}


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        (SearchRequest, {"text": ["red"]}, "text: there is no such field, did you mean `texts`?"),
        (SearchRequest, {"TEXTS": ["red"]}, "TEXTS: there is no such field, did you mean `texts`?"),
        (SearchRequest, {**RED, "limit": 3}, "limit: there is no such field, did you mean `k`?"),
        (SearchRequest, {**RED, "zzz": 3}, "zzz: there is no such field"),
        (
            SearchRequest,
            {**RED, "diversify": {"strenght": 1}},
            "diversify.strenght: there is no such field, did you mean `strength`?",
        ),
        (
            SearchRequest,
            {"queries": ["red", {"parts": [{"text": "a", "wieght": 2}]}]},
            "queries.1.parts.0.wieght: there is no such field, did you mean `weight`?",
        ),
        (SearchRequest, {"queries": [5]}, "queries.0: Input should be a valid string; queries.0: give an object"),
        (SearchRequest, [RED], "give an object"),
        (SearchRequest, {**RED, "attributes": [5]}, "attributes.0: Input should be a valid string"),
        (RecommendRequest, {"user_id": "ann"}, "user_id: there is no such field, did you mean `user_ids`?"),
        (
            EventsBody,
            {"user": "ann", "item_id": "mug", "type": "view"},
            "user: there is no such field, did you mean `user_id`?",
        ),
        (
            EventsBody,
            {"events": [{"item_id": "mug", "type": "view", "sesion_id": "s"}]},
            "events.0.sesion_id: there is no such field, did you mean `session_id`?",
        ),
        (EventsBody, {"impressions": [], "event": []}, "event: there is no such field, did you mean `events`?"),
        (
            SearchRequest,
            {**RED, "a1": 1, "b2": 2, "c3": 3, "d4": 4, "e5": 5},
            "a1: there is no such field; b2: there is no such field; c3: there is no such field; and 2 more",
        ),
    ],
)
def test_problems_of_a_body(model: Any, body: object, said: str) -> None:  # noqa: ANN401 - a type
    with pytest.raises(ValidationError, match="validation error") as caught:
        TypeAdapter(model).validate_python(body)
    problems = [{**one, "loc": ("body", *one["loc"])} for one in caught.value.errors()]
    assert problems_in_words(problems, model) == said


def test_problems_without_a_model_keep_their_place() -> None:
    problem = {"type": "extra_forbidden", "loc": ("body", "one", "more"), "msg": "Extra"}
    assert problems_in_words([problem]) == "one.more: there is no such field"


def error_of(answer: Any, status: int = 422) -> tuple[str, str]:  # noqa: ANN401 - of the test client
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    return error["message"], error["hint"]


def test_the_route_says_which_field_may_be_meant(
    client: TestClient, started: Started, shop: Path, tmp_path: Path
) -> None:
    assert error_of(client.post("/search", json={"text": ["red"]})) == (
        "text: there is no such field, did you mean `texts`?",
        "see /openapi.json for what is expected",
    )
    live = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", write_token=WRITE)
    live.headers["authorization"] = f"Bearer {WRITE}"
    event = {"user_id": "ann", "item": "red-mug", "type": "view"}
    assert "item: there is no such field, did you mean `item_id`?" in error_of(live.post("/events", json=event))[0]


@pytest.mark.parametrize("header", ["text/plain", "application/x-www-form-urlencoded", "", None])
def test_json_of_another_type(client: TestClient, header: str | None) -> None:
    headers = {} if header is None else {"content-type": header}
    message, hint = error_of(client.post("/search", content=b'{"texts": ["red"]}', headers=headers))
    assert message == f"the content-type is {header or ''!r}, so that the body is not read as JSON"
    assert hint == "send the header content-type: application/json"


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b'{"texts": ["red"}', "expecting ',' delimiter at line 1, column 17", "send one JSON object, in UTF-8"),
        (b'{"texts":\n ["red"],}', "at line 2, column ", "send one JSON object, in UTF-8"),
        (b"{texts: [red]}", "expecting property name enclosed in double quotes at line 1, column 2", "the shell may"),
    ],
)
def test_what_is_no_json(client: TestClient, content: bytes, message: str, hint: str) -> None:
    answer = client.post("/search", content=content, headers={"content-type": "application/json"})
    said = error_of(answer, 400)
    assert said[0].startswith("the body is no JSON: ")
    assert message in said[0]
    assert said[1].startswith(hint)


def test_forms(client: TestClient) -> None:
    image = {"image": picture("red")}
    assert client.post("/search/upload", files=image, data={"request": '{"k": 2}'}).status_code == 200
    said = error_of(client.post("/search/upload", files=image, data={"k": "2"}))[0]
    assert said == "k: there is no such field, there are image, audio, request"
    said = error_of(client.post("/search/upload", files=image, data={"request": '{"kk": 2, "explian": true}'}))[0]
    unknown = "there is no such field, did you mean"
    assert said == f"request.kk: {unknown} `k`?; request.explian: {unknown} `explain`?"

    message = error_of(client.post("/search/upload", files=image, data={"request": "{k: 2}"}))[0]
    assert message.startswith("request: Invalid JSON: key must be a string at line 1 column 2")
    said, hint = error_of(client.post("/search/upload", json={"k": 2}))
    assert said == "the content-type is 'application/json', and files come in a form"
    assert hint == "send them as multipart/form-data, as curl does by -F"


MODES, ORDERS = "'vector', 'words' or 'hybrid'", "'trending', 'popular' or 'newest'"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/search", {**RED, "mode": "Hybird"}, f"mode: Input should be {MODES}, did you mean 'hybrid'?"),
        ("/search", {**RED, "mode": "zzz"}, f"mode: Input should be {MODES}"),
        ("/trending", {"order": "newst"}, f"order: Input should be {ORDERS}, did you mean 'newest'?"),
        ("/search", {**RED, "attributes": ["Prize"]}, "there is no attribute 'Prize', did you mean 'price'?"),
        (
            "/similar",
            {"item_ids": ["RED-MUG"]},
            "1 of 1 item ids are not in this bundle, e.g. 'RED-MUG'; did you mean 'red-mug'?",
        ),
    ],
)
def test_values_of_a_body(client: TestClient, path: str, body: dict[str, Any], said: str) -> None:
    assert error_of(client.post(path, json=body))[0] == said


def test_a_scenario_of_another_name(started: Started, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "scenarios.json").write_text('{"scenarios": {"plain": {}, "varied": {"k": 3}}}')
    client = started(shop, scenarios=tmp_path / "scenarios.json")
    said = error_of(client.post("/recommend", json={"histories": [[]], "scenario": "Plian"}))
    assert said == ("there is no scenario 'Plian', did you mean 'plain'?", "give one of 'plain', 'varied'")


@pytest.mark.parametrize(
    ("method", "path", "status", "said", "hint"),
    [
        ("POST", "/serach", 404, "there is nothing at this path", "did you mean POST /search?"),
        ("POST", "/recommendations", 404, "there is nothing at this path", "did you mean POST /recommend?"),
        ("POST", "/mcp", 404, "there is nothing at this path", "see /openapi.json for all paths"),
        ("GET", "/item/red-mug", 404, "there is nothing at this path", "did you mean GET /items/{item_id}?"),
        ("GET", "/user/ann/events", 404, "there is nothing at this path", "did you mean GET /users/{user_id}/events?"),
        ("GET", "/nowhere/at/all", 404, "there is nothing at this path", "see /openapi.json for all paths"),
        ("GET", "/a" * 3_000, 404, "there is nothing at this path", "see /openapi.json for all paths"),
        ("GET", "/page/none.js", 404, "there is nothing at this path", ""),
        ("GET", "/search", 405, "this path has no such method", "send POST /search"),
        ("PUT", "/items/red-mug", 405, "this path has no such method", "send GET /items/{item_id}"),
        ("GET", "/items/red-mgu", 404, "no item 'red-mgu' is in this bundle", "did you mean 'red-mug'?"),
    ],
)
def test_paths_and_methods(client: TestClient, method: str, path: str, status: int, said: str, hint: str) -> None:
    assert error_of(client.request(method, path), status) == (said, hint)


def test_paths_of_admin_are_named_where_they_are_on(started: Started, shop: Path) -> None:
    beside, own_port = started(shop, admin_token=ADMIN), started(shop, admin_token=ADMIN, admin_port=8081)
    headers = {"authorization": f"Bearer {ADMIN}"}
    assert error_of(beside.get("/admin/job", headers=headers), 404)[1] == "did you mean GET /admin/jobs?"
    assert error_of(own_port.get("/adminjobs"), 404)[1] == "see /openapi.json for all paths"


def test_parameters_of_a_path(client: TestClient) -> None:
    assert error_of(client.get("/items?limt=5"))[0] == "limt: there is no such field, did you mean `limit`?"
    assert error_of(client.get("/items/red-mug?vector=true"))[0] == (
        "vector: there is no such field, did you mean `vectors`?"
    )
    assert error_of(client.post("/search?k=5", json=RED))[0] == "k: there is no such field"
    assert client.get("/items?limit=5&where=price < 20").status_code == 200
