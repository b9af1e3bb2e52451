"""Put an earlier generation in force again."""

from pathlib import Path

from indexing.bundle import Bundle
from indexing.changes import LOG, digest_of, names_between, read_batch
from indexing.errors import BundleError
from indexing.generation import Generation
from indexing.lock import writing
from indexing.publish import last_number
from indexing.state import State, is_generation, read_state, write_state


def generations(root: Path | str) -> list[str]:
    """Give the names of the generations that are kept, oldest first."""
    return sorted(folder.name for folder in Path(root).glob("gen-*") if is_generation(folder.name))


def rollback(root: Path | str, to: str | None = None) -> Bundle:
    """Put an earlier generation in force again, with every acknowledged change that it does not contain.

    It undoes builds, fits and compactions, never an addition or a deletion.

    Args:
        root: Folder of the bundle.
        to: Name of the generation; the newest before the present one if not given. A later one may be named too.

    Returns:
        The bundle as it is now.

    Raises:
        BundleError: When there is no such generation, or it cannot take a change that came after it.
        DamagedFileError: When it is damaged.
    """
    root = Path(root)
    with writing(root):
        state = read_state(root)
        if state is None:
            raise BundleError(f"{root} holds no bundle; make one with `commonspace build SOURCE --out {root}`")
        name = to or max((name for name in generations(root) if name < state.generation), default="")
        if name not in generations(root):
            raise BundleError(
                f"{root} keeps no generation {to!r}; it keeps {', '.join(generations(root))}"
                if to
                else f"{root} keeps no generation before {state.generation}"
            )
        write_state(root, restored(root, name))
    return Bundle.open(root)


def restored(root: Path, name: str) -> State:
    """Give the state in which a generation is in force with every change since.

    Raises:
        BundleError: When it cannot take one of the changes.
        DamagedFileError: When it, or one of the changes, is damaged.
    """
    manifest = Generation.open(root / name).manifest
    last = last_number(root)
    names = names_between(root, manifest.batches, last)
    for batch in (read_batch(root / LOG / name) for name in names):
        if batch.fingerprint not in ("", manifest.encoder.fingerprint):
            raise BundleError(
                f"batch {batch.number} of the changes was encoded by another encoder than {name}: build the bundle "
                "again with the encoder that is wanted"
            )
    return State(name, last, digest_of(names))
