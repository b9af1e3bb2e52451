"""What is sent, how often, with which token, and how errors are told; services are made up, but for two."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import httpx2
import pytest

from indexing.errors import CommonspaceWarning, InputError
from retrieval.serving.client import (
    AccessError,
    AnswerError,
    AsyncClient,
    Client,
    ConflictError,
    ExpiredCursorError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ServiceError,
    UnreachableError,
    users,
)
from retrieval.serving.client import queries as calls
from retrieval.serving.client.retries import Retries
from tests.retrieval.serving.admin.conftest import ADMIN
from tests.retrieval.serving.conftest import READ, WRITE

Handler = Callable[[httpx2.Request], httpx2.Response]
Sent = list[httpx2.Request]
NAMES = {"request_id": "r-1", "generation": "gen-1", "change": 0}
ANSWER = {**NAMES, "results": []}
ACCEPTED = {"request_id": "r-1", "accepted": 1, "duplicates": 0, "forgotten": 0, "unknown_items": []}


def client_of(answers: list[Any], **settings: Any) -> tuple[Client, Sent]:  # noqa: ANN401
    """A client of a service that gives these answers: bodies, errors of the connection, or (status, body, headers)."""
    sent: Sent = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        answer = answers[min(len(sent), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        status, body, headers = answer if isinstance(answer, tuple) else (200, answer, {})
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.Response(status, content=content, headers=headers)

    return Client(http=httpx2.Client(transport=httpx2.MockTransport(handler)), **settings), sent


def refusal(status: int, seconds: int | None = 2, kind: str = "OverloadedError") -> tuple[int, Any, dict[str, str]]:
    error = {"type": kind, "message": "too many requests wait", "hint": "ask again", "request_id": "r-2"}
    return status, {"error": error}, {} if seconds is None else {"Retry-After": str(seconds)}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before requests that are sent again, in place of sleeping."""
    found: list[float] = []
    monkeypatch.setattr("retrieval.serving.client.client.time.sleep", found.append)
    monkeypatch.setattr("retrieval.serving.client.connection.random.random", lambda: 0.5)
    return found


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_is_sent_again_when_the_service_says(pauses: list[float], status: int) -> None:
    client, sent = client_of([refusal(status, 2), refusal(status, 1), ANSWER])
    assert client.search(["red"]).results == []
    assert pauses == [2.5, 1.25]
    assert len({(str(one.url), one.content) for one in sent}) == 1


def test_what_is_sent_again_ends(pauses: list[float]) -> None:
    client, sent = client_of([refusal(429, 1)], retries=2)
    with pytest.raises(OverloadedError, match="too many requests wait; ask again") as caught:
        client.search(["red"])
    assert (caught.value.retry_after, caught.value.request_id, len(sent)) == (1.0, "r-2", 3)
    client, sent = client_of([refusal(429, 9)], timeout=10.0)  # 9 s and the half of a half are too long
    with pytest.raises(OverloadedError, match="ask again"):
        client.search(["red"])
    assert len(sent) == 1
    assert len(pauses) == 2


@pytest.mark.parametrize("answer", [refusal(503, None, "BundleError"), refusal(500, 1, "InternalError")])
def test_a_fault_is_not_sent_again(pauses: list[float], answer: Any) -> None:  # noqa: ANN401
    client, sent = client_of([answer])
    with pytest.raises(ServiceError, match="ask again") as caught:
        client.search(["red"])
    assert type(caught.value) is ServiceError
    assert caught.value.type == answer[1]["error"]["type"]
    assert len(sent) == 1


