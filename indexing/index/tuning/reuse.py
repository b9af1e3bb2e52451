"""Bringing the index of the generation before up to date: what it has trained is kept, and recall is measured again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from indexing.arrays import Mask, Vectors
from indexing.errors import InputError
from indexing.index.base import TunableIndex, VectorIndex
from indexing.index.config import IndexConfig, SearchParamsByKind
from indexing.index.tuning.build import IndexReport, load_index
from indexing.index.tuning.families import LISTS, SHARDED, SHARDED_ON_DISK, Family
from indexing.index.tuning.recall import GroundTruth, HeldOutQueries, ground_truths
from indexing.index.tuning.trial import tune

TRAINED = (*LISTS, SHARDED, SHARDED_ON_DISK)
# Rows that came or went since lists and codes were trained, as a share of those they were trained on.
MAX_CHANGED_SHARE = 0.2


@dataclass(frozen=True)
class Trained:
    """Since when an index has what it was trained to, and what changed since.

    Attributes:
        generation: The first that is known to have had it.
        rows: How many rows that one had.
        changed: How many rows came or went since.
    """

    generation: str
    rows: int
    changed: int


@dataclass(frozen=True, eq=False)
class IndexBefore:
    """The index of the generation before.

    Attributes:
        path: Where it is.
        section: What the manifest of that generation says of it.
        generation: The name of that generation.
        kept: (N,) bool, which of its rows stay: the first of the new index, in their order.
    """

    path: Path
    section: Mapping[str, Any]
    generation: str
    kept: Mask

    def trained(self, rows: int) -> Trained:
        """Say when it was trained, and how much has changed with so many rows that stay or are new."""
        first = {"generation": self.generation, "rows": len(self.kept), "changed": 0}
        known = self.section.get("trained", first)
        num_kept = int(np.count_nonzero(self.kept))
        changed = len(self.kept) - num_kept + rows - num_kept
        return Trained(known["generation"], known["rows"], known["changed"] + changed)


def reuse_index(
    before: IndexBefore, vectors: Vectors, config: IndexConfig, queries: HeldOutQueries, path: Path
) -> tuple[VectorIndex, IndexReport, Trained, Mapping[str, GroundTruth]] | None:
    """Bring inverted lists up to date with (N, D) vectors, and measure recall; where it fell efforts are raised.

    Half of the queries of a build do, as none of them has to choose an effort.

    Args:
        before: The index of the generation before.
        vectors: (N, D) float32, also rows that are not in memory.
        config: The goals.
        queries: Some of each kind that are drawn anew.
        path: Where an index in shards is written; files beside it are needed while the index lives.

    Returns:
        The index, what was measured, since when it is trained, and what exact search finds. None where nothing was
        trained, too much has changed since, or a goal would be missed: then it must be built.
    """
    family = next((known for known in TRAINED if known.name == before.section.get("family")), None)
    trained = before.trained(len(vectors))
    if family is None or trained.changed > MAX_CHANGED_SHARE * trained.rows:
        return None
    ground_truth = ground_truths(vectors, queries, config.k, -(-config.sample // 2))
    started = perf_counter()
    index = _updated(family, before, vectors, config, path)
    if index is None:
        return None
    efforts = SearchParamsByKind.from_json(before.section.get("efforts", {}))
    trial = tune(family, index, vectors, config, ground_truth, perf_counter() - started, efforts)
    if trial.unmet:
        return None
    trial.index.keep_greatest()
    return (
        trial.index,
        IndexReport.of(trial, config, [trial.to_json()], perf_counter() - started),
        trained,
        ground_truth,
    )


def _updated(
    family: Family, before: IndexBefore, vectors: Vectors, config: IndexConfig, path: Path
) -> TunableIndex | None:
    from indexing.index.backends.build_sharded import update_sharded  # FAISS is loaded only by those who build
    from indexing.index.backends.ivf import IvfIndex
    from indexing.index.backends.sharded import ShardedIndex

    index, added = load_index(before.path, before.section["kind"]), vectors[int(np.count_nonzero(before.kept)) :]
    match index:
        case ShardedIndex():
            return update_sharded(index, before.path, before.kept, added, path, config)
        case IvfIndex() if not index.can_hold(added):
            return None
        case IvfIndex():
            return index.updated(before.kept, added, path.with_name(f"{path.name}.vectors"))
    raise InputError(f"{before.path} is {index.kind}, and its generation says {family.name!r}")
