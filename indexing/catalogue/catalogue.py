"""Items as they come from a source: cleaned, each row either kept or rejected with a reason."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexing.catalogue.arrow_values import python_rows, python_values
from indexing.catalogue.cleaning import CleaningReport, clean_item_id, clean_text
from indexing.catalogue.columns import Columns, NamedColumns, check_columns, detect_columns, is_file_id
from indexing.catalogue.medium import Medium, media_in
from indexing.catalogue.readers.arrow_tables import arrow_table, check_distinct, is_table, malformed_rows
from indexing.catalogue.readers.base import Reader, TableReader
from indexing.catalogue.readers.csv import read_csv
from indexing.catalogue.readers.datasets import DatasetReader, load_saved
from indexing.catalogue.readers.folder import read_folder
from indexing.catalogue.readers.jsonl import read_jsonl
from indexing.catalogue.readers.listing import SUFFIXES
from indexing.catalogue.readers.parquet import ParquetReader, with_whole_ids
from indexing.catalogue.readers.sql import SqlTable, is_sql_url, read_sql
from indexing.catalogue.readers.webdataset import WebDatasetReader
from indexing.catalogue.validation import Scan, scan
from indexing.catalogue.vectors import VectorBatch, check_dim, check_lengths, column_dims, read_vectors
from indexing.errors import CatalogueError, InputError
from indexing.media.files import Modality
from indexing.media.remote_files import RemoteFile, RemoteFolder, check_allowed, is_url, remote_file, url_of_folder
from indexing.runtime.arguments import check_flag, check_path, check_whole

__all__ = ["Catalogue", "Columns", "Item"]

MAX_BATCH_SIZE = 2**31 - 1  # rows that Arrow reads
SAVED_DATASET = "dataset:"
Source = Path | str | RemoteFile
Folder = Path | str | RemoteFolder


@dataclass(frozen=True)
class Item:
    """One item to be encoded.

    Attributes:
        item_id: Its public id.
        text: Its cleaned text, if any.
        media: Its pictures, sounds and films, in this order.
    """

    item_id: str
    text: str | None
    media: tuple[Medium, ...] = ()


class Catalogue:
    """The items of a source, in its order.

    Args:
        reader: Where the rows come from.
        columns: Which columns matter; found by their usual names when None.
        image_dir: Folder that paths of pictures, sounds and films start from; without one, paths are not followed.

    Attributes:
        source: Name of the source, for messages.

    >>> from indexing.sample import items_path
    >>> len(Catalogue.from_parquet(items_path()).columns.text)
    2
    """

    def __init__(
        self, reader: Reader, columns: Columns | NamedColumns | None, image_dir: Path | RemoteFolder | None
    ) -> None:
        check_columns(columns)
        self.source = reader.name
        self.columns = columns if isinstance(columns, Columns) else detect_columns(reader.schema, reader.name, columns)
        self.columns.check(reader.schema, reader.name)
        given_id = None if columns is None else columns.item_id
        if given_id is None and is_file_id(self.columns.item_id):
            reader.notes.read_as.append(
                f"{self.columns.item_id} taken for the item_id, as there is no other column of ids"
            )
        self.reader, self.image_dir = with_whole_ids(reader, self.columns.item_id), image_dir

    @classmethod
    def from_parquet(
        cls, path: Source, *, columns: Columns | NamedColumns | None = None, image_dir: Folder | None = None
    ) -> "Catalogue":
        """Read a Parquet file, or a folder of them; image paths start from ``image_dir``, or the file's folder."""
        return cls(ParquetReader(path), columns, _image_dir(image_dir, path))

    @classmethod
    def from_csv(
        cls, path: Source, *, columns: Columns | NamedColumns | None = None, image_dir: Folder | None = None
    ) -> "Catalogue":
        """Read a CSV file with a header."""
        check_columns(columns)
        return cls(read_csv(path, columns), columns, _image_dir(image_dir, path))

    @classmethod
    def from_jsonl(
        cls, path: Source, *, columns: Columns | NamedColumns | None = None, image_dir: Folder | None = None
    ) -> "Catalogue":
        """Read a file with one JSON object a line."""
        return cls(read_jsonl(path, columns), columns, _image_dir(image_dir, path))

    @classmethod
    def from_image_folder(cls, folder: Path | str, *, columns: Columns | NamedColumns | None = None) -> "Catalogue":
        """Read the pictures below a folder, with a caption file beside each or one metadata file."""
        check_columns(columns)
        return cls(read_folder(check_path(folder, "folder"), columns), columns, Path(folder))

    @classmethod
    def from_webdataset(
        cls, source: Path | str, *, columns: Columns | NamedColumns | None = None, image_dir: Folder | None = None
    ) -> "Catalogue":
        """Read tar files of the webdataset layout: one, a folder of them, or a pattern as in ``x-{000..010}.tar``."""
        check_columns(columns)
        return cls(WebDatasetReader(check_path(source, "source")), columns, _folder(image_dir))

    @classmethod
    def from_dataset(
        cls,
        dataset: object,
        *,
        columns: Columns | NamedColumns | None = None,
        image_dir: Folder | None = None,
    ) -> "Catalogue":
        """Read one split of Hugging Face `datasets`, map-style or streamed; pictures are not decoded by it."""
        check_columns(columns)
        return cls(DatasetReader(dataset, columns), columns, _folder(image_dir))

    @classmethod
    def from_arrow(
        cls, table: object, *, columns: Columns | NamedColumns | None = None, image_dir: Folder | None = None
    ) -> "Catalogue":
        """Take an Arrow table, or whatever gives an Arrow stream, as a DataFrame of polars or pandas does.

        Raises:
            InputError: When it is no table, or a column name comes twice; see `from_pandas` for an index.
        """
        return cls._of_table("the table", table, columns, image_dir)

    @classmethod
    def _of_table(
        cls, name: str, table: object, columns: Columns | NamedColumns | None, image_dir: Folder | None
    ) -> "Catalogue":
        read = arrow_table(table, name)
        check_distinct(read.column_names, name)
        malformed = malformed_rows(read)
        readable = read.filter(pa.array([row not in malformed for row in range(len(read))])) if malformed else read
        return cls(TableReader(name, readable, malformed), columns, _folder(image_dir))

    @classmethod
    def from_pandas(
        cls, frame: object, *, columns: Columns | NamedColumns | None = None, image_dir: Folder | None = None
    ) -> "Catalogue":
        """Take a pandas DataFrame; a named index is a column.

        Raises:
            InputError: When an index without a name holds something else than whole numbers, as it may be the ids; when
                a column name comes twice, or a column holds values of several types.
        """
        return cls.from_arrow(frame, columns=columns, image_dir=image_dir)

    @classmethod
    def open(
        cls,
        path: object,
        *,
        columns: Columns | NamedColumns | None = None,
        image_dir: Folder | None = None,
        allow_urls: bool = False,
    ) -> "Catalogue":
        """Read whatever a path names, by its suffix, or a table in memory.

        Args:
            path: A file, a folder, a pattern of tar files, ``dataset:FOLDER`` as written by `Dataset.save_to_disk`, the
                URL of a table, a table or query of a database (``sqlite:///shop.db#items``), or a
                DataFrame of pandas or polars or an Arrow table.
            columns: Which columns matter; found by their usual names when None.
            image_dir: Folder that paths of pictures, sounds and films start from, or its URL: then they are fetched
                from below it, as whole URLs too. By default where a table is.
            allow_urls: Whether a table may be fetched from a URL, through fsspec, or from a database server, and
                pictures from below the URL of a folder.

        Raises:
            CatalogueError: When it is missing or of an unknown kind.
        """
        if image_dir is not None and (url := url_of_folder(image_dir)):
            check_allowed(RemoteFolder(url), check_flag(allow_urls, "allow_urls"))
            image_dir = RemoteFolder(url)
        check_flag(allow_urls, "allow_urls")
        if is_table(path):
            return cls.from_arrow(path, columns=columns, image_dir=image_dir)
        check_path(path)
        if (source := str(path)).startswith(SAVED_DATASET):
            folder = source.removeprefix(SAVED_DATASET)
            return cls(
                DatasetReader(load_saved(folder), columns, source),
                columns,
                _folder(image_dir or folder),
            )
        if is_sql_url(source):
            table = SqlTable.parse(source)
            check_allowed(table, allow_urls or not table.is_remote)
            return cls._of_table(str(table), read_sql(table), columns, image_dir)
        if is_url(source):
            return cls._table(remote_file(source, allow_urls), columns, image_dir)
        path = Path(source)
        if path.suffix.lower() == ".tar" or _holds_only(path, ".tar"):
            return cls.from_webdataset(path, columns=columns, image_dir=image_dir)
        if _holds_only(path, ".parquet"):
            return cls.from_parquet(path, columns=columns, image_dir=image_dir or path)
        if path.is_dir():
            return cls.from_image_folder(path, columns=columns)
        return cls._table(path, columns, image_dir)

    @classmethod
    def _table(
        cls, path: Path | RemoteFile, columns: Columns | NamedColumns | None, image_dir: Folder | None
    ) -> "Catalogue":
        match path.suffix.lower():
            case ".parquet" | ".pq":
                return cls.from_parquet(path, columns=columns, image_dir=image_dir)
            case ".csv" | ".tsv":
                return cls.from_csv(path, columns=columns, image_dir=image_dir)
            case ".jsonl" | ".ndjson":
                return cls.from_jsonl(path, columns=columns, image_dir=image_dir)
        if not isinstance(path, RemoteFile) and not path.exists():
            raise CatalogueError(f"{path}: there is no such file or folder")
        raise CatalogueError(
            f"cannot tell what {path} is; give a .parquet, .csv or .jsonl file, or a folder of pictures or .tar files"
        )

    def __len__(self) -> int:
        return self.report.kept

    @property
    def media_root(self) -> Path | RemoteFolder | None:
        """The folder that paths of pictures, sounds and films start from, resolved; see `media_in`."""
        return self.image_dir.resolve() if isinstance(self.image_dir, Path) else self.image_dir

    @property
    def attributes(self) -> pa.Table:
        """One row per kept item: item_id, text columns, attributes, in plain types."""
        return self._scan.attributes

    @property
    def rejects(self) -> pa.Table:
        """One row per rejected row: source_row (from 0), item_id if it has one, reason."""
        return self._scan.rejects

    @property
    def report(self) -> CleaningReport:
        """What became of the rows."""
        return self._scan.report

    def batches(self, size: int) -> Iterator[list[Item]]:
        """Return the kept items in order, at most ``size`` at a time, reading them from the source again.

        Raises:
            InputError: When the size is not positive.
            CatalogueError: While reading, when the source is no longer what it was.
        """
        return self._batches(min(check_whole(size, "size"), MAX_BATCH_SIZE))

    def vectors(self, size: int, dim: int | Mapping[Modality, int] | None = None) -> Iterator[VectorBatch]:
        """Return the precomputed vectors of the kept items in order, at most ``size`` items at a time.

        Args:
            size: Items a batch.
            dim: Length D that a vector must have, the same for all, or one for each modality; that of the source, the
                same for all, when None.

        Raises:
            InputError: When the size is not positive.
            CatalogueError: When the source has no vectors, or of several lengths, or of another than ``dim``.
        """
        size = min(check_whole(size, "size"), MAX_BATCH_SIZE)
        if isinstance(dim, Mapping):
            return self._vectors(size, check_lengths(self.source, self.vector_dims, dim))
        return self._vectors(size, dict.fromkeys(self.columns.vectors, check_dim(self.source, self.vector_dims, dim)))

    @cached_property
    def vector_dims(self) -> dict[str, int]:
        """Length that most vectors of each vector column have; 0 for a column without any."""
        return column_dims(self.reader, self.columns)

    def _vectors(self, size: int, dims: Mapping[str, int]) -> Iterator[VectorBatch]:
        rows = self._scan.source_rows
        start = 0
        for batch in self._kept((self.columns.item_id, *dims), size):
            item_ids = [clean_item_id(raw, Counter())[0] or "" for raw in python_values(batch.column(0))]
            yield read_vectors(item_ids, rows[start : start + len(batch)], batch, dims)
            start += len(batch)

    def _batches(self, size: int) -> Iterator[list[Item]]:
        columns, root = self.columns, self.media_root
        for batch in self._kept((columns.item_id, *columns.text, *columns.media), size):
            yield [self._item(row, root) for row in python_rows(batch)]

    def _kept(self, names: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of the kept rows, without empty batches."""
        kept, start = self._scan.kept, 0
        for batch in self.reader.batches(list(dict.fromkeys(names)), size):
            is_kept = kept[start : start + len(batch)]
            start += len(batch)
            if len(is_kept) < len(batch):
                break
            if any(is_kept):
                yield batch.filter(pa.array(is_kept, pa.bool_()))
        if start != len(kept):
            raise CatalogueError(f"{self.source} has changed since it was first read; open it again")

    def _item(self, row: Mapping[str, Any], root: Path | RemoteFolder | None) -> Item:
        uncounted = Counter[str]()  # repairs were counted by the scan
        item_id, _ = clean_item_id(row[self.columns.item_id], uncounted)
        text = clean_text([row[name] for name in self.columns.text], uncounted)
        return Item(item_id or "", text, tuple(media_in(row, self.columns, root)))

    @cached_property
    def _scan(self) -> Scan:
        return scan(self.reader, self.columns)


def as_catalogue(value: object) -> Catalogue:
    """Return items as a catalogue: one, or a table in memory.

    Raises:
        InputError: When it is something else.
    """
    if isinstance(value, Catalogue):
        return value
    if is_table(value):
        return Catalogue.from_arrow(value)
    raise InputError(
        f"catalogue is a {type(value).__name__}; open a file or folder with Catalogue.open(PATH), or give a DataFrame "
        "or an Arrow table"
    )


def _image_dir(image_dir: Folder | None, table: Source) -> Path | RemoteFolder | None:
    """Return the folder that picture paths start from: where the table is, if no other is given."""
    if image_dir is None:
        return table.folder if isinstance(table, RemoteFile) else check_path(table).parent
    return _folder(image_dir)


def _folder(image_dir: Folder | None) -> Path | RemoteFolder | None:
    """Return the folder that picture paths start from, if there is one.

    Raises:
        InputError: When it is no path.
        CatalogueError: When it is a URL: `Catalogue.open` takes those, as it can be told that they are allowed.
    """
    if image_dir is None or isinstance(image_dir, RemoteFolder):
        return image_dir
    folder = check_path(image_dir, "image_dir")
    if url := url_of_folder(image_dir):
        check_allowed(RemoteFolder(url), allowed=False)
    return folder


def _holds_only(path: Path, suffix: str) -> bool:
    """Whether a folder is one of tar or Parquet files, with no picture or metadata file beside them."""
    if not path.is_dir():
        return False
    suffixes = {file.suffix.lower() for file in path.iterdir() if not file.name.startswith((".", "_"))}
    return suffix in suffixes and not suffixes & {*SUFFIXES, ".csv", ".jsonl"}
