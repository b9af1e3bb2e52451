"""Metrics: stages add up, labels are of closed sets, counts are those of what was asked, gauges are of now."""

import asyncio
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from indexing.bundle.generation import generations
from indexing.bundle.maintenance.rollback import rollback
from indexing.errors import EventsBusyError
from retrieval.retriever.learned_parts import compact
from retrieval.serving import Limits
from retrieval.serving.app import ROUTERS
from retrieval.serving.engine.admission import Admission, Kind
from retrieval.serving.engine.metering import REASONS, Problem
from retrieval.serving.engine.request import CURRENT, RequestContext
from retrieval.serving.engine.stages import STAGES
from retrieval.serving.observability.metrics import IMPERSONAL, MOST_OWN_TYPES, Metrics
from tests.retrieval.batch.shop import shop_log
from tests.retrieval.serving.admin.conftest import ADMIN
from tests.retrieval.serving.admin.conftest import HEADERS as ADMIN_HEADERS
from tests.retrieval.serving.conftest import READ, WRITE, Started
from tests.retrieval.serving.observability.scraping import Samples, samples_of, scraped
from tests.retrieval.serving.test_hot_swap import follow, put_twin

SECONDS, STAGE_SECONDS = "commonspace_request_seconds", "commonspace_stage_seconds"
HEADERS = {"authorization": f"Bearer {WRITE}"}


@pytest.fixture
def live(started: Started, shop: Path, tmp_path: Path) -> TestClient:
    tokens = {"read_token": READ, "write_token": WRITE, "admin_token": ADMIN}
    return started(shop, events=f"sqlite:///{tmp_path / 'events.db'}", **tokens)


def stages(found: Samples) -> set[str]:
    """The stages that were counted."""
    return {name for name in STAGES if found.value(f"{STAGE_SECONDS}_count", stage=name)}


def assert_stages_add_up(found: Samples) -> None:
    whole = found.total(f"{SECONDS}_sum")
    assert whole > 0
    assert found.total(f"{STAGE_SECONDS}_sum") == pytest.approx(whole, rel=1e-9)  # sums in another order


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/search", {"texts": ["red mug"]}, {"encode", "search", "postprocess"}),
        ("/search", {"texts": ["red mug"], "rerank": True, "explain": True},
         {"encode", "search", "rerank", "postprocess", "explain"}),
        ("/rerank", {"texts": ["red"], "candidates": [["red-mug", "blue-mug"]]}, {"encode", "rerank", "postprocess"}),
        ("/recommend", {"user_ids": ["ann"]}, {"recommend", "history", "postprocess"}),
        ("/recommend", {"histories": [["red-mug"]], "explain": True}, {"recommend", "postprocess", "explain"}),
    ],
)  # fmt: skip
def test_stages_add_up_to_the_request(live: TestClient, path: str, body: dict[str, Any], expected: set[str]) -> None:
    assert live.post(path, json=body, headers=HEADERS).status_code == 200
    found = scraped(live, HEADERS)
    assert stages(found) == expected | {"http", "queue", "other", "serialise"}
    assert all(found.value(f"{STAGE_SECONDS}_count", stage=name) == 1 for name in stages(found))
    assert found.value(f"{SECONDS}_count", route=path, status="200") == 1
    assert_stages_add_up(found)


