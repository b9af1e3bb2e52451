"""Complements, next items, what is trending, reranking, uploads and users of the live log, each as in Python."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from indexing.arrays import Vectors
from retrieval import Retriever
from retrieval.retriever import search as searching
from retrieval.serving.engine.cross_encoding import OneAtATime
from retrieval.serving.events import Event, EventLog
from tests.retrieval.serving.conftest import WRITE, Started
from tests.retrieval.serving.test_search_routes import hits_in, hits_of
from tests.toy import picture


def test_complements_and_next_items(client: TestClient, retriever: Retriever) -> None:
    baskets = [["red-mug"], ["blue-shoe", "blue-lamp"]]
    body = client.post("/complements", json={"baskets": baskets, "k": 3}).json()
    assert hits_in(body) == hits_of(retriever.complements(baskets, 3))
    body = client.post("/next-items", json={"item_ids": ["red-mug"], "k": 3}).json()
    assert hits_in(body) == hits_of(retriever.next_items(["red-mug"], 3))


@pytest.mark.parametrize("request_", [
    {"order": "popular"}, {"order": "trending", "where": ["price > 5"]}, {"order": "newest", "date": "price"},
    {"order": "popular", "by": "price"},
])  # fmt: skip
def test_top_items(client: TestClient, retriever: Retriever, request_: dict[str, Any]) -> None:
    body = client.post("/trending", json={**request_, "k": 4}).json()
    expected = retriever.top_items(k=4, **request_)
    assert hits_in(body) == hits_of(expected)
    assert [one["query_id"] for one in body["results"]] == list(expected.query_ids)


def test_rerank_for_texts_is_by_the_exact_score(client: TestClient, retriever: Retriever) -> None:
    names = ["blue-mug", "red-mug", "red-shoe"]
    body = client.post("/rerank", json={"texts": ["red mug"], "candidates": [names], "explain": True}).json()
    scores = retriever.vectors[retriever.items.rows(names)] @ retriever.encoder.encode_texts(["red mug"])[0]
    best = np.argsort(-scores)
    hits = body["results"][0]["hits"]
    assert [hit["item_id"] for hit in hits] == [names[at] for at in best]
    assert [hit["score"] for hit in hits] == pytest.approx(scores[best].tolist(), abs=1e-5)
    assert hits[0]["why"]["parts"][0]["score"] == pytest.approx(hits[0]["score"], abs=1e-5)


def test_rerank_for_histories_is_by_the_head(client: TestClient, retriever: Retriever) -> None:
    histories = [["red-mug", "red-shoe"], ["blue-lamp"]]
    pool = retriever.pool(histories)
    names = [[hit.item_id for hit in hits] for hits in pool]
    expected = retriever.rerank(pool, 5)
    body = client.post("/rerank", json={"histories": histories, "candidates": names, "k": 5}).json()
    assert [hit["stage"] for hit in body["results"][0]["hits"]] == ["rerank"] * 5
    assert [{hit["item_id"] for hit in one["hits"]} for one in body["results"]] == [
        {hit.item_id for hit in hits} for hits in expected
    ]


def first_of_each(items: list[str], alike: Callable[[str, str], bool]) -> dict[str, list[str]]:
    """The items that are like none before them, each with those after it that are like it."""
    shown: dict[str, list[str]] = {}
    for item in items:
        leader = next((one for one in shown if alike(one, item)), None)
        if leader is None:
            shown[item] = []
        else:
            shown[leader].append(item)
    return shown


@pytest.mark.parametrize("asked", [{"texts": ["red mug"]}, {"histories": [["red-lamp", "red-chair"]]}])
def test_candidates_are_filtered_and_variants_shown_once(
    client: TestClient, retriever: Retriever, asked: dict[str, Any]
) -> None:
    names = ["red-mug", "green-mug", "red-shoe", "green-shoe", "white-mug", "white-chair"]

    def ask(**more: Any) -> dict[str, list[str]]:  # noqa: ANN401 - any JSON
        answer = client.post("/rerank", json={**asked, "candidates": [names], **more})
        assert answer.status_code == 200
        return {hit["item_id"]: hit.get("folded") or [] for hit in answer.json()["results"][0]["hits"]}

    order = list(ask())
    assert sorted(order) == sorted(names)
    assert set(ask(where=["tags contains mug"])) == {"red-mug", "green-mug", "white-mug"}
    assert ask(where=["price > 1000"]) == {}
    prices = dict(zip(names, [3, 5, 13, 15, 5, 45], strict=True))
    table = retriever.bundle.attributes.select(["item_id", "price"]).to_pylist()
    assert prices.items() <= {one["item_id"]: one["price"] for one in table}.items()
    assert ask(group_by="price") == first_of_each(order, lambda one, other: prices[one] == prices[other])
    vectors = dict(zip(names, retriever.vectors[retriever.items.rows(names)], strict=True))
    expected = first_of_each(order, lambda one, other: bool(vectors[one] @ vectors[other] >= 0.5))
    assert 1 < len(expected) < len(names)
    assert ask(duplicates="collapse", min_similarity=0.5) == expected


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/search", {"texts": ["red mug"]}),
        ("/similar", {"item_ids": ["red-mug"]}),
        ("/recommend", {"histories": [["red-mug"]], "stages": "retrieval"}),
    ],
)
def test_a_note_says_where_near_duplicates_left_less_than_k(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, asked: dict[str, Any]
) -> None:
    monkeypatch.setattr(searching, "NEAR_DEPTH", 10)
    body = client.post(path, json={**asked, "k": 2, "duplicates": "collapse", "min_similarity": 1e-6}).json()
    assert len(body["results"][0]["hits"]) == 1  # all items are near to each other
    assert len(body["results"][0]["hits"][0]["folded"]) == 9
    assert body["notes"] == [
        "near-duplicates are sought among the best 10 candidates of a list, and 1 of 1 lists have fewer than 2 "
        "distinct hits there; raise min_similarity, or ask for fewer hits"
    ]


def test_rerank_refuses_what_it_cannot_order(client: TestClient) -> None:
    for body in (
        {"texts": ["red"], "candidates": [["red-mug", "red-mug"]]},
        {"texts": ["red"], "candidates": []},
        {"texts": ["red", "blue"], "candidates": [["red-mug"]]},
        {"texts": ["red"], "candidates": [["nope"]]},
        {"candidates": [["red-mug"]]},
        {"texts": ["red"], "candidates": [["red-mug"]], "cross_encoder": True},
        {"histories": [["red-shoe"]], "candidates": [["red-mug"]], "cross_encoder": True},
        {"texts": ["red"], "candidates": [["red-mug"]], "num_candidates": 5},
        {"texts": ["red"], "candidates": [["red-mug"]], "min_similarity": 0.5},
    ):
        assert client.post("/rerank", json=body).status_code == 422


class LongestFirst:
    """Scores a text by its length."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        return np.array([len(text) for _, text in pairs], np.float32)


