"""Items of histories and users that are not known: they are left out with a note, as Python answers without them."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from indexing.errors import UnknownItemError
from retrieval import Retriever
from retrieval.serving.insight.tastes import tastes_of
from tests.retrieval.serving.conftest import WRITE, Started
from tests.retrieval.serving.mcp.conftest import Assistant, Hire, assistant, hired  # noqa: F401 - fixtures
from tests.retrieval.serving.mcp.conftest import hits_in as hits_of_tool
from tests.retrieval.serving.test_search_routes import hits_in, hits_of

GIVEN = [["nope", "red-mug", "gone"], ["red-shoe"], ["nope"], []]
KNOWN = [["red-mug"], ["red-shoe"], [], []]
NOTE = "3 items of 2 histories are not in this bundle, e.g. 'nope', 'gone'; they are left out"


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_items_of_histories(client: TestClient, retriever: Retriever) -> None:
    body = post(client, "/recommend", histories=GIVEN, k=4)
    assert hits_in(body) == hits_of(retriever.recommend(KNOWN, 4))
    assert body["notes"] == [NOTE]
    assert "notes" not in post(client, "/recommend", histories=KNOWN, k=4)
    with pytest.raises(UnknownItemError, match="'nope'"):
        retriever.recommend(GIVEN, 4)


@pytest.mark.filterwarnings("ignore::indexing.errors.CommonspaceWarning")
def test_weights_and_times_go_with_them(client: TestClient, retriever: Retriever) -> None:
    given, known = [["red-mug", "nope", "blue-lamp"], ["nope"]], [["red-mug", "blue-lamp"], []]
    last, at = ["2024-05-01", "2024-05-01"], "2024-06-01"
    body = post(client, "/recommend", histories=given, weights=[[1.0, 9.0, 3.0], [2.0]], times=at, last_times=last, k=4)
    expected = retriever.recommend(known, 4, weights=[[1.0, 3.0], []], times=at, last_times=last)
    assert hits_in(body) == hits_of(expected)
    assert "2 items of 2 histories are not in this bundle, e.g. 'nope'; they are left out" in body["notes"]
    error = post(client, "/recommend", 422, histories=given, weights=[[1.0, 3.0], [2.0]])["error"]
    assert error["message"] == "history 0 has 3 items and 2 weights"
    error = post(client, "/recommend", 422, histories=given, weights=[[1.0, 3.0, 2.0]])["error"]
    assert error["message"] == "weights has 1 values for 2 users"


def test_items_of_the_history_of_tastes(client: TestClient, retriever: Retriever) -> None:
    body = post(client, "/tastes", history=["nope", "red-mug", "blue-mug"], weights=[5.0, 2.0, -1.0], k=3)
    expected = tastes_of(retriever, ["red-mug", "blue-mug"], [2.0, -1.0], 3)
    assert (body["near"], body["far"]) == (expected["near"], expected["far"])
    assert body["near"]
    assert body["notes"] == ["1 item of 1 history is not in this bundle, e.g. 'nope'; it is left out"]
    assert post(client, "/tastes", history=["nope"])["near"] == []


@pytest.mark.parametrize("baskets", [[["nope"], ["red-mug", "nope"], ["blue-lamp"]], [["nope"], ["nope"]]])
def test_items_of_baskets(client: TestClient, retriever: Retriever, baskets: list[list[str]]) -> None:
    body = post(client, "/complements", baskets=baskets, k=3)
    known = [[item for item in basket if item != "nope"] for basket in baskets]
    expected = [hits_of(retriever.complements([basket], 3))[0] if basket else [] for basket in known]
    assert hits_in(body) == expected
    assert [one["query_id"] for one in body["results"]] == list(map(str, range(len(baskets))))
    assert body["notes"] == ["2 items of 2 baskets are not in this bundle, e.g. 'nope'; they are left out"]


def test_items_of_histories_of_rerank_but_not_its_candidates(client: TestClient) -> None:
    names = ["blue-mug", "red-shoe", "green-lamp"]
    body = post(client, "/rerank", histories=[["red-mug", "nope"]], candidates=[names])
    assert hits_in(body) == hits_in(post(client, "/rerank", histories=[["red-mug"]], candidates=[names]))
    assert body["notes"] == ["1 item of 1 history is not in this bundle, e.g. 'nope'; it is left out"]
    for path, asked in (
        ("/rerank", {"histories": [["red-mug"]], "candidates": [["nope"]]}),
        ("/next-items", {"item_ids": ["nope"]}),
        ("/similar", {"item_ids": ["nope"]}),
    ):
        assert post(client, path, 422, **asked)["error"]["type"] == "UnknownItemError"


def test_histories_of_tools(assistant: Assistant) -> None:  # noqa: F811
    note = "1 item of 1 history is not in this bundle, e.g. 'nope'; it is left out"
    for tool, more in (("recommend", {}), ("explain", {"item_ids": ["blue-mug", "red-shoe"]})):
        answer, text = assistant.answer(tool, history=["red-mug", "nope"], **more)
        assert hits_of_tool(answer) == hits_of_tool(assistant.answer(tool, history=["red-mug"], **more)[0])
        assert answer["notes"] == [note]
        assert f"Note: {note}" in text


@pytest.fixture
def live(started: Started, shop: Path, tmp_path: Path) -> TestClient:
    """A service with events of ann, and of bob with an item that the bundle lacks."""
    client = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", write_token=WRITE)
    client.headers["authorization"] = f"Bearer {WRITE}"
    events = [
        {"user_id": user, "item_id": item, "type": "like"}
        for user, item in (("ann", "red-mug"), ("ann", "red-shoe"), ("bob", "gone"))
    ]
    post(client, "/events", events=events)
    return client


def test_users_without_events_are_in_no_list(live: TestClient) -> None:
    asked: dict[str, Any] = {"item_ids": ["red-lamp", "blue-chair"], "k": 3}
    body = post(live, "/users-for", **asked, user_ids=["zed", "ann", "bob", "zed"])
    note = "2 of 3 users have no event with an item of this bundle, e.g. 'zed', 'bob'; they are in no list"
    assert body["notes"][0] == note
    alone = post(live, "/users-for", **asked, user_ids=["ann"])
    assert body["results"] == alone["results"]
    assert [[hit["user_id"] for hit in one["users"]] for one in alone["results"]] == [["ann"], ["ann"]]


@pytest.mark.parametrize("users", [["zed"], ["bob"], ["zed", "bob"]])
def test_unknown_users_alone_have_empty_lists(live: TestClient, users: list[str]) -> None:
    body = post(live, "/users-for", item_ids=["red-lamp"], user_ids=users)
    assert body["results"] == [{"item_id": "red-lamp", "users": []}]
    (note,) = body["notes"]
    assert f"{len(users)} of {len(users)} users have no event" in note
    assert post(live, "/users-for", 422, item_ids=["nope"], user_ids=users)["error"]["type"] == "UnknownItemError"
    error = post(live, "/users-for", 422, item_ids=["red-lamp"], user_ids=users, times="soon")["error"]
    assert "times has 'soon'" in error["message"]


def test_weights_of_events_that_differ_are_named_in_short(live: TestClient) -> None:
    notes = post(live, "/users-for", item_ids=["red-lamp"], user_ids=["ann"])["notes"]
    (note,) = [note for note in notes if note.startswith("events weigh otherwise")]
    assert "view=0.1, pageview=0.1, click=0.1, impression_click=0.1 and " in note
    assert note.endswith("so that both count alike")
    assert len(note) < 350