def test_stages_add_up_where_a_deadline_passes_during_the_work(
    started: Started, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    monkeypatch.setattr("retrieval.serving.http.routes.search.queries_of", lambda *_: may_end.wait(30))
    client = started(shop, limits=Limits(deadline=0.5))
    assert client.post("/search", json={"texts": ["red mug"]}).status_code == 503
    found = scraped(client)
    may_end.set()
    assert found.value("commonspace_rejected_total", reason="deadline") == 1
    assert stages(found) == {"http", "queue", "other", "encode"}
    assert found.value(f"{STAGE_SECONDS}_sum", stage="encode") > 0
    assert_stages_add_up(found)


def test_routes_and_statuses_are_counted_by_template(live: TestClient) -> None:
    for path in ("/items/red-mug", "/items/blue-mug", "/items/nope", "/nowhere/secret", "/users/ann/events", "/search"):
        live.get(path, headers=HEADERS)
    live.get("/items/red-mug")
    live.post("/search", json={"texts": 3}, headers=HEADERS)
    found = scraped(live, HEADERS)
    counted = {
        (dict(labels)["route"], dict(labels)["status"]): value
        for (name, labels), value in found.items()
        if name == f"{SECONDS}_count"
    }
    assert counted == {
        ("/items/{item_id}", "200"): 2,
        ("/items/{item_id}", "404"): 1,
        ("other", "404"): 1,
        ("/users/{user_id}/events", "200"): 1,
        ("/search", "405"): 1,
        ("other", "401"): 1,
        ("/search", "422"): 1,
    }
    assert_stages_add_up(found)


def test_labels_are_of_closed_sets(live: TestClient) -> None:
    templates = {route.path_format for router in ROUTERS for route in router.routes if isinstance(route, Route)}
    assert len(templates) > 20
    for path in templates | {"/nowhere"}:
        live.get(path.translate({ord("{"): "", ord("}"): ""}), headers=ADMIN_HEADERS if "/admin" in path else HEADERS)
    found = scraped(live, HEADERS)
    assert found.labels(f"{SECONDS}_count", "route") == templates | {"other"}
    assert found.labels(f"{STAGE_SECONDS}_count", "stage") == set(STAGES)
    assert found.labels("commonspace_rejected_total", "reason") == set(REASONS)
    assert found.labels("commonspace_queue_depth", "kind") == set(get_args(Kind))
    assert found.labels("commonspace_fallback_total", "source") == set(IMPERSONAL)
    assert found.labels("commonspace_degraded", "reason") == set(get_args(Problem))
    assert not [name for name in found.names if name.endswith("_created")]


def test_refusals_are_counted_by_reason(live: TestClient, started: Started, shop: Path) -> None:
    live.get("/items")
    live.get("/items", headers={"authorization": "Bearer wrong"})
    found = scraped(live, HEADERS)
    assert found.value("commonspace_rejected_total", reason="access") == 2
    assert found.total("commonspace_rejected_total") == 2
    local = started(shop, limits=Limits(body_bytes=100))
    local.get("/items", headers={"host": "shop.example"})
    local.post("/search", json={"texts": ["r" * 100]})
    local.post("/search", content=(b"x" * 10 for _ in range(20)), headers={"content-type": "application/json"})
    found = scraped(local)
    assert found.value("commonspace_rejected_total", reason="host") == 1
    assert found.value("commonspace_rejected_total", reason="body") == 2


def test_a_log_that_is_busy_is_counted(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EventsBusyError("too much waits; try again later")

    monkeypatch.setattr("retrieval.serving.events.event_log.EventLog.append", fail)
    event = {"user_id": "ann", "item_id": "red-mug", "type": "view"}
    assert live.post("/events", json=event, headers=HEADERS).status_code == 503
    found = scraped(live, HEADERS)
    assert found.value("commonspace_rejected_total", reason="events_busy") == 1
    assert found.total("commonspace_events_total") == 0


def test_a_log_that_refuses_is_counted(live: TestClient, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON commonspace_events BEGIN SELECT RAISE(FAIL, 'the disk is full'); END"
        )
    event = {"user_id": "ann", "item_id": "red-mug", "type": "view"}
    assert live.post("/events", json=event, headers=HEADERS).status_code == 503
    assert live.get("/users/ann/events", headers=HEADERS).status_code == 200
    found = scraped(live, HEADERS)
    assert found.value("commonspace_event_log_errors_total") == 1
    assert found.total("commonspace_events_total") == found.total("commonspace_rejected_total") == 0


def test_events_and_their_lag(live: TestClient) -> None:
    old = int(time.time()) - 1000
    events: list[dict[str, Any]] = [
        {"user_id": "ann", "item_id": "red-mug", "type": "view", "time": old},
        {"user_id": "ann", "item_id": "red-mug", "type": "view"},
        {"user_id": "bob", "item_id": "red-mug", "type": "buy", "time": old},
    ]
    shown = [{"user_id": "ann", "request_id": "request-1", "item_ids": ["red-mug", "blue-mug"]}]
    assert live.post("/events", json={"events": events, "impressions": shown}, headers=HEADERS).status_code == 200
    assert live.post("/events", json={**events[0], "type": "unknown"}, headers=HEADERS).status_code == 422
    found = scraped(live, HEADERS)
    counted = {name: found.value("commonspace_events_total", type=name) for name in ("view", "buy", "impression")}
    assert counted == {"view": 2, "buy": 1, "impression": 2}
    assert found.total("commonspace_events_total") == found.value("commonspace_event_lag_seconds_count") == 5
    assert 2000 <= found.value("commonspace_event_lag_seconds_sum") < 2000 + 5 * 60
    assert found.value("commonspace_event_lag_seconds_bucket", le="600.0") == 3
    assert stages(found) >= {"events"}


def test_types_of_a_table_of_ones_own_are_bounded() -> None:
    metrics = Metrics()
    for number in range(MOST_OWN_TYPES + 5):
        metrics.event(f"type-{number}", 0.0)
        metrics.event(f"type-{number}", 0.0)
    found = samples_of(metrics.exposition().decode())
    own = {name for name in found.labels("commonspace_events_total", "type") if name.startswith("type-")}
    assert own == {f"type-{number}" for number in range(MOST_OWN_TYPES)}
    assert found.value("commonspace_events_total", type="type-3") == 2
    assert found.value("commonspace_events_total", type="other") == 10


def test_items_that_are_due_to_nothing_known_of_the_user(live: TestClient) -> None:
    answer = live.post("/recommend", json={"user_ids": ["nobody", "no-one"], "k": 20}, headers=HEADERS).json()
    sources = [hit["source"] for result in answer["results"] for hit in result["hits"]]
    expected = {name: sources.count(name) for name in IMPERSONAL}
    assert expected["popular"] > 0
    found = scraped(live, HEADERS)
    assert {name: found.value("commonspace_fallback_total", source=name) for name in IMPERSONAL} == expected
    live.post("/trending", json={"order": "popular"}, headers=HEADERS)  # asked for
    assert scraped(live, HEADERS).total("commonspace_fallback_total") == sum(expected.values())


def test_what_waits_is_known_at_once() -> None:
    metrics, may_end = Metrics(), threading.Event()
    admission = Admission(Limits(concurrency=1), metrics)

    def depth() -> float:
        return samples_of(metrics.exposition().decode()).value("commonspace_queue_depth", kind="search")

    async def ask(cost: int) -> None:
        CURRENT.set(RequestContext.begin(30.0))
        await admission.run("search", lambda: may_end.wait(30), cost=cost)

    async def run() -> None:
        tasks = [asyncio.create_task(ask(cost)) for cost in (1, 3, 4)]
        await asyncio.sleep(0)
        assert depth() == 7
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        assert depth() == 3
        may_end.set()
        await asyncio.gather(*tasks[:2])
        assert depth() == 0
        await asyncio.to_thread(admission.close)

    asyncio.run(run())


def test_the_state_is_the_one_that_is_served(started: Started, own_shop: Path) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    before, status = scraped(client), client.get("/status").json()
    first = client.get("/ready").json()["generation"]
    assert before.value("commonspace_generation_info", generation=first) == 1
    assert before.value("commonspace_last_change") == 0
    recall = {kind: before.value("commonspace_index_recall", kind=kind) for kind in status["recall"]}
    assert recall == status["recall"]
    assert before.labels("commonspace_index_recall", "kind") == set(recall)
    put_twin(own_shop, "twin")
    assert follow(client)
    assert scraped(client).value("commonspace_last_change") == 1
    compact(own_shop)
    assert follow(client)
    found = scraped(client)
    second = client.get("/ready").json()["generation"]
    assert found.labels("commonspace_generation_info", "generation") == {second} != {first}
    assert found.value("commonspace_last_change") == 1
    assert found.total("commonspace_degraded") == 0


def test_until_when_what_is_served_has_learned_is_told(started: Started, own_shop: Path) -> None:
    client, name = started(own_shop, poll_seconds=3600.0), "commonspace_learned_until_timestamp_seconds"
    last = max(shop_log()["timestamp"].to_pylist())
    assert scraped(client).value(name) == last
    put_twin(own_shop, "twin")
    compact(own_shop)  # a generation of now, which has learned nothing since
    assert follow(client)
    assert scraped(client).value(name) == last
    rollback(own_shop, generations(own_shop)[0])  # to that before the fit
    assert follow(client)
    assert scraped(client).value(name) == 0


def test_a_bundle_that_cannot_be_followed_is_degraded(
    started: Started, own_shop: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = started(own_shop, poll_seconds=3600.0)
    current = (own_shop / "CURRENT").read_bytes()
    for name in ("CURRENT", "CURRENT.copy"):
        shutil.copy(own_shop / name, own_shop.parent / name)
        (own_shop / name).write_text("damaged")
    assert not follow(client)
    assert not follow(client)
    found = scraped(client)
    assert found.value("commonspace_degraded", reason="bundle") == found.total("commonspace_degraded") == 1
    assert caplog.text.count("the bundle cannot be followed") == 1  # not at each look
    (own_shop / "CURRENT").write_bytes(current)
    shutil.copy(own_shop.parent / "CURRENT.copy", own_shop / "CURRENT.copy")
    follow(client)
    assert scraped(client).total("commonspace_degraded") == 0


def test_services_of_one_process_count_for_themselves(started: Started, shop: Path) -> None:
    first, second = started(shop), started(shop)
    for _ in range(3):
        first.post("/search", json={"texts": ["red"]})
    second.post("/search", json={"texts": ["red"]})
    found = [scraped(one).value(f"{SECONDS}_count", route="/search", status="200") for one in (first, second)]
    assert found == [3, 1]


def test_who_may_read_the_metrics(started: Started, shop: Path) -> None:
    local, guarded = started(shop), started(shop, read_token=READ, write_token=WRITE)
    assert local.get("/metrics").status_code == 200
    assert local.get("/metrics", headers={"host": "shop.example"}).status_code == 421
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    for token in (READ, WRITE):
        assert guarded.get("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == 200
