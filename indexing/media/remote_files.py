"""Files behind URLs, read through fsspec: only where whoever asks allowed it, and without showing what URLs hide."""

import errno
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from time import sleep
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

from indexing.errors import CatalogueError, CommonspaceError, InputError, MissingExtraError
from indexing.runtime.arguments import URL

_OBSTORE_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "adl", "abfs", "abfss")
_WEB = ("http", "https")
TRIES = 3  # of a file, where the storage cannot be reached; storages try some times themselves
_MISSING, _BUSY = (404, 410), (408, 425, 429)  # of HTTP; where it is busy another try may do
MAX_SHOWN = 80  # characters of a name in a reason


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL; its name is the URL without password and query, which may hold secrets."""

    url: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def suffix(self) -> str:
        """End of the file's name, as of a path."""
        return PurePosixPath(str(self)).suffix

    @property
    def folder(self) -> "RemoteFolder | None":
        """Where the file lies; None for a URL of this machine, whose files are named by paths."""
        parts = urlsplit(self.url)
        return (
            None
            if parts.scheme == "file"
            else RemoteFolder(f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}")
        )

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[IO[bytes]]:
        """Open the file to read it, wherever it is.

        Raises:
            CatalogueError: When it cannot be read.
            MissingExtraError: When a package for this kind of URL is missing.
        """
        import pyarrow as pa  # a process that decodes files needs none

        try:
            with self._opened(mode) as file:
                yield file
        except (CommonspaceError, pa.ArrowException):
            raise
        except ImportError as error:
            raise MissingExtraError(f"{self} cannot be read: {error}") from error
        except Exception as error:  # each kind of storage raises its own
            raise CatalogueError(f"{self} cannot be read: {self._reason(error)}") from error

    def read_bytes(self) -> bytes:
        """Return all of the file."""
        with self.open() as file:
            return file.read()

    def read_within(self, max_bytes: int) -> tuple[int, bytes]:
        """Return the file's size, and its bytes if these are not more than the limit.

        Raises:
            OSError: When this file is missing, or nobody may read it.
            CatalogueError: When the storage cannot be reached, tried three times.
            MissingExtraError: When a package for this kind of URL is missing.
        """
        for attempt in range(TRIES):
            try:
                return self._read_within(max_bytes)
            except CommonspaceError:
                raise
            except ImportError as error:
                raise MissingExtraError(f"{self} cannot be read: {error}") from error
            except Exception as error:  # each kind of storage raises its own
                if (of_file := _error_of_file(error)) is not None:
                    raise of_file from error
                problem = error
            sleep(2.0**attempt / 2 if attempt < TRIES - 1 else 0)
        raise CatalogueError(f"{self} cannot be read: {self._reason(problem)}") from problem

    def _read_within(self, max_bytes: int) -> tuple[int, bytes]:
        files, path = _storage(self.url)
        size = files.info(path).get("size")
        if size is None:  # of what a server makes as it sends it
            with files.open(path, "rb") as file:
                data: bytes = file.read(max_bytes + 1)
            return len(data), data
        return (size, files.cat_file(path)) if size <= max_bytes else (size, b"")

    def _opened(self, mode: str) -> IO[bytes]:
        files, path = _storage(self.url)
        files.info(path)  # says what is wrong; to open a missing file with obstore leaves one that cannot be closed
        opened: IO[bytes] = files.open(path, mode)
        return opened

    def _reason(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
            error = error.__cause__  # what fsspec calls missing, whatever it was
        text, parts = (str(error).splitlines() or [""])[0], urlsplit(self.url)
        for secret in filter(None, (parts.query, parts.password)):
            text = text.replace(secret, "…")
        return f"{type(error).__name__}: {text}"


@dataclass(frozen=True)
class RemoteFolder:
    """What lies below a URL, without a slash at its end.

    Raises:
        InputError: When the URL has a query, is a chain of several, or is one of this machine.
    """

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))
        parts = urlsplit(self.url)
        if parts.query or parts.fragment:
            raise InputError(f"image_dir is {str(self)!r} with a query; give a URL that names of files can be put to")
        if "::" in self.url:
            raise InputError(f"image_dir is {str(self)!r}, a chain of URLs, which may read files elsewhere; give one")
        if parts.scheme == "file":
            raise InputError(f"image_dir is {str(self)!r}, a URL of this machine; give the path of the folder")

    def __str__(self) -> str:
        return str(RemoteFile(self.url))

    def file(self, name: str, kind: str) -> tuple[RemoteFile | None, str | None]:
        """Return the file that a row names, by its path or its whole URL, or why it is none.

        >>> RemoteFolder("s3://shop/pictures").file("mugs/a.png", "image")[0]
        RemoteFile(url='s3://shop/pictures/mugs/a.png')
        >>> RemoteFolder("s3://shop/pictures").file("s3://other/a.png", "image")[1]
        'URLs outside of image_dir are not fetched: s3://other/a.png'
        """
        name, below = name.strip(), f"{self.url}/"
        shown = shown_url(name)[:MAX_SHOWN]
        is_web = urlsplit(self.url).scheme in _WEB
        if name.startswith(below):
            url, path = name, name.removeprefix(below)
            path = unquote(path.partition("?")[0]) if is_web else path
        elif "://" in name or name.startswith(("data:", "file:")):
            return None, f"URLs outside of image_dir are not fetched: {shown}"
        else:
            path = name.replace("\\", "/")
            url = below + (quote(path) if is_web else path)
        parts = path.split("/")
        if "::" in name:
            return None, f"{kind} path holds '::', which names a chain of URLs: {shown}"
        if ".." in parts or (not parts[0] and len(parts) > 1):
            return None, f"{kind} path leaves the folder of images: {shown}"
        if not parts[-1]:
            return None, f"{kind} path is that of a folder: {shown}"
        return RemoteFile(url), None


