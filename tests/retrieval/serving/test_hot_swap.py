"""The service follows its bundle: no request fails, each is answered from one state, and old states are freed."""

import gc
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.testclient import TestClient

from indexing.bundle.edits.edit import add, delete
from indexing.bundle.generation import generations
from indexing.catalogue.catalogue import Catalogue
from retrieval.serving.engine.served_bundle import ServedBundle
from tests.retrieval.serving.conftest import Started
from tests.toy import ToyEncoder, toy_table

State = tuple[str, int]  # a generation, and the number of its last change


def put_twin(bundle: Path, name: str, encoder: ToyEncoder | None = None) -> None:
    twin = toy_table().slice(0, 1).set_column(0, "item_id", pa.array([name]))
    path = bundle.parent / f"{name}.parquet"
    pq.write_table(twin, path)
    add(bundle, Catalogue.from_parquet(path), encoder or ToyEncoder())


def follow(client: TestClient) -> bool:
    followed: bool = client.app.state.service.served.follow()  # type: ignore[attr-defined]
    return followed


def test_a_change_is_served(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    assert not follow(client)
    put_twin(own_shop, "twin")
    request = {"texts": ["red mug"], "k": 2}
    before = client.post("/search", json=request).json()
    assert follow(client)
    after = client.post("/search", json=request).json()
    assert (before["change"], after["change"]) == (0, 1)
    assert "twin" not in {hit["item_id"] for hit in before["results"][0]["hits"]}
    assert "twin" in {hit["item_id"] for hit in after["results"][0]["hits"]}
    assert client.get("/items/twin").status_code == 200


def test_the_service_looks_by_itself(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=0.01)
    put_twin(own_shop, "twin")
    for _ in range(1000):
        if client.get("/ready").json() and client.get("/items/twin").status_code == 200:
            return
    raise AssertionError("the twin was never served")


def test_a_damaged_state_is_not_served(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    (own_shop / "CURRENT").write_text("damaged")
    (own_shop / "CURRENT.copy").write_text("damaged")
    assert not follow(client)
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["problems"]
    assert client.post("/search", json={"texts": ["red mug"]}).status_code == 200


def swapped_under_load(client: TestClient, bundle: Path, swaps: int, names: Sequence[str | None]) -> set[State]:
    """Change a bundle while a thread for each generation asks, and give the states that answered.

    The twin of every second change is in answers of those states, and in no other; a generation that is named answers.
    """
    current = generations(bundle)[-1]
    ended, faults, seen = threading.Event(), list[str](), set[State]()

    def keep_asking(name: str | None) -> None:
        while not ended.is_set():
            body = {"texts": ["red mug"], "k": 20} | ({} if name is None else {"generation": name})
            answer = client.post("/search", json=body)
            if answer.status_code != 200:
                faults.append(answer.text)
                continue
            found = {hit["item_id"] for hit in answer.json()["results"][0]["hits"]}
            state = (answer.json()["generation"], answer.json()["change"])
            seen.add(state)
            if ("twin" in found) != (state[1] % 2 == 1) or state[0] != (name or current):
                faults.append(f"{state} has {sorted(found)}")

    threads = [threading.Thread(target=keep_asking, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for change in range(swaps):
        put_twin(bundle, "twin") if change % 2 == 0 else delete(bundle, ["twin"])
        assert follow(client)
    ended.set()
    for thread in threads:
        thread.join()
    assert not faults
    return seen


def test_swaps_under_load(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    seen = swapped_under_load(client, own_shop, 20, [None, None])
    assert len({change for _, change in seen}) > 2


def test_old_states_are_freed(own_shop: Path) -> None:
    served = ServedBundle(own_shop, ToyEncoder())
    old = weakref.ref(served.current.retriever)
    old.__call__().search_texts(["red"], 3)  # type: ignore[union-attr]
    put_twin(own_shop, "twin")
    assert served.follow()
    gc.collect()
    assert old() is None
    served.close()
