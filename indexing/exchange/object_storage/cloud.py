"""S3, Google Cloud Storage and Azure by obstore, whose writes can be asked to replace nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from indexing.errors import import_extra
from indexing.exchange.object_storage.base import CHUNK, ObjectInfo, shown_url, storage_errors

EXTRA = "cloud"
SCHEMES = ("s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss")
MAX_PARTS = 9_000  # of one upload, of which S3 takes 10,000
PART_BYTES = 8 << 20
NUM_PARTS_AT_ONCE = 4


class CloudObjects:
    """Objects below a prefix of a bucket; see `WritableObjects`.

    Args:
        url: As ``s3://bucket/prefix``.
        store: One of obstore, already opened there; by default it is opened as the environment says.

    Attributes:
        url: Where they are, without secrets.

    Raises:
        MissingExtraError: When obstore is not installed.
        StorageError: When the environment does not say enough.
    """

    def __init__(self, url: str, store: Any = None) -> None:  # noqa: ANN401 - a store of obstore
        self._obstore = import_extra("obstore", EXTRA)
        self.url = shown_url(url)
        if store is None:
            with storage_errors(self.url):
                store = import_extra("obstore.store", EXTRA).from_url(url)
        self._store = store

    def find(self, prefix: str) -> list[ObjectInfo]:
        """Return the objects below a prefix."""
        with storage_errors(self.url):
            return [
                ObjectInfo(found["path"], found["size"], found["last_modified"])
                for some in self._obstore.list(self._store, prefix)
                for found in some
            ]

    def chunks(self, name: str) -> Iterator[bytes]:
        """Give the content of an object."""
        with storage_errors(self.url, name):
            for chunk in self._obstore.get(self._store, name).stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    def upload(self, name: str, path: Path) -> None:
        """Upload a file, in parts where it is large; the object is there once all of them are."""
        part = max(PART_BYTES, -(-path.stat().st_size // MAX_PARTS))
        with storage_errors(self.url, name):
            self._obstore.put(self._store, name, path, chunk_size=part, max_concurrency=NUM_PARTS_AT_ONCE)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object if there is none of its name."""
        exists = import_extra("obstore.exceptions", EXTRA).AlreadyExistsError
        with storage_errors(self.url, name):
            try:
                self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except exists:
                # Perhaps by this very call: it is sent again when an answer is lost.
                return bytes(self._obstore.get(self._store, name).bytes()) == data
        return True

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects."""
        with storage_errors(self.url):
            self._obstore.delete(self._store, list(names))
