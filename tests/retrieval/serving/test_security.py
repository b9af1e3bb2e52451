"""Who may do what: tokens, and a host that is open to others."""

from pathlib import Path

import pytest
from starlette.routing import Route

from indexing.errors import InputError
from retrieval.serving import ServiceConfig
from retrieval.serving.app import ROUTERS
from retrieval.serving.events import Event, EventLog
from retrieval.serving.http.security import OPEN_PATHS, Access, access_of, refusal
from tests.retrieval.serving.conftest import READ, WRITE, Started

ASKING = "/search", "/similar", "/recommend"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {READ}", "Bearer é", f"Bearer {READ} "])
def test_readers_need_their_token(started: Started, shop: Path, header: str | None) -> None:
    client = started(shop, read_token=READ, write_token=WRITE)
    headers = {} if header is None else {b"authorization": header.encode()}
    for path in ASKING:
        answer = client.post(path, content=b"not even json", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/openapi.json", headers=headers).status_code == 401
    assert client.get("/live", headers=headers).status_code == client.get("/ready").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost:80", "[::1]:8080", "[::1]"])
def test_names_of_this_machine_are_answered(started: Started, shop: Path, host: str) -> None:
    assert started(shop).post("/search", json={"texts": ["red"]}, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["shop.example", "shop.example:8080", "127.0.0.1.shop.example", "192.168.0.1", "[fe80::1]", "", ":8080"]
)
def test_pages_of_other_sites_cannot_read_without_a_token(started: Started, shop: Path, host: str) -> None:
    client, asked = started(shop), {"texts": ["red"]}
    answer = client.post("/search", json=asked, headers={"host": host})
    assert (answer.status_code, answer.json()["error"]["type"]) == (421, "AccessError")
    assert "results" not in answer.json()
    headers = {"host": host, "authorization": f"Bearer {READ}"}
    assert started(shop, read_token=READ).post("/search", json=asked, headers=headers).status_code == 200


@pytest.mark.parametrize("token", [READ, WRITE])
def test_both_tokens_allow_to_read(started: Started, shop: Path, token: str) -> None:
    client = started(shop, read_token=READ, write_token=WRITE)
    answer = client.post("/search", json={"texts": ["red"]}, headers={"authorization": f"bearer {token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("read", "write", "header", "status"),
    [
        (None, None, None, 403),
        (None, None, f"Bearer {WRITE}", 403),
        (None, WRITE, None, 401),
        (READ, WRITE, f"Bearer {READ}", 403),
        (READ, WRITE, "Bearer wrong", 401),
        (READ, WRITE, f"Bearer {WRITE}", None),
    ],
)
@pytest.mark.parametrize("path", ["/events", "/users/merge"])
def test_writers_need_theirs(
    shop: Path, path: str, read: str | None, write: str | None, header: str | None, status: int | None
) -> None:
    refused = refusal(ServiceConfig(shop, read_token=read, write_token=write), path, header)
    assert (None if refused is None else refused.status) == status


def test_every_route_that_changes_something_needs_a_token_for_it() -> None:
    reads = {"/search", "/search/upload", "/similar", "/recommend", "/complements", "/rerank", "/trending",
             "/users-for", "/next-items", "/map/places", "/tastes", "/media"}  # fmt: skip
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, Route)]
    assert {route.path for route in routes} >= reads | {"/events", "/users/merge"}
    for route in routes:
        if (route.methods or set()) - {"GET", "HEAD", "OPTIONS"} and route.path not in reads:
            expected = Access.ADMIN if route.path.startswith("/admin/") else Access.WRITE
            assert access_of(route.path) is expected, route.path
    assert all(access_of(path) is Access.OPEN for path in OPEN_PATHS)


def test_a_host_that_others_reach_needs_a_token(shop: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):  # noqa: S104
        with pytest.raises(InputError, match="open to other machines"):
            ServiceConfig(shop, host)
        ServiceConfig(shop, host, read_token=READ)
    for host in ("127.0.0.1", "::1", "localhost"):
        ServiceConfig(shop, host)


