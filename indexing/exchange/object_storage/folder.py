"""A folder as object storage: on a share that machines have in common, or to be copied by other tools."""

import errno
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from indexing.errors import StorageError
from indexing.exchange.object_storage.base import CHUNK, ObjectInfo, storage_errors
from indexing.filesystem import fsops

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FolderObjects:
    """Objects that are files of a folder, written whole and durably; see `WritableObjects`.

    Args:
        folder: Where they are; it is made when something is written.

    Attributes:
        url: Of the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.url = self._folder.as_uri()

    def find(self, prefix: str) -> list[ObjectInfo]:
        """Return the files of a folder within."""
        found = []
        with storage_errors(self.url):
            for path in sorted((self._folder / prefix).rglob("*")):
                try:
                    stat = path.stat()
                except FileNotFoundError:  # removed meanwhile
                    continue
                if path.is_file() and path.suffix != fsops.TEMPORARY_SUFFIX:
                    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                    found.append(ObjectInfo(path.relative_to(self._folder).as_posix(), stat.st_size, modified))
        return found

    def chunks(self, name: str) -> Iterator[bytes]:
        """Give the content of a file."""
        with storage_errors(self.url, name), (self._folder / name).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def upload(self, name: str, path: Path) -> None:
        """Copy a file there."""
        with storage_errors(self.url, name):
            fsops.make_folder((self._folder / name).parent)
            fsops.copy(path, self._folder / name)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if there is none of its name.

        Raises:
            StorageError: When the file system has no hard links, without which that cannot be told.
        """
        with storage_errors(self.url, name):
            fsops.make_folder((self._folder / name).parent)
            try:
                return fsops.create_bytes(self._folder / name, data)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise StorageError(
                    f"{self.url} cannot be pushed to: its file system has no hard links ({error.strerror}), without "
                    "which two pushes could overwrite each other; name a folder of another, or object storage"
                ) from error

    def remove(self, names: Sequence[str]) -> None:
        """Remove files."""
        with storage_errors(self.url):
            for name in names:
                fsops.remove(self._folder / name)
