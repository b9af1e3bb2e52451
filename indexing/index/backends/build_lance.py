"""Writing a table of LanceDB, and bringing one up to date: rows that stay are kept, the others deleted and appended.

A table that is changed elsewhere answers with less and less: rows that were appended are not in its lists until these
are extended. Here that is part of writing, and whoever writes measures recall afterwards.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Vectors, check_vectors
from indexing.errors import BundleError, import_extra
from indexing.filesystem import fsops
from indexing.index.backends.lance import SCAN_ROWS, LanceIndex
from indexing.index.backends.lance_table import DIGEST, EXTRA, KEY, MAX_TABLES, VECTOR, Contents, table_files
from indexing.runtime.threads import about_to_compute, cores

ROWS_PER_LIST = 2048
TRAINING_ROUNDS = 10
# Lists and codes are trained anew once more rows than this share of those they were trained on came or went.
MAX_CHANGED_SHARE = 0.1
KEYS_AT_ONCE = 10_000  # named in one deletion

Digests = NDArray[np.int64]
"""(N,) int64: 64 bits of a hash of each row."""


def build_lance(vectors: Vectors, path: Path, *, lists: bool = True) -> LanceIndex:
    """Index (N, D) vectors in a table beside a path, and open it; see `LanceIndex.load` for the files.

    A table that is there already is brought up to date, if no more than a tenth of its rows changed.

    Args:
        vectors: (N, D) float32.
        path: Where to.
        lists: Make inverted lists of codes; without, every search is exact.

    Raises:
        MissingExtraError: When lancedb is not installed.
    """
    lancedb = import_extra("lancedb", EXTRA)
    vectors = check_vectors(vectors)
    before = LanceIndex.load(path).contents if path.exists() else None
    fsops.require_space(path.parent, vectors.nbytes if before is None else 0)
    database = lancedb.connect(str(path.parent))
    table, contents = write_table(database, path.name, vectors, before=before, lists=lists)
    with warnings.catch_warnings():  # nobody else has this table open
        warnings.filterwarnings("ignore", message="optimize", category=UserWarning)
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
    contents = replace(contents, version=table.version)
    index = LanceIndex(table, contents, path=path)
    for file in table_files(path):
        fsops.fsync_file(file)
    index.save_contents(path)
    return index


def write_table(
    database: Any,  # noqa: ANN401 - an optional package
    name: str,
    vectors: Vectors,
    columns: pa.Table | None = None,
    *,
    before: Contents | None = None,
    lists: bool = True,
) -> tuple[Any, Contents]:
    """Make a table of a database hold (N, D) vectors and further columns, and index it.

    Args:
        database: A connection of LanceDB.
        name: Of the table.
        vectors: (N, D) float32.
        columns: Further columns of the N rows.
        before: What the table holds; None to replace it, if there is one.
        lists: Make inverted lists of codes; without, every search is exact.

    Returns:
        The table at the version that was written, and what it holds.

    Raises:
        BundleError: When another process changed the table meanwhile.
    """
    about_to_compute(max(2, cores()))
    digests = np.concatenate([_digests(*part) for part in _parts(vectors, columns)])
    num_lists = max(1, len(vectors) // ROWS_PER_LIST) if lists else 0
    contents = Contents(len(vectors), vectors.shape[1], 1, num_lists, len(vectors))
    table = None if before is None else _brought_up_to_date(database, name, vectors, columns, digests, before)
    if table is not None and before is not None and _is_whole(table, contents):
        contents = replace(contents, lists=before.lists, trained=before.trained)
        return table, replace(contents, version=int(table.version))
    mode = "overwrite" if name in database.list_tables(limit=MAX_TABLES).tables else "create"
    table = database.create_table(name, _batches(vectors, columns, digests, 0), mode=mode)
    if lists:
        table.create_index(VECTOR, config=_list_config(num_lists))
    if not _is_whole(table, contents):
        raise BundleError(f"{table.uri} was changed by another process while it was written; run this again")
    return table, replace(contents, version=int(table.version))


def _brought_up_to_date(
    database: Any,  # noqa: ANN401
    name: str,
    vectors: Vectors,
    columns: pa.Table | None,
    digests: Digests,
    before: Contents,
) -> Any | None:  # noqa: ANN401
    """Delete and append what differs, and extend the lists; None where so much does that these must be made anew."""
    table = database.open_table(name)
    if before.dim != vectors.shape[1] or table.schema != _schema(vectors, columns) or not before.lists:
        return None
    held = table.search(None).select([KEY, DIGEST]).limit(table.count_rows()).to_arrow()
    keys = held.column(KEY).to_numpy()
    kept, num_kept = _kept(held.column(DIGEST).to_numpy(), digests)
    gone = keys[~kept]
    grown = abs(len(vectors) - before.trained)
    if max(len(gone) + len(vectors) - num_kept, grown) > MAX_CHANGED_SHARE * before.trained:
        return None
    for start in range(0, len(gone), KEYS_AT_ONCE):
        table.delete(f"{KEY} IN ({', '.join(map(str, gone[start : start + KEYS_AT_ONCE].tolist()))})")
    if num_kept < len(vectors):
        added = None if columns is None else columns.slice(num_kept)
        table.add(_batches(vectors[num_kept:], added, digests[num_kept:], int(keys[-1]) + 1))
    table.optimize()
    return table


def _kept(before: Digests, now: Digests) -> tuple[NDArray[np.bool_], int]:
    """Say which rows stay, in order, and how many that are: the first so many rows of now are those.

    >>> _kept(np.array([7, 8, 9, 5]), np.array([7, 9, 5, 4]))
    (array([ True, False,  True,  True]), 3)
    """
    wanted, position = now.tolist(), 0
    kept = np.zeros(len(before), np.bool_)
    for row, digest in enumerate(before.tolist()):
        if position < len(wanted) and digest == wanted[position]:
            kept[row] = True
            position += 1
    return kept, position


def _is_whole(table: Any, contents: Contents) -> bool:  # noqa: ANN401
    """Say whether a table has as many rows as were written, all of them in the lists where there are any."""
    indexed = [(index.num_indexed_rows, index.num_unindexed_rows) for index in table.list_indices()]
    return table.count_rows() == contents.rows and indexed == ([(contents.rows, 0)] if contents.lists else [])


def _list_config(lists: int) -> Any:  # noqa: ANN401
    """Return the settings of lists of codes, of two bits a dimension (RaBitQ, Gao and others, arXiv:2409.09913)."""
    return import_extra("lancedb.index", EXTRA).IvfRq(
        distance_type="dot", num_partitions=lists, num_bits=2, max_iterations=TRAINING_ROUNDS
    )


def _stored_dim(dim: int) -> int:
    """Return the length of stored vectors: codes take whole bytes of dimensions."""
    return dim + -dim % 8


def _schema(vectors: Vectors, columns: pa.Table | None) -> pa.Schema:
    vector = pa.field(VECTOR, pa.list_(pa.float32(), _stored_dim(vectors.shape[1])))
    fields = [pa.field(KEY, pa.int64()), pa.field(DIGEST, pa.int64()), vector]
    return pa.schema([*fields, *(() if columns is None else columns.schema.remove_metadata())])


def _parts(vectors: Vectors, columns: pa.Table | None) -> Iterator[tuple[Vectors, pa.Table | None]]:
    """Cut rows into blocks."""
    for start in range(0, len(vectors), SCAN_ROWS):
        yield vectors[start : start + SCAN_ROWS], None if columns is None else columns.slice(start, SCAN_ROWS)


def _digests(vectors: Vectors, columns: pa.Table | None) -> Digests:
    """Hash the rows of a block."""
    others = [b""] * len(vectors) if columns is None else [repr(row).encode() for row in columns.to_pylist()]
    rows = (vector.tobytes() + other for vector, other in zip(vectors, others, strict=True))
    return np.array([int.from_bytes(blake2b(row, digest_size=8).digest(), "little", signed=True) for row in rows])


def _batches(vectors: Vectors, columns: pa.Table | None, digests: Digests, first_key: int) -> pa.RecordBatchReader:
    """Return rows as LanceDB takes them, a block at a time, with rising keys from the first on."""
    schema = _schema(vectors, columns)

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for part, further in _parts(vectors, columns):
            rows = np.arange(start, start + len(part))
            padded = np.pad(part, ((0, 0), (0, _stored_dim(part.shape[1]) - part.shape[1])))
            arrays = [
                pa.array(first_key + rows, pa.int64()),
                pa.array(digests[rows], pa.int64()),
                pa.FixedSizeListArray.from_arrays(pa.array(padded.ravel()), padded.shape[1]),
                *(() if further is None else (column.combine_chunks() for column in further.columns)),
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            start += len(part)

    return pa.RecordBatchReader.from_batches(schema, batches())
