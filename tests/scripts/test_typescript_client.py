"""The types of the TypeScript client are made of the OpenAPI as it is now."""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval.serving import ServiceConfig, create_app
from scripts import typescript_client
from scripts.typescript_client import FILE, HEADER, description, fingerprint, shorter
from tests.toy import ToyEncoder

TYPES = FILE.read_text()


def test_the_types_are_up_to_date() -> None:
    made, now = TYPES.partition("\n")[0], HEADER.format(fingerprint(description())).strip()
    assert made == now, "the routes or fields have changed: run python -m scripts.typescript_client"


def test_they_describe_what_a_service_says_of_itself(toy_bundle: Path) -> None:
    client = TestClient(create_app(ServiceConfig(toy_bundle), encoder=ToyEncoder()), "http://127.0.0.1")
    said = client.get("/openapi.json").json()
    assert fingerprint(said) == fingerprint(description())
    assert set(re.findall(r'^    "(/.*)": {$', TYPES, re.MULTILINE)) == set(said["paths"])


@pytest.mark.parametrize("change", ["rank", "title"])
def test_a_change_is_noticed(change: str) -> None:
    changed = description()
    changed["components"]["schemas"]["Hit"]["properties"][change] = {"type": "boolean"}
    assert fingerprint(changed) != fingerprint(description())


def test_errors_are_given_once_and_properties_named_title_stay() -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    operation: dict[str, Any] = {
        "responses": {
            "200": {"description": "ok"},
            "404": {"description": "Missing.", "content": content},
            "500": {"description": "Fault.", "content": content},
            "503": {"description": "Stopping."},
        },
        "schema": {"title": "Hit", "properties": {"title": {"title": "Title", "type": "string"}}},
    }
    assert shorter([operation]) == [
        {
            "responses": {
                "200": {"description": "ok"},
                "503": {"description": "Stopping."},
                "default": {"description": "Why it was not answered.", "content": content},
            },
            "schema": {"properties": {"title": {"type": "string"}}},
        }
    ]


def test_help_makes_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(typescript_client, "generated", lambda _: pytest.fail("the types were made"))
    monkeypatch.setattr("sys.argv", ["typescript_client", "--help"])
    with pytest.raises(SystemExit, match="0"):
        typescript_client.main()
    assert "python -m scripts.typescript_client" in capsys.readouterr().out
