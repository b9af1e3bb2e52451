"""Opens a place in object storage by its URL."""

from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from indexing.errors import InputError
from indexing.exchange.object_storage.base import ReadableObjects, WritableObjects, shown_url
from indexing.exchange.object_storage.cloud import SCHEMES, CloudObjects
from indexing.exchange.object_storage.folder import FolderObjects
from indexing.exchange.object_storage.fsspec_files import FsspecObjects
from indexing.runtime.arguments import check_path

Place: TypeAlias = str | Path | WritableObjects
"""A folder, a URL, or a place that is open already, as `CloudObjects` with a store of one's own."""
_FOLDERS = "file://"


def open_to_write(place: Place) -> WritableObjects:
    """Open a place that bundles can be pushed to.

    Raises:
        InputError: When its storage cannot refuse to replace what is there.
        MissingExtraError: When a package for it is missing.
    """
    if not isinstance(place, str | Path):
        return place
    if (objects := _writable(place)) is not None:
        return objects
    raise InputError(
        f"{shown_url(str(place))} cannot be pushed to: only a folder, file, s3, gs, az and abfs can write an object if "
        "there is none of its name, without which two pushes could overwrite each other; push to a folder, and copy "
        "that with a tool of the storage"
    )


def open_to_read(place: Place | ReadableObjects) -> ReadableObjects:
    """Open a place that bundles can be pulled from.

    Raises:
        InputError: When its objects cannot be listed.
        MissingExtraError: When a package for it is missing.
        StorageError: When nothing is known of such a URL.
    """
    if not isinstance(place, str | Path):
        return place
    if (objects := _writable(place)) is not None:
        return objects
    if _scheme(str(place)) in ("http", "https"):
        raise InputError(
            f"{shown_url(str(place))} cannot be pulled from: what is there cannot be listed over HTTP; give the URL of "
            "the storage itself, as s3://bucket/shop"
        )
    return FsspecObjects(str(place))


def _writable(place: str | Path) -> WritableObjects | None:
    """Open a place that can be written to, or return None where it can be read at most."""
    if isinstance(place, str) and _scheme(place) in SCHEMES:
        return CloudObjects(place)
    folder = _folder(place)
    return None if folder is None else FolderObjects(folder)


def _scheme(url: str) -> str:
    return urlsplit(url).scheme


def _folder(place: str | Path) -> Path | None:
    """Return the folder that is meant, or None for a URL of something else."""
    if isinstance(place, Path) or "://" not in place:
        return check_path(place, "the place in object storage")
    return Path(unquote(urlsplit(place).path)) if place.startswith(_FOLDERS) else None
