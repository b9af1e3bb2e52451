"""The files and rows of a table of LanceDB: where they are, what they hold, and whether that is what was written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.arrays import Rows
from indexing.errors import DamagedFileError, import_extra
from indexing.filesystem import fsops

EXTRA = "lancedb"
FOLDER_SUFFIX = ".lance"
KEY, VECTOR, DIGEST = "row_key", "vector", "row_digest"
MAX_CONTENTS = 1 << 20
MAX_TABLES = 10_000  # of a database, looked through for one of a name


@dataclass(frozen=True)
class Contents:
    """What a table holds.

    Attributes:
        rows: Number N of vectors.
        dim: Their length D. In the table they may be followed by zeros.
        version: The version of the table that is this index.
        lists: How many inverted lists there are; 0 where every search is exact.
        trained: On how many rows lists and codes were trained.
    """

    rows: int
    dim: int
    version: int
    lists: int
    trained: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Contents":
        """Read what `asdict` gave.

        Raises:
            ValueError: When it is something else.
        """
        contents = cls(**{name: int(value) for name, value in data.items()})
        if min(contents.rows, contents.dim, contents.version) < 1 or contents.lists < 0:
            raise ValueError(f"it says {data}")
        return contents


def open_table(path: Path, contents: Contents) -> Any:  # noqa: ANN401
    """Open the table of the index at a path, at its version."""
    table = import_extra("lancedb", EXTRA).connect(str(path.parent)).open_table(path.name)
    table.checkout(contents.version)
    return table


def read_keys(table: Any, contents: Contents) -> Rows | None:  # noqa: ANN401
    """Read the keys of the rows, which rise; None where each is the number of its row.

    Raises:
        DamagedFileError: When they are not as many as there should be, or do not rise.
    """
    keys: Rows = table.search(None).select([KEY]).limit(contents.rows + 1).to_arrow().column(KEY).to_numpy()
    if len(keys) != contents.rows or (np.diff(keys) <= 0).any():
        raise DamagedFileError(
            f"{table.uri} holds {table.count_rows()} rows, expected {contents.rows} in order; build the index again"
        )
    return None if keys[0] == 0 and keys[-1] == len(keys) - 1 else keys


def query_numbers(found: pa.Table) -> Rows:
    """Return the number of the query that each answer is for: (M,) int64."""
    if "query_index" not in found.column_names:  # there was but one
        return np.zeros(len(found), np.int64)
    numbers: Rows = found.column("query_index").to_numpy().astype(np.int64)
    if (np.diff(numbers) < 0).any():
        raise DamagedFileError("the table gives answers out of order; build the index again")
    return numbers


def table_folder(path: Path) -> Path:
    """Return where the table of the index at a path is."""
    return path.with_name(path.name + FOLDER_SUFFIX)


def table_files(path: Path) -> list[Path]:
    """Return the files of the table of the index at a path, in order."""
    return sorted(file for file in table_folder(path).rglob("*") if file.is_file())


def copy_table(source: Path, target: Path, copy_file: Callable[[Path, Path], None]) -> None:
    """Copy the table of an index to another path, first removing what is there."""
    fsops.remove(target)
    fsops.remove(table_folder(target))
    for file in table_files(source):
        copied = table_folder(target) / file.relative_to(table_folder(source))
        fsops.make_folder(copied.parent)
        copy_file(file, copied)
