"""Make an earlier generation current again."""

from pathlib import Path

from indexing.bundle.bundle import Bundle, with_current
from indexing.bundle.change_log import require_bundle, require_newest
from indexing.bundle.current import CURRENT, State, read_state, write_state
from indexing.bundle.generation import Generation, generations
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem.checked_files import REPAIR_HINT
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_kind, check_local_path


def rollback(root: Path | str, to: str | None = None) -> Bundle:
    """Make an earlier generation current again, with every acknowledged change that it does not contain.

    It undoes builds, fits and compactions, never an addition or a deletion.

    Args:
        root: Folder of the bundle.
        to: Name of the generation; the one that was current before if not given. A later one may be named too,
            as long as it is kept.

    Returns:
        The bundle as it is now.

    Raises:
        BundleError: When there is no such generation, or it cannot take a change that came after it.
        DamagedFileError: When it, or a change, is damaged.
    """
    root = check_local_path(root, "the folder of the bundle")
    if to is not None:
        check_kind(to, str, "to", "give the name of a generation, as gen-000001, or None")
    require_bundle(root)
    with write_lock(root):
        require_newest(root)
        state = read_state(root)
        if state is None:
            raise DamagedFileError(f"{root} has generations but no {CURRENT}; {REPAIR_HINT}")
        available = generations(root)
        name = next((name for name in reversed(state.history) if name in available), "") if to is None else to
        if name not in available:
            raise BundleError(
                f"{root} keeps no generation {to!r}; it keeps {', '.join(available)}"
                if to is not None
                else f"{root} keeps no generation that was current before {state.generation}"
            )
        if name != state.generation:
            write_state(root, rolled_back_state(root, name, state))
    return Bundle.open(root)


def rolled_back_state(root: Path, name: str, state: State) -> State:
    """Return the state after another, in which a generation is current with every change that it lacks.

    Raises:
        BundleError: When it cannot take one of the changes.
        DamagedFileError: When it, or one of the changes, is damaged.
    """
    bundle = with_current(root, Generation.open(root / name), state)
    return bundle.state
