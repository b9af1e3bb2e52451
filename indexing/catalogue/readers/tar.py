"""Records out of tar files of the webdataset layout: members with one key, one after another, are one record.

A member's name is never more than a key: nothing is written, no link is followed.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_MEMBER = 100_000_000  # bytes
LONGEST_HEADER = 1 << 20  # bytes of a long name or of extended attributes, which tarfile reads at once
SHOWN = 80  # characters of a name, in a reason
# What tarfile raises on headers that were made to be wrong.
DAMAGE = (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError)


@dataclass
class Record:
    """The members of one key.

    Attributes:
        key: Path up to the first dot of the file name.
        members: Bytes by extension, None for those that nobody asked for.
        problem: Why there is no row in it.
        shard: Name of the tar file.
    """

    key: str
    members: dict[str, bytes | None] = field(default_factory=dict)
    problem: str | None = None
    shard: str = ""


@dataclass(frozen=True)
class _Member:
    """Where a file is inside a tar file."""

    name: str
    start: int
    header: tarfile.TarInfo


class _Damaged(Exception):  # noqa: N818 - a verdict on the rest of a file, never an end
    """A tar file that cannot be read further; ``name`` is the member that is cut, if one is."""

    def __init__(self, position: int, problem: object, name: str | None = None) -> None:
        super().__init__(f"at byte {position}, {problem}")
        self.name = name


class _Header(tarfile.TarInfo):
    """A header that cannot claim more memory than headers need."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Read one block; see `tarfile.TarInfo`."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (not header.isreg() and header.size > LONGEST_HEADER):
            raise tarfile.HeaderError(f"a header of {header.size} bytes")
        return header


def split_name(name: str) -> tuple[str, str] | None:
    """Return the key and the extension of a member, or None where it has no two such parts.

    >>> split_name("a.b/0001.seg.PNG"), split_name("README"), split_name("a/._0001.jpg")
    (('a.b/0001', 'seg.png'), None, None)
    """
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return (folder + slash + stem, extension.lower()) if stem and extension else None


def records(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[Record]:
    """Return the records of a tar file in its order, reading only members of the extensions that are wanted.

    A file that is damaged ends with a record that says where.
    """
    current: Record | None = None
    try:
        with tarfile.open(path, "r:", tarinfo=_Header, errorlevel=1) as tar:
            for member in _members(tar, path.stat().st_size):
                if (parts := split_name(member.name)) is None:
                    continue
                if current is None or current.key != parts[0]:
                    if current is not None:
                        yield current
                    current = _record(parts[0], path.name)
                _add(current, parts[1], member, tar, is_wanted)
    except (_Damaged, *DAMAGE) as error:
        cut = split_name(error.name) if isinstance(error, _Damaged) and error.name else None
        if current is not None and (cut is None or cut[0] != current.key):
            yield current
        where = str(error) if isinstance(error, _Damaged) else f"at byte 0, {error}"
        current = Record(cut[0] if cut else "", problem=f"damaged tar file: {path.name} {where}")
    if current is not None:
        yield current


def _record(key: str, shard: str) -> Record:
    # Names are bytes; Python marks those that it cannot decode with surrogates.
    odd = any("\ud800" <= letter <= "\udfff" for letter in key)
    return Record(key, problem="name of a member is no Unicode" if odd else None, shard=shard)


def _add(
    record: Record, extension: str, member: _Member, tar: tarfile.TarFile, is_wanted: Callable[[str], bool]
) -> None:
    if member.header.size > LONGEST_MEMBER:
        size = f"{member.header.size} bytes, over the limit of {LONGEST_MEMBER}"
        record.problem = record.problem or f"member too large: {member.name[:SHOWN]!r} of {size}"
    if extension in record.members:
        record.problem = record.problem or f"member twice: {member.name[:SHOWN]!r} in {record.shard}"
    if record.problem:
        return
    file = tar.extractfile(member.header) if is_wanted(extension) else None
    record.members[extension] = file.read() if file else None


def _members(tar: tarfile.TarFile, size: int) -> Iterator[_Member]:
    """Return the regular files in order; tarfile's own loop remembers all of them, and takes damage for an end."""
    position = 0
    while True:
        tar.fileobj.seek(position)
        tar.offset = position
        try:
            header = _Header.fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise _Damaged(position, "it ends without its end mark") from None
        except DAMAGE as error:
            raise _Damaged(position, error) from error
        if tar.offset <= position:
            raise _Damaged(position, "a header that leads backwards")
        if tar.offset > size:
            raise _Damaged(position, f"a member of {header.size} bytes is cut short", header.name)
        start, position = position, tar.offset
        if header.isreg() and not header.issparse():  # a few bytes of a sparse file can claim any size
            yield _Member(header.name, start, header)
