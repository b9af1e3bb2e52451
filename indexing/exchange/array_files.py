"""Folders and arrays of other tools: written whole, read with suspicion."""

import io
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import VECTOR, Columns
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.readers.base import TableReader
from indexing.errors import CatalogueError, InputError, examples
from indexing.filesystem import fsops
from indexing.media.files import no_file
from indexing.store.collect import ModalityVectors


@contextmanager
def new_folder(folder: Path | str) -> Iterator[Path]:
    """Return a folder to fill, which appears under its name when the block ends without an error.

    Raises:
        InputError: When there is something already: files of two exports must not be mixed.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; name a new one with --out, or remove it")
    unfinished = folder.with_name(f"{folder.name}.unfinished-{secrets.token_hex(4)}")
    fsops.make_folder(unfinished)
    try:
        yield unfinished
        fsops.rename_folder(unfinished, folder)
    except BaseException:
        fsops.remove(unfinished)
        raise


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write an array as a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    fsops.make_folder(path.parent)
    fsops.write_bytes(path, file.getvalue())


def read_array(path: Path) -> Vectors:
    """Read a .npy file of finite vectors: (N, D) float32.

    Raises:
        CatalogueError: When it is missing, no two-dimensional array of floats, or holds NaN or infinity.
    """
    if problem := no_file(path):
        raise CatalogueError(problem)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:  # a header may claim more than any memory holds
        raise CatalogueError(f"{path} cannot be read as an array: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise CatalogueError(
            f"{path} holds {getattr(array, 'dtype', type(array).__name__)} of shape {getattr(array, 'shape', '?')}, "
            "expected floats of shape (N, D)"
        )
    with np.errstate(over="ignore"):
        vectors: Vectors = array.astype(np.float32)
    if bad_rows := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        raise CatalogueError(f"{path} holds NaN or infinity in rows {examples(bad_rows)}; embed those items again")
    return vectors


def read_parquet(path: Path) -> pa.Table:
    """Read a Parquet file.

    Raises:
        CatalogueError: When it is missing or no such file.
    """
    if problem := no_file(path):
        raise CatalogueError(problem)
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(f"{path} cannot be read as Parquet: {error}") from error


class Embedded(NamedTuple):
    """Items with their vectors.

    Attributes:
        item_ids: N ids.
        vectors: For each modality (N, D) float16 of unit length, and which exist.
        attributes: N lines: item_id, and whatever else the other tool kept.
    """

    item_ids: ItemIds
    vectors: ModalityVectors
    attributes: pa.Table

    def catalogue(self, name: str = "the vectors") -> Catalogue:
        """Return the items as a catalogue, to build a bundle with the ``vectors:`` encoder.

        Args:
            name: What to call them in messages.
        """
        table = self.attributes
        columns = {f"{modality}{VECTOR}": modality for modality in self.vectors.modalities}
        kept = table.select([column for column in table.column_names if column not in columns])
        for column, modality in columns.items():
            kept = kept.append_column(column, as_lists(self.vectors.vectors[modality], self.vectors.exists[modality]))
        return Catalogue(TableReader(name, kept), Columns("item_id", (), None, vectors=tuple(columns)), Path())


def as_lists(vectors: NDArray[np.float16], exists: Mask) -> pa.Array:
    """Return (N, D) vectors as an Arrow array of N lists, null where a vector does not exist."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=pa.array(~exists))
