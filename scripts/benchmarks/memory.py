"""What memory a process has, as Linux counts it."""

import re
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
