"""What an item may bring beside its text: pictures, sounds and films, as bytes or as paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexing.catalogue.cleaning import file_reference, file_value, shown_name
from indexing.catalogue.columns import Columns
from indexing.media.files import FileSource, Kind
from indexing.media.remote_files import RemoteFile, RemoteFolder

BAR = "|"
SEPARATORS = (BAR, ";", ",")  # of several paths in one value
MAX_PATHS_TRIED = 1000  # paths of a value, when one is looked for that leads to a file


@dataclass(frozen=True)
class Medium:
    """One picture, sound or film of an item.

    Attributes:
        kind: What it is.
        source: The bytes of its file, its path, or where it is behind a URL; None when it cannot be used.
        problem: Why it cannot be used.
        name: The path as the source gives it, for reasons; empty for bytes.
    """

    kind: Kind
    source: FileSource | None
    problem: str | None = None
    name: str = field(default="", compare=False)


def media_of(kind: Kind, value: Any, root: Path | RemoteFolder | None) -> list[Medium]:  # noqa: ANN401 - of a file
    """Return the media that a value of a source holds: none, one, or a list of them.

    A path that leads nowhere is read as a list of paths, separated by bars, or by commas or semicolons where such a
    part leads to a file; behind a URL, where nothing is looked up yet, by bars alone.

    >>> [medium.source for medium in media_of(Kind.IMAGE, [b"one", None, b"two"], Path("/"))]
    [b'one', b'two']
    """
    media = []
    for file_ in _split_files(kind, value, root):
        source, problem = file_reference(file_, root, kind)
        if isinstance(source, Path) and _may_be_several(source, file_):
            source, problem = (
                None,
                f"{kind} file is missing, and several are written as a.jpg|b.jpg: {shown_name(file_)}",
            )
        if source is not None or problem is not None:
            media.append(
                Medium(kind, source, problem, shown_name(file_) if isinstance(source, Path | RemoteFile) else "")
            )
    return media


def _split_files(kind: Kind, value: Any, root: Path | RemoteFolder | None) -> list[Any]:  # noqa: ANN401 - of a file
    """Return the files that a value names, one by one."""
    if isinstance(value, list):
        return [part for element in value for part in _split_files(kind, element, root)]
    text = file_value(value)
    if isinstance(text, str) and isinstance(root, RemoteFolder):
        return [part for part in text.split(BAR) if part.strip()] or [value]
    if (
        not isinstance(text, str)
        or not isinstance(root, Path)
        or "://" in text
        or not any(map(text.__contains__, SEPARATORS))
    ):
        return [value]
    if _file_exists(kind, text, root):
        return [value]
    stripped = text.strip()
    if stripped.startswith("[") and stripped.endswith("]"):  # as Python writes lists
        parts = [part.strip().strip("\"'") for part in stripped[1:-1].split(",")]
        return parts if _any_file(kind, parts, root) else [value]
    for separator in SEPARATORS:
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if len(parts) > 1 and (separator == BAR or _any_file(kind, parts, root)):
            return parts
    return [value]


def _may_be_several(path: Path, value: Any) -> bool:  # noqa: ANN401 - of a file
    return any(separator in str(file_value(value)) for separator in SEPARATORS) and not path.exists()


def _any_file(kind: Kind, paths: Sequence[str], root: Path) -> bool:
    return any(_file_exists(kind, path, root) for path in paths[:MAX_PATHS_TRIED])


def _file_exists(kind: Kind, path: str, root: Path) -> bool:
    source, _ = file_reference(path, root, kind)
    return isinstance(source, Path) and source.exists()


def media_in(row: Mapping[str, Any], columns: Columns, root: Path | RemoteFolder | None) -> list[Medium]:
    """Return the pictures, sounds and films of a row of a source, in this order; paths start from a resolved folder."""
    named = [(Kind.IMAGE, name) for name in columns.images]
    named += [(kind, name) for kind, name in ((Kind.AUDIO, columns.audio), (Kind.VIDEO, columns.video)) if name]
    return [medium for kind, name in named for medium in media_of(kind, row[name], root)]
