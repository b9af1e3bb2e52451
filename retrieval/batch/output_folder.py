"""The folder of a job: a part for each chunk, and the files from which it is resumed.

answers/_job.json             input, settings and state of the bundle; a different job is refused
answers/part-000000.parquet   the answers of a chunk
answers/_quarantine/          the quarantined rows of a chunk, where there are any
answers/_parts.jsonl          one line for each finished part, with checksums
answers/_SUCCESS              written last

Readers of Parquet folders, like pyarrow and Spark, ignore names with an underscore, so the folder is one table.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.store.store import parquet_bytes
from retrieval.batch.input_rows import Chunk

JOB, LEDGER, SUCCESS, LOCK, QUARANTINED = "_job.json", "_parts.jsonl", "_SUCCESS", "_LOCK", "_quarantine"
FORMAT = 2  # 1 had no column `source`


class ChunkAnswers(Protocol):
    """What is written of a chunk."""

    @property
    def chunk(self) -> Chunk:
        """What was answered."""
        ...

    def to_arrow(self) -> pa.Table:
        """Give a row for each hit."""
        ...

    def quarantined(self) -> pa.Table:
        """Give the quarantined rows."""
        ...


@dataclass(frozen=True)
class OutputPart:
    """A finished chunk.

    Attributes:
        number: Counted from 0.
        first: Its first row in the input.
        lines: Its number of rows in the input.
        users: Users that it answers.
        answers: Their hits.
        quarantined: The number of quarantined rows, by reason.
        unknown: Items of histories and candidates that are not in the bundle.
        sha256: Checksum of the file of answers.
        quarantined_sha256: Checksum of the file of quarantined rows; empty when there is none.
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
    """Opens or begins a job; one process at a time, see `indexing.filesystem.locks.write_lock`.

    Args:
        root: The folder.
        description: Plain JSON values that identify the job.

    Attributes:
        parts: The finished and intact parts, up to the first that is not.

    Raises:
        InputError: When the folder holds another job, or something else.
    """

    def __init__(self, root: Path, description: Mapping[str, Any]) -> None:
        self.root = root
        fsops.make_folder(root)
        expected = json.loads(json.dumps({"format": FORMAT, **description}))
        path = root / JOB
        if path.exists():
            _check_same(root, _read(path), expected)
        else:
            if others := [entry.name for entry in root.iterdir() if entry.name != LOCK and entry.suffix != ".tmp"]:
                raise InputError(f"{root} is no job and not empty, it holds {min(others)!r}; give another --out")
        self._description = expected
        self.parts: list[OutputPart] = self._finished()

    @property
    def lines(self) -> int:
        """The number of rows of the input that are done."""
        return self.parts[-1].first + self.parts[-1].lines if self.parts else 0

    def add(self, answers: ChunkAnswers) -> OutputPart:
        """Write the answers of the next chunk, and then its entry in the ledger."""
        number, chunk = len(self.parts), answers.chunk
        table, quarantined, quarantined_sha256 = answers.to_arrow(), answers.quarantined(), ""
        name = f"part-{number:06}.parquet"
        self._begin()
        if len(quarantined):
            fsops.make_folder(self.root / QUARANTINED)
            quarantined_sha256 = _write(self.root / QUARANTINED / name, parquet_bytes(quarantined))
        reasons: dict[str, int] = {}
        for row in chunk.quarantined:
            reasons[row.reason] = reasons.get(row.reason, 0) + 1
        answers_sha256 = _write(self.root / name, parquet_bytes(table))
        counts = (chunk.first, chunk.lines, len(chunk.users), len(table), reasons, chunk.unknown)
        part = OutputPart(number, *counts, answers_sha256, quarantined_sha256)
        fsops.append(self.root / LEDGER, _line(part))
        self.parts.append(part)
        return part

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the job as complete."""
        self._begin()
        fsops.write_bytes(self.root / SUCCESS, _text(summary))

    def _begin(self) -> None:
        """Say which job this is: not before the first chunk is answered, as one that fails at once claims no folder."""
        if not (self.root / JOB).exists():
            fsops.write_bytes(self.root / JOB, _text(self._description))

    def _finished(self) -> list[OutputPart]:
        """Read the ledger up to the first damaged entry or file, and cut off the rest."""
        path, num_bytes, num_rows = self.root / LEDGER, 0, 0
        parts: list[OutputPart] = []
        if not path.exists():
            return []
        data = path.read_bytes()
        for line in data.splitlines(keepends=True):
            part = _part(line)
            if part is None or (part.number, part.first) != (len(parts), num_rows) or not self._is_whole(part):
                break
            parts.append(part)
            num_rows += part.lines
            num_bytes += len(line)
        if num_bytes < len(data):
            fsops.remove(self.root / SUCCESS)  # the job is no longer complete
            fsops.truncate(path, num_bytes)
        return parts

    def _is_whole(self, part: OutputPart) -> bool:
        files = [(self.root / part.name, part.sha256)]
        if part.quarantined_sha256:
            files.append((self.root / QUARANTINED / part.name, part.quarantined_sha256))
        return all(path.is_file() and fsops.sha256(path) == sha256 for path, sha256 in files)


def _write(path: Path, data: bytes) -> str:
    return fsops.write_stream(path, lambda write: write(data))


def _line(part: OutputPart) -> bytes:
    fields = asdict(part)
    return (json.dumps(fields | {"line_sha256": _digest(fields)}) + "\n").encode()


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _part(line: bytes) -> OutputPart | None:
    """Read a line of the ledger; None when it is cut off, changed or of another kind."""
    try:
        fields = json.loads(line) if line.endswith(b"\n") else {}
        is_intact = fields.pop("line_sha256", None) == _digest(fields)
        return OutputPart(**fields) if is_intact else None
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


def _check_same(root: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that a folder holds the same job."""
    if differences := _differences(stored, expected):
        raise InputError(
            f"{root} holds a job that differs: {'; '.join(differences)}. So as not to mix answers, give another --out, "
            "or remove the folder"
        )


def _differences(stored: Mapping[str, Any], expected: Mapping[str, Any], name: str = "") -> Iterable[str]:
    """Describe up to three differences."""
    differences: list[str] = []
    for key in sorted({*stored, *expected}):
        stored_value, value, full_name = stored.get(key), expected.get(key), f"{name}{key}"
        if isinstance(stored_value, dict) and isinstance(value, dict):
            differences += _differences(stored_value, value, f"{full_name}.")
        elif stored_value != value:
            differences.append(f"{full_name} was {json.dumps(stored_value)[:120]} and now is {json.dumps(value)[:120]}")
    return differences[:3]