def test_a_cross_encoder_orders_texts(client: TestClient) -> None:
    client.app.state.service.cross_encoder = OneAtATime(LongestFirst())  # type: ignore[attr-defined]
    body = client.post("/search", json={"texts": ["red mug"], "k": 3, "cross_encoder": True}).json()
    hits = body["results"][0]["hits"]
    assert {hit["item_id"] for hit in hits[:2]} == {"green-chair", "white-chair"}
    assert set(hits[0]["scores"]) == {"retrieve", hits[0]["stage"]}
    body = client.post(
        "/rerank", json={"texts": ["x"], "candidates": [["red-mug", "white-chair"]], "cross_encoder": True}
    ).json()
    assert [hit["item_id"] for hit in body["results"][0]["hits"]] == ["white-chair", "red-mug"]


def test_uploaded_pictures(client: TestClient, retriever: Retriever) -> None:
    files = [("image", ("../../etc/passwd", picture(colour), "text/html")) for colour in ("red", "blue")]
    answer = client.post("/search/upload", files=files, data={"request": '{"k": 2, "attributes": ["price"]}'})
    assert hits_in(answer.json()) == hits_of(retriever.search_images([picture("red"), picture("blue")], 2))
    assert all("price" in hit["attributes"] for one in answer.json()["results"] for hit in one["hits"])


@pytest.mark.parametrize(("files", "data", "what"), [
    ([], {}, "other: there is no such field"),
    ([("image", ("a", b"no picture"))], {}, "picture 0"),
    ([("image", ("a", b""))], {}, "picture 0"),
    ([("audio", ("a", b"no sound"))], {}, "audio"),
    ([("image", ("a", b"x")), ("audio", ("a", b"x"))], {}, "both"),
    ([("image", ("a", b"x"))] * 17, {}, "16"),
    ([("image", ("a", b"x"))], {"request": "{"}, "JSON"),
    ([("image", ("a", b"x"))], {"request": '{"texts": ["a"]}'}, "texts"),
])  # fmt: skip
def test_uploads_that_cannot_be_used(client: TestClient, files: list[Any], data: dict[str, str], what: str) -> None:
    answer = client.post("/search/upload", files=files or {"other": b"x"}, data=data)
    assert answer.status_code == 422
    assert what in answer.json()["error"]["message"]


