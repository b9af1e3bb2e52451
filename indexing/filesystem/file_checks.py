"""Comparing the files of a generation with what was recorded of them: at once, when each is used, or in the background.

Sizes are compared in any case before anything is read: a file that is mapped and too short would end the process.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal

from indexing.errors import DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import REPAIR_HINT
from indexing.filesystem.locks import write_lock

CheckMode = Literal["all", "lazy", "background"]
Check = Literal["auto", "all", "lazy", "background"]
CHECKS: tuple[Check, ...] = ("auto", "all", "lazy", "background")
AUTO_BYTES = 1 << 30  # compared within about a second; ``"auto"`` leaves more to the background
SHARED = "COMMONSPACE_CHECKED_FILES"
"""Names a folder in which processes that serve one bundle leave the names of files that one of them compared."""
BACKGROUND_NICENESS = 10
SMALL_BYTES = 4 << 20  # compared within some milliseconds: before use also in the background


@dataclass(frozen=True)
class FileRecord:
    """Name, size in bytes and sha256 of one file of a generation."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class CheckProgress:
    """How far the files were compared with their records.

    Attributes:
        check: When: ``"all"`` before anything is answered, ``"lazy"`` each before its first use, ``"background"`` in
            a thread after opening.
        files: How many files there are to compare.
        checked: How many of them were compared.
        bytes: Of these files.
        bytes_checked: Of those that were compared.
        damaged: What is damaged; None while nothing is known to be.
    """

    check: CheckMode
    files: int
    checked: int
    bytes: int
    bytes_checked: int
    damaged: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every file was compared."""
        return self.checked == self.files

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    def counts(self) -> dict[str, str | int]:
        """Return how far it is, without the name of a file, for those who may not know where the bundle is."""
        return {name: value for name, value in self.to_json().items() if name != "damaged"}


class FileChecks:
    """Compares the files of a folder with their records; safe to share between threads.

    Args:
        folder: Where they are.
        records: Size and sha256 of each.
        check: When the bytes are compared; ``"auto"`` is ``"all"`` for up to `AUTO_BYTES`, and ``"background"`` beyond.
        moved: Where the folder may be later, under another name.

    Attributes:
        mode: When the bytes are compared.

    Raises:
        DamagedFileError: When a file is missing or has another size; with ``"all"`` when any byte differs.
    """

    def __init__(
        self, folder: Path, records: Iterable[FileRecord], check: Check = "all", moved: Path | None = None
    ) -> None:
        self._folders = folder, moved or folder
        self._records = {record.name: record for record in records}
        num_bytes = sum(record.size for record in self._records.values())
        usual: CheckMode = "all" if num_bytes <= AUTO_BYTES else "background"
        self.mode: CheckMode = usual if check == "auto" else check
        self._checked: set[str] = set()
        self._damaged: str | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        for record in self._records.values():
            check_size(folder, record)
        if self.mode == "all":
            for record in self._records.values():
                self._check(record)

    @property
    def progress(self) -> CheckProgress:
        """How far this is."""
        checked = [self._records[name] for name in tuple(self._checked)]
        sizes = [record.size for record in self._records.values()]
        num_bytes = sum(record.size for record in checked)
        return CheckProgress(self.mode, len(sizes), len(checked), sum(sizes), num_bytes, self._damaged)

    def use(self, is_used: Callable[[str], bool], *, whole: bool = False) -> None:
        """Compare files that will be read, as far as the mode asks for it before their use.

        Args:
            is_used: Says by its name whether a file will be read.
            whole: Compare also large files that could wait for the background: those that would end the process if
                they were damaged.

        Raises:
            DamagedFileError: When one of them differs, or another is known to.
        """
        self.raise_if_damaged()
        if len(self._checked) == len(self._records):
            return
        for name, record in self._records.items():
            now = whole or self.mode != "background" or record.size <= SMALL_BYTES
            if name not in self._checked and now and is_used(name):
                with self._lock:
                    if name not in self._checked:
                        self._check(record)

    def raise_if_damaged(self) -> None:
        """Refuse to go on with files that are known to be damaged.

        Raises:
            DamagedFileError: When one is.
        """
        if self._damaged is not None:
            raise DamagedFileError(self._damaged)

    def start(self, then: Callable[[], object] | None = None) -> None:
        """Compare what is left in a thread, where the mode is ``"background"``; once, however often it is called.

        Args:
            then: Called in the thread when no file is damaged.
        """
        with self._lock:
            if self.mode != "background" or self._thread is not None:
                return
            work = threading.Thread(target=self._run, args=(then,), name="file-checks", daemon=True)
            self._thread = work
        work.start()

    def wait(self, timeout: float | None = None) -> CheckProgress:
        """Wait until the background has compared all files, and say how far it is."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self.progress

    def _run(self, then: Callable[[], object] | None) -> None:
        with suppress(OSError, AttributeError):  # requests come first, where threads have a rank of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)
        try:
            for record in sorted(self._records.values(), key=lambda record: record.size):
                if record.name not in self._checked:
                    self._check(record)
            if then is not None:
                then()
        except DamagedFileError as error:
            self._damaged = self._damaged or str(error)

    def _check(self, record: FileRecord) -> None:
        first, moved = self._folders
        try:
            try:
                _check_once(first, record)
            except DamagedFileError:
                if first.is_dir():
                    raise
                _check_once(moved, record)
        except DamagedFileError as error:
            self._damaged = str(error)
            raise
        self._checked.add(record.name)


