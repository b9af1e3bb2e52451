"""Choose an index by what it must achieve, and measure that it does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, assert_never

from indexing.errors import InputError
from indexing.index.base import VectorIndex
from indexing.index.flat import FlatIndex, recall
from indexing.types import Vectors

IndexKind = Literal["auto", "flat", "hnsw"]

# Exact search over this many vectors takes about a millisecond on one core: no graph is worth its memory.
FLAT_UP_TO = 50_000
FIRST_EF, LAST_EF = 16, 1024


@dataclass(frozen=True)
class IndexConfig:
    """What the index must achieve.

    Attributes:
        min_recall: Share of the exact best k that every kind of query must find.
        k: Depth at which recall is measured.
        kind: ``"flat"``, ``"hnsw"``, or ``"auto"`` to take flat for small catalogues and HNSW beyond.
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
        if self.kind not in ("auto", "flat", "hnsw"):
            raise InputError(f"index kind {self.kind!r} is unknown; choose 'auto', 'flat' or 'hnsw'")


@dataclass(frozen=True)
class IndexReport:
    """What was built, and what it was measured to do.

    Attributes:
        kind: Kind of the index, as in `VectorIndex.kind`.
        recall: Measured recall@k for each kind of query, against exact search.
        target_met: Whether every recall reaches the target.
        k: Depth of the measurement.
        ef_search: Search effort of a graph.
        build_seconds: Time to build it.
    """

    kind: str
    recall: Mapping[str, float]
    target_met: bool
    k: int
    ef_search: int | None
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
        The index and what was measured. A graph that cannot reach the target at its highest effort is given up
        for exact search when ``kind`` is ``"auto"``, and kept with ``target_met=False`` when it was asked for.
    """
    from indexing.index.faiss import FaissIndex  # FAISS is loaded only by those who build or search

    started = perf_counter()
    match config.kind:
        case "auto":
            graph = len(vectors) > FLAT_UP_TO
        case "flat":
            graph = False
        case "hnsw":
            graph = True
        case _:
            assert_never(config.kind)
    index = FaissIndex.hnsw(vectors, config.m, FIRST_EF) if graph else FaissIndex.flat(vectors)
    measured = _measure(index, vectors, config, queries)
    if graph and config.kind == "auto" and min(measured.values(), default=1.0) < config.min_recall:
        index = FaissIndex.flat(vectors)
        measured = _measure(index, vectors, config, queries)
    report = IndexReport(
        kind=index.kind,
        recall=measured,
        target_met=min(measured.values(), default=1.0) >= config.min_recall,
        k=config.k,
        ef_search=index.ef_search,
        build_seconds=round(perf_counter() - started, 3),
    )
    return index, report


def _measure(index: Any, vectors: Vectors, config: IndexConfig, queries: Mapping[str, Vectors]) -> dict[str, float]:  # noqa: ANN401
    """Recall for each kind of query, raising a graph's effort until all of them reach the target."""
    oracle = FlatIndex(vectors)
    effort = FIRST_EF
    while True:
        measured = {kind: round(recall(index, oracle, of_kind, config.k), 4) for kind, of_kind in queries.items()}
        enough = min(measured.values(), default=1.0) >= config.min_recall
        if enough or index.ef_search is None or effort >= LAST_EF:
            return measured
        effort *= 2
        index.with_ef_search(effort)


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
        case _:
            raise InputError(f"index kind {kind!r} is unknown; this version reads flat, faiss-flat and faiss-hnsw")
