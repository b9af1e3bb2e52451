"""What a disk would hold after a kill or a power loss, as a model beside the real one.

The model of a power loss is the one that POSIX promises and no more: the bytes of a file are durable after an fsync of
the file; names (of new, renamed, linked and removed files and folders) are durable after an fsync of their folder.
What is not durable may be lost, or may not: names without bytes, bytes without names, half of the bytes. (A real disk
can also lose what it acknowledged; checksums are for that.)
"""

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["error", "stop", "kill", "power", "names", "some", "torn"]
"""What happens at the Nth operation:

error   it raises OSError(28), No space left on device, once; a write leaves half of its bytes
stop    the process ends there as if killed, and all that it did before stays (a `kill` that a test survives)
kill    the process kills itself with SIGKILL (for a process of its own)
power   the power goes: whatever was not made durable is lost
names   the power goes: bytes that were not flushed are lost, but names survive even where they were not
some    as `names`, but of the changes of names that were not flushed each survives or is lost by chance
torn    the power goes: names survive, and of bytes that were not flushed the first half
"""
LOSSES: tuple[Mode, ...] = ("power", "names", "some", "torn")


@dataclass(eq=False)
class File:
    """Bytes, and those of them that would survive."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""

    def surviving(self, mode: Mode) -> bytes:
        if mode != "torn" or not self.live.startswith(self.durable):
            return self.durable
        return bytes(self.live[: (len(self.durable) + len(self.live) + 1) // 2])


@dataclass(eq=False)
class Folder:
    """Names, and those of them that would survive."""

    live: dict[str, "File | Folder"] = field(default_factory=dict)
    durable: dict[str, "File | Folder"] = field(default_factory=dict)


def scanned(path: Path) -> Folder:
    """What lies on the real disk, all of it durable. Two names of one file become one file."""
    seen: dict[int, File] = {}

    def scan(folder: Path) -> Folder:
        found: dict[str, File | Folder] = {}
        for entry in folder.iterdir():
            if entry.is_dir():
                found[entry.name] = scan(entry)
            else:
                data = entry.read_bytes()
                found[entry.name] = seen.setdefault(entry.stat().st_ino, File(bytearray(data), data))
        return Folder(dict(found), found)

    return scan(path)


def surviving(folder: Folder, mode: Mode, chance: random.Random) -> dict[str, "File | Folder"]:
    """The names in a folder that would be found after the power came back."""
    if mode != "some":
        return folder.durable if mode == "power" else folder.live
    names = sorted(folder.durable.keys() | folder.live.keys())
    chosen = {name: chance.choice([folder.durable, folder.live]).get(name) for name in names}
    return {name: node for name, node in chosen.items() if node is not None}


def laid_out(folder: Folder, path: Path, mode: Mode, seed: int) -> None:
    """Make the real disk what would be found after the power came back."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    shutil.rmtree(path)
    written: dict[File, Path] = {}

    def lay(folder: Folder, path: Path) -> None:
        path.mkdir()
        for name, node in surviving(folder, mode, chance).items():
            if isinstance(node, Folder):
                lay(node, path / name)
            elif node in written:
                os.link(written[node], path / name)
            else:
                (path / name).write_bytes(node.surviving(mode))
                written[node] = path / name

    lay(folder, path)
