"""Files of the page as they are sent, pictures of items, and what the page asks for beside hits."""

import base64
import io
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from indexing.bundle.edits.edit import delete
from retrieval import Retriever
from retrieval.retriever.learned_parts import compact
from retrieval.serving.http.routes.page import insight
from retrieval.serving.insight import space_map
from retrieval.serving.insight.space_map import Plane, Points, _points
from retrieval.serving.insight.tastes import CANCELLED, tastes_of
from tests.retrieval.serving.conftest import READ, WRITE, Started
from tests.retrieval.serving.test_hot_swap import put_twin
from tests.toy import ToyEncoder, toy_file


@pytest.fixture
def shown(started: Started, shop: Path, tmp_path: Path) -> TestClient:
    return started(shop, catalogue=toy_file(tmp_path))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/index.html", "text/html; charset=utf-8"),
        ("/page/js/main.js", "text/javascript; charset=utf-8"),
        ("/page/css/base.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
def test_files_have_their_types_and_a_strict_policy(client: TestClient, path: str, kind: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert client.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/page/", "/page/../app.py", "/page/%2e%2e/app.py", "/page/none.js", "/page/js"])
def test_nothing_else_is_sent(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_needs_no_token_and_its_data_does(started: Started, shop: Path) -> None:
    client = started(shop, read_token=READ)
    assert client.get("/").status_code == 200
    assert client.get("/page/js/main.js").status_code == 200
    for path in ("/facets", "/map", "/status", "/media/red-mug"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"authorization": f"Bearer {READ}"}).status_code not in (401, 403)


def test_no_file_of_the_page_has_inline_code_or_asks_another_host() -> None:
    folder = Path(__file__).parents[4] / "retrieval/serving/page"
    files = [path for path in folder.rglob("*") if path.suffix in (".html", ".js", ".css")]
    assert len(files) > 10
    for path in files:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        for wrong in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "://"):
            assert wrong not in text, (path.name, wrong)
        assert len(text.splitlines()) <= 350, path.name
    index = (folder / "index.html").read_text()
    assert "<style" not in index
    assert " style=" not in index
    assert "onclick" not in index


def test_facets_name_values_with_their_items_and_ranges(client: TestClient) -> None:
    facets = {one["name"]: one for one in client.get("/facets").json()["facets"]}
    assert "title" not in facets  # a different one for each item
    assert (facets["price"]["min"], facets["price"]["max"]) == (3.0, 45.0)
    assert {"value": "red", "items": 5} in facets["tags"]["values"]


def test_pictures_are_drawn_anew_and_small(shown: TestClient) -> None:
    answer = shown.get("/media/red-mug?size=160")
    assert answer.headers["content-type"] == "image/jpeg"
    assert "sandbox" in answer.headers["content-security-policy"]
    red, green, blue = Image.open(io.BytesIO(answer.content)).convert("RGB").getpixel((2, 2))  # type: ignore[misc]
    assert red > 200
    assert green < 80
    assert blue < 100
    assert shown.get("/media/white-mug").status_code == 404
    assert shown.get("/media/nothing").status_code == 404
    assert shown.get("/media/red-mug?size=9999").status_code == 422
    assert shown.post("/media", json={"item_ids": ["red-mug", "white-mug"]}).json() == {"media": {"red-mug": ["image"]}}


def test_an_svg_is_no_picture(shown: TestClient) -> None:
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>").decode()
    assert shown.post("/search", json={"images": [svg]}).status_code == 422


def drawn(client: TestClient, path: str) -> dict[str, Any]:
    """Ask for a map until it is drawn."""
    while (answer := client.get(path)).status_code == 202:
        pass
    return dict(answer.json())


def test_a_map_is_drawn_once_though_nobody_waits_for_it(
    started: Started, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, may_end, made = started(shop), threading.Event(), list[Retriever]()

    def slowly(retriever: Retriever, by_modality: bool) -> Points:
        made.append(retriever)
        may_end.wait(60)
        return _points(retriever, by_modality)

    monkeypatch.setattr(space_map, "_points", slowly)
    monkeypatch.setattr(insight, "DRAWING_SECONDS", 0.01)
    for _ in range(3):
        answer = client.get("/map")
        assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
        assert answer.json().keys() == {"request_id", "generation", "change"}
    assert client.post("/search", json={"texts": ["red"]}).status_code == 200  # which does not wait for it
    may_end.set()
    assert len(drawn(client, "/map")["item_ids"]) == 20
    assert len(made) == 1


def test_the_map_places_items_and_queries_on_the_same_axes(client: TestClient, retriever: Retriever) -> None:
    body = drawn(client, "/map?colour=tags")
    places = np.frombuffer(base64.urlsafe_b64decode(body["places"]), "<u2").reshape(-1, 2) / 65_535
    assert body["item_ids"] == list(retriever.items)
    assert 0 < body["explained_variance"] <= 1
    codes = base64.urlsafe_b64decode(body["colour"]["codes"])
    assert body["colour"]["names"][codes[0]] == "red"
    (place,) = client.post("/map/places", json={"queries": [{"parts": [{"item": "blue-lamp"}]}]}).json()["places"]
    assert place == pytest.approx(places[body["item_ids"].index("blue-lamp")].tolist(), abs=0.02)
    assert client.get("/map?colour=nothing").status_code == 422


@pytest.mark.parametrize("by_modality", [False, True])
def test_an_added_item_moves_no_point_unless_it_is_drawn(
    own_shop: Path, monkeypatch: pytest.MonkeyPatch, by_modality: bool
) -> None:
    monkeypatch.setattr(space_map, "MAX_POINTS", 24 if by_modality else 12)
    monkeypatch.setattr(space_map, "FITTED", 16 if by_modality else 8)
    retriever, drawn = Retriever.open(own_shop, ToyEncoder()), list[bool]()
    for number in range(8):
        before = places_of(retriever, by_modality)
        put_twin(own_shop, f"new-{number}")
        retriever = retriever.latest()
        after = places_of(retriever, by_modality)
        drawn.append(f"new-{number}" in {item for item, _ in after})
        assert len({item for item, _ in before} - {item for item, _ in after}) == drawn[-1]
        if not drawn[-1]:
            assert after == {key: pytest.approx(place, abs=1e-5) for key, place in before.items()}
    assert True in drawn
    assert False in drawn


def places_of(retriever: Retriever, by_modality: bool) -> dict[tuple[str, str], list[float]]:
    points = _points(retriever, by_modality)
    groups = points.groups or [""] * len(points.rows)
    return {
        (retriever.items[row], group): place
        for row, group, place in zip(points.rows.tolist(), groups, points.places.tolist(), strict=True)
    }


def test_an_added_outermost_point_does_not_turn_the_map_around() -> None:
    vectors = (np.random.default_rng(0).normal(size=(200, 6)) * [4, 2, 1, 1, 1, 1]).astype(np.float32)
    plane = Plane.of(vectors)
    for axis in plane.axes.T:
        for side in (-1, 1):
            farther = vectors.mean(axis=0) + side * 1.5 * np.abs((vectors - plane.centre) @ axis).max() * axis
            axes = Plane.of(np.concatenate([vectors, farther[None].astype(np.float32)])).axes
            assert np.diag(axes.T @ plane.axes) == pytest.approx([1, 1], abs=0.1)


def test_tastes_are_words_that_the_items_of_a_history_share(retriever: Retriever) -> None:
    found = tastes_of(retriever, ["red-mug", "red-shoe", "red-lamp"], [1.0, 1.0, 1.0], 3)
    assert found["near"][0]["value"] == "red"
    disliked = tastes_of(retriever, ["red-mug", "red-shoe", "red-lamp"], [-1.0, -1.0, -1.0], 3)
    assert disliked["far"][0]["value"] == "red"
    assert tastes_of(retriever, [], [], 3) == {"near": [], "far": []}


def test_a_taste_of_likes_and_dislikes_that_cancel_each_other_has_no_words(client: TestClient) -> None:
    asked = {"history": ["red-mug", "red-mug", "blue-lamp", "blue-lamp"], "weights": [1, -0.8, 1, -0.9]}
    answer = client.post("/tastes", json=asked).json()
    assert (answer["near"], answer["far"]) == ([], [])
    assert answer["notes"] == [CANCELLED]
    for weights in ([1, 0.8, 1, 0.9], [1, 0.8, -1, -0.9]):  # unlike items, of which nothing cancels
        answer = client.post("/tastes", json=asked | {"weights": weights}).json()
        assert answer["near"]
        assert "notes" not in answer


def test_status_says_what_is_promised_and_kept(client: TestClient) -> None:
    body = client.get("/status").json()
    assert body["promised_recall"] == 0.95
    assert body["recall"]["text"] >= 0.95
    assert body["learned"]["interactions"] > 0
    assert body["media"] is False
    assert body["batches_since"] == 0


ADMIN = {"admin_token": "admin-" + "a" * 20}
OF_USERS = ("/users/merge", "/users/{user_id}", "/users/{user_id}/events")
WITHOUT_ANSWER: dict[str, tuple[bool, dict[str, Any], tuple[str, ...]]] = {
    "nothing": (False, {}, ("/admin/", "/events", "/users-for", *OF_USERS)),
    "a log": (True, {}, ("/admin/", "/events", *OF_USERS)),
    "a log to read": (True, {"read_token": READ}, ("/admin/", "/events", *OF_USERS[:2])),
    "a log to write": (True, {"write_token": WRITE}, ("/admin/",)),
    "changes": (False, ADMIN, ("/admin/events/", "/events", "/users-for", *OF_USERS)),
    "changes elsewhere": (False, {**ADMIN, "admin_port": 8081}, ("/admin/", "/events", "/users-for", *OF_USERS)),
}
"""Whether there is a log of live events, other settings, and what answers nobody then; folders end with a slash."""


@pytest.mark.parametrize("name", WITHOUT_ANSWER)
def test_status_lists_the_routes_that_answer(started: Started, shop: Path, tmp_path: Path, name: str) -> None:
    has_log, settings, silent = WITHOUT_ANSWER[name]
    client = started(shop, events=f"sqlite:///{tmp_path / 'events.db'}" if has_log else None, **settings)
    token = settings.get("read_token", "none")
    listed = client.get("/status", headers={"authorization": f"Bearer {token}"}).json()["routes"]
    paths = client.app.openapi()["paths"]  # type: ignore[attr-defined]
    folders = tuple(one for one in silent if one.endswith("/"))
    assert listed == sorted({path for path in paths if not path.startswith(folders)} - {*silent, "/media/{item_id}"})
    event = {"user_id": "ann", "item_id": "red-mug", "type": "view"}
    asked = {"/users-for": {"item_ids": ["red-mug"], "user_ids": ["ann"]}, "/events": event}
    for path in {*asked} - {*listed}:
        error = client.post(path, json=asked[path], headers={"authorization": f"Bearer {token}"}).json()["error"]
        assert error["message"] in (
            "this service has no log of live events",
            "this service is read-only",
            "the read token does not allow to write",
        )


def test_status_lists_pictures_where_there_are_some(shown: TestClient) -> None:
    assert "/media/{item_id}" in shown.get("/status").json()["routes"]


def test_batches_are_counted_since_the_generation(started: Started, own_shop: Path) -> None:
    for item in ("red-mug", "blue-mug"):
        delete(own_shop, [item])
    body = started(own_shop).get("/status").json()
    assert (body["change"], body["batches_since"]) == (2, 2)
    compact(own_shop)
    body = started(own_shop).get("/status").json()
    assert (body["change"], body["batches_since"]) == (2, 0)


def test_status_gives_the_age_of_the_last_event_and_none_of_an_empty_log(
    started: Started, shop: Path, database: str
) -> None:
    client = started(shop, events=database, write_token=WRITE)
    assert client.get("/status").json()["event_lag_seconds"] is None
    event = {"user_id": "ann", "item_id": "red-mug", "type": "like", "time": int(time.time()) - 3_600}
    assert client.post("/events", json=event, headers={"authorization": f"Bearer {WRITE}"}).status_code == 200
    assert 3_600 <= client.get("/status").json()["event_lag_seconds"] < 3_600 + 60


def test_the_axes_are_the_principal_components() -> None:
    vectors = (np.random.default_rng(0).normal(size=(500, 80)) * np.linspace(3, 0.1, 80)).astype(np.float32)
    plane = Plane.of(vectors)
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    assert np.abs(plane.axes.T @ axes[:, :-3:-1]) == pytest.approx(np.eye(2), abs=1e-6)
    assert plane.explained_variance == pytest.approx(variances[-2:].sum() / variances.sum())
