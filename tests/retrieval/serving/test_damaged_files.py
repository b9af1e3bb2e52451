"""A service says how far the files were compared, and is not ready once one is found to be damaged."""

import threading
from pathlib import Path

import pytest

from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete
from indexing.bundle.maintenance.watched_changes import WatchedChanges
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


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_change_that_is_damaged_while_it_is_served_is_told_before_an_edit_meets_it(
    started: Started, own_shop: Path, caplog: pytest.LogCaptureFixture, is_lost: bool
) -> None:
    delete(own_shop, ["red-mug"])
    client = started(own_shop, poll_seconds=3600)
    served, first = client.app.state.service.served, {"texts": ["red mug"], "k": 3}  # type: ignore[attr-defined]
    before = client.post("/search", json=first).json()["results"]
    served.follow()
    assert client.get("/ready").json()["status"] == "ready"
    (path,) = (own_shop / "log").glob("*.arrow")
    whole = path.read_bytes()
    path.unlink()
    if not is_lost:
        path.write_bytes(whole[:-1] + b"?")
    for _ in range(2):
        served.follow()
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    (problem,) = ready.json()["problems"]
    assert "lacks batch 1" in problem if is_lost else f"{path.name} is damaged" in problem
    assert problem.endswith("or run `commonspace repair --drop-changes`")
    assert str(own_shop) not in ready.text
    assert len(caplog.records) == 1
    assert 'commonspace_degraded{reason="bundle"} 1.0' in client.get("/metrics").text
    assert client.post("/search", json=first).json()["results"] == before
    with pytest.raises(DamagedFileError):
        delete(own_shop, ["red-shoe"])
    path.write_bytes(whole)
    served.follow()
    assert client.get("/ready").json()["status"] == "ready"
    delete(own_shop, ["red-shoe"])
    assert served.follow()
    assert client.get("/ready").json()["problems"] == []


def test_changes_that_were_folded_in_meanwhile_are_not_missed(own_shop: Path) -> None:
    delete(own_shop, ["red-mug"])
    bundle, changes = Bundle.open(own_shop), WatchedChanges()
    assert changes.damage(bundle) is None
    for path in (own_shop / "log").glob("*.arrow"):
        path.write_bytes(b"damage")
    assert "is damaged" in str(changes.damage(bundle))
    repair(own_shop, drop_changes=True)
    assert changes.damage(bundle) is None
    assert changes.damage(Bundle.open(own_shop)) is None


def test_a_small_bundle_is_compared_before_the_first_answer(started: Started, shop: Path) -> None:
    files = started(shop).get("/ready").json()["files"]
    assert (files["check"], files["checked"], files["bytes_checked"]) == ("all", files["files"], files["bytes"])
    with pytest.raises(InputError, match=r"check is 'none'"):
        ServiceConfig(shop, check="none")  # type: ignore[arg-type]