def test_what_would_do_more_the_second_time_is_sent_once(pauses: list[float]) -> None:
    for answer in (refusal(429, 1), httpx2.ReadError("gone")):
        for name, arguments in (("merge_users", ["a", "b"]), ("forget_user", ["a"])):
            client, sent = client_of([answer])
            with pytest.raises(ServiceError, match=r"ask again|cannot be reached"):
                getattr(client, name)(*arguments)
            assert len(sent) == 1
    client, sent = client_of([httpx2.ConnectError("refused"), {"request_id": "r-1", "user_id": "b", "events": 0}])
    assert client.merge_users("a", "b").user_id == "b"  # nothing was sent the first time
    assert pauses == [0.125]


def test_events_have_their_names_before_they_are_sent(pauses: list[float]) -> None:
    client, sent = client_of([httpx2.ReadError("gone"), ACCEPTED])
    given = [{"user_id": "ann", "item_id": "mug", "type": "view"}, {"user_id": "ann", "item_id": "cup", "type": "view"}]
    client.write_events([*given, {**given[0], "event_id": "mine"}])
    first, second = (json.loads(one.content)["events"] for one in sent)
    assert first == second
    assert len({event["event_id"] for event in first}) == 3
    assert first[2]["event_id"] == "mine"
    assert "event_id" not in given[0]


@pytest.mark.parametrize(
    ("error", "sent", "repeatable", "number", "left", "pause"),
    [
        (OverloadedError("", status=429), None, True, 0, 10.0, 5.0),
        (OverloadedError("", status=429), None, True, 2, 5.1, 5.0),
        (OverloadedError("", status=429), None, True, 0, 5.0, None),
        (OverloadedError("", status=429), None, True, 3, 10.0, None),
        (OverloadedError("", status=429), None, False, 0, 10.0, None),
        (UnreachableError(""), True, True, 0, 10.0, 0.125),
        (UnreachableError(""), True, True, 2, 10.0, 0.5),
        (UnreachableError(""), True, False, 0, 10.0, None),
        (UnreachableError(""), False, False, 0, 10.0, 0.125),
        (AnswerError("", status=502), None, True, 0, 10.0, None),
    ],
)
def test_pauses(
    error: Any,  # noqa: ANN401
    sent: bool | None,
    repeatable: bool,
    number: int,
    left: float,
    pause: float | None,
) -> None:
    error.retry_after, error.sent = 4.0, sent
    call = calls.search(["red"]) if repeatable else users.merge_users("a", "b")
    assert Retries(3).pause(call, error, number, left, 0.5) == pause


def test_pauses_are_spread() -> None:
    error = OverloadedError("")
    error.retry_after = 4.0
    spread = [Retries().pause(calls.search(["red"]), error, 0, 10.0, draw) for draw in (0.0, 1.0)]
    assert spread == [4.0, 6.0]


