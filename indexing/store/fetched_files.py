"""Files of items that lie behind URLs: those of a batch are fetched while the batch before it is encoded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from indexing.catalogue.catalogue import Item
from indexing.catalogue.medium import Medium
from indexing.errors import CatalogueError
from indexing.media.decode import Task
from indexing.media.files import Modality, UnusableFile, unreadable, with_name
from indexing.media.remote_files import RemoteFile

AT_ONCE = 16  # files that are fetched


def fetched(batches: Iterator[list[Item]], modalities: Sequence[Modality], task: Task) -> Iterator[list[Item]]:
    """Give batches of items with the bytes of their files in place of URLs, or with the reason why there are none.

    Args:
        batches: From a source whose files lie behind URLs.
        modalities: What is encoded; no other file is fetched.
        task: The limits of a file.

    Raises:
        CatalogueError: When the storage cannot be reached, or denies the first files that it is asked for.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as threads:
        fetcher, begun = _Fetcher(threads, modalities, task), None
        try:
            for items in batches:
                following = fetcher.begin(items)
                if begun is not None:
                    yield fetcher.finish(begun)
                begun = following
            if begun is not None:
                yield fetcher.finish(begun)
        finally:
            threads.shutdown(cancel_futures=True)


class _Begun(NamedTuple):
    items: list[Item]
    files: dict[RemoteFile, Future[bytes]]


class _Fetcher:
    """Fetches the files of batches."""

    def __init__(self, threads: ThreadPoolExecutor, modalities: Sequence[Modality], task: Task) -> None:
        self._threads, self._modalities, self._task = threads, modalities, task
        self._any_read = False

    def begin(self, items: list[Item]) -> _Begun:
        """Ask for the files of a batch."""
        wanted = {
            medium.source: medium
            for item in items
            for medium in item.media
            if isinstance(medium.source, RemoteFile) and medium.kind.modality in self._modalities
        }
        return _Begun(items, {file: self._threads.submit(self._read, file, of) for file, of in wanted.items()})

    def finish(self, begun: _Begun) -> list[Item]:
        """Wait for the files of a batch."""
        problems = {file: future.exception() for file, future in begun.files.items()}
        self._any_read |= None in problems.values()
        for file, problem in problems.items():
            if problem is None:
                continue
            if not isinstance(problem, UnusableFile):
                raise problem
            if isinstance(problem.__cause__, PermissionError) and not self._any_read:
                raise CatalogueError(
                    f"{file} cannot be read ({problem.__cause__.strerror}), nor any file before it: are the "
                    "credentials and the URL of the folder right?"
                ) from problem
        return [
            replace(item, media=tuple(_with_bytes(medium, begun.files) for medium in item.media))
            for item in begun.items
        ]

    def _read(self, file: RemoteFile, medium: Medium) -> bytes:
        kind, max_bytes = medium.kind, self._task.max_bytes(medium.kind)
        try:
            size, data = file.read_within(max_bytes)
        except OSError as error:
            raise UnusableFile(unreadable(kind, error, medium.name)) from error
        if size > max_bytes:
            raise UnusableFile(with_name(f"{kind} file of {size} bytes is over the limit of {max_bytes}", medium.name))
        return data


def _with_bytes(medium: Medium, files: dict[RemoteFile, Future[bytes]]) -> Medium:
    if not isinstance(medium.source, RemoteFile) or medium.source not in files:
        return medium
    try:
        return replace(medium, source=files[medium.source].result())
    except UnusableFile as error:
        return replace(medium, source=None, problem=str(error))