@contextmanager
def shared_outcomes() -> Iterator[None]:
    """Let the processes that are started within the block compare each file once for all of them."""
    with tempfile.TemporaryDirectory(prefix="commonspace-checked-") as folder:
        os.environ[SHARED] = folder
        try:
            yield
        finally:
            del os.environ[SHARED]


def _check_once(folder: Path, record: FileRecord) -> None:
    """Compare one file, unless another process that shares its outcomes has; who comes meanwhile waits for it.

    Raises:
        DamagedFileError: When it is missing or differs.
    """
    shared = os.environ.get(SHARED)
    if shared is None:
        check_file(folder, record)
        return
    check_size(folder, record)
    stat = (folder / record.name).stat()
    compared = Path(shared) / f"{record.sha256}-{stat.st_dev}-{stat.st_ino}-{stat.st_mtime_ns}"
    with write_lock(compared.parent, wait=-1, name=f"{compared.name}.lock", activity="comparing a file named in"):
        if not compared.exists():
            check_file(folder, record)
            fsops.write_bytes(compared, b"")


def check_size(folder: Path, record: FileRecord) -> None:
    """Compare the size of one file with its record.

    Raises:
        DamagedFileError: When it is missing, no regular file, or of another size.
    """
    path = folder / record.name
    try:
        stat = path.stat()
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing; {REPAIR_HINT}") from error
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read ({error.strerror or error}); {REPAIR_HINT}") from error
    if not S_ISREG(stat.st_mode) or stat.st_size != record.size:
        size = f"it has {stat.st_size} bytes of {record.size}" if S_ISREG(stat.st_mode) else "it is no regular file"
        raise DamagedFileError(f"{path} is damaged: {size}; {REPAIR_HINT}")


def check_file(folder: Path, record: FileRecord) -> None:
    """Compare one file with its record.

    Raises:
        DamagedFileError: When it is missing or differs.
    """
    check_size(folder, record)
    path = folder / record.name
    try:
        matches = fsops.sha256(path) == record.sha256
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing; {REPAIR_HINT}") from error
    except OSError as error:  # as of a bad sector
        raise DamagedFileError(f"{path} cannot be read ({error.strerror or error}); {REPAIR_HINT}") from error
    if not matches:
        raise DamagedFileError(f"{path} is damaged: its bytes are not those that were written; {REPAIR_HINT}")