@pytest.mark.filterwarnings("ignore::indexing.errors.CommonspaceWarning")
def test_users_of_the_live_log(started: Started, shop: Path, retriever: Retriever, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    now = int(time.time())
    events = [
        {"event_id": f"e{at}", "user_id": "ann", "session_id": "s1", "item_id": item, "type": "click", "time": now + at}
        for at, item in enumerate(["red-mug", "gone-from-here", "red-shoe"])
    ]
    with EventLog.open(url) as log:
        log.append(events)
        read = log.interactions_of(["ann"])
    of_nobody, of_ann = retriever.recommend([[]], 5), retriever.recommend(read, 5, user_ids=["ann"])
    returning = retriever.recommend(read, 5, user_ids=["ann"], times=now + 90_000)
    client = started(shop, events=url)
    request = {"user_ids": ["nobody", "ann"], "k": 5}
    body = client.post("/recommend", json=request).json()
    assert hits_in(body) == [hits_of(of_nobody)[0], hits_of(of_ann)[0]]
    assert [one["query_id"] for one in body["results"]] == ["nobody", "ann"]
    assert {hit["source"] for hit in body["results"][0]["hits"]} <= {"popular", "trending", "newest"}
    assert hits_in(client.post("/recommend", json={"session": "s1", "k": 5}).json()) == hits_of(of_ann)
    timed = client.post("/recommend", json={**request, "times": now + 90_000}).json()
    assert hits_in(timed)[1] == hits_of(returning)[0]
    found = client.post("/users-for", json={"item_ids": ["red-lamp"], "user_ids": ["ann", "nobody"]}).json()
    assert [user["user_id"] for user in found["results"][0]["users"]] == ["ann"]


def test_of_all_users_of_a_request_so_many_events_are_read(
    started: Started, shop: Path, database: str, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many events would take twice the memory, and more than the time of a request."""
    monkeypatch.setattr("retrieval.serving.engine.histories.MAX_EVENTS_READ", 5)
    monkeypatch.setattr("retrieval.serving.events.reading.CHUNK", 2)
    users = ("ann", "bob")
    log.append([Event(item, "view", user_id=user) for user in users for item in ("red-mug", "blue-mug", "red-shoe")])
    client = started(shop, events=database)
    for path, body in (("/recommend", {}), ("/users-for", {"item_ids": ["red-lamp"]})):
        error = client.post(path, json={**body, "user_ids": [*users, "eve"]}).json()["error"]
        assert error["message"].startswith("3 users have more than 5 events in all, of each the latest 10000")
        assert error["hint"] == "ask for fewer users at once"
        assert client.post(path, json={**body, "user_ids": ["ann", "eve"]}).status_code == 200
    assert log.interactions_of(users, most=6).table.equals(log.interactions_of(users).table)


def test_without_a_live_log_users_cannot_be_named(client: TestClient) -> None:
    for path, body in (
        ("/recommend", {"user_ids": ["ann"]}),
        ("/recommend", {"session": "s1"}),
        ("/users-for", {"item_ids": ["red-mug"], "user_ids": ["ann"]}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        assert "no log of live events" in answer.json()["error"]["message"]


def test_an_id_in_a_path_may_be_any_text(client: TestClient) -> None:
    answer = client.get("/items/a%2Fb%0Ac%20")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, r"no item 'a/b\nc ' is in this bundle")


@pytest.mark.parametrize(
    ("weights", "message"), [([[1e39, 1.0]], "weights[0][0] is 1e+39"), ([[1.0, -1e300]], "weights[0][1] is -1e+300")]
)
def test_weights_that_single_precision_cannot_hold(
    client: TestClient, weights: list[list[float]], message: str
) -> None:
    answer = client.post("/recommend", json={"histories": [["red-mug", "blue-book"]], "weights": weights})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == message


@pytest.mark.parametrize("more", [{}, {"by": "price"}, {"where": ["price > 5"]}])
def test_what_a_user_has_seen_is_left_out_of_what_is_popular(
    started: Started, shop: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    client = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", write_token=WRITE)
    client.headers["authorization"] = f"Bearer {WRITE}"
    asked: dict[str, Any] = {"order": "popular", "k": 1_000, **more}
    everything = hits_in(client.post("/trending", json=asked).json())
    seen = [hits[0][0] for hits in everything[:2]] if more else [hit[0] for hit in everything[0][:3]]
    events = [{"user_id": "ann", "item_id": item, "type": "view"} for item in [*seen, "gone"]]
    assert client.post("/events", json={"events": events}).status_code == 200
    expected = [[hit for hit in hits if hit[0] not in seen] for hits in everything]
    for whose in ({"user_id": "ann"}, {"history": [*seen, "nope"]}):
        found = hits_in(client.post("/trending", json=asked | whose).json())
        assert [[hit[0] for hit in hits] for hits in found if hits] == [
            [hit[0] for hit in hits] for hits in expected if hits
        ]
    assert hits_in(client.post("/trending", json=asked | {"user_id": "nobody"}).json()) == everything
    error = client.post("/trending", json=asked | {"user_id": "ann", "history": []}).json()["error"]
    assert error["message"] == "the request has user_id and history; give one of them"