def test_tokens_that_cannot_be_used(shop: Path) -> None:
    with pytest.raises(InputError, match="at least 16"):
        ServiceConfig(shop, read_token=READ[:15])
    with pytest.raises(InputError, match="the same"):
        ServiceConfig(shop, read_token=READ, write_token=READ)
    assert READ not in repr(ServiceConfig(shop, read_token=READ))


def test_tokens_come_from_the_environment(shop: Path) -> None:
    variables = {"COMMONSPACE_READ_TOKEN": READ, "COMMONSPACE_WRITE_TOKEN": ""}
    config = ServiceConfig.from_environment(shop, environment=variables)
    assert (config.read_token, config.write_token) == (READ, None)


@pytest.mark.parametrize("asked", [{"user_ids": ["ann"]}, {"session": "s-1"}])
def test_what_users_took_is_explained_to_those_with_a_token_alone(
    started: Started, shop: Path, database: str, asked: dict[str, object]
) -> None:
    closed, open_ = started(shop, events=database), started(shop, events=database, write_token=WRITE)
    explained = {**asked, "k": 1, "explain": True}
    for service, status in ((closed, 403), (open_, 401)):
        answer = service.post("/recommend", json=explained)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "AccessError")
        assert answer.json()["error"]["message"].startswith("explain names what users of the log took, and ")
        assert answer.json()["error"]["hint"].endswith(", or leave explain out")
        assert service.post("/recommend", json={**explained, "explain": False}).status_code == 200
        assert service.post("/recommend", json={"histories": [["red-mug"]], "explain": True}).status_code == 200
    assert open_.post("/recommend", json=explained).headers["www-authenticate"] == "Bearer"
    headers = {"authorization": f"Bearer {WRITE}"}
    assert open_.post("/recommend", json=explained, headers=headers).status_code == 200


def test_what_a_user_has_seen_cannot_be_told_from_what_is_left_out(
    started: Started, shop: Path, database: str, log: EventLog
) -> None:
    log.append([Event("red-mug", "view", user_id="ann")])
    closed, open_ = started(shop, events=database), started(shop, events=database, write_token=WRITE)
    asked = {"order": "popular", "user_id": "ann"}
    for service, status in ((closed, 403), (open_, 401)):
        answer = service.post("/trending", json=asked)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "AccessError")
        assert answer.json()["error"]["message"].startswith("a list without what a user of the log took tells what")
        assert answer.json()["error"]["hint"].endswith(", or give items as a history")
        assert service.post("/trending", json={"order": "popular"}).status_code == 200
        assert service.post("/trending", json={"order": "popular", "history": ["red-mug"]}).status_code == 200
    read = started(shop, events=database, read_token=READ)
    for service, token in ((open_, WRITE), (read, READ)):
        answer = service.post("/trending", json=asked, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert "red-mug" not in [hit["item_id"] for hit in answer.json()["results"][0]["hits"]]


def test_notes_name_no_item_of_a_user_to_those_without_a_token(
    started: Started, shop: Path, database: str, log: EventLog
) -> None:
    log.append([Event(item, "buy", user_id="ann") for item in ("red-mug", "secret")])
    asked = {"item_ids": ["blue-mug"], "user_ids": ["ann"]}
    counts = "1 of 2 interactions, by 1 of 1 users, are with 1 items that are not in the bundle"
    open_ = started(shop, events=database, write_token=WRITE)
    read = started(shop, events=database, read_token=READ)
    for service, token, named in (
        (started(shop, events=database), None, ""),
        (open_, None, ""),
        (open_, WRITE, ", e.g. 'secret'"),
        (read, READ, ", e.g. 'secret'"),
    ):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        notes = service.post("/users-for", json=asked, headers=headers).json()["notes"]
        assert [note for note in notes if note.startswith(f"{counts}{named}; they are left out. ")]
        assert any("secret" in note for note in notes) == bool(named)
    for path, body in ("/users-for", asked), ("/recommend", {"user_ids": ["ann"]}), ("/recommend", {"session": "s-1"}):
        assert read.post(path, json=body).status_code == 401
