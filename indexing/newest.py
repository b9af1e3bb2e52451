"""Whether CURRENT is the newest state of a bundle: an older one may have been put back by a restore or a sync.

CURRENT is written before its copy, and before a batch or a generation counts as acknowledged: no crash leaves it behind
any of them. While a generation does not count yet, an empty file pending-gen-… says so.
"""

from contextlib import suppress
from pathlib import Path

from indexing.changes import last_settled
from indexing.errors import BundleError, DamagedFileError
from indexing.manifest import MANIFEST, Manifest
from indexing.state import COPY, CURRENT, State, no_bundle, readable_states

PENDING = "pending"
OLDER = "`commonspace repair` puts the newest state in force, with every acknowledged change"


def behind(root: Path) -> str | None:
    """Say what shows that CURRENT is older than what was acknowledged, or None when nothing does.

    Without the lock of the bundle it may be asked too: what CURRENT must have is read before CURRENT.
    """
    settled = last_settled(root)
    made = last_published(root)
    newest = _state(root, COPY)
    state = _state(root, CURRENT)
    if state is None:  # missing or damaged, which is another matter
        return None
    if newest is not None and (newest.sequence > state.sequence or newest.last > state.last):
        return (
            f"{CURRENT} is older than {COPY}: it names {state.generation} and changes up to number {state.last}, the "
            f"copy {newest.generation} and changes up to number {newest.last}"
        )
    if made is not None and 0 < state.newest < made.sequence:
        return f"{CURRENT} is older than {made.generation}, which was in force after {state.generation}"
    if settled > state.last:
        return f"{CURRENT} is older than the log: it names changes up to number {state.last}, the log has {settled}"
    return None


def last_published(root: Path) -> Manifest | None:
    """Give the manifest of the newest generation of which nothing says that it was never in force."""
    # In this order: a writer notes that a generation is pending before it gives it its name.
    names = [folder.name for folder in root.glob("gen-*")]
    found = []
    for name in names:
        with suppress(BundleError):
            if not pending_mark(root, name).exists():
                found.append(Manifest.read(root / name / MANIFEST))
    return max(found, key=lambda manifest: manifest.sequence, default=None)


def pending_mark(root: Path, generation: str) -> Path:
    """Give the file that lies beside a generation from before it has its name until it was put in force."""
    return root / f"{PENDING}-{generation}"


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
