"""What memory a process has, as Linux counts it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Memory(NamedTuple):
    """Memory of this process in MiB: its own, that of mapped files, and the most that both were together."""

    own: int
    files: int
    peak: int


def memory() -> Memory:
    """Give the memory of this process."""
    status = Path("/proc/self/status").read_text()
    found = {name: int(value) // 1024 for name, value in re.findall(r"(\w+):\s+(\d+) kB", status)}
    return Memory(found["RssAnon"], found["RssFile"], found["VmHWM"])


@contextmanager
def watched(every: float = 0.02) -> Iterator[list[int]]:
    """Give the most memory of its own that this process had during a block, in MiB: the one number of the list."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(every):
            peak[0] = max(peak[0], memory().own)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        done.set()
        watching.join()