@pytest.mark.parametrize(
    ("environment", "token", "read", "written"),
    [
        ({}, None, None, None),
        ({}, "mine", "Bearer mine", "Bearer mine"),
        ({"COMMONSPACE_READ_TOKEN": READ}, None, f"Bearer {READ}", f"Bearer {READ}"),
        ({"COMMONSPACE_WRITE_TOKEN": WRITE}, None, f"Bearer {WRITE}", f"Bearer {WRITE}"),
        ({"COMMONSPACE_READ_TOKEN": READ, "COMMONSPACE_WRITE_TOKEN": WRITE}, None, f"Bearer {READ}", f"Bearer {WRITE}"),
        ({"COMMONSPACE_READ_TOKEN": READ}, "mine", "Bearer mine", "Bearer mine"),
        ({"COMMONSPACE_ADMIN_TOKEN": ADMIN}, None, None, None),
    ],
)
def test_tokens(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    token: str | None,
    read: str | None,
    written: str | None,
) -> None:
    for name in ("COMMONSPACE_READ_TOKEN", "COMMONSPACE_WRITE_TOKEN", "COMMONSPACE_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answers = [
        ANSWER,
        ACCEPTED,
        {"request_id": "r", "events": [], "next_before": None},
        {"request_id": "r", "jobs": []},
    ]
    client, sent = client_of(answers, token=token)
    client.search(["red"])
    client.write_events([{"user_id": "ann", "item_id": "mug", "type": "view"}])
    client.events_of("ann")
    client.jobs()
    admin = f"Bearer {ADMIN}" if "COMMONSPACE_ADMIN_TOKEN" in environment else "Bearer mine" if token else None
    assert [one.headers.get("authorization") for one in sent] == [read, written, read, admin]
    shown = f"{client!r} {client._connection!r}"
    assert not any(secret in shown for secret in (READ, WRITE, ADMIN, "mine"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError), (413, InvalidRequestError), (422, InvalidRequestError), (401, AccessError),
        (403, AccessError), (421, AccessError), (404, NotFoundError), (409, ConflictError),
        (410, ExpiredCursorError), (500, ServiceError), (501, ServiceError), (503, ServiceError),
    ],
)  # fmt: skip
def test_errors_have_classes(status: int, kind: type[ServiceError]) -> None:
    client, _ = client_of([refusal(status, None, "SomeError")])
    with pytest.raises(ServiceError, match=r"^too many requests wait; ask again$") as caught:
        client.info()
    error = caught.value
    assert type(error) is kind
    assert isinstance(error, InputError) == (kind is InvalidRequestError)
    assert (error.type, error.message, error.hint) == ("SomeError", "too many requests wait", "ask again")
    assert (error.status, error.request_id) == (status, "r-2")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((502, b"<html>Bad gateway", {}), "status 502 with the body '<html>Bad gateway'.* check the URL"),
        ((301, b"", {"location": "https://shop.example/search"}), "status 301 .*; ask https://shop.example/search"),
        (b"<html>Welcome", "the answer to POST /search cannot be read: the body: Invalid JSON"),
        ({**NAMES, "results": [{}]}, "cannot be read: results.0.query_id: Field required"),
        ((204, b"", {}), "status 204"),
    ],
)
def test_what_is_no_answer_of_the_service_is_an_error(answer: Any, message: str) -> None:  # noqa: ANN401
    client, sent = client_of([answer])
    with pytest.raises(AnswerError, match=message):
        client.search(["red"])
    assert len(sent) == 1


def test_fields_of_a_newer_service_are_kept() -> None:
    client, _ = client_of([{**ANSWER, "more": [1]}])
    answer: Any = client.search(["red"])
    assert answer.more == [1]


def test_a_stopping_service_says_so_without_an_error() -> None:
    stopping = {"status": "stopping", "generation": "gen-1", "change": 0, "problems": [], "files": {"check": "all"}}
    client, _ = client_of([(503, stopping, {}), refusal(503, 1), (503, b"<html>", {})], retries=0)
    assert client.ready().status == "stopping"
    with pytest.raises(OverloadedError, match="ask again"):
        client.ready()
    with pytest.raises(AnswerError, match="status 503"):
        client.ready()


def test_what_is_unusual_is_a_warning_where_the_client_is_asked() -> None:
    client, _ = client_of([{**ANSWER, "notes": ["no item is so red", "nor blue"]}])
    with pytest.warns(CommonspaceWarning, match=r"no item is so red|nor blue") as found:
        assert client.search(["red"]).notes == ["no item is so red", "nor blue"]
    assert [str(one.message) for one in found] == ["no item is so red", "nor blue"]
    assert {one.filename for one in found} == {__file__}


def test_a_bundle_that_is_built_anew_while_items_are_listed() -> None:
    item: dict[str, Any] = {"item_id": "mug", "title": None, "attributes": {}}
    page = {**NAMES, "items": [item], "next_cursor": "c-1"}
    client, sent = client_of([page, refusal(410, None, "ExpiredCursorError")])
    listed = client.items()
    assert next(listed).item_id == "mug"
    with pytest.raises(ExpiredCursorError, match=r"built anew.*; list them again from the beginning") as caught:
        next(listed)
    assert (caught.value.status, caught.value.request_id) == (410, "r-2")
    assert sent[1].url.params["cursor"] == "c-1"


