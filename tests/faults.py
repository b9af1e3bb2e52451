"""A disk that fails: at the Nth operation of `indexing.filesystem.fsops`, by an error, a kill or a power loss.

with FaultyDisk(tmp_path, fail_at=17, mode="power") as disk:
    build_bundle(...)
assert disk.failed    # and what is in tmp_path now is what a machine would find after the power came back
"""

import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from indexing.filesystem import fsops
from tests.power import LOSSES, File, Folder, Mode, laid_out, scanned

NEVER = 10**9


class Gone(BaseException):
    """The process or the machine has ended: nothing may catch this, and no operation works any more."""


class FaultyDisk(fsops.Disk):
    """In place of `fsops.disk` while its block runs; see the module for an example.

    Args:
        root: An existing folder, which everything is written under.
        fail_at: Which operation fails, counted from 1. When there are fewer, a power loss comes at the end.
        mode: How.

    Attributes:
        count: How many operations there were.
        failed: Whether one of them failed.
    """

    def __init__(self, root: Path, fail_at: int = NEVER, mode: Mode = "error") -> None:
        self.root, self.fail_at, self.mode = root.absolute(), fail_at, mode
        self.count, self.failed, self._gone = 0, False, False
        self._tree = scanned(self.root)
        self._open: dict[int, File] = {}

    def __enter__(self) -> Self:
        self._real, fsops.disk = fsops.disk, self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        fsops.disk = self._real
        if self.mode in LOSSES:
            laid_out(self._tree, self.root, self.mode, self.fail_at)
        return isinstance(error, Gone)

    def _step(self) -> None:
        """Count an operation, and fail if its time has come."""
        if self._gone:
            raise Gone
        self.count += 1
        if self.count != self.fail_at:
            return
        self.failed = True
        if self.mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "error":
            raise OSError(28, "No space left on device")
        self._gone = True
        raise Gone

    def _folder(self, path: Path) -> Folder:
        node: File | Folder = self._tree
        for part in path.absolute().relative_to(self.root).parts:
            assert isinstance(node, Folder)
            node = node.live[part]
        assert isinstance(node, Folder)
        return node

    def create(self, path: Path) -> int:
        self._step()
        descriptor = super().create(path)
        # An existing file would be emptied in place: its durable bytes could come back.
        self._opened(descriptor, path).live.clear()
        return descriptor

    def open(self, path: Path, create: bool) -> int:
        self._step()
        descriptor = super().open(path, create)
        self._opened(descriptor, path)
        return descriptor

    def _opened(self, descriptor: int, path: Path) -> File:
        file = self._folder(path.parent).live.setdefault(path.name, File())
        assert isinstance(file, File)
        self._open[descriptor] = file
        return file

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        data = memoryview(data)
        if self.count + 1 == self.fail_at:  # a write that fails can have written a part
            self._write(descriptor, data[: len(data) // 2])
        self._step()
        self._write(descriptor, data)

    def _write(self, descriptor: int, data: memoryview) -> None:
        super().write(descriptor, data)
        self._open[descriptor].live += data

    def truncate(self, descriptor: int, size: int) -> None:
        self._step()
        super().truncate(descriptor, size)
        del self._open[descriptor].live[size:]

    def fsync(self, descriptor: int) -> None:
        self._step()
        self._open[descriptor].durable = bytes(self._open[descriptor].live)

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor)
        super().close(descriptor)  # also by a process that has ended

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)
        self._folder(target.parent).live[target.name] = self._folder(source.parent).live.pop(source.name)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)
        self._folder(target.parent).live[target.name] = self._folder(source.parent).live[source.name]

    def unlink(self, path: Path) -> None:
        self._step()
        super().unlink(path)
        self._folder(path.parent).live.pop(path.name, None)

    def mkdir(self, path: Path) -> None:
        self._step()
        super().mkdir(path)
        self._folder(path.parent).live.setdefault(path.name, Folder())

    def rmdir(self, path: Path) -> None:
        self._step()
        super().rmdir(path)
        self._folder(path.parent).live.pop(path.name)

    def fsync_folder(self, folder: Path) -> None:
        self._step()
        if folder.absolute() != self.root.parent:  # the folder of the whole model is durable
            node = self._folder(folder)
            node.durable = dict(node.live)
