"""A column of numbers can be text of an item: a bundle that is built so can be fitted, and nothing is no category."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.encoders.base import Encoder
from retrieval.models.features.column_encoders import Categories, columns_of
from tests.cli_run import runner
from tests.toy import SHAPES, ToyEncoder, toy_table


def test_a_bundle_with_numbers_as_text_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(spec: str, *, precision: str = "auto", bridge: bytes | None = None, **_: object) -> Encoder:
        return ToyEncoder()

    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", load)
    table = toy_table()
    years = [1990 + place if place % 3 else None for place in range(len(table))]
    tags = [["tea", None, ""], [], None, ["", "cup"]] * 5
    table = table.append_column("year", pa.array(years)).set_column(4, "tags", pa.array(tags))
    pq.write_table(table, tmp_path / "items.parquet")
    named = NamedColumns(text=("title", "year"))
    bundle = build_bundle(Catalogue.open(tmp_path / "items.parquet", columns=named), ToyEncoder(), tmp_path / "b")
    (encoder,) = [one for one in columns_of(bundle.attributes) if isinstance(one, Categories) and one.column == "tags"]
    assert set(encoder.values) == {"tea", "cup"}
    ids = table["item_id"].to_pylist()
    rows = [
        {"user_id": f"u{user}", "item_id": ids[(user + step) % len(ids)], "timestamp": 1_700_000_000 + 60 * step}
        for user in range(24)
        for step in range(len(SHAPES))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    code, out, error = runner(capsys)("fit", tmp_path / "b", tmp_path / "log.parquet", "--json")
    assert code in (0, 3), error
    assert "frozen" in json.loads(out)["ndcg"]
