"""The examples of the OpenAPI work: each request is answered by a small shop, and each answer is one of its model."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.admin.runner import JobRunner
from retrieval.serving.schemas import admin, events, insight
from retrieval.serving.schemas import answers as answers_module
from tests.retrieval.serving import example_shop
from tests.retrieval.serving.conftest import READ, WRITE
from tests.toy import ToyEncoder, picture

ADMIN = "admin-" + "a" * 20
GENERATION = re.compile(r"gen-20260102t030405000000z-0123abcd")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service of a shop with the items, words and users of the examples; fits are begun and do nothing."""
    folder = tmp_path_factory.mktemp("examples")
    root = example_shop.built(folder)
    rows = [{**item, "image": picture("red")} for item in example_shop.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    events = f"sqlite:///{folder / 'events.db'}"
    config = ServiceConfig(
        root,
        events=events,
        write_token=WRITE,
        read_token=READ,
        admin_token=ADMIN,
        catalogue=folder / "items.parquet",
        poll_seconds=3600.0,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(JobRunner, "_process", lambda runner, job, _: _ended(runner, job))
        with TestClient(create_app(config, encoder=ToyEncoder()), "http://127.0.0.1") as opened:
            event = {"user_id": "session:s-1", "item_id": "mug", "type": "view"}
            assert asked(opened, "POST", "/events", json=event).status_code == 200
            yield opened


def _ended(runner: JobRunner, job: Any) -> Any:  # noqa: ANN401
    runner.jobs.end(job, "done", report={})
    return SimpleNamespace(wait=lambda: 0)


def asked(client: TestClient, method: str, path: str, **content: Any) -> Any:  # noqa: ANN401
    token = ADMIN if path.startswith("/admin") else WRITE
    return client.request(method, path, headers={"authorization": f"Bearer {token}"}, **content)


@pytest.fixture(scope="module")
def description(client: TestClient) -> Any:  # noqa: ANN401 - any JSON
    return asked(client, "GET", "/openapi.json").json()


def resolved(description: Any, schema: Any) -> Any:  # noqa: ANN401
    return description["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def bodies(description: Any, operation: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Give the examples of a JSON body, as arguments of a request."""
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if media is None:
        return []
    given = media.get("examples") or resolved(description, media["schema"])["examples"]
    return [{"json": one["value"] if isinstance(one, dict) and "value" in one else one} for one in as_list(given)]


def as_list(given: Any) -> list[Any]:  # noqa: ANN401
    return list(given.values()) if isinstance(given, dict) else list(given)


FILES = {"image": picture("red"), "items": b'{"item_id": "mug-8", "title": "a blue mug"}', "interactions": b"PAR1"}


def forms(description: Any, operation: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Give a form with each example of its options, and a file."""
    media = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if media is None:
        return []
    fields = resolved(description, media["schema"])["properties"]
    file = next(name for name in FILES if name in fields)
    return [{"files": {file: FILES[file]}, "data": {"request": one}} for one in fields["request"]["examples"]]


def paths(path: str, operation: Any) -> list[str]:  # noqa: ANN401
    """Give a path with the names of its examples, without parameters and with each that has an example."""
    named, parameters = path, operation.get("parameters", [])
    for one in parameters:
        if one["in"] == "path" and one["name"] != "job_id":
            named = named.replace(f"{{{one['name']}}}", one["schema"]["examples"][0])
    queries = [
        "&".join(f"{one['name']}={value}" for value in (example if isinstance(example, list) else [example]))
        for one in parameters
        if one["in"] == "query"
        for example in one["schema"].get("examples") or one["schema"].get("anyOf", [{}])[0].get("examples", [])
    ]
    return [named, *(f"{named}?{query}" for query in queries)]


def prepared(client: TestClient, path: str, content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Put names that the shop has in place of those that stand for one, and stage what is to be published."""
    if path == "/admin/publish":
        example_shop.staged(client.app.state.service.config.bundle)  # type: ignore[attr-defined]
    if path == "/admin/items/mug-9":
        item = {"item_id": "mug-9", "title": "a red mug"}
        asked(client, "POST", "/admin/items", json={"mode": "upsert", "items": [item]})
    kept = asked(client, "GET", "/admin/generations").json()["generations"]
    state = "staged" if path == "/admin/publish" else "kept"
    name = next(one["generation"] for one in kept if one["state"] == state)
    if "{job_id}" in path:
        path = path.replace("{job_id}", asked(client, "GET", "/admin/jobs").json()["jobs"][0]["job_id"])
    return path, {
        one: json.loads(GENERATION.sub(name, json.dumps(value))) if one == "json" else value
        for one, value in content.items()
    }


@pytest.fixture(scope="module")
def answers(client: TestClient, description: Any) -> dict[str, list[Any]]:  # noqa: ANN401
    """Answers to all examples by the name of their model; what takes something away is asked last."""
    found: dict[str, list[Any]] = {}
    operations = [
        (method, path, one) for path, of_path in description["paths"].items() for method, one in of_path.items()
    ]
    for method, path, operation in sorted(operations, key=lambda one: (one[0] == "delete", one[1] != "/events")):
        for named in paths(path, operation):
            for example in bodies(description, operation) or forms(description, operation) or [{}]:
                asked_path, content = prepared(client, named, example)
                answer = asked(client, method, asked_path, **content)
                if (method, path) == ("delete", "/admin/jobs/{job_id}"):
                    assert answer.status_code == 409, answer.text  # it has ended
                    continue
                assert answer.status_code in (200, 202), f"{method} {named} {example}: {answer.text}"
                media = operation["responses"].get(str(answer.status_code), {}).get("content", {})
                if "application/json" in media and answer.headers["content-type"] == "application/json":
                    name = media["application/json"]["schema"]["$ref"].rpartition("/")[2]
                    found.setdefault(name, []).append(answer.json())
    found["ErrorBody"] = [asked(client, "POST", "/search", json={"text": ["a"]}).json()]
    return found


def fields_of(value: Any, place: str = "") -> set[str]:  # noqa: ANN401
    """Give the places of all fields in a value; those of the entries of a list are one."""
    if isinstance(value, dict):
        return {f"{place}.{name}" for name in value}.union(
            *(fields_of(one, f"{place}.{n}") for n, one in value.items())
        )
    return set().union(*(fields_of(one, f"{place}[]") for one in value)) if isinstance(value, list) else set()


def test_requests_are_answered_and_answers_have_the_fields_of_their_examples(
    answers: dict[str, list[Any]],
    description: Any,  # noqa: ANN401
) -> None:
    models = description["components"]["schemas"]
    for name, given in answers.items():
        real = set().union(*map(fields_of, given))
        for example in models[name]["examples"]:
            assert fields_of(example) <= real, name


def test_every_json_answer_has_an_example(answers: dict[str, list[Any]], description: Any) -> None:  # noqa: ANN401
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if schema := answer.get("content", {}).get("application/json", {}).get("schema", {}):
                    name = schema.get("$ref", "").rpartition("/")[2]
                    assert name in answers or (status, name) == ("202", "Named"), f"{method} {path} {status}"


def test_examples_and_answers_are_of_their_models(answers: dict[str, list[Any]], description: Any) -> None:  # noqa: ANN401
    for name, given in answers.items():
        model = getattr(schemas.get(name), name)
        for one in [*description["components"]["schemas"][name]["examples"], *given]:
            model.model_validate(one)


schemas = {
    name: module
    for module in (answers_module, admin, events, insight)
    for name, value in vars(module).items()
    if isinstance(value, type)
}
