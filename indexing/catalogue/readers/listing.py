"""What is in a folder: pictures, captions, metadata, and for everything else the reason why it is none of these."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from indexing.errors import CatalogueError
from indexing.media.images import START, picture_format

# Files of other names are pictures too where their first bytes say so.
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
METADATA = ("metadata.csv", "metadata.jsonl")
HIDDEN, SYSTEM = "hidden", "of the operating system"
# What Windows, macOS and the makers of network drives put beside pictures.
SYSTEM_NAMES = {
    "@eadir",
    "#recycle",
    "#snapshot",
    "__macosx",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
}


@dataclass
class Listing:
    """The entries below a folder, by their path from there.

    Attributes:
        pictures: Files that are pictures by their suffix or their first bytes.
        texts: Files that end in ``.txt``.
        metadata: Files called ``metadata.csv`` or ``metadata.jsonl``.
        problems: Why an entry is none of these, by its path.
        left_out: How many entries are hidden or belong to the operating system; what is below such a folder is not
            counted.
        western: How many captions are in Windows-1252.
    """

    pictures: list[PurePosixPath] = field(default_factory=list)
    texts: list[PurePosixPath] = field(default_factory=list)
    metadata: list[PurePosixPath] = field(default_factory=list)
    problems: dict[PurePosixPath, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    western: int = 0


def list_folder(folder: Path) -> Listing:
    """Look at everything below a folder; links to folders are not followed.

    Raises:
        CatalogueError: When the folder is missing or cannot be read.
    """
    try:
        root = folder.resolve(strict=True)
        os.scandir(root).close()
    except OSError as error:
        raise CatalogueError(f"folder {folder} cannot be read: {error.strerror or error}") from error
    listing, pending = Listing(), [PurePosixPath()]
    while pending:
        subfolder = pending.pop()
        try:
            with os.scandir(root / subfolder) as entries:
                names = list(entries)
        except OSError as error:
            listing.problems[subfolder] = f"folder cannot be read: {error.strerror or error}"
            continue
        for entry in _counted(names, listing):
            path = subfolder / entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            else:
                _sort(listing, root, path, entry)
    for paths in (listing.pictures, listing.texts, listing.metadata):
        paths.sort()
    return listing


def shown(path: PurePosixPath) -> str:
    """Return a path for a reason; names that are no Unicode have a question mark for each byte that is none."""
    return str(path).encode("utf-8", "replace").decode()


def _counted(entries: list["os.DirEntry[str]"], listing: Listing) -> Iterator["os.DirEntry[str]"]:
    """Return the entries but for those that are hidden or of the system, which are counted."""
    for entry in entries:
        if entry.name.startswith("."):
            listing.left_out[HIDDEN] += 1
        elif entry.name.lower() in SYSTEM_NAMES:
            listing.left_out[SYSTEM] += 1
        else:
            yield entry


def _sort(listing: Listing, root: Path, path: PurePosixPath, entry: "os.DirEntry[str]") -> None:
    """Put a file where it belongs."""
    suffix = path.suffix.lower()
    if any("\ud800" <= letter <= "\udfff" for letter in entry.name):  # bytes that are no text
        listing.problems[path] = "file name is no Unicode"
    elif problem := _link_problem(root, entry, suffix):
        listing.problems[path] = problem
    elif not entry.is_file():
        listing.problems[path] = "no regular file"
    elif path.name in METADATA:
        listing.metadata.append(path)
    elif suffix == ".txt":
        listing.texts.append(path)
    elif suffix in SUFFIXES:
        listing.pictures.append(path)
    else:
        _sniff(listing, root, path)


def _link_problem(root: Path, entry: "os.DirEntry[str]", suffix: str) -> str | None:
    """Say why a link is not followed; one that looks like a picture is refused when it is opened, as any path is."""
    if not entry.is_symlink():
        return None
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):  # to nothing, or a loop
        return "link leads nowhere"
    if target.is_dir():
        return "linked folder is not followed"
    return None if suffix in SUFFIXES or target.is_relative_to(root) else "link leads out of the folder"


def _sniff(listing: Listing, root: Path, path: PurePosixPath) -> None:
    """Tell by its first bytes whether a file is a picture."""
    try:
        with (root / path).open("rb") as file:
            name = picture_format(file.read(START))
    except OSError as error:
        listing.problems[path] = f"file cannot be read: {error.strerror or error}"
        return
    if name is None:
        listing.problems[path] = "no picture"
    else:
        listing.pictures.append(path)
