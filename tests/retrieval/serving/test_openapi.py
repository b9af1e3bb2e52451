"""The description of the interface: examples that are valid, and a body for every answer and error."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval.serving.schemas import admin, queries
from retrieval.serving.schemas.base import Strict
from tests.retrieval.serving.conftest import Started

REQUESTS = [
    one
    for module in (queries, admin)
    for name, one in vars(module).items()
    if name.endswith("Request") and issubclass(one, Strict)
]


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: str(model.__name__))
def test_examples_are_valid(model: type[Strict]) -> None:
    examples: list[dict[str, Any]] = model.model_json_schema()["examples"]
    assert examples
    for example in examples:
        assert model.model_validate(example).model_dump(exclude_unset=True) == example


def test_every_answer_and_error_has_a_body(started: Started, toy_bundle: Path) -> None:
    client: TestClient = started(toy_bundle)
    description = client.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            for status, answer in operation["responses"].items():
                content = answer.get("content", {})
                if status == "200" and "application/json" in content:
                    assert "$ref" in content["application/json"]["schema"], name
                if status in ("422", "429", "503") and path not in ("/ready",):
                    assert content["application/json"]["schema"]["$ref"].endswith("/ErrorBody"), name


def test_names_of_operations_differ(started: Started, toy_bundle: Path) -> None:
    paths = started(toy_bundle).get("/openapi.json").json()["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(names) == len(set(names))