def test_the_time_of_a_request_is_that_of_all_that_is_sent(pauses: list[float]) -> None:
    client, sent = client_of([ANSWER], timeout=7.0)
    client.search(["red"])
    client.search(["red"], timeout=30.0)
    waits = [one.extensions["timeout"]["read"] for one in sent]
    assert 6 < waits[0] <= 7
    assert 29 < waits[1] <= 30
    client, _ = client_of([httpx2.ReadTimeout("slow")], timeout=0.01)
    with pytest.raises(UnreachableError, match="did not answer in time; give it more time with timeout="):
        client.search(["red"])


@pytest.mark.parametrize("name", ["..", ".", "a/b", "é ?&#%", "x" * 300])
def test_names_are_one_part_of_a_path(name: str) -> None:
    item: dict[str, Any] = {"item_id": name, "title": None, "attributes": {}}
    client, sent = client_of([{**NAMES, "item": item}], url="http://host:1/prefix/")
    assert client.item(name).item_id == name
    assert sent[0].url.path == f"/prefix/items/{name}"
    assert sent[0].url.raw_path.split(b"?")[0].count(b"/") == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "shop.example:8080"}, "begins with http://"),
        ({"url": "http://"}, "begins with http://"),
        ({"url": "http://ann:secret-word@host"}, "url has a user or a password"),
        ({"url": 8080}, "url is 8080"),
        ({"timeout": 0}, "timeout is 0 of type int; give seconds above 0"),
        ({"retries": -1}, "retries is -1"),
        ({"token": "a\nb"}, "the token has 3 characters"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(InputError, match=message) as caught:
            kind(**settings)
        assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda client: client.search(["red"], request_id="a b"), "request_id is 'a b' .*; give 8 to 64"),
        (lambda client: client.search(["red"], timeout=-1), "timeout is -1"),
        (lambda client: client.item(""), "item_id is empty"),
        (lambda client: client.recommend(), "none of histories, user_ids and session"),
        (lambda client: client.recommend([[]], session="s"), "histories and session of"),
        (lambda client: client.rerank([["mug"]]), "give one of them"),
        (lambda client: client.write_events([3]), r"events\[0\] is 3"),
        (lambda client: client.search("red"), "queries"),
    ],
)
def test_what_cannot_be_sent_is_not(ask: Callable[[Client], Any], message: str) -> None:
    client, sent = client_of([ANSWER])
    with pytest.raises(InputError, match=message):
        ask(client)
    assert sent == []


def test_the_other_client_pauses_and_warns_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []

    async def slept(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("retrieval.serving.client.client.anyio.sleep", slept)
    monkeypatch.setattr("retrieval.serving.client.connection.random.random", lambda: 0.5)
    answers = iter([refusal(429, 2), (200, {**ANSWER, "notes": ["unusual"]}, {})])

    def handler(request: httpx2.Request) -> httpx2.Response:
        status, body, headers = next(answers)
        return httpx2.Response(status, json=body, headers=headers)

    async def main() -> None:
        async with AsyncClient(http=httpx2.AsyncClient(transport=httpx2.MockTransport(handler))) as client:
            with pytest.warns(CommonspaceWarning, match="unusual") as warned:
                assert (await client.search(["red"])).results == []
            assert warned[0].filename == __file__

    anyio.run(main)
    assert found == [2.5]


@pytest.fixture
def unused_port() -> Iterator[int]:
    with socket.socket() as bound:  # nothing listens
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_service_that_is_not_there(unused_port: int, pauses: list[float]) -> None:
    with Client(f"http://127.0.0.1:{unused_port}", retries=2) as client:  # noqa: SIM117
        with pytest.raises(UnreachableError, match=f"127.0.0.1:{unused_port} cannot be reached: .*check the URL"):
            client.info()
    assert pauses == [0.125, 0.25]
