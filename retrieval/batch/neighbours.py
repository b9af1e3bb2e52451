"""The neighbours of every item as a table: streamed, in bounded memory, and resumed after an interruption."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.filesystem import fsops
from indexing.runtime.arguments import check_choice, check_whole
from indexing.runtime.ray_engine import RayEngine
from retrieval.batch.answering import MAX_CANDIDATES
from retrieval.batch.input_rows import Chunk, UserLines
from retrieval.batch.job import JobReport, Progressed, run_parts, state_of
from retrieval.batch.output_folder import ChunkAnswers
from retrieval.batch.retriever_actors import answered_by_actors
from retrieval.batch.table_files import check_out, write_tables
from retrieval.candidates import Candidates
from retrieval.filters import Where
from retrieval.retriever.related.items import BY, By, similar_rows
from retrieval.retriever.retriever import Retriever

SCHEMA = pa.schema(
    [("item_id", pa.string()), ("neighbour", pa.string()), ("rank", pa.int64()), ("score", pa.float32())]
)
PARTS = ".parts"
"""Added to the name of a file, the folder in which it is made."""


@dataclass(frozen=True)
class NeighboursConfig:
    """The settings of a table of neighbours.

    Attributes:
        k: Neighbours of each item.
        by: What is compared: ``"content"``, ``"behaviour"`` or ``"both"``; see `Retriever.similar_items`.
        where: A filter that every neighbour satisfies.
        chunk: Items answered and written at once; an interruption loses at most one chunk.
    """

    k: int = 10
    by: By = "content"
    where: Where = ()
    chunk: int = 4096

    def __post_init__(self) -> None:
        check_whole(self.k, "k")
        check_whole(self.chunk, "chunk")
        check_choice(self.by, "by", BY)

    def to_json(self) -> dict[str, Any]:
        """Give the settings as plain JSON values; filters as the text that `parse_filter` reads."""
        where = self.where if isinstance(self.where, list | tuple) else [self.where]
        return {**vars(self), "where": [str(condition) for condition in where]}


@dataclass(frozen=True, eq=False)
class NeighbourLists:
    """The neighbours of some items.

    Attributes:
        chunk: Which items, by their position among those that are not deleted.
        found: Their neighbours.
        rows: (B,) int64, the rows of the items.
        names: The item_ids of all rows.
    """

    chunk: Chunk
    found: Candidates
    rows: Rows
    names: pa.Array

    def to_arrow(self) -> pa.Table:
        """Give a table with one row for each neighbour: ``item_id, neighbour, rank, score``."""
        query, position = np.nonzero(self.found.rows >= 0)
        columns = (
            self.names.take(pa.array(self.rows[query])).cast(pa.string()),
            self.names.take(pa.array(self.found.rows[query, position])).cast(pa.string()),
            pa.array(position + 1, pa.int64()),
            pa.array(self.found.scores[query, position], pa.float32()),
        )
        return pa.table(list(columns), schema=SCHEMA)

    def quarantined(self) -> pa.Table:
        """Give an empty table: every item can be compared."""
        return self.chunk.quarantined_table()


def neighbour_batches(
    retriever: Retriever, config: NeighboursConfig | None = None, *, start: int = 0
) -> Iterator[NeighbourLists]:
    """Find the neighbours of every item in bounded memory; see `Retriever.similar_items`.

    Args:
        retriever: The retriever of the bundle.
        config: The settings.
        start: The first item, counted among those that are not deleted.

    Yields:
        Some thousands of items at a time, in the order of their rows.

    Raises:
        InputError: When behaviour is to be compared, and the bundle has learned none.
    """
    config = config or NeighboursConfig()
    rows, names = np.flatnonzero(retriever.bundle.is_live), _names(retriever.items)
    for chunk in _chunks(rows, names, config, start):
        some = rows[_slice(chunk)]
        yield NeighbourLists(chunk, similar_rows(retriever.state, some, config.k, config.by, config.where), some, names)


def neighbours_table(retriever: Retriever, rows: Rows, config: NeighboursConfig) -> pa.Table:
    """Find the neighbours of some items, (B,) int64 rows; see `NeighbourLists.to_arrow`."""
    found = similar_rows(retriever.state, rows, config.k, config.by, config.where)
    chunk = Chunk(0, len(rows), UserLines(found.query_ids, ()))
    return NeighbourLists(chunk, found, rows, _names(retriever.items)).to_arrow()


def write_neighbours(
    retriever: Retriever,
    out: Path | str,
    config: NeighboursConfig | None = None,
    *,
    progress: Progressed | None = None,
    engine: RayEngine | None = None,
) -> JobReport:
    """Write the neighbours of every item to a folder of parts or to one file, or resume where this was stopped.

    A file is made of the parts of a folder beside it, ``OUT.parts``, which is removed when the file is whole.

    Args:
        retriever: The retriever of the bundle.
        out: A folder, or a file whose ending says its format; see `retrieval.batch.table_files`.
        config: The settings.
        progress: Called when a part is done or found to be done.
        engine: Actors of Ray that find them, instead of this process; either continues what the other began.

    Returns:
        The report, in which users are items.

    Raises:
        InputError: When the folder holds a job of other settings or of another state of the bundle, or behaviour is to
            be compared, and the bundle has learned none.
        BundleLockedError: When another process works on it.
        EngineError: When actors cannot find them; see `answered_by_actors`.
    """
    out, config = Path(out), config or NeighboursConfig()
    form = check_out(out)
    parts = out if form == "folder" else out.with_name(f"{out.name}{PARTS}")
    description = {"input": {"kind": "every item"}, "settings": config.to_json(), "bundle": state_of(retriever)}

    def produce(start: int) -> Iterable[ChunkAnswers]:
        if engine is None:
            return neighbour_batches(retriever, config, start=start)
        rows = np.flatnonzero(retriever.bundle.is_live)
        chunks = _chunks(rows, _names(retriever.items), config, start)
        return answered_by_actors(
            retriever, engine, chunks, neighbours_table, lambda chunk: (rows[_slice(chunk)], config)
        )

    report = run_parts(parts, description, produce, progress)
    if form != "folder":
        files = sorted(parts.glob("part-*.parquet"))[: report.parts]
        write_tables(out, map(pq.read_table, files), SCHEMA, form)
        fsops.remove(parts)
    return report


@lru_cache(maxsize=1)
def _names(items: ItemIds) -> pa.Array:
    return pa.array(list(items), pa.large_string())


def _chunks(rows: Rows, names: pa.Array, config: NeighboursConfig, start: int) -> Iterator[Chunk]:
    """Take some thousands of the rows at a time, from one of them on."""
    size = max(1, min(config.chunk, MAX_CANDIDATES // config.k))
    for first in range(start, len(rows), size):
        some = names.take(pa.array(rows[first : first + size])).to_pylist()
        yield Chunk(first, len(some), UserLines(tuple(some), ()))


def _slice(chunk: Chunk) -> slice:
    return slice(chunk.first, chunk.first + chunk.lines)
