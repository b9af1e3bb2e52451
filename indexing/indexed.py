"""Index the items of a generation: the files that hold the index, and what the manifest says of it."""

from dataclasses import asdict
from typing import Any

from indexing.fusion import ModalityVectors
from indexing.generation import INDEX, PROMISE
from indexing.held_out import held_out_queries
from indexing.index import IndexConfig, build_index
from indexing.index.promise import Promise
from indexing.index.queries import Asked
from indexing.publish import Content
from indexing.types import Vectors


def indexed(
    frozen: ModalityVectors, vectors: Vectors, config: IndexConfig, queries: Asked | None = None
) -> tuple[dict[str, Content], dict[str, Any]]:
    """Index the vectors of N items to the goals that were set.

    Args:
        frozen: The frozen vectors of the items, which queries are drawn from when none are given.
        vectors: (N, D) float32, the item vectors.
        config: The goals.
        queries: Those of each kind that the index is tuned on.

    Returns:
        The files to write, and the index section of the manifest.
    """
    queries = held_out_queries(frozen, vectors, config.sample) if queries is None else queries
    index, report = build_index(vectors, config, queries)
    promise = Promise.of(index, vectors, queries, config.k)
    return {INDEX: index.save, PROMISE: promise.to_bytes()}, report.to_json() | {"config": asdict(config)}
