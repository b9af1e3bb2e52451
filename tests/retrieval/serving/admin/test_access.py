"""Who may change the bundle: the admin token alone, and on its own port where it has one."""

from pathlib import Path

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from indexing.errors import InputError
from retrieval.serving import ServiceConfig
from retrieval.serving.http.middleware import ADMIN_UPLOADS
from retrieval.serving.http.routes import admin as routes
from tests.retrieval.serving.admin.conftest import ADMIN
from tests.retrieval.serving.conftest import READ, WRITE, Started

PATHS = [
    (method, route.path.replace("{item_id:id}", "mug").replace("{job_id}", "x"))
    for route in routes.router.routes
    if isinstance(route, Route)
    for method in sorted((route.methods or set()) - {"HEAD"})
]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_there_are_routes() -> None:
    assert {path for _, path in PATHS} >= {"/admin/fit", "/admin/items/mug", "/admin/events/export", *ADMIN_UPLOADS}


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_route_needs_the_admin_token(started: Started, shop: Path, method: str, path: str) -> None:
    client = started(shop, read_token=READ, write_token=WRITE, admin_token=ADMIN)
    without = client.request(method, path, content=b"not even json")
    assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
    for token in (READ, WRITE):
        answer = client.request(method, path, content=b"not even json", headers=bearer(token))
        assert answer.status_code == 403
        assert answer.json()["error"]["hint"] == "send the admin token, that of COMMONSPACE_ADMIN_TOKEN"
    assert client.request(method, path, headers=bearer("wrong-token-wrong")).status_code == 401
    closed = started(shop, read_token=READ, write_token=WRITE)
    for token in (READ, WRITE, ADMIN):
        refused = closed.request(method, path, headers=bearer(token))
        assert refused.status_code == 403
        assert "COMMONSPACE_ADMIN_TOKEN" in refused.json()["error"]["hint"]


def test_the_admin_token_opens_nothing_else(started: Started, shop: Path) -> None:
    client = started(shop, read_token=READ, write_token=WRITE, admin_token=ADMIN)
    for path in ("/search", "/events"):
        answer = client.post(path, json={}, headers=bearer(ADMIN))
        assert (answer.status_code, answer.json()["error"]["message"]) == (403, "the admin token is for `/admin` alone")


def test_admin_has_a_port_of_its_own(started: Started, shop: Path) -> None:
    client = started(shop, admin_token=ADMIN, port=8080, admin_port=8081)
    inside = TestClient(client.app, "http://127.0.0.1:8081")
    outside = TestClient(client.app, "http://127.0.0.1:8080")
    assert inside.get("/admin/jobs", headers=bearer(ADMIN)).status_code == 200
    assert inside.get("/admin/jobs").status_code == 401
    hidden = outside.get("/admin/jobs", headers=bearer(ADMIN))
    assert (hidden.status_code, hidden.json()["error"]["type"]) == (404, "NotFoundError")
    assert outside.get("/admin/jobs").status_code == 404
    assert outside.post("/search", json={"texts": ["red"]}).status_code == 200
    assert inside.post("/search", json={"texts": ["red"]}).status_code == inside.get("/").status_code == 404
    assert inside.get("/live").status_code == inside.get("/ready").status_code == 200


def test_another_name_of_the_host_reaches_admin_with_its_token(started: Started, shop: Path) -> None:
    """Pages of other sites have no token, so that the guard against them is not needed there."""
    client = started(shop, admin_token=ADMIN)
    host = {"host": "admin.shop.example"}
    assert client.get("/admin/jobs", headers=host | bearer(ADMIN)).status_code == 200
    assert client.get("/admin/jobs", headers=host).status_code == 401
    assert client.get("/info", headers=host).status_code == 421


def test_settings_that_cannot_be_used(shop: Path) -> None:
    for other in ("read_token", "write_token"):
        with pytest.raises(InputError, match="and the admin token are the same"):
            ServiceConfig(shop, admin_token=ADMIN, **{other: ADMIN})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no token that opens it; set COMMONSPACE_ADMIN_TOKEN"):
        ServiceConfig(shop, admin_port=8081)
    with pytest.raises(InputError, match="both 8080"):
        ServiceConfig(shop, admin_token=ADMIN, admin_port=8080)
    with pytest.raises(InputError, match="admin_port is 70000"):
        ServiceConfig(shop, admin_token=ADMIN, admin_port=70_000)
    with pytest.raises(InputError, match="admin token has 5 characters"):
        ServiceConfig(shop, admin_token=ADMIN[:5])
    assert ADMIN not in repr(ServiceConfig(shop, admin_token=ADMIN))
    config = ServiceConfig.from_environment(shop, environment={"COMMONSPACE_ADMIN_TOKEN": ADMIN})
    assert (config.admin_token, config.read_token) == (ADMIN, None)


def test_only_uploads_may_be_large(started: Started, shop: Path) -> None:
    client = started(shop, admin_token=ADMIN)
    length = {"content-length": "200000000", **bearer(ADMIN)}
    assert client.post("/admin/items", content=b"{}", headers=length).status_code == 413
    assert client.post("/admin/items/upload", content=b"{}", headers=length).status_code == 422
    length["content-length"] = "300000000"
    assert client.post("/admin/items/upload", content=b"{}", headers=length).status_code == 413
