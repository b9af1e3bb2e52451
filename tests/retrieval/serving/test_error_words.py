"""What clients read of errors: the words of the service, no Python, and no place of its machine."""

import ast
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import GenerationError
from retrieval.serving.engine.service import Service
from tests.retrieval.serving.conftest import WRITE, Started
from tests.toy import SHAPES

ROOT = Path(__file__).parents[3]
ADMIN = "admin-" + "a" * 20
GENERATION = "gen-20260102t030405000000z-0123abcd"
PYTHON = re.compile(
    r"""\w\(\)|\w\(…|\w=[\w\[{'"…]|[a-z]\.[a-z_]+\(|\b(None|True|False|NoneType)\b|of type (str|int|list|dict)\b|"""
    r"\b(Retriever|Query|Interactions|Impressions|NamedColumns|\w+Config)\b"
)
HIT = {"texts": ["red mug"]}
USER = {"histories": [["red-mug"]]}
ZEROS, FEW, MANY = [0.0] * 16, [1.0, 2.0], [1e300] * 16


class Asked(NamedTuple):
    """A request, and a part of the message or hint that it gets."""

    path: str
    body: dict[str, Any] | None
    said: str
    status: int = 422


def parts(*given: dict[str, Any]) -> dict[str, Any]:
    return {"queries": [{"parts": list(given)}]}


