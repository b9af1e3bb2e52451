"""The routes of this service that docs/explanation/beside_peers.md names are there, and so are the fields."""

import re
from pathlib import Path

from starlette.testclient import TestClient

from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.schemas.queries import RecommendRequest, SearchRequest, TrendingRequest
from tests.paths import ROOT
from tests.toy import ToyEncoder

PAGE = (ROOT / "docs" / "explanation" / "beside_peers.md").read_text()
ROWS = [row.split(" | ") for row in PAGE.splitlines() if row.startswith("| ") and " | " in row]
HERE = [row[1] for row in ROWS if len(row) == 2]


def test_routes_are_there(toy_bundle: Path) -> None:
    client = TestClient(create_app(ServiceConfig(toy_bundle), encoder=ToyEncoder()), "http://127.0.0.1")
    paths = client.get("/openapi.json").json()["paths"]
    named = {route for cell in HERE for route in re.findall(r"`((?:GET|POST|DELETE) /[\w/{}-]*)`", cell)}
    assert len(named) >= 25
    assert named <= {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_every_row_has_a_side_of_ours() -> None:
    assert len(HERE) >= 50
    assert [cell for cell in HERE if len(cell) < 6] == []


def test_fields_are_there() -> None:
    fields = {name for model in (SearchRequest, RecommendRequest, TrendingRequest) for name in model.model_fields}
    cells = " ".join(HERE)
    named = ["texts", "images", "image_urls", "k", "num_candidates", "duplicates", "group_by", "where", "blend", "by"]
    named += ["attributes", "histories", "user_ids", "session", "profiles", "exclude_seen", "stages", "order"]
    assert [name for name in named if not re.search(rf"`{name}[`:]", cells)] == []
    assert set(named) <= fields
