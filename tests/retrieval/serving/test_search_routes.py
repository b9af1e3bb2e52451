"""Routes for search: their answers are those of the verbs in Python, and nothing in a request opens a file."""

import base64
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval import Candidates, Query, Retriever
from retrieval.postprocess.rules import Rules
from tests.toy import picture


def hits_of(candidates: Candidates) -> list[list[tuple[str, int, Any]]]:
    return [[(hit.item_id, hit.rank, pytest.approx(hit.score, abs=1e-5)) for hit in hits] for hits in candidates]


def hits_in(body: dict[str, Any]) -> list[list[tuple[str, int, float]]]:
    return [[(hit["item_id"], hit["rank"], hit["score"]) for hit in one["hits"]] for one in body["results"]]


def test_texts_are_answered_as_in_python(client: TestClient, retriever: Retriever) -> None:
    texts = ["red mug", "a blue lamp", "white"]
    body = client.post("/search", json={"texts": texts, "k": 4}).json()
    assert hits_in(body) == hits_of(retriever.search_texts(texts, 4))
    assert [one["query_id"] for one in body["results"]] == ["0", "1", "2"]
    assert body["generation"] == retriever.bundle.state.generation
    assert body["change"] == 0


def test_a_batch_is_as_one_by_one(client: TestClient) -> None:
    texts = [f"{colour} {shape}" for colour in ("red", "blue") for shape in ("mug", "shoe", "lamp")]
    batch = hits_in(client.post("/search", json={"texts": texts}).json())
    singles = [hits_in(client.post("/search", json={"texts": [text]}).json())[0] for text in texts]
    assert [[item for item, *_ in hits] for hits in batch] == [[item for item, *_ in hits] for hits in singles]


def test_composed_queries_as_parts_and_as_text(client: TestClient, retriever: Retriever) -> None:
    expected = hits_of(retriever.search([2 * Query.text("red mug") - Query.item("red-shoe")], 5))
    parts = {"parts": [{"text": "red mug", "weight": 2}, {"item": "red-shoe", "weight": -1}]}
    body = client.post("/search", json={"queries": [parts, "2:red mug - item:red-shoe"], "k": 5}).json()
    assert hits_in(body) == expected * 2


def test_pictures_in_base64(client: TestClient, retriever: Retriever) -> None:
    file = picture("blue")
    body = client.post("/search", json={"images": [base64.b64encode(file).decode()], "k": 3}).json()
    assert hits_in(body) == hits_of(retriever.search_images([file], 3))


def test_filters_steps_and_scores_of_stages(client: TestClient, retriever: Retriever) -> None:
    rules = [{"rule": "boost", "where": "price > 20", "by": 0.5}]
    found = retriever.search_texts(["red"], 200, where=["price < 40"])
    varied = retriever.diversify(found, strength=0.5)
    expected = retriever.apply_rules(varied, Rules.from_list(rules), 4)
    request = {
        "texts": ["red"],
        "k": 4,
        "where": [["price", "<", 40]],
        "diversify": {"strength": 0.5},
        "rules": rules,
        "attributes": ["price"],
    }
    body = client.post("/search", json=request).json()
    assert hits_in(body) == hits_of(expected)
    hit = body["results"][0]["hits"][0]
    assert set(hit["scores"]) == {"retrieve", "diversify", "rules"}
    row = retriever.items.row(hit["item_id"])
    assert hit["scores"]["retrieve"] == pytest.approx(float(found.scores[0][found.rows[0] == row][0]))
    assert all(one["attributes"]["price"] < 40 for one in body["results"][0]["hits"])


def test_reasons_and_verdict(client: TestClient) -> None:
    request = {"queries": ["red mug - shoe"], "k": 2, "explain": True, "verdict": True}
    (result,) = client.post("/search", json=request).json()["results"]
    for hit in result["hits"]:
        parts = hit["why"]["parts"]
        assert [part["weight"] for part in parts] == [1.0, -1.0]
        assert sum(part["score"] for part in parts) == pytest.approx(hit["score"], abs=1e-5)
    assert 0 <= result["verdict"]["probability"] <= 1
    assert isinstance(result["verdict"]["good"], bool)


def test_vectors_and_attributes_only_when_asked_for(client: TestClient, retriever: Retriever) -> None:
    (hit,) = client.post("/search", json={"texts": ["red mug"], "k": 1}).json()["results"][0]["hits"]
    assert "vector" not in hit
    assert "attributes" not in hit
    request = {"texts": ["red mug"], "k": 1, "vectors": True, "attributes": "all"}
    (hit,) = client.post("/search", json=request).json()["results"][0]["hits"]
    row = retriever.items.row(hit["item_id"])
    assert hit["vector"] == pytest.approx(retriever.vectors[row].tolist())
    assert hit["attributes"]["tags"] == hit["item_id"].split("-")


@pytest.mark.parametrize("text", ["/etc/passwd", "image:/etc/passwd", "http://127.0.0.1:1/x.png", "./x.png"])
def test_a_text_is_a_text(client: TestClient, retriever: Retriever, text: str) -> None:
    assert hits_in(client.post("/search", json={"texts": [text]}).json()) == hits_of(retriever.search_texts([text]))


@pytest.mark.parametrize("query", ["image:{}", "red mug - {}", "audio:{}", "{}"])
def test_a_written_query_opens_no_file(client: TestClient, tmp_path: Path, query: str) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    answer = client.post("/search", json={"queries": [query.format(path)]})
    assert answer.status_code == 422
    assert "opens none" in answer.json()["error"]["message"]


def test_similar_items(client: TestClient, retriever: Retriever) -> None:
    expected = retriever.similar_items(["red-mug", "blue-shoe"], 3, where=["price > 5"])
    body = client.post("/similar", json={"item_ids": ["red-mug", "blue-shoe"], "k": 3, "where": ["price > 5"]}).json()
    assert hits_in(body) == hits_of(expected)
    assert [one["query_id"] for one in body["results"]] == ["red-mug", "blue-shoe"]


def test_recommendations_are_those_of_python(client: TestClient, retriever: Retriever) -> None:
    histories = [["red-mug", "red-shoe"], [], ["blue-lamp"]]
    expected = retriever.recommend(histories, 4)
    body = client.post("/recommend", json={"histories": histories, "k": 4, "explain": True}).json()
    assert hits_in(body) == hits_of(expected)
    sources = [[hit["source"] for hit in one["hits"]] for one in body["results"]]
    assert sources == [[hit.source for hit in hits] for hits in expected]
    assert {one["item_id"] for one in body["results"][0]["hits"][0]["why"]["history"]} <= {"red-mug", "red-shoe"}


def test_what_is_unusual_is_a_note(client: TestClient) -> None:
    body = client.post("/search", json={"texts": ["red"], "where": [["title", "=", "none such"]]}).json()
    assert body["results"][0]["hits"] == []
    assert any("none such" in note for note in body["notes"])
    assert "notes" not in client.post("/search", json={"texts": ["red"]}).json()
