"""What a request may be: limits at their edge, wrong values, and errors that name them."""

import base64
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from indexing.errors import InputError
from retrieval import Retriever
from retrieval.serving import Limits
from retrieval.serving.config import MAX_BATCH, MAX_FILTER_VALUES, MAX_HITS, MAX_K, MAX_TEXT_BYTES
from retrieval.serving.engine import answering
from retrieval.serving.engine.answering import check_size
from tests.retrieval.serving.conftest import Started
from tests.toy import picture


def error_of(answer: Response) -> dict[str, str]:
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"type", "message", "hint", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


@pytest.mark.parametrize("body", [
    {"texts": ["red"], "k": MAX_K},
    {"texts": ["red"] * MAX_BATCH, "k": MAX_HITS // MAX_BATCH},
    {"texts": ["r" * MAX_TEXT_BYTES]},
    {"texts": ["red"], "where": [["price", "in", list(range(MAX_FILTER_VALUES))]]},
])  # fmt: skip
def test_up_to_the_limit(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/search", json=body).status_code == 200


@pytest.mark.parametrize(("body", "place"), [
    ({"texts": ["red"], "k": MAX_K + 1}, "k"),
    ({"texts": ["red"], "k": 0}, "k"),
    ({"texts": ["red"], "k": -1}, "k"),
    ({"texts": ["red"], "k": 2**63}, "k"),
    ({"texts": ["red"], "k": 10.0}, "k"),
    ({"texts": ["red"], "k": True}, "k"),
    ({"texts": ["red"], "k": "10"}, "k"),
    ({"texts": []}, "texts"),
    ({"texts": ["red"] * (MAX_BATCH + 1)}, "texts"),
    ({"texts": ["r" * (MAX_TEXT_BYTES + 1)]}, "texts.0"),
    ({"texts": ["ü" * (MAX_TEXT_BYTES // 2 + 1)]}, "texts.0"),
    ({"texts": [""]}, "texts.0"),
    ({"texts": ["red"], "where": [["price", "in", list(range(MAX_FILTER_VALUES + 1))]]}, "where.0"),
    ({"texts": ["red"], "where": [{"price": 3}]}, "where.0"),
    ({"texts": ["red"], "num_candidates": 10_001}, "num_candidates"),
    ({"texts": ["red"], "unknown": 1}, "unknown"),
    ({"texts": ["red"], "queries": ["red"]}, "exactly one"),
    ({}, "exactly one"),
    ({"images": ["not base64!"]}, "base64"),
    ({"queries": [{"parts": [{"text": "red", "item": "red-mug"}]}]}, "exactly one"),
    ({"queries": [{"parts": [{"vector": [1.0]}]}]}, "vector"),
    ({"texts": ["red"], "attributes": ["none"]}, "none"),
    ({"texts": ["red"], "where": ["colour = red"]}, "colour"),
    ({"texts": ["red"], "rules": [{"rule": "none"}]}, "none"),
    ({"texts": [" "]}, "nothing to search for"),
    ({"images": ["AAAA"]}, "picture 0"),
    ({"sounds": ["AAAA"]}, "audio"),
])  # fmt: skip
def test_beyond_it_is_refused_with_the_place(client: TestClient, body: dict[str, Any], place: str) -> None:
    answer = client.post("/search", json=body)
    assert answer.status_code == 422
    assert place in error_of(answer)["message"]


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff\xfe", b'{"texts": ["\\ud800"]}', b"null", b""])
def test_what_is_no_json_of_this_kind(client: TestClient, content: bytes) -> None:
    answer = client.post("/search", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    error_of(answer)


@pytest.mark.parametrize("field", ["explain", "rerank", "verdict"])
def test_what_needs_vectors_is_refused_in_a_search_by_words(client: TestClient, field: str) -> None:
    answer = client.post("/search", json={"texts": ["red"], "mode": "words", field: True})
    assert answer.status_code == 422
    assert f"{field} needs the vectors of queries" in error_of(answer)["message"]


def test_reasons_of_similar_items_are_no_field(client: TestClient) -> None:
    answer = client.post("/similar", json={"item_ids": ["red-mug"], "explain": True})
    assert answer.status_code == 422
    assert "explain: there is no such field" in error_of(answer)["message"]


def test_a_body_that_is_too_large(started: Started, shop: Path) -> None:
    client = started(shop, limits=Limits(body_bytes=1_000))
    answer = client.post("/search", json={"texts": ["r" * 1_000]})
    assert answer.status_code == 413
    assert "1000 bytes" in error_of(answer)["message"]
    chunks = (b"x" * 100 for _ in range(100))  # no length is told
    answer = client.post("/search", content=chunks, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    error_of(answer)


def test_unknown_items(client: TestClient) -> None:
    answer = client.post("/similar", json={"item_ids": ["nope"]})
    assert (answer.status_code, error_of(answer)["type"]) == (422, "UnknownItemError")
    answer = client.get("/items/nope")
    assert (answer.status_code, error_of(answer)["type"]) == (404, "UnknownItemError")
    assert client.get("/nowhere").status_code == 404
    assert client.get("/search").status_code == 405


def test_request_ids(client: TestClient) -> None:
    body = client.post("/search", json={"texts": ["red"]}, headers={"x-request-id": "my-request-1"}).json()
    assert body["request_id"] == "my-request-1"
    answer = client.post("/search", json={"texts": ["red"]}, headers={"x-request-id": "a b<script>"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] != "a b<script>"


def test_a_failure_says_nothing_of_the_query(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("marker-of-a-query")

    monkeypatch.setattr("retrieval.retriever.retriever.Retriever.search", fail)
    answer = client.post("/search", json={"texts": ["marker-of-a-query"]})
    assert (answer.status_code, error_of(answer)["type"]) == (500, "InternalError")
    assert "RuntimeError" in caplog.text
    assert "marker" not in caplog.text + answer.text


WHEN: list[int | float | str] = [
    1_717_243_200, 1_717_243_200.25, 1_717_243_200_000, 20_240_601_120_000,
    "2024-06-01T12:00:00", "2024-06-01 14:00+02:00",
]  # fmt: skip
LISTS = {"histories": [["red-mug", "red-shoe"], []], "k": 5}


@pytest.mark.filterwarnings("ignore::indexing.errors.CommonspaceWarning")
def test_times_are_read_as_in_python(client: TestClient, retriever: Retriever) -> None:
    """All of these are the same time; `last_times` of an empty history is not read."""
    expected = retriever.recommend(
        LISTS["histories"],
        5,
        times=WHEN[0],
        last_times=["2024-05-01", None],
    )
    scores = [[(hit.item_id, pytest.approx(hit.score, rel=1e-5)) for hit in hits] for hits in expected]
    for when in WHEN:
        for times in (when, [when, "2024-06-01T12:00Z"]):
            body = {**LISTS, "times": times, "last_times": [1_714_521_600_000, None]}
            answer = client.post("/recommend", json=body)
            assert answer.status_code == 200, answer.text
            found = [[(hit["item_id"], hit["score"]) for hit in one["hits"]] for one in answer.json()["results"]]
            assert found == scores, when
    assert client.post("/recommend", json={**LISTS, "times": "now", "last_times": "in_visit"}).status_code == 200


@pytest.mark.parametrize(("more", "message"), [
    ({"times": "yesterday"}, "times has 'yesterday', which cannot be read as a time; give a date or a time like"),
    ({"times": ["2024-06-01", -1]}, "times has -1 at position 1 (from 0), which cannot be read"),
    ({"times": ["2024-06-01"]}, "times has 1 values for 2 users; give one for each user"),
    ({"times": 10**30}, "which cannot be read as a time"),
    ({"times": True}, "times: this is no time; give a date or a time like 2024-06-01"),
    ({"times": {"at": 1}}, "times: this is no time"),
    ({"times": [[1]]}, "times: this is no time"),
    ({"times": []}, "times: the list has 0 times; give 1 to 256"),
    ({"times": "2" * 65}, "times: a time has 65 characters; give at most 64"),
    ({"times": 1, "last_times": ["x", None]}, "last_times has 'x' at position 0 (from 0)"),
])  # fmt: skip
def test_what_is_no_time_is_named(client: TestClient, more: dict[str, Any], message: str) -> None:
    answer = client.post("/recommend", json={**LISTS, **more})
    assert answer.status_code == 422
    error = error_of(answer)
    assert message in f"{error['message']}; {error['hint']}"


def test_items_by_pages(client: TestClient) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get("/items", params={"limit": 7, "cursor": cursor, "attributes": "price"}).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert len(seen) == len({item["item_id"] for item in seen}) == 20
    assert seen[0] == {"item_id": "red-mug", "title": "red mug", "attributes": {"price": 3}}
    cheap = client.get("/items", params={"where": "price < 6"}).json()["items"]
    assert [item["item_id"] for item in cheap] == ["red-mug", "green-mug", "blue-mug", "white-mug"]
    assert client.get("/items", params={"cursor": "Zm9vOjM="}).status_code == 410


def test_health_and_info(client: TestClient) -> None:
    assert client.get("/live").json() == {"status": "live"}
    ready = client.get("/ready").json()
    assert (ready["status"], ready["problems"]) == ("ready", [])
    info = client.get("/info").json()
    assert (info["items"], info["encoder"]["name"], info["writes"]) == (20, "toy", False)
    assert info["learned"]["behaviour"] is True


def test_limits_of_pictures_are_those_of_the_service(started: Started, shop: Path) -> None:
    file = base64.b64encode(picture("red")).decode()  # 64 pixels
    assert started(shop).post("/search", json={"images": [file]}).status_code == 200
    for limits, what in ((Limits(image_pixels=50), "50 pixels"), (Limits(image_bytes=20), "limit of 20")):
        answer = started(shop, limits=limits).post("/search", json={"images": [file]})
        assert answer.status_code == 422
        assert "picture 0" in error_of(answer)["message"]
        assert what in error_of(answer)["message"]


@pytest.mark.parametrize(("path", "body"), [
    ("search", {"texts": ["red"] * 256}),
    ("similar", {"item_ids": ["red-mug"] * 256}),
    ("recommend", {"histories": [["red-mug"]] * 256}),
    ("complements", {"baskets": [["red-mug"]] * 256}),
    ("next-items", {"item_ids": ["red-mug"] * 256}),
    ("rerank", {"texts": ["red"] * 256, "candidates": [["red-mug"]] * 256}),
    ("users-for", {"item_ids": ["red-mug"] * 256, "user_ids": ["ann"]}),
])  # fmt: skip
def test_hits_of_all_queries_are_bounded(client: TestClient, path: str, body: dict[str, Any]) -> None:
    answer = client.post(f"/{path}", json=body | {"k": 126})
    assert answer.status_code == 422
    error = error_of(answer)
    assert error["message"] == (
        "256 queries, users or items with a k of 126 ask for up to 32256 hits, and an answer has at most 32000"
    )
    assert error["hint"] == "give at most 253 of them, or a smaller k"


def test_numbers_of_vectors_are_bounded(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MAX_VECTOR_NUMBERS", 16_000)
    dim = retriever.vectors.shape[1]
    most = 16_000 // dim
    check_size(retriever, most, 1, vectors=True)
    check_size(retriever, most + 1, 1)
    with pytest.raises(InputError, match=f"ask for up to {most + 1} hits with vectors of {dim} .*at most {most} hits"):
        check_size(retriever, most + 1, 1, vectors=True)


def test_caps_without_a_cap_are_refused(client: TestClient) -> None:
    answer = client.post("/search", json={"texts": ["red"], "diversify": {"method": "caps"}})
    assert answer.status_code == 422
    assert "method 'caps' needs caps" in error_of(answer)["message"]


@pytest.mark.parametrize("path", ["/", "/live", "/ready"])
def test_balancers_may_ask_by_head(client: TestClient, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (200, got.headers["content-type"])
    assert "head" not in client.get("/openapi.json").json()["paths"].get(path, {})
