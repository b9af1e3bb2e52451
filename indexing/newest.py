"""Whether CURRENT is the newest state of a bundle: an older one may have been put back by a restore or a sync.

CURRENT is written before its copy, and before a batch counts as acknowledged: no crash leaves it behind either.
"""

from pathlib import Path

from indexing.changes import last_settled
from indexing.errors import DamagedFileError
from indexing.state import COPY, CURRENT, State, no_bundle, readable_states

OLDER = "`commonspace repair` puts the newest state in force, with every acknowledged change"


def behind(root: Path) -> str | None:
    """Say what shows that CURRENT is older than what was acknowledged, or None when nothing does.

    Without the lock of the bundle it may be asked too: what CURRENT must have is read before CURRENT.
    """
    settled = last_settled(root)
    newest = _state(root, COPY)
    state = _state(root, CURRENT)
    if state is None:  # missing or damaged, which is another matter
        return None
    if newest is not None and (newest.sequence > state.sequence or newest.last > state.last):
        return (
            f"{CURRENT} is older than {COPY}: it names {state.generation} and changes up to number {state.last}, the "
            f"copy {newest.generation} and changes up to number {newest.last}"
        )
    if settled > state.last:
        return f"{CURRENT} is older than the log: it names changes up to number {state.last}, the log has {settled}"
    return None


def require_newest(root: Path) -> None:
    """Check that a bundle can be written to: changes that CURRENT does not know would be lost.

    Raises:
        DamagedFileError: When CURRENT is older than what was acknowledged.
    """
    if told := behind(root):
        raise DamagedFileError(f"{root}: {told}; {OLDER}")


def require_bundle(root: Path) -> None:
    """Check that a folder is a bundle, before a lock or anything else is put there.

    Raises:
        BundleError: When it is none.
    """
    if not any((root / name).exists() for name in (CURRENT, COPY)) and not any(root.glob("gen-*")):
        raise no_bundle(root)


def _state(root: Path, name: str) -> State | None:
    return next((state for state in readable_states(root, (name,))), None)
