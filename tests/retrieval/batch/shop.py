"""A shop for jobs: the toy catalogue with what was learned of its users, and other users in Parquet."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from retrieval import FitConfig, Interactions, fit
from retrieval.batch import Answers
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import HeadConfig, StageConfig
from tests.toy import COLOURS, SHAPES, ToyEncoder, toy_file

ITEMS = [f"{colour}-{shape}" for colour in COLOURS for shape in SHAPES]
LISTS = pa.list_(pa.string())
NUMBERS = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [("user_id", pa.string()), ("history", LISTS), ("weights", NUMBERS), ("candidates", LISTS), ("scores", NUMBERS)]
)


def shop_log() -> pa.Table:
    """Users who go through all things of one colour, then of another."""
    colours = [*COLOURS, *COLOURS]
    lists = [[f"{c}-{shape}" for c in colours[start : start + 2] for shape in SHAPES] for start in range(len(COLOURS))]
    rows = [
        {"user_id": f"u{copy}-{number}", "item_id": item, "timestamp": 1_700_000_000 + 60 * step, "weight": 1.0}
        for copy in range(8)
        for number, items in enumerate(lists)
        for step, item in enumerate(items[copy:] + items[:copy])
    ]
    return pa.Table.from_pylist(rows)


def built(folder: Path, *, learn: bool = True) -> Path:
    """Build the bundle, and learn a behaviour block and a head."""
    root = folder / "bundle"
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), root)
    if learn:
        behaviour = BehaviourConfig(ease_dims=4, next_items=NextItemsConfig(dims=4, epochs=2))
        config = FitConfig(adapter=None, behaviour=behaviour, reranker=StageConfig(neural=HeadConfig(epochs=3)))
        with pytest.MonkeyPatch.context() as patched:  # all parts, though content alone answers these users as well
            patched.setattr(Validation, "gain", lambda *_: Gain(32, 0.5, 1.0, 0.5, 0.4, 0.6))
            fit(root, Interactions.from_arrow(shop_log()), config)
    return root


def users(count: int, seed: int = 0) -> pa.Table:
    """Draw users with a history of no item to nine, weights, and seven candidates with scores."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        history = rng.permutation(ITEMS)[: rng.integers(0, 10)].tolist()
        candidates, scores = rng.permutation(ITEMS)[:7].tolist(), rng.normal(size=7).round(3).tolist()
        weights = rng.integers(1, 6, len(history)).astype(float).tolist()
        lines.append(dict(zip(SCHEMA.names, (f"u{number}", history, weights, candidates, scores), strict=True)))
    return pa.Table.from_pylist(lines, SCHEMA)


def written(table: pa.Table, path: Path, group: int = 7) -> Path:
    """Write a table in small row groups."""
    pq.write_table(table, path, row_group_size=group)
    return path


def joined(found: Iterable[Answers]) -> pa.Table:
    """All answers as one table."""
    return pa.concat_tables(one.to_arrow() for one in found)


def quarantined(found: Iterable[Answers]) -> dict[str | None, str]:
    """Who was set aside, and why."""
    return {line.query_id: line.reason for one in found for line in one.chunk.quarantined}


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    """The same lists, scores but for rounding: BLAS adds up in another order when a batch has another size."""
    for name in ("query_id", "item_id", "rank", "stage"):
        assert found[name].to_pylist() == expected[name].to_pylist(), name
    np.testing.assert_allclose(found["score"].to_numpy(), expected["score"].to_numpy(), rtol=1e-5, atol=1e-6)
