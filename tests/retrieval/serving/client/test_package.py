"""The package of the client: light to import, with help for each method, and clear about what is missing."""

import inspect
import json
import subprocess
import sys

import pytest

from retrieval.serving import client as module
from retrieval.serving.schemas.answers import Answer
from tests.retrieval.serving.client.test_sending import ANSWER, client_of


def test_importing_the_client_is_light() -> None:
    probe = "import json, sys; from retrieval.serving.client import *; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True).stdout)
    assert {"httpx2", "pydantic"} <= set(loaded)
    heavy = {"torch", "faiss", "fastapi", "starlette", "uvicorn", "sqlalchemy", "transformers", "scipy", "pandas"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("package", ["httpx2", "pydantic"])
def test_a_missing_package_is_named_with_its_extra(package: str) -> None:
    probe = f"""
import sys
sys.modules[{package!r}] = None
import retrieval.serving.client
import indexing.errors
indexing.errors.find_spec = lambda name: None if name == {package!r} else True
try:
    from retrieval.serving.client import Client
except ImportError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True, text=True).stdout
    assert said == f'{package} cannot be imported: pip install ".[client]" in a clone\n'


def test_help_of_a_method_says_what_it_gives() -> None:
    client, _ = client_of([ANSWER])
    signature = inspect.signature(client.similar_items)
    assert list(signature.parameters) == ["item_ids", "k", "by", "options"]
    assert signature.return_annotation is Answer
    assert (client.similar_items.__doc__ or "").startswith("Find the k items nearest to each item")


def test_all_names_are_there() -> None:
    assert module.__all__ == sorted(module.__all__)
    assert [getattr(module, name).__name__ for name in module.__all__] == module.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018