def shown_url(name: str) -> str:
    """Return the path or URL of a file as a reason shows it: a URL without what it hides.

    >>> shown_url("https://ann:secret@example.org/a.png?token=secret")
    'https://example.org/a.png'
    """
    return str(RemoteFile(name)) if "://" in name else name


def is_url(source: str) -> bool:
    """Whether a source is named by a URL.

    >>> is_url("s3://shop/items.parquet"), is_url("shop/items.parquet")
    (True, False)
    """
    return "://" in source


def url_of_folder(folder: object) -> str:
    """Return the URL of a folder, also as pathlib leaves it, with one slash of two; "" of a path.

    >>> url_of_folder(PurePosixPath("s3://shop/pictures")), url_of_folder("shop/pictures")
    ('s3://shop/pictures', '')
    """
    text = str(folder)
    return re.sub(":/(?!/)", "://", text, count=1) if URL.match(text) else ""


def check_allowed(source: object, allowed: bool) -> None:
    """Check that whoever asks has allowed URLs.

    Raises:
        CatalogueError: When not.
    """
    if not allowed:
        raise CatalogueError(
            f"{source} is a URL, and URLs are not fetched unless you say so",
            python="pass allow_urls=True to Catalogue.open",
            cli="add --allow-urls",
        )


def remote_file(url: str, allowed: bool) -> RemoteFile:
    """Return the file behind a URL, if whoever asks has allowed that.

    Raises:
        CatalogueError: When URLs are not allowed, or this one is a chain of several.
    """
    file = RemoteFile(url)
    check_allowed(file, allowed)
    if "::" in url:
        raise CatalogueError(f"{file} is a chain of URLs, which may write files elsewhere; give a single URL")
    return file


def _error_of_file(error: Exception) -> OSError | None:
    """Return what is wrong with a file alone; None of an error of the storage, which another try may not have."""
    cause = error.__cause__
    status = next((found for one in (error, cause) if isinstance(found := getattr(one, "status", None), int)), None)
    if status is not None and status not in _MISSING:  # of HTTP; fsspec calls all of them missing
        is_of_file = 400 <= status < 500 and status not in _BUSY
        return PermissionError(errno.EACCES, f"the server answers {status}") if is_of_file else None
    if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):  # no connection, for instance
        return None
    name = type(error).__name__
    if isinstance(error, FileNotFoundError | IsADirectoryError) or name == "NotFoundError" or status in _MISSING:
        return FileNotFoundError(errno.ENOENT, "there is no such file")
    if isinstance(error, PermissionError) or name in ("PermissionDeniedError", "UnauthenticatedError"):
        return PermissionError(errno.EACCES, "access is denied")
    return None


def _storage(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there: of the package that fsspec asks for, or of obstore."""
    import fsspec  # type: ignore[import-untyped]

    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        scheme, _, path = url.partition("://")
        if scheme not in _OBSTORE_SCHEMES:
            raise
        try:
            obstore: Any = importlib.import_module("obstore.fsspec")
        except ImportError:
            raise ImportError(f'{error}, or pip install ".[cloud]" in a clone') from error
        files = obstore.FsspecStore(scheme)
    return files, path
