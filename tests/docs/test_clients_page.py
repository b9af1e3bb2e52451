"""The Python of docs/how-to/clients.md runs against a service of the sample, and its table names all methods."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexing import Catalogue, build_bundle, load_encoder
from retrieval.serving import ServiceConfig
from retrieval.serving.client import Client, admin
from retrieval.serving.client.retries import Retries
from tests.paths import ROOT
from tests.retrieval.serving.admin.conftest import ADMIN
from tests.retrieval.serving.listening import listening

PAGE = (ROOT / "docs" / "how-to" / "clients.md").read_text()
TABLE = PAGE.split("| methods | route |")[1].split("\n\n")[0]


@pytest.fixture
def address(smaller_sample: Path, tmp_path: Path) -> Iterator[str]:
    encoder = load_encoder("pocket")
    build_bundle(Catalogue.from_parquet(smaller_sample), encoder, tmp_path / "bundle")
    config = ServiceConfig(tmp_path / "bundle", admin_token=ADMIN)
    with listening(config, encoder) as (found, _):
        yield found


@pytest.mark.slow
def test_the_examples_run(address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMONSPACE_ADMIN_TOKEN", ADMIN)
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 4
    shown = []
    for example in examples:
        code = re.sub(r"http://127.0.0.1:808[01]", address, example)
        exec(compile(code, "clients.md", "exec"), {})  # noqa: S102 - the page is ours
        shown.append(capsys.readouterr().out.splitlines())
    assert shown[0][0] == "orange-slice {'category': 'food'}"
    assert len(shown[0]) > 10
    assert re.fullmatch(r"\['[\w-]+', 'elephant[\w-]*'\]", shown[1][0])
    assert shown[2] == ["422 FilterError"]
    assert re.fullmatch(r"\[\('gen-[\w-]+', 'current'\)\]", shown[3][0])


def test_all_methods_are_on_the_page() -> None:
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert {name for row in TABLE.splitlines()[2:] for name in re.findall(r"`([a-z_]+)`", row)} == methods - {"close"}


def test_numbers_are_those_of_the_code() -> None:
    defaults = {name: one.default for name, one in inspect.signature(Client).parameters.items()}
    assert f"**`timeout`**, {defaults['timeout']:g} s" in PAGE
    assert f"`retries={defaults['retries']}`" in PAGE
    assert Retries().count == defaults["retries"]
    assert f"`timeout` of what changes the bundle is {admin.SECONDS:g} s" in PAGE
