"""A process that decodes files for another one: requests on standard input, answers on standard output.

A request is a kind and a length (`REQUEST`), then the file; an answer is the length of a JSON header (`HEADER`), the
header, then the arrays it describes. Plain bytes and JSON, so that nothing that a hostile file does to this process can
make the other one run code.
"""

import importlib
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from indexing.media.decode import Decoded, Task, Unusable, decode
from indexing.media.kind import Kind

REQUEST, HEADER = struct.Struct("<BQ"), struct.Struct("<Q")
KINDS = tuple(Kind)
READY = b"r"
# What decoding a kind needs beside Pillow.
MODULES = {Kind.IMAGE: (), Kind.AUDIO: ("soundfile", "soxr"), Kind.VIDEO: ("av",)}


def main() -> None:
    """Answer until the input ends; started with a task as JSON and a number of bytes of memory."""
    task, memory = Task.from_json(json.loads(sys.argv[1])), int(sys.argv[2])
    _limit_memory(memory)
    loaded: set[Kind] = set()
    requests = sys.stdin.buffer
    # A library that prints must not end up among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answers.write(READY)
    answers.flush()
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        number, length = REQUEST.unpack(head)
        if (kind := KINDS[number]) not in loaded:
            loaded.add(kind)
            with _unlimited():  # libraries take no memory from the files
                for module in MODULES[kind]:
                    importlib.import_module(module)
        answer(answers, decode(kind, requests.read(length), task))


def answer(stream: IO[bytes], outcome: Decoded | Unusable) -> None:
    """Write one answer."""
    header: dict[str, Any]
    arrays: list[NDArray[Any]] = []
    if isinstance(outcome, Unusable):
        header = {"reason": outcome.reason}
    else:
        arrays = [np.ascontiguousarray(array) for array in outcome.arrays]
        shapes = [[str(array.dtype), array.shape] for array in arrays]
        header = {"shapes": shapes, "labels": outcome.labels, "described": outcome.described}
    data = json.dumps(header).encode()
    stream.write(HEADER.pack(len(data)) + data)
    for array in arrays:
        stream.write(array.data.cast("B"))
    stream.flush()


def _size() -> int | None:
    """Give the address space that this process has; None where the system has no such limit, or does not tell."""
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # not Linux: limits of pixels and bytes hold there too
        return None


def _limit(wanted: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _limit_memory(more: int) -> None:
    """Let this process take so many bytes of address space more than it has now."""
    if (size := _size()) is not None:
        _limit(size + more)


@contextmanager
def _unlimited() -> Iterator[None]:
    """Let this process grow meanwhile, and raise the limit by as much as it did."""
    if (before := _size()) is None:
        yield
        return
    import resource

    limit, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        yield
    finally:
        _limit(limit + (_size() or before) - before)
