"""Items from Hugging Face `datasets`, in memory, on disk or streamed; nothing is decoded, and nothing is downloaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from indexing.catalogue.arrow_values import not_utf8
from indexing.catalogue.columns import Columns, NamedColumns, id_name, is_text, plain_type
from indexing.catalogue.readers.base import ReadingNotes
from indexing.catalogue.readers.parquet import plain
from indexing.errors import CatalogueError

NUMBERED = "item_id"
# The data of a user's generator may be of any kind, and so are the errors of putting it into Arrow.
UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError)


class DatasetReader:
    """Rows of a `datasets.Dataset` or `datasets.IterableDataset`; see `Reader`.

    Nothing here decodes a picture; a step that the caller put into a stream before (`map`, `remove_columns`) may.
    Without a column for the item_id, rows are numbered: ``row-0000123``. Class labels are given by their names.

    Args:
        dataset: One split; a stream must give the same rows each time, since it is read more than once.
        columns: The columns that the caller named.
        name: For messages.

    Raises:
        CatalogueError: When it is no dataset, several, or an empty one.
    """

    def __init__(self, dataset: Any, columns: Columns | NamedColumns | None = None, name: str = "dataset") -> None:  # noqa: ANN401 - `datasets` stays lazy
        self.name = name
        self.malformed: Mapping[int, str] = {}
        self.left_out: Mapping[str, int] = {}
        self.notes = ReadingNotes()
        try:
            typed = _with_features(dataset, name)
        except UNREADABLE as error:
            raise error if isinstance(error, CatalogueError) else CatalogueError(f"{name}: {error}") from error
        self._features = typed.features
        # As Arrow, pictures and sounds stay the bytes that they are: decoding is a matter of other formats. Streams
        # cannot be had as Arrow, since `datasets` fails there on a column that is empty in one row and not in the next.
        self._dataset = typed.with_format("arrow") if hasattr(typed, "__len__") else typed.cast(_undecoded(typed))
        fields = [(field.name, _type(field, self._features[field.name])) for field in self._features.arrow_schema]
        id_column = columns.item_id if columns else None
        detected_id = NUMBERED if id_column == NUMBERED and NUMBERED in self._features else id_name(pa.schema(fields))
        self._numbers = id_column in (None, NUMBERED) and detected_id is None
        if self._numbers and id_column is None:
            self.notes.read_as.append(
                f"rows are named row-0000000, row-0000001 and so on, as none of {list(self._features)} is a column of "
                "ids: name the column of the item_id (--id-column) to have its own"
            )
        self.schema = pa.schema([(NUMBERED, pa.string()), *fields] if self._numbers else fields)

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of all rows; see `Reader`."""
        stored = [name for name in columns if not (self._numbers and name == NUMBERED)]
        start = 0
        try:
            for rows in self._dataset.select_columns(stored or self._lightest()).iter(size):
                arrays = {name: self._column(rows[name], name, start) for name in stored}
                count = len(rows) if isinstance(rows, pa.Table) else len(next(iter(rows.values())))
                if self._numbers:
                    arrays[NUMBERED] = pa.array(
                        [f"row-{start + position:07d}" for position in range(count)], pa.string()
                    )
                start += count
                schema_ = pa.schema([self.schema.field(name) for name in columns])
                yield pa.RecordBatch.from_arrays([arrays[name] for name in columns], schema=schema_)
        except CatalogueError:
            raise
        except UNREADABLE as error:
            raise CatalogueError(
                f"{self.name} cannot be read from row {start} on: {error}; give it `features` that fit every row"
            ) from error

    def _column(self, values: pa.ChunkedArray | list[Any], name: str, start: int) -> pa.Array:
        if isinstance(values, list):
            column = pa.array(values, self._features.arrow_schema.field(name).type)
        else:
            column = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
        if labels := _labels(self._features[name]):
            is_label = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(labels)))
            return pa.array(labels, pa.string()).take(pc.if_else(is_label, column, None))
        if is_text(column.type) and (positions := not_utf8(column)):
            raise CatalogueError(
                f"row {start + positions[0]} of {self.name} has text that is not UTF-8 in column {name}"
            )
        return plain(column).cast(self.schema.field(name).type)

    def _lightest(self) -> list[str]:
        """Name a column to count rows by, one without pictures where there is one."""
        return sorted(self._features, key=lambda name: hasattr(self._features[name], "decode_example"))[:1]


def _type(field: pa.Field, feature: Any) -> pa.DataType:  # noqa: ANN401 - `datasets` stays lazy
    if _labels(feature):
        return pa.string()
    return plain_type(field.type) if is_text(field.type) else field.type


def _labels(feature: Any) -> list[str]:  # noqa: ANN401 - `datasets` stays lazy
    """Return the names of a ClassLabel, the only feature that has some."""
    return list(getattr(feature, "names", None) or ())


def _undecoded(dataset: Any) -> Any:  # noqa: ANN401 - `datasets` stays lazy
    """Return the features of a dataset, with those that can be decoded (pictures, sounds, …) told not to be."""
    features = dataset.features.copy()
    for name, feature in features.items():
        if hasattr(feature, "decode"):
            features[name] = replace(feature, decode=False)
    return features


def _with_features(dataset: Any, name: str) -> Any:  # noqa: ANN401 - `datasets` stays lazy
    """Check that this is one dataset with rows, and find out the types of a stream that does not say."""
    import datasets

    if isinstance(dataset, datasets.DatasetDict | datasets.IterableDatasetDict):
        raise CatalogueError(f"{name} has several splits, {sorted(map(str, dataset))}; give one of them")
    if isinstance(dataset, datasets.IterableDataset):
        try:
            return dataset if dataset.features is not None else dataset._resolve_features()
        except StopIteration:
            raise CatalogueError(f"{name} has no rows: there is nothing to index") from None
    if not isinstance(dataset, datasets.Dataset):
        raise CatalogueError(f"a {type(dataset).__name__} is no dataset; give a Dataset or an IterableDataset")
    if not len(dataset):
        raise CatalogueError(f"{name} has no rows: there is nothing to index")
    return dataset


def load_saved(folder: Path | str) -> Any:  # noqa: ANN401 - `datasets` stays lazy
    """Open a folder that `Dataset.save_to_disk` wrote.

    Raises:
        CatalogueError: When it is none.
    """
    if not Path(folder).is_dir():
        raise CatalogueError(f"{folder} is no folder; give one written by `save_to_disk`")
    import datasets

    try:
        saved = datasets.load_from_disk(str(Path(folder).resolve()))
    except (*UNREADABLE, KeyError) as error:
        raise CatalogueError(f"{folder} cannot be opened as a saved dataset: {error}") from error
    if isinstance(saved, datasets.DatasetDict):
        splits = [f"dataset:{folder}/{split}" for split in saved]
        raise CatalogueError(f"{folder} has several splits; give one of {splits}")
    return saved
