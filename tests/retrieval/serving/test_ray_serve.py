"""Replicas of Ray Serve answer what `commonspace serve` answers, whichever is killed, and follow their bundle."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx2
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import add
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import EngineError, InputError
from retrieval.candidates import Hit
from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.server import ray_serve
from tests.agree import assert_hits_agree
from tests.indexing.store.test_ray_processes import listening
from tests.paths import ROOT
from tests.toy import picture, toy_file, toy_table

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
READ, WRITE = "read-" + "r" * 20, "write-" + "w" * 20
SECRET = "zebracorn"  # noqa: S105 - a word of a query, which is in no log
USER = "u-zebracorn"
EVENT = {"event_id": "one", "user_id": USER, "item_id": "red-mug", "type": "click", "timestamp": 1_700_000_000_000_000}
FILE = {"image": ("blue.png", picture("blue"), "image/png")}
PARTS = {"parts": [{"item": "red-mug"}, {"text": "book", "weight": 0.5}]}
IMAGE = {"parts": [{"image": base64.b64encode(picture("green")).decode()}]}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/search", {"json": {"texts": ["red mug", SECRET], "k": 5}}),
    ("POST", "/search", {"json": {"texts": ["lamp"], "k": 3, "where": [["price", "<", 30]], "attributes": "all"}}),
    ("POST", "/search", {"json": {"queries": [PARTS, "2:blue lamp - chair"], "k": 4, "vectors": True}}),
    ("POST", "/search", {"json": {"queries": [IMAGE], "k": 4, "explain": True, "verdict": True}}),
    ("POST", "/search/upload", {"files": FILE, "data": {"request": '{"k": 5}'}}),
    ("POST", "/similar", {"json": {"item_ids": ["red-mug", "green-lamp"], "k": 5}}),
    ("POST", "/recommend", {"json": {"histories": [["red-mug", "red-shoe"], []], "k": 6}}),
    ("POST", "/recommend", {"json": {"histories": [["blue-lamp"]], "k": 6, "diversify": {"strength": 0.4}}}),
    ("POST", "/events", {"json": {"events": [EVENT]}}),
    ("POST", "/recommend", {"json": {"user_ids": [USER], "k": 6, "explain": True}}),
    ("GET", f"/users/{USER}/events", {}),
    ("GET", "/items/red-mug", {}),
    ("GET", "/items?limit=7", {}),
    ("GET", "/info", {}),
    ("GET", "/ready", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/items/nothing", {}),
    ("GET", "/nowhere", {}),
    ("POST", "/search", {"json": {"texts": ["red"], "kk": 5}}),
    ("POST", "/search", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/search", {"json": {"texts": ["red"]}, "headers": {"authorization": "Bearer another"}}),
    ("POST", "/admin/compact", {"json": {}}),
]


DRIVER = """
import json, sys
from indexing.runtime.ray_cluster import connected
with connected(None) as ray:
    from ray import serve
    from indexing.errors import InputError
    from retrieval.serving import ServiceConfig
    from retrieval.serving.server.ray_serve import Arguments, app, application
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    handle = serve.run(app(Arguments(bundle=sys.argv[1], replicas=2, cpus=0.5)))
    scaled = app(Arguments(bundle=sys.argv[1], replicas=1, max_replicas=3))._bound_deployment
    try:
        application(ServiceConfig(sys.argv[1], read_token="r" * 24), {"replicas": 2})
    except InputError as error:
        refused = str(error)
    logs = ray._private.worker._global_node.get_logs_dir_path()
    bounds = scaled._deployment_config.autoscaling_config
    scaled = [bounds.min_replicas, bounds.max_replicas]
    print(json.dumps({"logs": logs, "refused": refused, "scaled": scaled}), flush=True)
    for _ in sys.stdin:
        try:
            states = handle.broadcast("state").results(timeout_s=60)
        except Exception:  # one was lost meanwhile
            states = []
        print(json.dumps(states), flush=True)
    serve.shutdown()
