"""The folder of a job: a part for each chunk, and what tells whether and where it goes on.

answers/_job.json             input, settings and state of the bundle; a job with others is refused
answers/part-000000.parquet   the answers of a chunk
answers/_quarantine/          the lines of a chunk that could not be answered, where there are any
answers/_parts.jsonl          a line for each finished part, with checksums
answers/_SUCCESS              written last

Readers of folders of Parquet, as pyarrow and Spark, leave out names with an underscore, so the folder is one table.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.store.store import parquet_bytes
from retrieval.batch.answering import Answers

JOB, LEDGER, SUCCESS, LOCK, QUARANTINED = "_job.json", "_parts.jsonl", "_SUCCESS", "_LOCK", "_quarantine"
FORMAT = 1


@dataclass(frozen=True)
class Part:
    """A finished chunk.

    Attributes:
        number: Counted from 0.
        first: Its first line in the input.
        lines: How many lines of the input it is.
        users: How many users it answers.
        answers: How many hits they got.
        quarantined: How many could not be answered, by reason.
        unknown: Items of histories and candidates that the bundle does not have.
        sha256: Of the file with the answers.
        quarantined_sha256: Of the file with the lines that were quarantined; empty when there is none.
    """

    number: int
    first: int
    lines: int
    users: int
    answers: int
    quarantined: Mapping[str, int]
    unknown: int
    sha256: str
    quarantined_sha256: str = ""

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"part-{self.number:06}.parquet"


class JobFolder:
    """Opens or begins a job; one process at a time, see `indexing.filesystem.locks.writing`.

    Args:
        root: The folder.
        description: Plain JSON values by which another job is told from this one.

    Attributes:
        parts: Those that are finished and whole, up to the first that is not.

    Raises:
        InputError: When the folder holds another job, or something else.
    """

    def __init__(self, root: Path, description: Mapping[str, Any]) -> None:
        self.root = root
        fsops.make_folder(root)
        wanted = json.loads(json.dumps({"format": FORMAT, **description}))
        path = root / JOB
        if path.exists():
            _check_same(root, _read(path), wanted)
        else:
            if found := [one.name for one in root.iterdir() if one.name != LOCK and one.suffix != ".tmp"]:
                raise InputError(f"{root} is no job and not empty, it holds {min(found)!r}; give another --out")
            fsops.write_bytes(path, _text(wanted))
        self.parts: list[Part] = self._finished()

    @property
    def lines(self) -> int:
        """How many lines of the input are done."""
        return self.parts[-1].first + self.parts[-1].lines if self.parts else 0

    def add(self, answers: Answers) -> Part:
        """Write what became of the next chunk: the files, and then that they are there."""
        number, chunk = len(self.parts), answers.chunk
        table, quarantined, sha256 = answers.to_arrow(), answers.quarantined(), ""
        name = f"part-{number:06}.parquet"
        if len(quarantined):
            fsops.make_folder(self.root / QUARANTINED)
            sha256 = _write(self.root / QUARANTINED / name, parquet_bytes(quarantined))
        reasons: dict[str, int] = {}
        for one in chunk.quarantined:
            reasons[one.reason] = reasons.get(one.reason, 0) + 1
        written = _write(self.root / name, parquet_bytes(table))
        counts = (chunk.first, chunk.lines, len(chunk.users), len(table), reasons, chunk.unknown)
        part = Part(number, *counts, written, sha256)
        fsops.append(self.root / LEDGER, _line(part))
        self.parts.append(part)
        return part

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that every line of the input is done."""
        fsops.write_bytes(self.root / SUCCESS, _text(summary))

    def _finished(self) -> list[Part]:
        """Read the ledger as far as it and the files that it names are whole, and cut off the rest."""
        path, kept, lines = self.root / LEDGER, 0, 0
        parts: list[Part] = []
        if not path.exists():
            return []
        data = path.read_bytes()
        for line in data.splitlines(keepends=True):
            part = _part(line)
            if part is None or (part.number, part.first) != (len(parts), lines) or not self._is_whole(part):
                break
            parts.append(part)
            lines += part.lines
            kept += len(line)
        if kept < len(data):
            fsops.remove(self.root / SUCCESS)  # which would be believed although a part is made again
            fsops.truncate(path, kept)
        return parts

    def _is_whole(self, part: Part) -> bool:
        files = [(self.root / part.name, part.sha256)]
        if part.quarantined_sha256:
            files.append((self.root / QUARANTINED / part.name, part.quarantined_sha256))
        return all(path.is_file() and fsops.sha256(path) == sha256 for path, sha256 in files)


def _write(path: Path, data: bytes) -> str:
    return fsops.write_stream(path, lambda write: write(data))


def _line(part: Part) -> bytes:
    told = asdict(part)
    return (json.dumps(told | {"line_sha256": _digest(told)}) + "\n").encode()


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _part(line: bytes) -> Part | None:
    """Read a line of the ledger; None when a kill has cut it off, it has changed, or it is no such line."""
    try:
        told = json.loads(line) if line.endswith(b"\n") else {}
        checked = told.pop("line_sha256", None) == _digest(told)
        return Part(**told) if checked else None
    except (ValueError, TypeError, AttributeError):
        return None


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); remove the folder, or give another --out") from error
    return content if isinstance(content, dict) else {}


def _check_same(root: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a folder holds this very job."""
    if other := _differences(found, wanted):
        raise InputError(
            f"{root} holds a job that differs: {'; '.join(other)}. So as not to mix answers, give another --out, or "
            "remove the folder"
        )


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any], name: str = "") -> Iterable[str]:
    """Say in words what differs, at most three things."""
    told: list[str] = []
    for key in sorted({*found, *wanted}):
        before, now, called = found.get(key), wanted.get(key), f"{name}{key}"
        if isinstance(before, dict) and isinstance(now, dict):
            told += _differences(before, now, f"{called}.")
        elif before != now:
            told.append(f"{called} was {json.dumps(before)[:120]} and now is {json.dumps(now)[:120]}")
    return told[:3]
