"""Items from Parquet, batch by batch: pictures are never all in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.errors import CatalogueError
from indexing.readers import file_of


class ParquetReader:
    """Rows of one Parquet file; see `Reader`."""

    def __init__(self, path: Path | str) -> None:
        self.path = file_of(path)
        self.name = str(path)
        self.malformed: dict[int, str] = {}
        try:
            with pq.ParquetFile(self.path) as file:
                self.schema: pa.Schema = file.schema_arrow
        except (pa.ArrowInvalid, OSError) as error:
            raise CatalogueError(f"{path} is not a Parquet file: {error}") from error

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Give some columns of all rows; see `Reader`."""
        with pq.ParquetFile(self.path) as file:
            try:
                yield from file.iter_batches(batch_size=size, columns=list(columns))
            except (pa.ArrowInvalid, OSError) as error:
                raise CatalogueError(f"{self.name} is damaged: {error}") from error