OF_ANY = [
    Asked("/search", parts({"item": "nope"}), "check their spelling"),
    Asked("/search", parts({"vector": FEW}), "expected (N, 16)"),
    Asked("/search", parts({"vector": ZEROS}), "all zero"),
    Asked("/search", parts({"vector": MANY}), "NaN or infinity"),
    Asked("/search", parts({"text": "red", "weight": 0}), "query 0, 0:'red', has no part of weight other than 0"),
    Asked("/search", parts({"text": "red"}, {"text": "red", "weight": -1}), "query 0, 'red' - 'red', cancels out"),
    Asked("/search", {"queries": ["2:"]}, "give a text, a path or an item_id"),
    Asked("/search", {"queries": ["image:/etc/passwd"]}, "the service opens none"),
    Asked("/search", {**HIT, "where": ["nope = 1"]}, "there is no attribute 'nope'"),
    Asked("/search", {**HIT, "where": [["price", "contains", 1]]}, "only texts and lists contain something"),
    Asked("/search", {**HIT, "attributes": ["nope"]}, "give some of 'item_id'"),
    Asked("/search", {"images": ["eHg="]}, "image is none of JPEG"),
    Asked("/search", {"sounds": ["eHg="]}, "cannot embed audio"),
    Asked("/search", {"image_urls": ["http://x.org/a.png"]}, "send the bytes of the file"),
    Asked("/search", {**HIT, "mode": "words"}, 'the bundle has no index of words; search with "mode": "vector"'),
    Asked("/search", {**HIT, "cross_encoder": True}, "this service has no cross-encoder"),
    Asked("/search", {**HIT, "generation": GENERATION}, "the bundle keeps no generation", 410),
    Asked("/search", {**HIT, "group_by": "nope"}, "there is no attribute 'nope'"),
    Asked("/search", {**HIT, "min_similarity": 0.5}, "collapse them"),
    Asked("/search", {**HIT, "diversify": {"method": "calibrated"}}, 'name it: "attribute": "genres"'),
    Asked("/search", {**HIT, "diversify": {"method": "caps"}}, "it does nothing otherwise"),
    Asked("/search", {**HIT, "diversify": {"caps": {"nope": 2}}}, "there is no attribute 'nope'"),
    Asked("/search", {**HIT, "blend": {"item_id": 2}}, "weigh one of numbers, booleans or dates"),
    Asked("/search", {**HIT, "rules": [{"rule": "nope"}]}, "give an object with 'rule'"),
    Asked("/search", {**HIT, "rules": [{"rule": "boost"}]}, "rule 1 (boost) lacks"),
    Asked("/search", {**HIT, "rules": [{"rule": "rotate"}]}, "ask /recommend for user_ids or a session"),
    Asked("/search", {"texts": [" "]}, "nothing to search for"),
    Asked("/search", {"texts": ["a"] * 200, "k": 1000}, "or a smaller k"),
    Asked("/recommend", {**USER, "weights": [[1.0, 2.0]]}, "give one weight for each item"),
    Asked("/recommend", {**USER, "weights": [[1e300]]}, "give finite numbers"),
    Asked("/recommend", {**USER, "times": "soon"}, "times has 'soon'"),
    Asked("/recommend", {**USER, "times": "2024-01-01"}, "give last_times, too"),
    Asked("/recommend", {**USER, "last_times": ["2024-01-01"]}, "give the times of the requests, too, as times"),
    Asked(
        "/recommend", {**USER, "times": 1, "last_times": [None]}, "last_times has null for history 0, which has items"
    ),
    Asked("/recommend", {**USER, "context": {"x": ["a", "b"]}}, "context.x has 2 values for 1 users"),
    Asked("/recommend", {**USER, "profiles": [{"x": 1}]}, "leave them out"),
    Asked("/recommend", {**USER, "min_relevance": 1e300}, "less than or equal to 1000000000"),
    Asked("/recommend", {**USER, "scenario": "nope"}, "this service has no scenarios"),
    Asked("/rerank", {**HIT, "candidates": [["red-mug", "red-mug"]]}, "name each once"),
    Asked("/trending", {"order": "newest"}, 'name a column of dates, as "date": "released"'),
    Asked("/trending", {"order": "popular", "date": "price"}, "leave it out, or ask for 'newest'"),
    Asked("/tastes", {"history": ["red-mug"], "weights": [1.0, 2.0]}, "give a weight for each item"),
    Asked("/items?cursor=x", None, "begin without one", 410),
    Asked("/items?where=nope", None, "expected, after the name 'nope'"),
    Asked("/items/nope", None, "no item 'nope' is in this bundle", 404),
    Asked("/map?colour=nope", None, "there is no colour 'nope'"),
    Asked("/media/red-mug", None, "this service has no pictures and sounds", 404),
    Asked("/admin/jobs/nope", None, "there is no job 'nope'", 404),
    Asked("/admin/items", {"items": [{"item_id": "red-mug", "title": "x"}]}, 'replace them with "mode": "upsert"'),
    Asked("/admin/items", {"items": [{"title": "x"}]}, "give each item an item_id"),
    Asked("/admin/items", {"items": [{"item_id": "x"}]}, "give the columns that the bundle was built from"),
    Asked("/admin/items", {"items": ["x"]}, "give objects with an item_id"),
    Asked("/admin/items", {"mode": "update", "items": ["x"]}, "row 0 is a JSON str instead of an object"),
    Asked(
        "/admin/items", {"mode": "update", "items": [{"item_id": "red-mug", "nope": 1}]}, "the bundle has no attribute"
    ),
    Asked("/admin/items", {"mode": "update", "items": [{"item_id": "red-mug", "title": "x"}]}, '"mode": "upsert"'),
    Asked("/admin/items", {"mode": "upsert", "items": [{"item_id": "red-mug", "price": 1}]}, '"mode": "update"'),
    Asked("/admin/items", {"mode": "update", "items": [{"item_id": "nope", "price": 1}]}, "not in the bundle: 'nope'"),
    Asked("/admin/items/delete", {"item_ids": ["nope"]}, '"missing_ok": true of /admin/items/delete'),
    Asked("/admin/publish", {}, "the bundle has no staged generation", 409),
    Asked("/admin/rollback", {"to": "nope"}, "the bundle keeps no generation 'nope'", 404),
]
OF_LEARNED = [
    Asked("/events", {"user_id": "ann", "item_id": "red-mug", "type": "nope"}, "which has no weight"),
    Asked("/events", {"item_id": "red-mug", "type": "view"}, "none of these events was written"),
    Asked("/events", {"user_id": "a\nb", "item_id": "red-mug", "type": "view"}, "user_id is 'a\\nb', with a character"),
    Asked("/users/merge", {"anonymous": "ann", "known": "ann"}, "name two users"),
    Asked("/users-for", {"item_ids": ["red-mug"], "user_ids": ["ann"], "times": "soon"}, "times has 'soon'"),
    Asked("/admin/fit", {"resume": "nope"}, "there is no job 'nope'", 404),
    Asked("/admin/events/export", None, "the log of live events has no events to export"),
]
OF_UNLEARNED = [
    Asked("/similar", {"item_ids": ["red-mug"], "by": "behaviour"}, "compare by content"),
    Asked("/next-items", {"item_ids": ["red-mug"]}, 'ask /similar with "by": "behaviour"'),
    Asked("/complements", {"baskets": [["red-mug"]]}, "learned nothing of what users take together"),
    Asked("/trending", {"order": "popular"}, "learn from a log with `fit`"),
    Asked("/recommend", {"user_ids": ["ann"]}, "this service has no log of live events"),
    Asked("/admin/fit", {}, "this service has no log of live events"),
]
OF_VECTORS = [
    Asked("/search", HIT, "send each as a part with `vector`"),
    Asked("/search", {**HIT, "explain": True, "rerank": True}, "send each as a part with `vector`"),
    Asked("/rerank", {**HIT, "candidates": [["a"]]}, "send each as a part with `vector`"),
]


def check_words(answer: Any, root: Path, said: str, status: int) -> None:  # noqa: ANN401 - of the test client
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    text = f"{error['message']}; {error['hint']}"
    assert said in text, text
    assert not PYTHON.search(text.replace(GENERATION, "")), text
    assert str(root.parent) not in answer.text, text


def asked(client: TestClient, one: Asked) -> Any:  # noqa: ANN401
    headers = {"authorization": f"Bearer {ADMIN if one.path.startswith('/admin') else WRITE}"}
    return client.request("GET" if one.body is None else "POST", one.path, json=one.body, headers=headers)


