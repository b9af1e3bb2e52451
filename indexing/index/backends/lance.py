"""An index in a table of LanceDB: vectors in a columnar store with versions, on disk or in object storage.

PATH         what the table holds, as JSON
PATH.lance/  the table

Approximate search scans codes of two bits a dimension in inverted lists, and scores the best of them anew on the
vectors, as LanceDB does it. Exact search, and search among few allowed rows, reads vectors from the table and
multiplies matrices.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.errors import DamagedFileError, FilterError, InputError, import_extra
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import read_as, read_whole
from indexing.index.backends.flat import exact_search
from indexing.index.backends.lance_table import (
    DIGEST,
    EXTRA,
    KEY,
    MAX_CONTENTS,
    VECTOR,
    Contents,
    copy_table,
    open_table,
    query_numbers,
    read_keys,
    table_folder,
)
from indexing.index.base import check_search, no_answers, ordered, padded
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.runtime.threads import about_to_compute, cores

SCAN_ROWS = 8192  # rows of a block that is read and scored
QUERIES_AT_ONCE = 64  # more in one call of LanceDB are no faster
# Below this share of allowed rows they are fetched one by one, above it all are read.
TAKE_BELOW_FRACTION = 1 / 16
# So many allowed rows are scored exactly rather than found by an approximate search that is filtered.
FILTER_OVERHEAD_ROWS = 5_000
CODE_COST = 1 / 16  # of a code, where a vector that is scored costs 1


class LanceIndex:
    """A version of a table behind the `VectorIndex` protocol: ``lancedb-ivf``, or ``lancedb-flat`` without lists.

    Args:
        table: A table of LanceDB with a vector and a rising key a row, at the version.
        contents: What it holds.
        efforts: How hard to search for each kind of query; exactly when None.
        path: Where its files are, see `load`; None where they are not on this machine.
        moved: Where they are once they were moved.

    Raises:
        DamagedFileError: When the table holds something else.
    """

    def __init__(
        self,
        table: Any,  # noqa: ANN401 - an optional package
        contents: Contents,
        efforts: SearchParamsByKind | None = None,
        path: Path | None = None,
        moved: Path | None = None,
    ) -> None:
        self._table, self.contents, self.path, self._moved = table, contents, path, moved
        self.efforts = efforts or SearchParamsByKind(default=SearchParams(contents.lists, contents.rows))
        self._keys = read_keys(table, contents)
        self._stored_dim = int(table.schema.field(VECTOR).type.list_size)

    @property
    def table(self) -> Any:  # noqa: ANN401
        """The table at the version, opened again once its files were moved: LanceDB opens them when it reads."""
        if self._moved is not None and self.path != self._moved and not table_folder(self.path or self._moved).exists():
            self.path = self._moved
            self._table = open_table(self.path, self.contents)
        return self._table

    @property
    def kind(self) -> str:
        """``"lancedb-ivf"`` or ``"lancedb-flat"``."""
        return "lancedb-ivf" if self.lists else "lancedb-flat"

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return self.contents.dim

    def __len__(self) -> int:
        return self.contents.rows

    @property
    def lists(self) -> int:
        """How many inverted lists there are; 0 where every search is exact."""
        return self.contents.lists

    @property
    def refined(self) -> bool:
        """Whether the best codes are scored anew on vectors."""
        return self.lists > 0

    @property
    def code_cost(self) -> float:
        """What a code that is scanned costs, where one is a vector that is scored."""
        return CODE_COST

    @property
    def nbytes(self) -> int:
        """Bytes of lists and codes, which LanceDB keeps in memory once they were searched; vectors stay on disk."""
        return sum(int(index.size_bytes or 0) for index in self.table.list_indices())

    @property
    def vectors(self) -> Vectors:
        """A copy of the vectors, all in memory: (N, D) float32."""
        return np.concatenate(list(self._blocks()))

    def with_efforts(self, efforts: SearchParamsByKind) -> "LanceIndex":
        """Return the same index, not a copy, that tries otherwise; this one stays as it is."""
        same = copy(self)
        same.efforts = efforts
        return same

    def keep_greatest(self) -> None:
        """Do nothing: `save_contents` notes it, and who opens the table with LanceDB says how hard to try himself."""

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries, k = check_search(self, queries, k, allow), int(k)
        about_to_compute(max(2, cores()))  # LanceDB has threads of its own, on one core too
        allowed = len(self) if allow is None else int(np.count_nonzero(allow))
        if not allowed or not len(queries):
            return padded(*no_answers(len(queries)), k)
        reachable, inverse_share, effort = min(k, allowed), len(self) / allowed, self.efforts.of(kind)
        candidates = ceil(effort.candidates * inverse_share)
        depth = reachable if allowed == len(self) else min(len(self), ceil(2 * reachable * inverse_share))
        few = allowed < len(self) and allowed <= FILTER_OVERHEAD_ROWS + 2 * len(queries) * max(depth, candidates)
        if not self.lists or few or max(depth, candidates) >= len(self):
            return padded(*self._scan(queries, reachable, None if allowed == len(self) else allow), k)
        lists = min(self.lists, ceil(effort.lists * inverse_share))
        scores, rows = self._nearest(queries, depth, SearchParams(lists, candidates))
        if allow is not None:
            scores, rows = _only(scores, rows, allow, reachable)
        short = (rows < 0).any(axis=1)
        if short.any():
            scores[short], rows[short] = self._scan(queries[short], reachable, allow)
        return padded(*ordered(scores, rows), k)

    def search_where(self, queries: Vectors, k: int, where: str, kind: str | None = None) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query among those that satisfy a condition in SQL, which LanceDB filters by.

        Args:
            queries: (B, D) float32.
            k: How many rows to return a query.
            where: The condition, over columns of the table; a row for which it is NULL is passed over.
            kind: What the queries are.

        Returns:
            As `search` does.
        """
        queries, k = check_search(self, queries, k, None), int(k)
        about_to_compute(max(2, cores()))
        try:
            allowed = int(self.table.count_rows(where))
        except ValueError as error:
            columns = [name for name in self.table.schema.names if name not in (KEY, VECTOR, DIGEST)]
            raise FilterError(f"{where[:80]!r} is no condition over {columns}: {error}") from error
        if not allowed or not len(queries):
            return padded(*no_answers(len(queries)), k)
        reachable, inverse_share, effort = min(k, allowed), len(self) / allowed, self.efforts.of(kind)
        candidates = max(reachable, effort.candidates)
        if not self.lists or allowed <= max(FILTER_OVERHEAD_ROWS, candidates):
            return padded(*self._nearest(queries, reachable, None, where), k)
        lists = min(self.lists, ceil(effort.lists * inverse_share))
        scores, rows = self._nearest(queries, reachable, SearchParams(lists, candidates), where)
        short = (rows < 0).any(axis=1)
        if short.any():
            scores[short], rows[short] = self._nearest(queries[short], reachable, None, where)
        return padded(*ordered(scores, rows), k)

    def _nearest(
        self, queries: Vectors, k: int, effort: SearchParams | None, where: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Ask LanceDB for the best k rows, without the codes where there is no effort; (B, k) padded with -1.

        Queries have unit length while they are compared: a distance is one less the product, and would round others.
        """
        norms = np.linalg.norm(queries.astype(np.float64), axis=1).astype(np.float32)
        padding = self._stored_dim - self.dim
        asked = np.pad(unit(queries / np.abs(queries).max(axis=1, keepdims=True)), ((0, 0), (0, padding)))
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            found = self._ask(asked[start : start + QUERIES_AT_ONCE], k, effort, where)
            # Answers come query by query, the best first: what is before the first of a query is not its own.
            lines = start + query_numbers(found)
            places = np.arange(len(lines)) - np.searchsorted(lines, lines)
            scores[lines, places] = norms[lines] * (np.float32(1) - found.column("_distance").to_numpy())
            rows[lines, places] = self._rows_of(found.column(KEY).to_numpy())
        return scores, rows

    def _ask(self, queries: Vectors, k: int, effort: SearchParams | None, where: str | None) -> pa.Table:
        """Return the answers of LanceDB, in order of the queries."""
        question = self.table.search(queries, vector_column_name=VECTOR).distance_type("dot").limit(k)
        if where is not None:
            question = question.where(where)
        if effort is None:
            question = question.bypass_vector_index()
        else:
            factor = max(1, ceil(min(effort.candidates, len(self)) / k))
            question = question.nprobes(max(1, effort.lists)).refine_factor(factor)
        with self._reading():
            return question.select([KEY, "_distance"]).to_arrow()

    def _reading(self) -> AbstractContextManager[None]:
        """Turn what LanceDB raises when it cannot read into an error that says so."""
        return read_as(f"the table {self._table.uri}", "if it can be reached, it is damaged: build the index again")

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        """Find the best k of the allowed rows exactly."""
        if allow is None:
            return exact_search(self._blocks(), queries, k)
        allowed = np.flatnonzero(allow)
        if len(allowed) < TAKE_BELOW_FRACTION * len(self):
            starts = range(0, len(allowed), SCAN_ROWS)
            blocks: Iterator[Vectors] = (self._take(allowed[start : start + SCAN_ROWS]) for start in starts)
        else:
            blocks = (block for block in self._blocks(allow) if len(block))
        scores, positions = exact_search(blocks, queries, k)
        return scores, allowed[positions]

    def _blocks(self, allow: Mask | None = None) -> Iterator[Vectors]:
        """Read the vectors, or those of the allowed rows, in order and some at a time."""
        start = 0
        with self._reading():
            for batch in self.table.search(None).select([KEY, VECTOR]).limit(len(self)).to_batches(SCAN_ROWS):
                rows = np.arange(start, start + len(batch))
                chosen = np.ones(len(batch), np.bool_) if allow is None else allow[rows]
                yield self._checked_vectors(batch, rows)[chosen]
                start += len(batch)

    def _take(self, rows: Rows) -> Vectors:
        """Read the vectors of rows (M,): (M, D) float32."""
        with self._reading():
            batch = self.table.take_offsets(rows.tolist()).select([KEY, VECTOR]).to_arrow().combine_chunks()
        return self._checked_vectors(batch, rows)

    def _checked_vectors(self, batch: Any, rows: Rows) -> Vectors:  # noqa: ANN401 - Arrow ships no types
        """Return the vectors of a batch, if it holds the rows that were asked for."""
        if not np.array_equal(self._rows_of(batch.column(KEY).to_numpy(zero_copy_only=False)), rows):
            raise DamagedFileError("the table gives other rows than it was asked for; build the index again")
        column = batch.column(VECTOR)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        vectors: Vectors = column.flatten().to_numpy().reshape(len(batch), self._stored_dim)[:, : self.dim]
        return vectors

    def _rows_of(self, keys: Rows) -> Rows:
        """Return the rows that have keys.

        Raises:
            DamagedFileError: When a key is none of the table's.
        """
        rows = np.asarray(keys, np.int64) if self._keys is None else np.searchsorted(self._keys, keys)
        known = (rows >= 0) & (rows < len(self))
        if not known.all() or (self._keys is not None and not np.array_equal(self._keys[rows], keys)):
            raise DamagedFileError("the table gives rows that it does not hold; build the index again")
        return rows

    def save(self, path: Path) -> str:
        """Write the table beside a path, then what it holds at the path; return the sha256 of the latter.

        Raises:
            InputError: When the table is in object storage.
        """
        if self.path is None:
            raise InputError(f"the table {self.table.uri} is not on this machine; build it again where it is wanted")
        copy_table(self.path, path, fsops.copy)
        return self.save_contents(path)

    def save_contents(self, path: Path) -> str:
        """Write at a path what the table beside it holds, and the greatest effort."""
        effort = self.efforts.greatest
        data = json.dumps(asdict(self.contents) | {"effort": effort.to_json()}, indent=1).encode()
        return fsops.write_stream(path, lambda write: write(data))

    @classmethod
    def load(cls, path: Path, moved: Path | None = None) -> "LanceIndex":
        """Open what `save` wrote: nothing may write into its files while the index lives.

        Args:
            path: The file.
            moved: Where it may be moved to, with its table, while the index lives.

        Raises:
            DamagedFileError: When it cannot be read.
            MissingExtraError: When lancedb is not installed.
        """
        import_extra("lancedb", EXTRA)
        with read_as(f"{path}", "build the index again"):
            data = json.loads(read_whole(path, MAX_CONTENTS))
            efforts = SearchParamsByKind(default=SearchParams(**data.pop("effort")))
            contents = Contents.from_json(data)
            return cls(open_table(path, contents), contents, efforts, path, moved)


def _only(scores: Vectors, rows: Rows, allow: Mask, k: int) -> tuple[Vectors, Rows]:
    """Keep the best k allowed of (B, j) answers, which stay in order."""
    dropped = (rows < 0) | ~allow[rows]
    order = np.argsort(dropped, axis=1, kind="stable")[:, :k]
    scores, rows = np.where(dropped, np.float32(-np.inf), scores), np.where(dropped, -1, rows)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
