"""The Python examples of docs/how-to/exchange.md run, one after the other."""

import re
from pathlib import Path

import pytest

from indexing.bundle.bundle import Bundle
from indexing.exchange import write_clip_retrieval
from tests.paths import ROOT

DOCS = ROOT / "docs" / "how-to" / "exchange.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    first, separate, second = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(first, str(DOCS), "exec"), names)  # noqa: S102 - the document is ours
    assert capsys.readouterr().out == "['mug', 'shoe']\n"
    exec(compile(separate, str(DOCS), "exec"), names)  # noqa: S102
    assert capsys.readouterr().out == "item-7\n"
    assert Bundle.open("bundles/two-spaces").is_live.sum() == 50
    write_clip_retrieval(Bundle.open("bundles/mine"), "shop-clip")
    exec(compile(second, str(DOCS), "exec"), {})  # noqa: S102
    assert list(Bundle.open("bundles/from-clip").items) == ["mug", "shoe", "lamp"]