"""


class Served(NamedTuple):
    """A bundle that replicas serve, where they answer, what the process said that started them, and this process."""

    config: ServiceConfig
    url: str
    said: dict[str, Any]
    driver: "subprocess.Popen[str]"

    def states(self) -> list[dict[str, Any]]:
        """What each replica serves."""
        assert self.driver.stdin is not None
        self.driver.stdin.write("states\n")
        self.driver.stdin.flush()
        return list(said(self.driver))


def said(driver: "subprocess.Popen[str]") -> Any:  # noqa: ANN401
    """The next line of JSON that a process writes; Ray writes others."""
    assert driver.stdout is not None
    for line in driver.stdout:
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(line)
    raise AssertionError(f"it ended with {driver.wait()}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two replicas on a cluster of this machine."""
    if find_spec("ray") is None or find_spec("grpc") is None:
        pytest.skip("ray[serve] is not installed")
    folder = tmp_path_factory.mktemp("replicas")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), load_encoder("pocket"), folder / "bundle")
    events = f"sqlite:///{folder}/events.db"
    tokens = {"COMMONSPACE_READ_TOKEN": READ, "COMMONSPACE_WRITE_TOKEN": WRITE}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | tokens
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", DRIVER, str(folder / "bundle"), str(port)]
    with subprocess.Popen(
        command, env=environment | {"COMMONSPACE_EVENTS": events}, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True
    ) as driver:
        try:
            first = said(driver)
            config = ServiceConfig(folder / "bundle", read_token=READ, write_token=WRITE, events=events)
            yield Served(config, f"http://127.0.0.1:{port}", first, driver)
            driver.communicate(timeout=60)
        finally:
            driver.kill()


def plain(answer: httpx2.Response) -> tuple[int, Any]:
    """The status and body of an answer, without what is of one request, moment or process."""
    body = answer.json()

    def without(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, dict):
            return {name: without(one) for name, one in value.items() if name not in ("request_id", "received")}
        return [without(one) for one in value] if isinstance(value, list) else value

    return answer.status_code, without(body)


def asking(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, headers={"authorization": f"Bearer {WRITE}"}, timeout=60)


@pytest.mark.slow
def test_the_same_answers_as_of_commonspace_serve(served: Served, tmp_path: Path) -> None:
    config = replace(served.config, events=f"sqlite:///{tmp_path}/events.db")
    headers = {"authorization": f"Bearer {WRITE}"}
    with TestClient(create_app(config), "http://127.0.0.1", headers=headers) as local, asking(served.url) as remote:
        for method, path, request in REQUESTS:
            expected, found = (plain(client.request(method, path, **request)) for client in (local, remote))
            assert found == expected, path
        assert {client.get("/").text for client in (local, remote)} == {local.get("/").text}
        refused = remote.get("/metrics")
    assert (refused.status_code, refused.json()["error"]["type"]) == (501, "MetricsError")
    logs = [path for path in Path(served.said["logs"]).rglob("*") if path.is_file()]
    assert any(path.parent.name == "serve" for path in logs)
    assert not [path for path in logs if SECRET.encode() in path.read_bytes()]  # of the query and the user above


@pytest.mark.slow
def test_every_replica_follows_the_bundle(served: Served) -> None:
    assert len({state["process"] for state in served.states()}) == 2
    assert {state["change"] for state in served.states()} == {0}
    path = served.config.bundle / "twin.parquet"  # type: ignore[operator]
    twin = toy_table().slice(0, 1)
    pq.write_table(twin.set_column(0, "item_id", [["twin"]]), path)
    add(served.config.bundle, Catalogue.from_parquet(path), load_encoder("pocket"))
    until(lambda: {state["change"] for state in served.states()} == {1})
    with asking(served.url) as client:
        for _ in range(20):
            answer = client.post("/search", json={"texts": ["red mug"], "k": 3}).json()
            assert answer["change"] == 1
            assert "twin" in {hit["item_id"] for hit in answer["results"][0]["hits"]}


