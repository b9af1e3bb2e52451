"""A pushed state of a bundle: one small object that lists every file, written last and never replaced.

states/000000000017.json       the 17th state
objects/<sha256>.<push>        a file by its content, and by the push that uploaded it
pushing/<push>.json            a push that is under way, or was killed
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from indexing.bundle.change_log import batch_number, digest_of
from indexing.bundle.current import State, is_generation
from indexing.bundle.manifest import MANIFEST, Manifest, is_file_name
from indexing.errors import DamagedFileError, GenerationError
from indexing.exchange.object_storage.base import ObjectInfo, ReadableObjects, read_object
from indexing.filesystem.checked_files import MAX_SEALED_BYTES, seal, unseal_bytes
from indexing.filesystem.file_checks import FileRecord
from indexing.runtime.safe_text import visible

STATES, OBJECTS, PUSHING = "states", "objects", "pushing"
FORMAT = 1
HINT = "pull an earlier state, or push the bundle again with --supersede --reupload"

_FILES = [{"name": str, "size": int, "sha256": str, "object": str}]
_SCHEMA = {
    "format": int,
    "number": int,
    "generation": str,
    "contains": int,
    "last": int,
    "digest": str,
    "newest": int,
    "history": [str],
    "items": int,
    "pushed": str,
    "pushed_by": str,
    "files": _FILES,
    "changes": _FILES,
}
_STATE = re.compile(rf"{STATES}/(\d{{12,18}})\.json")
_OBJECT = re.compile(rf"{OBJECTS}/([0-9a-f]{{64}})\.[0-9a-f]{{16}}")


@dataclass(frozen=True)
class PushedFile:
    """A file of a state: name, size in bytes and sha256, and the object that holds it."""

    name: str
    size: int
    sha256: str
    object: str

    @property
    def record(self) -> FileRecord:
        """As a manifest has it."""
        return FileRecord(self.name, self.size, self.sha256)


@dataclass(frozen=True)
class TransferReport:
    """What of a state was transferred.

    Attributes:
        url: The place, without secrets.
        number: Number of the state there.
        generation: Its generation.
        changes: How many batches of changes it has besides.
        files: How many files both are.
        bytes: Size of them.
    """

    url: str
    number: int
    generation: str
    changes: int
    files: int
    bytes: int

    @classmethod
    def of(cls, objects: ReadableObjects, state: "PushedState", **more: Any) -> Self:  # noqa: ANN401
        """Report on a state at a place, with further fields."""
        return cls(
            url=objects.url,
            number=state.number,
            generation=state.generation,
            changes=len(state.changes),
            files=len(state.files) + len(state.changes),
            bytes=state.num_bytes,
            **more,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class PushedState:
    """A state of a bundle in object storage.

    Attributes:
        number: Its place in the order of pushes, from 1.
        generation: The generation, and what follows as in `State`.
        contains: Number of the last batch of changes that it contains.
        last: Number of the last acknowledged batch.
        digest: What the names of the batches between the two add up to.
        newest: The largest number that a generation of the bundle had.
        history: The generations that were current before; those with a part in this order of changes.
        items: How many items the generation has, without the changes.
        pushed: When it was pushed, ISO 8601, UTC, by the clock of whoever did.
        pushed_by: Name of the machine that did.
        files: The files of the generation, its manifest with them.
        changes: The batches of changes that it does not contain, in order.
    """

    number: int
    generation: str
    contains: int
    last: int
    digest: str
    newest: int
    history: Sequence[str]
    items: int
    pushed: str
    pushed_by: str
    files: Sequence[PushedFile] = field(repr=False)
    changes: Sequence[PushedFile] = field(repr=False)

    @property
    def served(self) -> str:
        """Tells what is answered from: equal for equal states of one bundle."""
        return served(self.state)

    @property
    def state(self) -> State:
        """What CURRENT says of it."""
        return State(self.generation, self.contains, self.last, self.digest, newest=self.newest)

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in (*self.files, *self.changes))

    def to_bytes(self) -> bytes:
        """Return what is written."""
        return seal({"format": FORMAT, **asdict(self)})

    def about(self) -> dict[str, Any]:
        """Return what people want to know, as plain JSON values."""
        names = ("number", "generation", "items", "last", "pushed", "pushed_by")
        return {name: getattr(self, name) for name in names} | {"bytes": self.num_bytes}

    def described(self) -> str:
        """Say in words which state this is."""
        return visible(
            f"state {self.number} (generation {self.generation} with changes up to number {self.last}, pushed by "
            f"{self.pushed_by[:60]} at {self.pushed[:30]})"
        )

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "PushedState":
        """Read what `to_bytes` gave, with suspicion: whoever can write there says what is put where here.

        Raises:
            DamagedFileError: When it is something else, or names what no bundle has.
            GenerationError: When a later version wrote it.
        """
        version = unseal_bytes(data, name, HINT, {"format": int})["format"]
        if version != FORMAT:
            raise GenerationError(f"{name} is of format {version}, this version reads {FORMAT}: upgrade commonspace")
        content = unseal_bytes(data, name, HINT, _SCHEMA)
        del content["format"]
        for part in ("files", "changes"):
            content[part] = tuple(PushedFile(**file) for file in content[part])
        state = cls(**content)
        if problem := _problem(state):
            raise DamagedFileError(f"{name} cannot be used: {problem}; {HINT}")
        return state


def _problem(state: PushedState) -> str | None:
    """Say what of a state cannot be, or None."""
    if invalid := [name for name in (state.generation, *state.history) if not is_generation(name)]:
        return f"it names {invalid[0][:60]!r}, which is no generation"
    if not 0 <= state.contains <= state.last or state.newest < 0:
        return f"it contains change {state.contains} of {state.last}"
    names = [file.name for file in state.files]
    if len(set(names)) < len(names) or MANIFEST not in names:
        return "it lists a file twice, or no manifest"
    if unsafe := [name for name in names if not is_file_name(name)]:
        return f"it names {unsafe[0][:60]!r}, which no generation has"
    changes = [file.name for file in state.changes]
    numbers = [_number_of_batch(name) for name in changes]
    if len(numbers) != state.last - state.contains or numbers != list(range(state.contains + 1, state.last + 1)):
        return "it does not list the changes that it counts"
    if digest_of(changes) != state.digest:
        return "it lists other changes than it has a digest of"
    for file in (*state.files, *state.changes):
        match = _OBJECT.fullmatch(file.object)
        if file.size < 0 or match is None or match[1] != file.sha256:
            return f"{file.name} is said to be {file.object[:100]!r} of {file.size} bytes"
    return None


def _number_of_batch(name: str) -> int:
    return batch_number(Path(name)) if Path(name).name == name else 0


def served(state: State) -> str:
    """Tell what a state is answered from: equal for equal states of one bundle.

    >>> served(State("gen-1", last=3, digest="ab"))
    'gen-1/3/ab'
    """
    return f"{state.generation}/{state.last}/{state.digest}"


def require_same_files(state: PushedState, manifest: Manifest) -> None:
    """Check that a state and the manifest of its generation say the same.

    Raises:
        DamagedFileError: When they do not.
    """
    listed = {file.record for file in state.files if file.name != MANIFEST}
    if (manifest.generation, manifest.batches) != (state.generation, state.contains) or listed != set(manifest.files):
        raise DamagedFileError(f"state {state.number} and the manifest of {state.generation} differ; {HINT}")


def state_name(number: int) -> str:
    """Return the name of the object of a state."""
    return f"{STATES}/{number:012d}.json"


def state_number(info: ObjectInfo) -> int | None:
    """Return the number of the state that an object is, None for others."""
    match = _STATE.fullmatch(info.name)
    return int(match[1]) if match else None


def state_numbers(objects: ReadableObjects) -> list[int]:
    """Return the numbers of the states that are there, the newest last."""
    return sorted(number for info in objects.find(STATES) if (number := state_number(info)) is not None)


def read_state_bytes(objects: ReadableObjects, number: int) -> bytes:
    """Return what was written of a state.

    Raises:
        MissingObjectError: When it is not there.
    """
    return read_object(objects, state_name(number), MAX_SEALED_BYTES)


def read_pushed_state(objects: ReadableObjects, number: int) -> PushedState:
    """Read a state.

    Raises:
        MissingObjectError: When it is not there.
        DamagedFileError: When it is not what was written.
    """
    name = f"{objects.url}/{state_name(number)}"
    state = PushedState.from_bytes(read_state_bytes(objects, number), name)
    if state.number != number:
        raise DamagedFileError(f"{name} says that it is state {state.number}; {HINT}")
    return state
