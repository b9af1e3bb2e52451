"""Any file system of fsspec as object storage that is read: the Hugging Face Hub, SFTP and others."""

from collections.abc import Iterator

from indexing.errors import MissingExtraError
from indexing.exchange.object_storage.base import CHUNK, ObjectInfo, shown_url, storage_errors


class FsspecObjects:
    """Objects that are files behind a URL; see `ReadableObjects`.

    Args:
        url: As ``hf://datasets/somebody/shop``.

    Attributes:
        url: Without secrets.

    Raises:
        MissingExtraError: When a package for this kind of URL is missing.
        StorageError: When nothing is known of this kind.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        self.url = shown_url(url)
        try:
            with storage_errors(self.url):
                self._files, path = url_to_fs(url)
        except ImportError as error:
            raise MissingExtraError(f"{self.url} cannot be read: {error}") from error
        self._path = path.rstrip("/")

    def find(self, prefix: str) -> list[ObjectInfo]:
        """Return the files below a prefix."""
        with storage_errors(self.url):
            self._files.invalidate_cache()  # others write meanwhile
            found = self._files.find(f"{self._path}/{prefix}", detail=True)
            start = len(self._path) + 1
            return [ObjectInfo(path[start:], int(about["size"])) for path, about in found.items()]

    def chunks(self, name: str) -> Iterator[bytes]:
        """Give the content of a file."""
        with storage_errors(self.url, name), self._files.open(f"{self._path}/{name}", "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
