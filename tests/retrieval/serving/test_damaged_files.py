"""A service says how far the files were compared, and is not ready once one is found to be damaged."""

import threading
from pathlib import Path

import pytest

from indexing.bundle.bundle import Bundle
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem import file_checks, fsops
from retrieval.retriever.learned_parts import repair
from retrieval.serving import ServiceConfig
from tests.retrieval.serving.conftest import Started


def test_damage_that_the_background_finds_ends_the_answers_until_it_is_mended(
    started: Started, own_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_checks, "SMALL_BYTES", 0)
    folder, whole, hold = Bundle.open(own_shop).folder, fsops.sha256, threading.Event()
    damaged = folder / "promise.safetensors"
    damaged.write_bytes(bytes(damaged.stat().st_size))

    def held(path: Path) -> str:
        hold.wait(60)
        return whole(path)

    monkeypatch.setattr(fsops, "sha256", held)
    client = started(own_shop, check="background", poll_seconds=3600)
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["problems"]) == (200, "ready", [])
    assert (ready.json()["files"]["check"], ready.json()["files"]["checked"]) == ("background", 0)
    assert client.post("/similar", json={"item_ids": ["red-mug"]}).status_code == 200
    info = client.get("/info").json()
    assert (info["index"]["measured"], info["index"]["recall"]) == (False, {})
    assert info["files"] == client.get("/status").json()["files"] == ready.json()["files"]
    hold.set()
    service = client.app.state.service  # type: ignore[attr-defined]
    service.served.current.retriever.bundle.generation.checks.wait(60)
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "damaged")
    assert "promise.safetensors is damaged" in ready.json()["problems"][0]
    assert str(own_shop) not in ready.text
    refused = client.post("/similar", json={"item_ids": ["red-mug"]})
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "DamagedFileError")
    assert "promise.safetensors is damaged" in client.get("/status").json()["problems"][0]
    for path in (
        "/items",
        "/items/red-mug",
        "/items?ids=red-mug",
        "/facets",
        "/map",
        "/info",
        "/generations",
        "/metrics",
    ):
        status = 200 if path in ("/info", "/generations", "/metrics") else 503
        assert client.get(path).status_code == status, path
    for path, body in (
        ("/search", {"texts": ["red"], "mode": "words"}),
        ("/recommend", {"histories": [[]]}),
        ("/complements", {"baskets": [["red-mug"]]}),
        ("/next-items", {"item_ids": ["red-mug"]}),
        ("/trending", {"order": "popular"}),
        ("/rerank", {"texts": ["red"], "candidates": [["red-mug"]]}),
        ("/tastes", {"history": []}),
    ):
        assert client.post(path, json=body).status_code == 503, path
    with pytest.raises(DamagedFileError, match=r"promise\.safetensors is damaged"):
        service.served.current.retriever.top_items("popular")
    monkeypatch.setattr(fsops, "sha256", whole)
    repair(own_shop)
    assert service.served.follow()
    assert service.served.files.check == "background"
    assert client.get("/ready").json()["status"] == "ready"
    assert client.post("/similar", json={"item_ids": ["red-mug"]}).status_code == 200


def test_a_small_bundle_is_compared_before_the_first_answer(started: Started, shop: Path) -> None:
    files = started(shop).get("/ready").json()["files"]
    assert (files["check"], files["checked"], files["bytes_checked"]) == ("all", files["files"], files["bytes"])
    with pytest.raises(InputError, match=r"check is 'none'"):
        ServiceConfig(shop, check="none")  # type: ignore[arg-type]
