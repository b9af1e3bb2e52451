"""The file of a second stage: heads, statistics and sources as safetensors, for changing items."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import DamagedFileError
from indexing.filesystem.checked_files import finite_tensors, read_as
from retrieval.models.features.item_texts import metadata_entry
from retrieval.ranking.context_affinity import ContextAffinity
from retrieval.ranking.features import ItemStatistics
from retrieval.ranking.heads import BothHead, NeuralHead, ScoringHead, TreesHead
from retrieval.ranking.sources import Neighbours, Popular, Recent, Source, renumber_rows

HINT = "fit again, or go back"
SOURCES: dict[str, Callable[..., Source]] = {
    "Neighbours": Neighbours.read,
    "Popular": Popular.read,
    "Recent": Recent.read,
}
_HEADS: dict[str, Callable[..., ScoringHead]] = {
    "neural": NeuralHead.read,
    "trees": TreesHead.read,
    "both": BothHead.read,  # of earlier versions
}


class StoredStage(NamedTuple):
    """The contents of a file of a stage."""

    metadata: dict[str, Any]
    head: ScoringHead
    statistics: ItemStatistics
    sources: tuple[Source, ...]
    penalties: Vectors | None = None
    returning: ScoringHead | None = None
    context: ContextAffinity | None = None
    plain_penalties: bool = False

    def carried(self, origins: Rows, rows: Mask) -> "StoredStage":
        """Give the contents for other rows; see `carried_over`."""
        sources = tuple(source.carried(origins, rows) for source in self.sources)
        penalties = self.penalties
        if penalties is not None:
            _, old_rows = renumber_rows(origins, rows)
            penalties = np.where(old_rows >= 0, penalties[old_rows], np.float32(0))
        context = None if self.context is None else self.context.carried(origins, rows)
        statistics = self.statistics.carried(origins, rows)
        return self._replace(statistics=statistics, sources=sources, penalties=penalties, context=context)

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        tensors = _add_prefix("head", self.head.tensors()) | _add_prefix("facts", self.statistics.tensors())
        for source in self.sources:
            tensors |= _add_prefix(f"source.{source.name}", source.tensors())
        if self.returning is not None:
            tensors |= _add_prefix("returning", self.returning.tensors())
        if self.penalties is not None:
            tensors["held" if self.plain_penalties else "penalties"] = self.penalties
        if self.context is not None:
            tensors |= _add_prefix("context", self.context.tensors())
        sources = [[source.name, type(source).__name__] for source in self.sources]
        return save(tensors, {"stage": json.dumps(self.metadata | {"sources": sources})})

    @classmethod
    def from_bytes(cls, data: bytes) -> "StoredStage":
        """Read what `to_bytes` gave; see `read_as`."""
        metadata, tensors = metadata_entry(data, "stage"), finite_tensors(data)
        sources = tuple(
            SOURCES[kind](name, _with_prefix(tensors, f"source.{name}")) for name, kind in metadata["sources"]
        )
        head = _HEADS[metadata["head"]](_with_prefix(tensors, "head"))
        statistics = ItemStatistics.read(_with_prefix(tensors, "facts"))
        penalties = tensors.get("penalties", tensors.get("held"))  # as earlier stages have them
        if penalties is not None and penalties.shape != statistics.counts.shape:
            raise DamagedFileError(
                f"the second stage holds back {penalties.shape} of {statistics.counts.shape} items: {HINT}"
            )
        kind = metadata.get("returning")
        returning = None if kind is None else _HEADS[kind](_with_prefix(tensors, "returning"))
        context = None
        if columns := metadata.get("context"):
            context = ContextAffinity.read(columns, _with_prefix(tensors, "context"))
        return cls(metadata, head, statistics, sources, penalties, returning, context, "held" in tensors)


def carried_over(data: bytes, origins: Rows, rows: Mask) -> bytes:
    """Map a stored stage to other rows: its N items and M new ones, of which some are kept.

    Args:
        data: What `SecondStage.to_bytes` gave for N items.
        origins: (M,) int64, for each new row the old row of the same item, or -1.
        rows: (N + M,) bool, the rows to keep.
    """
    with read_as("the second stage", HINT):
        return StoredStage.from_bytes(data).carried(origins, rows).to_bytes()


def _add_prefix(prefix: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _with_prefix(tensors: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
