"""Files of a generation that hold its items and their index, and what the manifest says of the index."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, masked_sum, unit
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import ATTRIBUTES, CONTENT_SUM, IDS, INDEX, RECALL_CHECK
from indexing.bundle.publish import Content
from indexing.filesystem import fsops
from indexing.filesystem.id_table import hash_table
from indexing.filesystem.mapped import write_array, write_table
from indexing.index import IndexConfig, IndexReport, Queries, VectorIndex, build_index
from indexing.index.config import BUILT_IN_FILES
from indexing.index.tuning.recall import GroundTruth, HeldOutQueries, RecallCheck, ground_truths
from indexing.index.tuning.reuse import IndexBefore, Trained, reuse_index
from indexing.index.tuning.sample_queries import SampleQueries
from indexing.runtime.device import CPU
from indexing.runtime.ray_engine import RayEngine
from indexing.store.collect import ModalityVectors, frozen_contents


class BuildOn(NamedTuple):
    """Where an index is built: inverted lists on a device, shards by actors of Ray."""

    device: str = CPU
    engine: RayEngine | None = None


HERE = BuildOn()


def item_contents(attributes: pa.Table, frozen: ModalityVectors) -> dict[str, Content]:
    """Return what writes the items of a generation into files that are mapped: attributes, ids and frozen vectors.

    Args:
        attributes: One row per item, with its item_id.
        frozen: Their frozen vectors.
    """

    def write_ids(path: Path) -> str:
        table = hash_table(attributes.column("item_id"))
        return write_array(path, iter(table), table.shape, np.uint64)

    return {ATTRIBUTES: partial(_write_attributes, attributes), IDS: write_ids, **frozen_contents(frozen)}


def _write_attributes(attributes: pa.Table, path: Path) -> str:
    return write_table(path, attributes)


def index_items(
    frozen: ModalityVectors,
    vectors: Vectors,
    config: IndexConfig,
    work: Path,
    queries: HeldOutQueries,
    *,
    before: IndexBefore | None = None,
    on: BuildOn = HERE,
    content_sum: NDArray[np.float64] | None = None,
) -> tuple[dict[str, Content], dict[str, Any]]:
    """Index the vectors of N items to the goals that were set.

    Args:
        frozen: The frozen vectors of the items.
        vectors: (N, D) float32, the item vectors.
        config: The goals.
        work: Folder for an index that is built in files; it is needed until these are in the generation.
        queries: Those of each kind that the index is tuned on.
        before: The index of the generation before: where little has changed, what it has trained is used again, and
            a table of LanceDB keeps the rows that stay.
        on: Where the index is built, if it is built anew.
        content_sum: The sum of the first D numbers of all vectors, if it is known.

    Returns:
        The files of the generation, and the index section of the manifest.
    """
    if before is not None or config.kind in BUILT_IN_FILES:
        fsops.make_folder(work)
    index, report, trained, ground_truth = _indexed(vectors, config, queries, work / INDEX, before, on)
    recall_check = RecallCheck.of(index, vectors, ground_truth, config.k)
    dim = next(iter(frozen.vectors.values())).shape[1]
    files = _file_contents(index, work / INDEX) | {
        RECALL_CHECK: recall_check.to_bytes(),
        CONTENT_SUM: content_sum_of(vectors, dim) if content_sum is None else _written_sum(content_sum),
    }
    return files, report.to_json() | {"config": asdict(config)} | ({"trained": asdict(trained)} if trained else {})


def _indexed(
    vectors: Vectors,
    config: IndexConfig,
    queries: HeldOutQueries,
    path: Path,
    before: IndexBefore | None,
    on: BuildOn,
) -> tuple[VectorIndex, IndexReport, Trained | None, Mapping[str, GroundTruth]]:
    """Bring the index of the generation before up to date, or build one.

    Returns:
        The index, what was measured, since when it is trained if before, and what exact search finds.
    """
    if before is not None and (reused := reuse_index(before, vectors, config, queries, path)):
        return reused
    if on.engine is not None and config.kind == "sharded":
        from indexing.index.tuning.ray_shards import build_shards_by_actors  # loaded only by those who have a cluster

        index, report, truth = build_shards_by_actors(vectors, config, queries, path, on.engine)
        return index, report, None, truth
    truth = ground_truths(vectors, queries, config.k, config.sample)
    table = before.path if before is not None and config.kind == "lancedb" else None
    if table is not None and (extended := _extended(vectors, config, truth, path, table)):
        return *extended, None, truth
    return *build_index(vectors, config, truth, path, on.device), None, truth


def _extended(
    vectors: Vectors, config: IndexConfig, truth: Mapping[str, GroundTruth], path: Path, before: Path
) -> tuple[VectorIndex, IndexReport] | None:
    """Bring the table of the generation before up to date, unless it would then miss a goal."""
    from indexing.index.backends.lance_table import copy_table, table_folder

    if not table_folder(before).exists():
        return None
    copy_table(before, path, fsops.link_or_copy)  # LanceDB writes into no file that is there
    fsops.copy(before, path)
    index, report = build_index(vectors, config, truth, path)
    if report.target_met:
        return index, report
    fsops.remove(path)  # or else it would be brought up to date once more
    return None


def content_sum_of(vectors: Vectors, dim: int) -> Content:
    """Return what writes the sum of the content, the first D numbers of (N, E) item vectors."""
    return _written_sum(masked_sum(vectors[:, :dim], np.ones(len(vectors), np.bool_)))


def changed_content_sum(bundle: Bundle, vectors: Vectors) -> NDArray[np.float64] | None:
    """Return the sum of the content of the items of a bundle by that of its generation and the changes since.

    Args:
        bundle: The bundle.
        vectors: The item vectors of all its rows.

    Returns:
        (D,) float64; None where that of the generation was not kept.
    """
    total, count, dim = bundle.generation.content_sum, bundle.manifest.items, bundle.manifest.encoder.dim
    if total is None:
        return None
    gone, added = np.flatnonzero(~bundle.is_live[:count]), count + np.flatnonzero(bundle.is_live[count:])
    come, went = (vectors[rows][:, :dim].sum(axis=0, dtype=np.float64) for rows in (added, gone))
    changed: NDArray[np.float64] = total + come - went
    return changed


def _written_sum(total: NDArray[np.float64]) -> Content:
    return lambda path: write_array(path, iter([total]), total.shape, np.float64)


def _file_contents(index: VectorIndex, path: Path) -> dict[str, Content]:
    """Return the files of an index: those built in files are at a path, but for the efforts chosen since."""
    from indexing.index.backends.lance import LanceIndex
    from indexing.index.backends.lance_table import table_files
    from indexing.index.backends.sharded import ShardedIndex, shard_files  # FAISS is loaded only by those who build

    match index:
        case ShardedIndex():
            index.save_contents(path)
            files = shard_files(path)
        case LanceIndex():
            index.save_contents(path)
            files = table_files(path)
        case _:
            return {INDEX: index.save}
    return {file.relative_to(path.parent).as_posix(): file for file in (path, *files)}


def held_out_queries(
    items: ModalityVectors, vectors: Vectors, sample: int, seed: int = 0, *, given: SampleQueries | None = None
) -> dict[str, Queries]:
    """Return at most ``sample`` queries of every kind for an index over (N, D) vectors.

    The text or the picture of an item that has both is such a query, because the index holds their fusion. A history
    is the mean of two different items drawn at random. An item by itself is a query whose own row is no answer. Of the
    kinds that were given to the build those are taken.
    """
    rng = np.random.default_rng(seed)
    queries = {}
    in_several = np.sum([exists for exists in items.exists.values()], axis=0) > 1
    for modality in items.modalities:
        if len(rows := np.flatnonzero(items.exists[modality] & in_several)):
            query_rows = rng.choice(rows, min(sample, len(rows)), replace=False)
            queries[str(modality)] = Queries(unit(items.vectors[modality][query_rows]))
    queries |= {kind: Queries(sampled[:sample]) for kind, sampled in (given or {}).items()}
    if len(vectors) > 1:
        first, second = random_pairs(len(vectors), sample, rng).T
        histories = unit(vectors[first] + vectors[second])
        queries["history"] = Queries(histories[histories.any(axis=1)])
        rows = rng.choice(len(vectors), min(sample, len(vectors)), replace=False)
        queries["item"] = Queries(vectors[rows], rows)
    return queries


def random_pairs(count: int, num_pairs: int, rng: np.random.Generator | None = None) -> Rows:
    """Draw pairs of two different rows of so many, by seed 0 when there is no generator: (pairs, 2) int64."""
    rng = np.random.default_rng(0) if rng is None else rng
    first, step = rng.integers(0, count, num_pairs), rng.integers(1, count, num_pairs)
    return np.stack([first, (first + step) % count], axis=1)
