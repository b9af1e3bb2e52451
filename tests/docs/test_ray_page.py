"""The Python of docs/how-to/ray.md runs, in a process of its own, and does what it says; its options exist."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer.main

from indexing import Bundle, Catalogue, load_encoder
from indexing.store.encode import encode_catalogue
from indexing.store.store import EmbeddingStore
from retrieval.cli import app
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "ray.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_the_example_prints_what_the_page_says_and_encodes_as_without_ray(smaller_sample: Path) -> None:
    ((example, printed),) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
    pq.write_table(pq.read_table(smaller_sample).slice(0, 30), "items.parquet")
    command = [sys.executable, "-c", f"items = 'items.parquet'\n{example}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert out == printed
    catalogue, encoder = Catalogue.from_parquet("items.parquet"), load_encoder("pocket")
    folders = Bundle.open("bundles/shop").folder / "store", Path("local")
    stores = [EmbeddingStore(folder, encoder.info.dim) for folder in folders]
    encode_catalogue(catalogue, encoder, stores[1])
    found, expected = (list(store.records(pq.read_table("items.parquet")["item_id"].to_pylist())) for store in stores)
    assert [replace(record, vector=None) for record in found] == [replace(record, vector=None) for record in expected]
    vectors = [np.stack([record.vector for record in of if record.vector is not None]) for of in (found, expected)]
    assert vectors[0].shape == (60, encoder.info.dim)
    # An actor has one thread for a processor, which may round sums otherwise; halves near 1 are 0.0005 apart.
    np.testing.assert_allclose(vectors[0].astype(np.float32), vectors[1].astype(np.float32), atol=1e-3)


def test_options_and_fields_are_there() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    parameters = [one for name in ("build", "recommend", "rerank", "similar") for one in commands[name].params]
    options = {option for parameter in parameters for option in parameter.opts}
    named = set(re.findall(r"[` ](--[a-z-]+)", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
    assert {"--engine", "--address", "--actors", "--actor-cpus", "--actor-gpus"} <= named <= options
