"""Choose an index by what it must achieve, and measure that it does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, assert_never, get_args

from indexing.errors import InputError
from indexing.index.base import VectorIndex
from indexing.index.flat import FlatIndex, recall
from indexing.index.tune import Tuned, tuned_graph, tuned_lists
from indexing.types import Vectors

IndexKind = Literal["auto", "flat", "hnsw", "ivf"]

# Exact search over this many vectors takes about a millisecond on one core: nothing else is worth its memory.
FLAT_UP_TO = 50_000


@dataclass(frozen=True)
class IndexConfig:
    """What the index must achieve.

    Attributes:
        min_recall: Share of the exact best k that every kind of query must find.
        k: Depth at which recall is measured.
        kind: ``"flat"``; ``"hnsw"``, a graph; ``"ivf"``, inverted lists of four-bit codes; or ``"auto"`` for flat in
            small catalogues and lists beyond.
        m: Edges a node of the HNSW graph.
        sample: How many held-out queries of each kind to measure on.
    """

    min_recall: float = 0.95
    k: int = 10
    kind: IndexKind = "auto"
    m: int = 16
    sample: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.min_recall <= 1:
            raise InputError(f"min_recall is {self.min_recall}, expected more than 0 and at most 1")
        if self.kind not in (kinds := get_args(IndexKind)):
            raise InputError(f"index kind {self.kind!r} is unknown; choose {' or '.join(map(repr, kinds))}")


@dataclass(frozen=True)
class IndexReport:
    """What was built, and what it was measured to do.

    Attributes:
        kind: Kind of the index, as in `VectorIndex.kind`.
        recall: Measured recall@k for each kind of query, against exact search.
        target_met: Whether every recall reaches the target.
        k: Depth of the measurement.
        effort: How hard a search tries: ``ef_search`` of a graph; ``lists`` and ``candidates`` of inverted lists.
        build_seconds: Time to build it.
    """

    kind: str
    recall: Mapping[str, float]
    target_met: bool
    k: int
    effort: Mapping[str, int]
    build_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def build_index(
    vectors: Vectors, config: IndexConfig, queries: Mapping[str, Vectors]
) -> tuple[VectorIndex, IndexReport]:
    """Index (N, D) vectors so that every kind of query reaches the recall asked for.

    Args:
        vectors: (N, D) float32.
        config: The goals.
        queries: For each kind of query (``"text"``, ``"image"``, …) some (B, D) held-out ones.

    Returns:
        The index and what was measured. One that cannot reach the target at its highest effort is given up for exact
        search when ``kind`` is ``"auto"``, and kept with ``target_met=False`` when it was asked for.
    """
    from indexing.index.faiss import FaissIndex  # FAISS is loaded only by those who build or search

    started = perf_counter()
    oracle = FlatIndex(vectors)

    exact = {kind: oracle.search(of_kind, config.k)[0] for kind, of_kind in queries.items()}

    def measure(index: VectorIndex) -> dict[str, float]:
        return {
            kind: round(recall(index, oracle, of_kind, config.k, exact[kind]), 4) for kind, of_kind in queries.items()
        }

    tuned: Tuned
    match config.kind:
        case "hnsw":
            tuned = tuned_graph(vectors, config.m, config.min_recall, measure)
        case "ivf":
            tuned = tuned_lists(vectors, config.min_recall, measure)
        case "auto" if len(vectors) > FLAT_UP_TO:
            tuned = tuned_lists(vectors, config.min_recall, measure)
        case "auto" | "flat":
            tuned = Tuned(FaissIndex.flat(vectors), {}, {})
        case _:
            assert_never(config.kind)
    if config.kind == "auto" and min(tuned.recall.values(), default=1.0) < config.min_recall:
        tuned = Tuned(FaissIndex.flat(vectors), {}, {})
    measured = tuned.recall or measure(tuned.index)
    report = IndexReport(
        kind=tuned.index.kind,
        recall=measured,
        target_met=min(measured.values(), default=1.0) >= config.min_recall,
        k=config.k,
        effort=tuned.effort,
        build_seconds=round(perf_counter() - started, 3),
    )
    return tuned.index, report


def load_index(path: Path, kind: str) -> VectorIndex:
    """Open the file of an index of a kind named in a manifest.

    Raises:
        InputError: For an unknown kind.
        DamagedFileError: When the file cannot be read as that index.
    """
    match kind:
        case "flat":
            return FlatIndex.load(path)
        case "faiss-flat" | "faiss-hnsw":
            from indexing.index.faiss import FaissIndex

            return FaissIndex.load(path)
        case "faiss-ivf":
            from indexing.index.ivf import IvfIndex

            return IvfIndex.load(path)
        case "faiss-sharded":
            from indexing.index.shards import ShardedIndex

            return ShardedIndex.load(path)
        case _:
            raise InputError(
                f"index kind {kind!r} is unknown; this version reads flat, faiss-flat, faiss-hnsw, faiss-ivf and "
                "faiss-sharded"
            )
