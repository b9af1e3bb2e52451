"""The Python and the rules of docs/how-to/diversify.md work on a small bundle."""

import json
import re
from pathlib import Path

import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from retrieval.postprocess.rules import Rules
from tests.paths import ROOT
from tests.toy import ToyEncoder, toy_file

PAGE = (ROOT / "docs" / "how-to" / "diversify.md").read_text()


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), "bundles/shop")
    example, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)  # the second is tested with duplicates
    exec(compile(example, "diversify.md", "exec"), {})  # noqa: S102 - the page is ours
    assert capsys.readouterr().out.splitlines() == ["white-book ('pin white-book at 1',)"]


def test_rules_of_the_page_are_read() -> None:
    settings, given = map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    assert len(Rules.from_list(given).rules) == 4
    assert settings.keys() == {"collapse", "diversify", "rules"}
    assert len(Rules.from_list(settings["rules"]).rules) == 1
