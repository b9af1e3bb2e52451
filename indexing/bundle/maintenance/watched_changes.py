"""Looks whether the acknowledged changes of a bundle that is served are still what was written: edits need them."""

from pathlib import Path
from typing import TypeAlias

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import LOG, acknowledged, read_batch
from indexing.bundle.current import read_state
from indexing.errors import DamagedFileError
from indexing.filesystem.checked_files import REPAIR_HINT

DAMAGED_CHANGES_HINT = (
    "answers go on from memory, but edits and a restart are refused: put the file back from a copy, or run "
    "`commonspace repair --drop-changes`"
)
_Stamp: TypeAlias = tuple[int, int, int]


class WatchedChanges:
    """Compares the batches of changes since a generation with their names; each again only once its file is another.

    Bytes that rot without a new time of the file are found by `verify`, and by the next edit.
    """

    def __init__(self) -> None:
        self._compared: dict[str, tuple[_Stamp, str | None]] = {}

    def damage(self, bundle: Bundle) -> str | None:
        """Say which of the changes that a bundle was opened with is damaged or lost now, None for none.

        Nothing is said of a state that is not current any more, whose changes may have been collected.
        """
        try:
            names = acknowledged(bundle.root, bundle.state, bundle.manifest.batches)
            problems = [self._problem(bundle.root / LOG / name) for name in names]
        except DamagedFileError as error:
            names, problems = [], [str(error)]
        self._compared = {name: self._compared[name] for name in names if name in self._compared}
        found = next((problem for problem in problems if problem is not None), None)
        if found is None or read_state(bundle.root) != bundle.state:
            return None
        return f"{found.removesuffix(f'; {REPAIR_HINT}')}; {DAMAGED_CHANGES_HINT}"

    def _problem(self, path: Path) -> str | None:
        try:
            stat = path.stat()
            stamp = stat.st_size, stat.st_mtime_ns, stat.st_ino
            stamp_before, problem = self._compared.get(path.name, (None, None))
            if stamp == stamp_before:
                return problem
            read_batch(path)
        except FileNotFoundError as error:
            raise DamagedFileError(f"{path} is missing; {REPAIR_HINT}") from error
        except DamagedFileError as error:
            problem = str(error)
        else:
            problem = None
        self._compared[path.name] = stamp, problem
        return problem
