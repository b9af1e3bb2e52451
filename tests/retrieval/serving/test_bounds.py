"""What a request may cost beside its hits: candidates, pairs that are compared, and what is explained."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval import Retriever
from retrieval.serving.config import MAX_ALL_CANDIDATES
from retrieval.serving.engine import answering
from tests.retrieval.batch.shop import ITEMS
from tests.retrieval.serving.test_search_routes import hits_in, hits_of

MANY = {"k": 10, "num_candidates": 126}
STEPS = {"diversify": {"strength": 0.5}}
BURY = {"rule": "bury", "where": "price > 5"}


def refused(client: TestClient, path: str, body: dict[str, Any]) -> tuple[str, str]:
    answer = client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    return error["message"], error["hint"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/search", {"texts": ["red"] * 256, "rerank": True, **MANY}),
        ("/search", {"texts": ["red"] * 256, **STEPS, **MANY}),
        ("/similar", {"item_ids": ["red-mug"] * 256, "blend": {"price": 0.1}, **MANY}),
        ("/recommend", {"histories": [["red-mug"]] * 256, **STEPS, **MANY}),
        ("/recommend", {"histories": [["red-mug"]] * 256, "rules": [BURY], **MANY}),
    ],
)
def test_candidates_of_all_queries_are_bounded(client: TestClient, path: str, body: dict[str, Any]) -> None:
    message, hint = refused(client, path, body)
    assert message == (
        "256 queries, users or items choose from 32256 candidates in all, and a request has at most 32000"
    )
    assert hint == "give fewer of them, or at most 125 candidates for each"


def test_candidates_that_no_step_chooses_from_do_not_count(client: TestClient) -> None:
    assert client.post("/search", json={"texts": ["red"] * 256, **MANY}).status_code == 200


def test_candidates_to_rerank_are_bounded(client: TestClient) -> None:
    lists = [["red-mug"] * (MAX_ALL_CANDIDATES // 4 + 1)] * 4
    message, hint = refused(client, "/rerank", {"texts": ["red"] * 4, "candidates": lists})
    assert message.startswith("4 queries, users or items choose from 32004 candidates in all")
    assert hint.endswith("at most 8000 candidates for each")


@pytest.mark.parametrize(
    ("path", "body", "pairs", "what"),
    [
        ("/search", {"texts": ["red", "blue"], "k": 5, "num_candidates": 15, **STEPS}, 2 * 15 * 5, "diversify"),
        ("/rerank", {"texts": ["red"], "candidates": [ITEMS[:12]], "k": 4, **STEPS}, 12 * 4, "diversify"),
        ("/rerank", {"texts": ["red"], "candidates": [ITEMS[:12]], "k": 4, **STEPS, "rules": [BURY]}, 12**2, "div"),
        ("/search", {"texts": ["red"], "k": 8, "duplicates": "collapse"}, 8 * 4 * 8, "finding near-duplicates"),
        ("/similar", {"item_ids": ITEMS[:3], "k": 4, "duplicates": "collapse"}, 3 * 4 * 4 * 4, "finding near-"),
        ("/recommend", {"histories": [["red-mug"]], "k": 5, "duplicates": "collapse"}, 5 * 4 * 5, "finding near-"),
        (
            "/rerank",
            {"texts": ["red"] * 2, "candidates": [ITEMS[:12], ITEMS[:5]], "duplicates": "collapse"},
            12**2 + 5**2,
            "finding near-duplicates",
        ),
    ],
)
def test_pairs_that_are_compared_are_bounded(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    pairs: int,
    what: str,
) -> None:
    monkeypatch.setattr(answering, "MAX_COMPARED", pairs)
    assert client.post(path, json=body).status_code == 200
    monkeypatch.setattr(answering, "MAX_COMPARED", pairs - 1)
    message, hint = refused(client, path, body)
    assert message.startswith(what)
    assert f"compares {pairs} pairs of candidates, and a request has at most {pairs - 1}" in message
    assert hint == "ask for fewer hits, of fewer candidates, or for fewer queries at once"


PARTS = [{"text": "red"}, {"item": "blue-mug", "weight": -0.5}, {"text": "shoe"}]


@pytest.mark.parametrize(
    ("path", "body", "explained", "what"),
    [
        ("/search", {"texts": ["red", "blue"], "k": 5}, 2 * 5, "parts of queries"),
        ("/search", {"queries": [{"parts": PARTS}, "red"], "k": 5}, 4 * 5, "parts of queries"),
        ("/rerank", {"texts": ["red"], "candidates": [ITEMS[:6]]}, 6, "parts of queries"),
        ("/recommend", {"histories": [ITEMS[:3], [], ITEMS[5:6]], "k": 4}, 3 * 4 + 4, "items of histories"),
    ],
)
def test_what_is_explained_is_bounded(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    explained: int,
    what: str,
) -> None:
    monkeypatch.setattr(answering, "MAX_EXPLAINED", explained)
    assert client.post(path, json=body | {"explain": True}).status_code == 200
    monkeypatch.setattr(answering, "MAX_EXPLAINED", explained - 1)
    assert client.post(path, json=body).status_code == 200
    message, hint = refused(client, path, body | {"explain": True})
    assert message == f"explain weighs {explained} {what} for hits, and a request has at most {explained - 1}"
    assert hint == "ask for fewer hits, or explain fewer queries at once"


def test_bounds_are_told(client: TestClient) -> None:
    limits = client.get("/info").json()["limits"]
    assert {name: limits[name] for name in ("hits", "all_candidates", "compared", "explained")} == {
        "hits": 32_000,
        "all_candidates": 32_000,
        "compared": 4_000_000,
        "explained": 160_000,
    }


def test_near_duplicates_are_those_of_python(client: TestClient, retriever: Retriever) -> None:
    asked: dict[str, Any] = {"duplicates": "collapse", "min_similarity": 0.8}
    body = client.post("/search", json={"texts": ["red mug"], "k": 4, **asked}).json()
    assert hits_in(body) == hits_of(retriever.search_texts(["red mug"], 4, **asked))