def check_all(client: TestClient, root: Path, requests: list[Asked]) -> None:
    for one in requests:
        check_words(asked(client, one), root, one.said, one.status)


def test_errors_of_a_bundle_that_has_learned(started: Started, own_shop: Path, tmp_path: Path) -> None:
    client = started(own_shop, admin_token=ADMIN, write_token=WRITE, events=f"sqlite:///{tmp_path / 'events.db'}")
    check_all(client, own_shop, [*OF_ANY, *OF_LEARNED])


def test_errors_of_a_bundle_that_has_learned_nothing(started: Started, own_toy_bundle: Path) -> None:
    client = started(own_toy_bundle, admin_token=ADMIN, write_token=WRITE)
    check_all(client, own_toy_bundle, [*OF_ANY, *OF_UNLEARNED])
    everything = [f"{colour}-{shape}" for colour in ("red", "green", "blue", "white") for shape in SHAPES]
    check_all(client, own_toy_bundle, [Asked("/admin/items/delete", {"item_ids": everything}, "keep one")])


def test_errors_of_a_bundle_of_given_vectors(started: Started, tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32).tolist()
    table = pa.table({"item_id": list("abcd"), "text_vector": vectors, "price": [1, 2, 3, 4]})
    pq.write_table(table, tmp_path / "items.parquet")
    encoder = load_encoder("vectors:4")
    build_bundle(Catalogue.from_parquet(tmp_path / "items.parquet"), encoder, tmp_path / "bundle")
    check_all(started(tmp_path / "bundle", encoder), tmp_path / "bundle", OF_VECTORS)


def test_a_job_that_failed(started: Started, own_shop: Path, tmp_path: Path) -> None:
    """Its record names the file that was uploaded, as it lies in the folder of the bundle."""
    client = started(own_shop, admin_token=ADMIN)
    client.headers["authorization"] = f"Bearer {ADMIN}"
    job = client.post("/admin/fit/upload", files={"interactions": b"PAR1 is not enough"}).json()["job"]
    while job["state"] == "running":
        answer = client.get(f"/admin/jobs/{job['job_id']}")
        job = answer.json()["job"]
    assert job["error"]["message"].startswith("the uploaded interactions.parquet")
    assert str(tmp_path) not in answer.text
    assert str(tmp_path) not in client.get("/admin/jobs").text


def test_problems_of_a_bundle_that_cannot_be_followed(started: Started, own_toy_bundle: Path) -> None:
    client = started(own_toy_bundle, poll_seconds=3600.0)
    (own_toy_bundle / "CURRENT").write_text("nothing")
    for name in own_toy_bundle.glob("gen-*/manifest.json"):
        name.write_text("{}")
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    assert not service.served.follow()
    for path, status in (("/ready", 200), ("/status", 200), ("/generations", 503)):
        answer = client.get(path)
        assert answer.status_code == status, path
        assert str(own_toy_bundle.parent) not in answer.text, path
    assert "the bundle" in client.get("/ready").json()["problems"][0]


def test_a_relative_path_is_no_part_of_other_words(
    started: Started, toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(toy_bundle, tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    client = started(Path("a"))
    error = client.post("/search", json={**HIT, "generation": GENERATION}).json()["error"]
    assert error["message"] == f"the bundle keeps no generation {GENERATION!r}"
    assert error["type"] == GenerationError.__name__


NOT_OVER_HTTP = {
    "indexing/bundle/publish.py",  # builds
    "indexing/bundle/build.py",
    "indexing/bundle/maintenance/index_words.py",
    "indexing/catalogue/readers/arrow_tables.py",  # tables of Python
    "indexing/media/remote_files.py",  # URLs in catalogues
    "indexing/encoders/inference/compute.py",  # devices, which the service does not choose
    "indexing/exchange/object_storage",  # commands
    "indexing/store/encode.py",  # Ray, which builds and jobs use
    "indexing/index/tuning/ray_shards.py",
    "indexing/runtime/ray_engine.py",
    "indexing/runtime/ray_pool.py",
    "retrieval/batch",
    "retrieval/interactions/impressions.py",  # files of them
    "retrieval/interactions/learned_from.py",  # evaluation
    "retrieval/serving/client",
    "retrieval/serving/events/transfer.py",  # commands
    "retrieval/fitting/report.py",  # arguments that the service gives
}


def test_what_speaks_python_speaks_http_as_well() -> None:
    """A hint in the words of Python has one in the words of the service, wherever a request may come to it."""
    silent = []
    for path in [*(ROOT / "indexing").rglob("*.py"), *(ROOT / "retrieval").rglob("*.py")]:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(tuple(NOT_OVER_HTTP)):
            for node in ast.walk(ast.parse(path.read_text())):
                given = {one.arg for one in node.keywords} if isinstance(node, ast.Call) else set()
                if "python" in given and "http" not in given:
                    silent.append(f"{name}:{node.lineno}")  # type: ignore[attr-defined]
    assert not silent
