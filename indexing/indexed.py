"""Index the items of a generation: the files that hold the index, and what the manifest says of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from indexing import fsops
from indexing.fusion import ModalityVectors
from indexing.generation import INDEX, PROMISE
from indexing.held_out import held_out_queries
from indexing.index import IndexConfig, VectorIndex, build_index
from indexing.index.promise import Promise
from indexing.index.queries import Asked
from indexing.publish import Content
from indexing.types import Vectors


def indexed(
    frozen: ModalityVectors, vectors: Vectors, config: IndexConfig, work: Path, queries: Asked | None = None
) -> tuple[dict[str, Content], dict[str, Any]]:
    """Index the vectors of N items to the goals that were set.

    Args:
        frozen: The frozen vectors of the items, which queries are drawn from when none are given.
        vectors: (N, D) float32, the item vectors.
        config: The goals.
        work: Folder for an index that is built in files; it is needed until these are in the generation.
        queries: Those of each kind that the index is tuned on.

    Returns:
        The files of the generation, and the index section of the manifest.
    """
    queries = held_out_queries(frozen, vectors, config.sample) if queries is None else queries
    if config.kind == "sharded":
        fsops.make_folder(work)
    index, report = build_index(vectors, config, queries, work / INDEX)
    promise = Promise.of(index, vectors, queries, config.k)
    files = _contents(index, work / INDEX) | {PROMISE: promise.to_bytes()}
    return files, report.to_json() | {"config": asdict(config)}


def _contents(index: VectorIndex, path: Path) -> dict[str, Content]:
    """Give the files of an index: those of one in shards were written at a path, but for the efforts chosen since."""
    from indexing.index.shards import ShardedIndex, shard_files  # FAISS is loaded only by those who build

    if not isinstance(index, ShardedIndex):
        return {INDEX: index.save}
    index.save_contents(path)
    return {file.name: file for file in (path, *shard_files(path))}
