"""The current state: one generation and the changes since, named by one small file that is replaced as a whole.

Whoever reads CURRENT once knows everything that belongs together, so an answer never mixes two states. A copy beside
it, written afterwards, is for `repair`, and tells when an older CURRENT was put back (see `newest`).
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import REPAIR_HINT, seal, unseal

CURRENT, COPY = "CURRENT", "CURRENT.copy"
MAX_HISTORY = 20

_SCHEMA = {
    "generation": str,
    "contains?": int,
    "last?": int,
    "digest?": str,
    "history?": [str],
    "sequence?": int,
    "newest?": int,
}
_GENERATION = re.compile(r"gen-[0-9tz]+-[0-9a-f]{8}")


@dataclass(frozen=True)
class State:
    """One state of a bundle.

    Attributes:
        generation: The current generation.
        contains: Number of the last batch of changes that it contains.
        last: Number of the last acknowledged batch, counted from 1 over the life of the bundle and never used again;
            0 for none.
        digest: What the names of the batches between the two add up to; see `changes`.
        history: The generations that were current before, oldest first.
        sequence: How many states were current up to this one, which tells the newer of two; 0 where not counted.
        newest: The largest ``sequence`` of a generation that was current up to now, which a rollback does not lower; 0
            where not counted.
    """

    generation: str
    contains: int = 0
    last: int = 0
    digest: str = ""
    history: Sequence[str] = ()
    sequence: int = field(default=0, compare=False)
    newest: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", tuple(self.history))  # JSON gives a list

    def succeeded_by(self, generation: str, contains: int, digest: str, sequence: int) -> "State":
        """Return the state in which another generation is current, which has this one in its history.

        One that is in the history already is gone back to: what came after it is forgotten. ``sequence`` is that of the
        manifest of the generation.
        """
        previous = list(self.history)
        previous = previous[: previous.index(generation)] if generation in previous else [*previous, self.generation]
        newest = max(self.newest, sequence)
        return State(generation, contains, self.last, digest, previous[-MAX_HISTORY:], newest=newest)


def read_state(root: Path, name: str = CURRENT) -> State | None:
    """Return the current state, or None when there is no bundle.

    Raises:
        DamagedFileError: When CURRENT is not what was written.
    """
    path = root / name
    if not path.exists():
        return None
    try:
        state = State(**unseal(path, _SCHEMA))
    except TypeError as error:
        raise DamagedFileError(f"{path} lacks a field or has one too many ({error}); {REPAIR_HINT}") from error
    if invalid := [name for name in (state.generation, *state.history) if not is_generation(name)]:
        raise DamagedFileError(f"{path} names {invalid[0][:60]!r}, which is no generation; {REPAIR_HINT}")
    if state.newest < 0:
        raise DamagedFileError(f"{path} counts {state.newest} generations; {REPAIR_HINT}")
    if not 0 <= state.contains <= state.last:
        raise DamagedFileError(
            f"{path} says that the generation contains change {state.contains} of {state.last}, which cannot be; "
            f"{REPAIR_HINT}"
        )
    return state


def write_state(root: Path, state: State) -> None:
    """Make a state current: from this moment a generation or a batch of changes counts."""
    known_sequences = [known.sequence for known in readable_states(root)]
    data = seal(asdict(replace(state, sequence=1 + max(known_sequences, default=0))))
    fsops.write_bytes(root / CURRENT, data)
    fsops.write_bytes(root / COPY, data)


def readable_states(root: Path, names: Sequence[str] = (CURRENT, COPY)) -> list[State]:
    """Return the states that these files hold, the newest first; one that is missing or damaged is left out."""
    states = []
    for name in names:
        with suppress(DamagedFileError):
            if state := read_state(root, name):
                states.append(state)
    return sorted(states, key=lambda state: (state.sequence, state.last), reverse=True)


def no_bundle_error(root: Path) -> BundleError:
    """Say that a folder holds no bundle, and whether one is being built there."""
    if any(root.glob("work-*")):
        return BundleError(
            f"{root} holds no bundle yet: a build is under way or was stopped; wait until it ends, or run the same "
            "build again to continue it"
        )
    return BundleError(f"{root} holds no bundle; make one with `commonspace build SOURCE --out {root}`")


def is_generation(name: str) -> bool:
    """Whether a name is one that a generation may have.

    >>> is_generation("gen-20260102t030405z-0123abcd"), is_generation("../elsewhere")
    (True, False)
    """
    return isinstance(name, str) and bool(_GENERATION.fullmatch(name))
