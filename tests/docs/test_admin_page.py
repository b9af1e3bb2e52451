"""What docs/how-to/admin.md says of `/admin`: its requests are valid, and its states and limits those of the code."""

import json
import re
from typing import get_args

import pytest
from pydantic import ValidationError

from retrieval.serving.admin import child, jobs
from retrieval.serving.http.routes import admin as routes
from retrieval.serving.schemas import admin
from retrieval.serving.schemas.base import Strict
from tests.paths import ROOT

PAGE = (ROOT / "docs/how-to/admin.md").read_text()
LIMITS = (ROOT / "docs/reference/limits.md").read_text()
MODELS: dict[str, type[Strict]] = {
    "items": admin.ItemsRequest,
    "items/delete": admin.DeleteRequest,
    "fit": admin.FitRequest,
    "publish": admin.PublishRequest,
}
REQUESTS = re.findall(r"localhost:8081/admin/([\w/]+) -H 'content-type: application/json' (?:\\\n *)?-d '(.*?)'", PAGE)


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_requests_are_valid(path: str, body: str) -> None:
    MODELS[path].model_validate_json(body)


def test_there_are_requests_to_each_route_with_a_body() -> None:
    assert {path for path, _ in REQUESTS} == set(MODELS)
    (options,) = re.findall(r"-F 'request=(.*?)'", PAGE)
    admin.ItemsOptions.model_validate_json(options)
    (resumed,) = re.findall(r"`(\{\"resume.*?\})`", PAGE)
    assert admin.FitRequest.model_validate(json.loads(resumed)).resume == "JOB_ID"


def test_states_and_numbers_are_those_of_the_code() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(get_args(jobs.State))
    assert f"latest {jobs.KEPT_JOBS} are kept" in PAGE
    assert f"Up to {routes.HERE_ITEMS} items" in PAGE
    assert f"`nice` {child.NICE}" in PAGE
    assert f"| items of a request to `/admin` | {admin.MAX_ITEMS:,} |" in LIMITS


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (admin.FitRequest, {"refresh": True, "effort": "fast"}),
        (admin.FitRequest, {"resume": "x", "publish": False}),
        (admin.FitOptions, {"resume": "x"}),
        (admin.FitRequest, {"exposure_floor": 1.5}),
        (admin.RollbackRequest, {"to": ""}),
        (admin.DeleteRequest, {"item_ids": "mug"}),
    ],
)
def test_what_does_not_go_together_is_refused(model: type[Strict], body: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="validation error"):
        model.model_validate(body)
