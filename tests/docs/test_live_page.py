"""The Python of docs/how-to/live.md runs in order on a small bundle and prints that nothing is wrong."""

import re
from pathlib import Path

import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from retrieval.retriever.retriever import Retriever
from tests.paths import ROOT
from tests.toy import ToyEncoder, toy_file

PAGE = (ROOT / "docs" / "how-to" / "live.md").read_text()


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    rows = [f'{{"item_id": "{row["item_id"]}", "title": "{row["title"]}", "price": 9}}\n' for row in _rows(tmp_path)]
    Path("new.jsonl").write_text('{"item_id": "kite", "title": "red kite"}\n')
    Path("changed.jsonl").write_text('{"item_id": "kite", "title": "blue kite"}\n')
    Path("shop.jsonl").write_text(
        "".join([*rows, '{"item_id": "mug-1", "title": "white mug"}\n', '{"item_id": "mug-2", "title": "mug"}\n'])
    )
    build_bundle(Catalogue.from_jsonl("shop.jsonl"), ToyEncoder(), "bundles/shop")
    monkeypatch.setattr("indexing.load_encoder", lambda _: ToyEncoder())
    names: dict[str, object] = {}
    exec(compile(example, "live.md", "exec"), names)  # noqa: S102 - the page is ours
    assert capsys.readouterr().out.splitlines() == ["[]", "()"]
    retriever = Retriever.load("bundles/shop", ToyEncoder())
    assert retriever.search_texts(["blue kite"], 1)[0][0].item_id == "kite"
    assert "mug-1" not in retriever.items
    assert "mug-2" in {hit.item_id for hit in retriever.search_texts(["mug"], 50, where="price = 12")[0]}


def _rows(folder: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = Catalogue.from_parquet(toy_file(folder)).attributes.to_pylist()
    return rows
