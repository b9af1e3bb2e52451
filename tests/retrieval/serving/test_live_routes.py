"""The very next answer of each instance reflects an acknowledged event; what is measured is what is served."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from retrieval import Interactions, Retriever
from retrieval.serving.events import EventLog
from tests.retrieval.serving.conftest import READ, WRITE, Started

NOW = int(time.time())
TOKEN = {"authorization": f"Bearer {WRITE}"}


@pytest.fixture
def client(started: Started, shop: Path, database: str) -> TestClient:
    return started(shop, events=database, read_token=READ, write_token=WRITE)


def post(client: TestClient, path: str, body: Any, status: int = 200) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    answer = client.post(path, json=body, headers=TOKEN)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def shown(client: TestClient, **asked: Any) -> list[str]:  # noqa: ANN401 - any JSON
    result = post(client, "/recommend", {"k": 5, **asked})["results"][0]
    return [hit["item_id"] for hit in result["hits"]]


def event(user: str, item: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"user_id": user, "item_id": item, "type": "like", **more}


def test_the_next_answer_of_each_instance_reflects_an_event(
    started: Started, shop: Path, database: str, client: TestClient
) -> None:
    other = started(shop, events=database, read_token=READ, write_token=WRITE)
    taken: list[str] = []
    before = shown(client, user_ids=["ann"])
    for number in range(4):
        item = shown(other, user_ids=["ann"])[0]
        done = post(client if number % 2 else other, "/events", event("ann", item, event_id=f"e{number}"))
        assert (done["accepted"], done["duplicates"], done["unknown_items"]) == (1, 0, [])
        taken.append(item)
        lists = [shown(one, user_ids=["ann"]) for one in (client, other)]
        assert lists[0] == lists[1] != before
        assert not set(taken) & set(lists[0])
        assert lists[0] == shown(client, histories=[taken], min_relevance=0.0)
        before = lists[0]


@pytest.mark.filterwarnings("ignore::indexing.errors.CommonspaceWarning")
def test_what_is_served_is_what_recommend_says_of_the_log(
    client: TestClient, database: str, retriever: Retriever
) -> None:
    rows = [
        event("ann", "red-mug", time=NOW - 900), event("ann", "red-shoe", type="buy", time=NOW - 800),
        event("ann", "blue-lamp", type="hide", time=NOW - 700), event("ann", "gone", type="view", time=NOW - 600),
        event("bob", "green-book", type="view", time=NOW - 500, weight=2.0),
    ]  # fmt: skip
    assert post(client, "/events", {"events": rows})["unknown_items"] == ["gone"]
    names = {"user_id": "user_id", "item_id": "item_id", "type": "event", "time": "timestamp"}
    table = pa.table({new: [row[old] for row in rows] for old, new in names.items()})
    table = table.append_column("weight", pa.array([row.get("weight", 1.0) for row in rows]))
    log = Interactions.from_arrow(table, events="usual")
    for times in (None, NOW):
        expected = retriever.recommend(log, 8, user_ids=["ann", "bob"], times=times)
        asked = {"user_ids": ["ann", "bob"], "k": 8} | ({} if times is None else {"times": times})
        results = post(client, "/recommend", asked)["results"]
        for query, result in enumerate(results):
            assert result["query_id"] == ("ann", "bob")[query]
            hits = expected[query]
            assert [hit["item_id"] for hit in result["hits"]] == [hit.item_id for hit in hits]
            assert [hit["score"] for hit in result["hits"]] == pytest.approx([hit.score for hit in hits], rel=1e-5)
            assert [hit["source"] for hit in result["hits"]] == [hit.source for hit in hits]


def test_a_session_is_answered_by_its_events_and_belongs_to_whom_it_is_merged_with(client: TestClient) -> None:
    post(client, "/events", {"session_id": "s-1", "item_id": "red-mug", "type": "view"})
    in_session = shown(client, session="s-1")
    assert in_session == shown(client, user_ids=["session:s-1"]) != shown(client, session="s-2")
    assert "red-mug" not in in_session
    assert post(client, "/users/merge", {"anonymous": "session:s-1", "known": "ann"})["events"] == 1
    assert shown(client, user_ids=["ann"]) == in_session
    circle = post(client, "/users/merge", {"anonymous": "ann", "known": "session:s-1"}, 422)
    assert "belongs to 'ann' already" in circle["error"]["message"]


def test_who_is_forgotten_is_unknown_in_the_next_answer(client: TestClient) -> None:
    unknown = shown(client, user_ids=["ann"])
    post(client, "/events", {"events": [event("ann", "red-mug"), event("ann", "red-shoe")]})
    assert shown(client, user_ids=["ann"]) != unknown
    gone = client.delete("/users/ann", headers=TOKEN)
    assert (gone.status_code, gone.json()["events"]) == (200, 2)
    assert shown(client, user_ids=["ann"]) == unknown
    assert client.get("/users/ann/events", headers=TOKEN).json()["events"] == []


def test_what_an_answer_showed_is_written_by_its_request_id(client: TestClient, database: str) -> None:
    answer = post(client, "/recommend", {"user_ids": ["ann"], "k": 3})
    items = [hit["item_id"] for hit in answer["results"][0]["hits"]]
    body = {"impressions": [{"user_id": "ann", "request_id": answer["request_id"], "item_ids": items, "time": NOW}]}
    assert post(client, "/events", body)["accepted"] == 3
    assert post(client, "/events", body)["duplicates"] == 3
    assert shown(client, user_ids=["ann"])[:3] == items  # seen is not taken
    with EventLog.open(database, create=False) as log:
        read = log.impressions()
        assert read is not None
        assert read.table.select(["item_id", "position", "request_id"]).to_pylist() == [
            {"item_id": item, "position": place, "request_id": answer["request_id"]}
            for place, item in enumerate(items, start=1)
        ]


def test_rules_of_frequency_count_what_was_shown_until_now(client: TestClient) -> None:
    rules = [{"rule": "frequency_cap", "times": 2, "days": 7}]
    for asked in ({"user_ids": ["ann"]}, {"session": "s-1"}):
        whose = {"user_id": "ann"} if "user_ids" in asked else {"session_id": "s-1"}
        first = shown(client, **asked)
        for request in ("r1", "r2"):
            assert shown(client, **asked, rules=rules) == first
            names = {"request_id": f"{request}-{next(iter(whose))}", "item_ids": first[:2]}
            post(client, "/events", {"impressions": [{**whose, **names}]})
        after = shown(client, **asked, rules=rules)
        assert not set(first[:2]) & set(after)
        assert after[:3] == first[2:]
    error = post(client, "/recommend", {"histories": [[]], "rules": rules}, 422)["error"]
    assert "needs to know what was shown to each user" in error["message"]


def test_events_of_a_user_come_in_pages_to_who_may_read(client: TestClient) -> None:
    post(client, "/events", {"events": [event("ann/b", f"red-{n}", time=NOW + n) for n in range(5)]})
    path, reader = "/users/ann%2Fb/events?limit=2", {"authorization": f"Bearer {READ}"}
    assert client.get(path).status_code == 401
    items: list[str] = []
    before = ""
    while True:
        page = client.get(path + before, headers=reader).json()
        items += [one["item_id"] for one in page["events"]]
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    assert items == [f"red-{n}" for n in (4, 3, 2, 1, 0)]


def test_writing_needs_the_write_token_and_reading_of_users_some_token(
    started: Started, shop: Path, tmp_path: Path
) -> None:
    for settings in ({"write_token": WRITE}, {}):
        client = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", **settings)
        assert client.post("/events", json=event("ann", "red-mug")).status_code == (401 if settings else 403)
        assert client.delete("/users/ann").status_code == (401 if settings else 403)
        assert client.get("/users/ann/events").status_code == (401 if settings else 403)
        assert client.post("/recommend", json={"user_ids": ["ann"]}).status_code == 200
    reading = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", read_token=READ, write_token=WRITE)
    for method, path in (("POST", "/events"), ("POST", "/users/merge"), ("DELETE", "/users/ann")):
        answer = reading.request(method, path, json={}, headers={"authorization": f"Bearer {READ}"})
        assert answer.status_code == 403
        assert "read token does not allow" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (event("ann", "mug", type="viw"), "event 0 (from 0): type is 'viw', which has no weight"),
        ({"item_id": "mug", "type": "view"}, "neither a user_id nor a session_id"),
        ({"events": [event("ann", "mug", rank=1)]}, "events.0.rank: there is no such field"),
        (event("ann", "mug", time="soon"), "event 0 (from 0): time has 'soon', which cannot be read as a time"),
        (event("ann", "mug", time=True), "time: this is no time; give a date or a time"),
        ([event("ann", "mug")], ""),
        ({"events": [event("ann", "mug")] * 1001}, "at most 1000 items"),
        ({"impressions": [{"user_id": "ann", "request_id": "r", "item_ids": []}]}, "at least 1 item"),
    ],
)
def test_bad_events_are_refused_whole(
    started: Started,
    shop: Path,
    tmp_path: Path,
    body: dict[str, Any],
    message: str,
) -> None:
    client = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", write_token=WRITE)
    assert message in post(client, "/events", body, 422)["error"]["message"]
    assert client.get("/users/ann/events", headers=TOKEN).json()["events"] == []


def test_a_service_without_a_log_says_so(started: Started, shop: Path) -> None:
    client = started(shop, write_token=WRITE)
    for path, body in (("/events", event("ann", "mug")), ("/recommend", {"user_ids": ["ann"]})):
        assert "no log of live events" in post(client, path, body, 422)["error"]["message"]


def test_a_database_that_fails_is_an_answer_without_its_url(client: TestClient, database: str) -> None:
    with EventLog.open(database) as log, log.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE commonspace_events")
    error = post(client, "/recommend", {"user_ids": ["ann"]}, 503)["error"]
    assert error["type"] == "EventsError"
    assert "hidden-word" not in str(error)
