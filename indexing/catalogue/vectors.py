"""Precomputed vectors of a catalogue, read and checked one by one.

A vector that cannot be used costs its item that modality, never its neighbours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from indexing.catalogue.columns import VECTOR_NAMES, Columns
from indexing.catalogue.readers.base import Reader
from indexing.errors import CatalogueError
from indexing.media.files import Modality

BATCH_ROWS = 4096


@dataclass(frozen=True, eq=False)
class VectorBatch:
    """The precomputed vectors of n items.

    Attributes:
        item_ids: n ids.
        vectors: For each modality (n, D) float32, of any length but zero; zero where an item has none to use. D is the
            modality's own.
        exists: For each modality (n,) bool.
        problems: For each modality n reasons why a vector cannot be used, empty where it is fine or missing.
    """

    item_ids: list[str]
    vectors: Mapping[Modality, Vectors]
    exists: Mapping[Modality, Mask]
    problems: Mapping[Modality, list[str]]


def column_dims(reader: Reader, columns: Columns) -> dict[str, int]:
    """Return the length that most vectors of each vector column have; 0 for a column without any."""
    counts = {name: Counter[int]() for name in columns.vectors}
    for batch in reader.batches(list(columns.vectors), BATCH_ROWS) if columns.vectors else ():
        for name in columns.vectors:
            counts[name].update(pc.list_value_length(batch.column(name)).drop_null().to_pylist())
    return {name: max(count, key=lambda dim: (count[dim], dim), default=0) for name, count in counts.items()}


def check_dim(source: str, dims: Mapping[str, int], dim: int | None = None) -> int:
    """Return the one length that all vector columns share.

    Args:
        source: For messages.
        dims: For each vector column the length of most of its vectors; 0 when it is empty.
        dim: Length that is expected, if any is.

    Raises:
        CatalogueError: When there are no vectors, or of several lengths, or of another than expected.
    """
    lengths = {name: length for name, length in dims.items() if length}
    if not lengths:
        raise CatalogueError(
            f"{source} brings no vectors; give them as lists of numbers in columns named {list(VECTOR_NAMES)}"
        )
    description = " and ".join(f"{name} of {length}" for name, length in lengths.items())
    if len(set(lengths.values())) > 1:
        raise CatalogueError(
            f"{source} brings vectors of several lengths, {description}: they are different spaces and cannot be "
            "compared; choose one column with `vectors`, or load 'vectors:separate', which keeps them apart"
        )
    if dim not in (None, *lengths.values()):
        raise CatalogueError(
            f"{source} brings vectors of another length than {dim}: {description}; load 'vectors:' instead"
        )
    return next(iter(lengths.values()))


def check_lengths(source: str, dims: Mapping[str, int], lengths: Mapping[Modality, int]) -> dict[str, int]:
    """Return the length that each vector column must have, where each modality has its own.

    Args:
        source: For messages.
        dims: For each vector column the length of most of its vectors; 0 when it is empty.
        lengths: What is expected of each modality.

    Raises:
        CatalogueError: When there are no vectors, or a column has another length, or is of no expected modality.
    """
    lengths_found = {name: length for name, length in dims.items() if length}
    if not lengths_found:
        raise CatalogueError(
            f"{source} brings no vectors; give them as lists of numbers in columns named {list(VECTOR_NAMES)}"
        )
    description = ", ".join(f"{modality} of {length}" for modality, length in lengths.items())
    for name, length in lengths_found.items():
        if (expected := lengths.get(VECTOR_NAMES[name])) != length:
            raise CatalogueError(
                f"{source} brings {name} of {length} numbers, expected "
                f"{'none' if expected is None else expected}: the maps were learned for {description}; choose columns "
                "with `vectors`, or build the bundle again from these"
            )
    return {name: lengths[VECTOR_NAMES[name]] for name in lengths_found}


def read_vectors(
    item_ids: list[str], rows: Sequence[int], batch: pa.RecordBatch, dims: Mapping[str, int]
) -> VectorBatch:
    """Read the vector columns of a batch.

    Args:
        item_ids: n ids.
        rows: n row numbers of the source, for reasons.
        batch: n rows.
        dims: For each vector column the length that its vectors must have.
    """
    columns_read = {VECTOR_NAMES[name]: _read(batch.column(name), rows, dim) for name, dim in dims.items()}
    return VectorBatch(
        item_ids,
        {modality: vectors for modality, (vectors, _) in columns_read.items()},
        {modality: np.asarray(vectors.any(axis=1), np.bool_) for modality, (vectors, _) in columns_read.items()},
        {modality: problems for modality, (_, problems) in columns_read.items()},
    )


def _read(column: pa.Array, rows: Sequence[int], dim: int) -> tuple[Vectors, list[str]]:
    """Return (n, D) float32, zero where a vector is missing or unusable, and n problems."""
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy()
    fitting = lengths == dim
    flat = column.filter(pa.array(fitting)).flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    values = np.zeros((len(lengths), dim))
    values[fitting] = flat.reshape(-1, dim)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused below
        vectors = values.astype(np.float32)
    problems = [""] * len(lengths)
    for row in np.flatnonzero((lengths >= 0) & ~fitting).tolist():
        problems[row] = f"vector of the wrong length: row {rows[row]}: {lengths[row]} numbers, expected {dim}"
    finite = np.isfinite(vectors).all(axis=1)
    for row in np.flatnonzero(~finite).tolist():
        position = int(np.argmin(np.isfinite(vectors[row])))
        problems[row] = (
            f"vector with a value that is not finite: row {rows[row]}: {values[row, position]} at position {position}, "
            f"expected {dim} finite numbers"
        )
        vectors[row] = 0
    for row in np.flatnonzero(fitting & finite & ~vectors.any(axis=1)).tolist():
        problems[row] = f"vector of zeros: row {rows[row]}: it has no direction, expected {dim} numbers not all zero"
    return vectors, problems


def units(vectors: Vectors) -> NDArray[np.float64]:
    """Scale (N, D) vectors, none of them zero, to unit length as float64, whatever their size."""
    doubles = vectors.astype(np.float64)  # squares of very large or small float32 leave its range
    scaled: NDArray[np.float64] = doubles / np.linalg.norm(doubles, axis=1, keepdims=True)
    return scaled


def half_units(vectors: Vectors) -> NDArray[np.float16]:
    """Scale (N, D) vectors, none of them zero, to unit length as float16, whatever their size."""
    return units(vectors).astype(np.float16)
