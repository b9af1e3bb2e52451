"""`GET /items`: pages, items that are named, and their vectors."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval import Retriever
from retrieval.serving.engine import answering


def items_of(client: TestClient, status: int = 200, **query: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = client.get("/items", params=query)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_items_that_are_named_keep_their_order(client: TestClient) -> None:
    named = ["red-shoe", "blue-mug", "red-mug", "blue-mug"]
    body = items_of(client, ids=named, attributes="price")
    assert [item["item_id"] for item in body["items"]] == named
    assert body["next_cursor"] is None
    assert "unknown" not in body
    for item in body["items"]:
        alone = client.get(f"/items/{item['item_id']}", params={"attributes": "price"}).json()["item"]
        assert item == alone


def test_items_that_are_not_there_are_named(client: TestClient) -> None:
    body = items_of(client, ids=["nope", "red-mug", "a,b"])
    assert [item["item_id"] for item in body["items"]] == ["red-mug"]
    assert body["unknown"] == ["nope", "a,b"]
    assert body["notes"] == ["no item is named 'a,b'; if these are several items, repeat ids: ?ids=a&ids=b"]
    assert items_of(client, ids=["nope"])["items"] == []
    assert "notes" not in items_of(client, ids=["nope", "red-mug"])


@pytest.mark.parametrize(
    ("more", "said"),
    [({"cursor": "x"}, "ids and a cursor"), ({"where": "price < 9"}, "and where"), ({"limit": "100"}, "and a limit")],
)
def test_named_items_have_no_pages(client: TestClient, more: dict[str, str], said: str) -> None:
    """Not even a page of the usual length: it would seem to bound what is named."""
    error = items_of(client, 422, ids="red-mug", **more)["error"]
    assert said in error["message"]
    assert error["hint"] == "name items, or list them by pages"


def test_vectors_of_items(client: TestClient, retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    body = items_of(client, limit=5, vectors=True)
    rows = retriever.items.rows([item["item_id"] for item in body["items"]])
    for item, vector in zip(body["items"], retriever.vectors[rows].tolist(), strict=True):
        assert item["vector"] == pytest.approx(vector, abs=1e-6)
    assert "vector" not in items_of(client, limit=5)["items"][0]
    monkeypatch.setattr(answering, "MAX_VECTOR_NUMBERS", 4 * retriever.vectors.shape[1])
    assert items_of(client, limit=4, vectors=True)["items"]
    assert "leave vectors out" in items_of(client, 422, limit=5, vectors=True)["error"]["hint"]
    assert "leave vectors out" in items_of(client, 422, ids=["red-mug"] * 5, vectors=True)["error"]["hint"]
