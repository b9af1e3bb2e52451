"""What is in force: one generation and the changes since, named by one small file that is replaced as a whole.

Whoever reads CURRENT once knows everything that belongs together, so an answer never mixes two states.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from indexing import fsops
from indexing.errors import DamagedFileError
from indexing.sealed import WAY_OUT, seal, unseal

CURRENT = "CURRENT"

_GENERATION = re.compile(r"gen-[0-9tz]+-[0-9a-f]{8}")


@dataclass(frozen=True)
class State:
    """One state of a bundle.

    Attributes:
        generation: The generation in force.
        last: Number of the last acknowledged batch of changes, counted from 1 over the life of the bundle; 0 for none.
        digest: What the names of the batches that this generation does not contain yet add up to; see `changes`.
    """

    generation: str
    last: int = 0
    digest: str = ""


def read_state(root: Path) -> State | None:
    """Give the state in force, or None when there is no bundle.

    Raises:
        DamagedFileError: When CURRENT is not what was written.
    """
    path = root / CURRENT
    if not path.exists():
        return None
    try:
        state = State(**unseal(path))
    except TypeError as error:
        raise DamagedFileError(f"{path} lacks a field or has one too many ({error}); {WAY_OUT}") from error
    if not is_generation(state.generation):
        raise DamagedFileError(f"{path} names {state.generation[:60]!r}, which is no generation; {WAY_OUT}")
    return state


def write_state(root: Path, state: State) -> None:
    """Put a state in force: this is the moment at which a generation or a batch of changes counts."""
    fsops.write_bytes(root / CURRENT, seal(asdict(state)))


def is_generation(name: str) -> bool:
    """Whether a name is one that a generation may have.

    >>> is_generation("gen-20260102t030405z-0123abcd"), is_generation("../elsewhere")
    (True, False)
    """
    return isinstance(name, str) and bool(_GENERATION.fullmatch(name))