@pytest.mark.slow
def test_a_replica_that_is_killed_under_load_costs_no_wrong_answer(served: Served) -> None:
    """What was under way in it may fail; asked again, it is answered, and another takes its place."""
    ended, answered, failed = threading.Event(), list[Any](), list[Any]()

    def ask() -> None:
        with asking(served.url) as client:
            while not ended.is_set():
                try:
                    answer = client.post("/search", json={"texts": ["red mug", "green lamp"], "k": 5})
                except httpx2.TransportError as error:
                    failed.append(type(error).__name__)
                    continue
                if answer.status_code == 200:
                    answered.append(answer.json()["results"])
                else:
                    failed.append((answer.status_code, answer.text))

    def until_more_answers() -> None:
        before = len(answered)
        until(lambda: len(answered) > before + 20)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        until_more_answers()
        killed = served.states()[0]["process"]
        os.kill(killed, signal.SIGKILL)
        until_more_answers()
        until(lambda: len({state["process"] for state in served.states()} - {killed}) == 2)
        failed_before = len(failed)
        until_more_answers()
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert len(failed) == failed_before <= 2 * len(threads)  # no more than was sent before it was known to be lost
    assert {one for one in failed if isinstance(one, tuple)} <= {(500, "Internal Server Error")}  # of Ray Serve
    for results in answered:
        for found, expected in zip(results, answered[0], strict=True):
            assert_hits_agree(
                *([Hit(hit["item_id"], hit["score"], 0) for hit in one["hits"]] for one in (found, expected))
            )


@pytest.mark.slow
def test_options_are_passed_on_and_what_others_reach_asks_for_the_token(served: Served) -> None:
    """All listens on the loopback address but a port of each replica, which answers nobody without the token."""
    import grpc

    assert "options are not those of ray.serve.deployment: " in served.said["refused"]
    assert served.said["scaled"] == [1, 3]
    replicas = {state["process"] for state in served.states()}
    ports = {port for address, port in listening(served.driver.pid) if address not in LOOPBACK}
    assert ports == {port for process in replicas for address, port in listening(process) if address == "::"}
    assert len(ports) == len(replicas) == 2
    for port in ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=30)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"read_token": None},
        "no read token, and other machines may reach Ray Serve: set COMMONSPACE_READ_TOKEN",
    ),
    ({"admin_token": "admin-" + "a" * 20}, "replicas change no bundle.*run one commonspace serve with it beside"),
    ({"events": "sqlite:///events.db"}, "events are in events.db, and replicas run elsewhere: write sqlite:////"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_settings_that_replicas_cannot_have_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = ServiceConfig(tmp_path, **{"read_token": READ} | settings)
    with pytest.raises(InputError, match=message):
        ray_serve.application(config)


def test_a_file_of_events_is_refused_where_there_are_several_nodes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each node would have its own, and nobody would see the events of the other."""
    ray = SimpleNamespace(__version__="2.60.0", nodes=lambda: [{"Alive": True}, {"Alive": False}, {"Alive": True}])
    monkeypatch.setitem(sys.modules, "ray", ray)
    config = ServiceConfig(tmp_path, read_token=READ, events=f"sqlite:///{tmp_path}/events.db")
    with pytest.raises(
        InputError, match="events are in a file of one node, and there are several: write postgresql://"
    ):
        ray_serve.replica_app(config)


def test_releases_that_unpickle_what_anybody_sends_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__version__="2.59.1", __spec__=ModuleSpec("ray", None)))
    with pytest.raises(EngineError, match=r"Ray 2\.59\.1 is older than 2\.60"):
        ray_serve.application(ServiceConfig(tmp_path, read_token=READ))


def test_the_page_names_arguments_that_there_are() -> None:
    page = (ROOT / "docs" / "how-to" / "ray_serve.md").read_text()
    (command,) = re.findall(r"serve run --address auto retrieval\.serving\.server\.ray_serve:app (.*)", page)
    given = ray_serve.Arguments.model_validate(dict(one.split("=") for one in command.split()))
    assert (given.replicas, given.max_replicas) == (2, 8)
    (table,) = re.findall(r"\| argument \|.*?\n\n", page, re.DOTALL)
    assert set(re.findall(r"`([a-z_]+)`(?=[^|]*\|[^|]*\|\n)", table)) == set(ray_serve.Arguments.model_fields)


def hits_of(result: dict[str, Any]) -> list[Hit]:
    return [Hit(hit["item_id"], hit["score"], 0) for hit in result["hits"]]


def until(holds: Callable[[], bool]) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that")
