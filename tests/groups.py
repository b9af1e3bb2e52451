"""A shop whose items are in groups that only its users know: what `fit` is tested with."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Vectors, unit
from indexing.catalogue.catalogue import Catalogue
from retrieval import FitConfig, Interactions
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import HeadConfig, StageConfig

GROUPS, SIZE, DIM = 5, 24, 8
COUNT, CLOCK = GROUPS * SIZE, 1_700_000_000
SMALL = FitConfig(
    adapter=None,
    behaviour=BehaviourConfig(ease_dims=6, regularisation=5.0, next_items=NextItemsConfig(dims=6, epochs=3)),
    reranker=None,
    exposure_floor=0.5,  # every list holds much of a small catalogue
)
CONTENT: Vectors = unit(np.random.default_rng(0).normal(size=(COUNT + 4, DIM)).astype(np.float32))


def items(rows: range, groups: list[int] | None = None) -> pa.Table:
    """Items whose vectors say nothing of their group, which only users know; the shelf says it too."""
    groups_of_rows = groups or [row // SIZE for row in rows]
    return pa.table(
        {
            "item_id": [f"i{row:03}" for row in rows],
            "shelf": [f"shelf {group}" for group in groups_of_rows],
            "text_vector": pa.array([CONTENT[row].tolist() for row in rows], pa.list_(pa.float32())),
        }
    )


def catalogue(folder: Path, table: pa.Table) -> Catalogue:
    path = folder / f"items-{len(table)}.parquet"
    pq.write_table(table, path)
    return Catalogue.from_parquet(path)


def log(users: int = 90, start: int = 0, seed: int = 0, each: int = 8) -> Interactions:
    """Each user stays within one group; the first items of it are taken by most."""
    rng, lines = np.random.default_rng(seed), []
    for user in range(users):
        group, likely = rng.integers(GROUPS), 1 / np.arange(2, SIZE + 2)
        for place, item in enumerate(rng.choice(SIZE, each, replace=False, p=likely / likely.sum())):
            lines.append((f"u{start + user:03}", f"i{group * SIZE + item:03}", start + 1000 * place + user))
    names = ("user", "item", "time")
    return Interactions.from_arrow(pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))))


def group_of(item_ids: list[str]) -> list[int]:
    return [int(item_id[1:]) // SIZE for item_id in item_ids]


STAGE = StageConfig(candidates_per_source=20, neural=HeadConfig(hidden=8, ensemble_size=1, epochs=8))


def walks(users: int = 200, steps: int = 12) -> Interactions:
    """Each user goes through a group item by item, from anywhere: the last item alone decides the next."""
    rng = np.random.default_rng(5)
    starts = rng.integers(COUNT, size=users)
    rows = [[start // SIZE * SIZE + (start + step) % SIZE for step in range(steps)] for start in starts.tolist()]
    table = {
        "user": [f"w{user:03}" for user in range(users) for _ in range(steps)],
        "item": [f"i{row:03}" for line in rows for row in line],
        "time": [1000 * step + user for user in range(users) for step in range(steps)],
    }
    return Interactions.from_arrow(pa.table(table))
