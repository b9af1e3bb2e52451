"""Tables as files of the kind that their name says: Parquet, CSV or JSON lines; or a folder."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, assert_never

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.runtime.arguments import check_local_path

Form: TypeAlias = Literal["parquet", "csv", "jsonl", "folder"]
ENDINGS: dict[str, Form] = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", "": "folder"}
EXPECTED = "name it .parquet, .csv or .jsonl for a file, or without an ending for a folder"
PART = "part-000000.parquet"
BETWEEN = "; "  # of a list in CSV, which has none
Write: TypeAlias = Callable[[bytes | memoryview], None]


class TableWriter(Protocol):
    """Takes tables, one after another."""

    def write_table(self, table: pa.Table) -> None:
        """Write a table of the schema that was said."""
        ...


def form_of(path: Path) -> Form:
    """Tell from its name as what a table is written.

    >>> form_of(Path("found.csv")), form_of(Path("answers"))
    ('csv', 'folder')

    Raises:
        InputError: For another ending.
    """
    if (form := ENDINGS.get(path.suffix.lower())) is None:
        raise InputError(f"{path} ends in {path.suffix!r}, which is not written; {EXPECTED}")
    return form


def check_folder(path: Path) -> None:
    """Check that a folder is not called as a file of data is.

    Raises:
        InputError: When it is, or is a URL.
    """
    check_local_path(path, "the folder")
    if path.suffix.lower() in {*ENDINGS, ".json", ".tsv"} - {""}:
        raise InputError(f"{path} is to be a folder; name it without {path.suffix!r}")


def check_kind(path: Path, ending: str) -> None:
    """Check before any work that a file which is always of one kind is called so.

    Raises:
        InputError: When it is not, or a folder stands in its place.
    """
    if path.suffix.lower() != ending:
        raise InputError(f"{path} is to be a {ending} file; give it that ending")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")


def check_out(path: Path) -> Form:
    """Check before any work that a table can be written under a name, and say as what.

    Raises:
        InputError: For a URL, another ending, or where a folder stands in the place of a file, or a file in that of a
            folder.
    """
    check_local_path(path, "the place for the answers")
    form = form_of(path)
    if form == "folder" and path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, not a folder; {EXPECTED}")
    if form != "folder" and path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    return form


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table whole, or leave what was there; into a folder as its only part.

    Raises:
        InputError: For another ending, or when the folder holds something else.
    """
    form = check_out(path)
    if form == "folder":
        if path.is_dir() and (others := sorted(one.name for one in path.iterdir() if one.name != PART)):
            raise InputError(f"{path} is a folder that holds {others[0]!r} already; give another")
        form, path = "parquet", path / PART
    fsops.make_folder(path.parent)
    write_tables(path, (table,), table.schema, form)


class WrittenTables(NamedTuple):
    """A file of tables: how many rows it has, and the sha256 of its bytes."""

    rows: int
    digest: str


def write_tables(path: Path, tables: Iterable[pa.Table], schema: pa.Schema, form: Form) -> WrittenTables:
    """Write tables of one schema into one file as they come, whole, or leave what was there."""
    rows = 0

    def produce(write: Write) -> None:
        nonlocal rows
        with table_writer(write, schema, form) as writer:
            for table in tables:
                writer.write_table(table)
                rows += len(table)

    digest = fsops.write_stream(path, produce)
    return WrittenTables(rows, digest)


@contextmanager
def table_writer(write: Write, schema: pa.Schema, form: Form) -> Iterator[TableWriter]:
    """Write tables of one schema as they come."""
    match form:
        case "parquet" | "folder":
            with pq.ParquetWriter(pa.PythonFile(_Sink(write), "w"), schema, compression="zstd") as writer:
                yield writer
        case "csv":
            yield _CsvWriter(write, schema)
        case "jsonl":
            yield _LinesWriter(write)
        case _:
            assert_never(form)


class _CsvWriter:
    """Writes a header and then rows; a list is its values, separated by semicolons."""

    def __init__(self, write: Write, schema: pa.Schema) -> None:
        self._write = write
        self._rows(schema.empty_table(), header=True)

    def write_table(self, table: pa.Table) -> None:
        """Write the rows of a table."""
        self._rows(table, header=False)

    def _rows(self, table: pa.Table, *, header: bool) -> None:
        if not len(table) and not header:
            return
        table = table.combine_chunks()  # Arrow writes zeros for rows behind a chunk without any
        for place, field in enumerate(table.schema):
            if pa.types.is_list(field.type):
                texts = table.column(place).cast(pa.list_(pa.string()))
                table = table.set_column(place, field.name, pc.binary_join(texts, BETWEEN))
        buffer = pa.BufferOutputStream()
        pcsv.write_csv(table, buffer, pcsv.WriteOptions(include_header=header))
        self._write(memoryview(buffer.getvalue()))


class _LinesWriter:
    """Writes a JSON object a row."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def write_table(self, table: pa.Table) -> None:
        """Write the rows of a table."""
        for batch in table.to_batches(max_chunksize=10_000):
            lines = [json.dumps(_plain(row), ensure_ascii=False) for row in batch.to_pylist()]
            self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Give what JSON has no word for, as dates, as text."""
    known = (str, int, float, bool, list, dict, type(None))
    return {name: value if isinstance(value, known) else str(value) for name, value in row.items()}


class _Sink:
    """What `pyarrow` writes into as if it were a file."""

    closed = False

    def __init__(self, write: Write) -> None:
        self._write, self._size = write, 0

    def write(self, data: bytes | memoryview) -> int:
        self._write(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Do nothing: what is written is handed on at once."""

    def close(self) -> None:
        self.closed = True
