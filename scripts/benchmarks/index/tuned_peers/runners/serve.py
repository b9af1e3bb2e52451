"""What every runner does: it reads requests as lines of JSON, and answers with lines of JSON and files of NumPy.

A runner is started as `python -m …runners.NAME` in the environment of its library, so nothing but NumPy is imported
here. Its standard output is kept for the answers: what a library prints goes to the standard error.

Requests, and what is answered to them, or else ``{"error": …}``:

- ``{"do": "build", "vectors": FILE, "queries": {KIND: FILE}, "k": K, "threads": T, "settings": {…}, "folder": FOLDER,
  "packages": [NAME]}``: ``{"seconds", "bytes", "note", "MiB before", "MiB at most", "versions"}``
- ``{"do": "search", "queries": FILE, "kind": KIND, "effort": {…}, "threads": T, "rounds": N, "rows": FILE}``: writes
  the rows of the last round; ``{"seconds": [one a round]}``
- ``{"do": "search one by one", …}``: the same with one query at a time, on one core; ``{"seconds": [one a query]}``
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class Order(NamedTuple):
    """What to build: an index over (N, D) float32 vectors of unit length, searched by inner product.

    Attributes:
        vectors: (N, D) float32.
        queries: For each kind of query the held-out ones, for libraries that learn from queries.
        k: How many rows a query is to have.
        threads: To build with.
        settings: Of the library.
        folder: An empty folder for files.
    """

    vectors: Vectors
    queries: Mapping[str, Vectors]
    k: int
    threads: int
    settings: Mapping[str, Any]
    folder: Path


class Question(NamedTuple):
    """Queries (B, D) float32 of one kind, how hard to try, and with how many threads."""

    queries: Vectors
    kind: str
    effort: Mapping[str, Any]
    threads: int


class Built(NamedTuple):
    """An index: how it is searched, the bytes that a search needs, and further information.

    The bytes are counted when the build is timed already: most libraries save the index for it.
    """

    search: Callable[[Question], Any]  # (B, k) rows
    size: Callable[[], int]
    note: str = ""


def serve(build: Callable[[Order], Built]) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    built: Built | None = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if request["do"] == "build":
                built, answer = _build(build, request)
            elif built is None:
                raise RuntimeError("nothing is built yet")
            else:
                answer = _search(built, request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _build(build: Callable[[Order], Built], request: Mapping[str, Any]) -> tuple[Built, dict[str, Any]]:
    vectors = _read(request["vectors"])
    queries = {kind: _read(path) for kind, path in request["queries"].items()}
    folder = Path(request["folder"])
    before = memory("VmRSS")
    started = perf_counter()
    built = build(Order(vectors, queries, request["k"], request["threads"], request["settings"], folder))
    seconds, most = perf_counter() - started, memory("VmHWM")
    return built, {
        "seconds": seconds,
        "bytes": built.size(),
        "note": built.note,
        "MiB before": before,
        "MiB at most": most,
        "versions": {name: version(name) for name in request["packages"]},
    }


def _search(built: Built, request: Mapping[str, Any]) -> dict[str, Any]:
    asked = Question(_read(request["queries"]), request["kind"], request["effort"], request["threads"])
    seconds: list[float] = []
    if request["do"] == "search one by one":
        with one_core():
            built.search(asked._replace(queries=asked.queries[:1]))  # the first one makes what is made once
            found = []
            for row in range(len(asked.queries)):
                started = perf_counter()
                found.append(built.search(asked._replace(queries=asked.queries[row : row + 1])))
                seconds.append(perf_counter() - started)
        rows = np.concatenate([np.asarray(one) for one in found])
    else:
        for _ in range(request["rounds"]):
            started = perf_counter()
            rows = built.search(asked)
            seconds.append(perf_counter() - started)
    np.save(request["rows"], np.asarray(rows).astype(np.int64), allow_pickle=False)
    return {"seconds": seconds}


def _read(path: str) -> Vectors:
    vectors: Vectors = np.ascontiguousarray(np.load(path, allow_pickle=False), np.float32)
    return vectors


def memory(name: str) -> int:
    """MiB of this process, as Linux counts them: ``VmRSS`` now, ``VmHWM`` at most."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else -1


@contextmanager
def one_core() -> Iterator[None]:
    """Keep all threads of this process on one core: some libraries cannot be told how many threads to search with."""
    cores = os.sched_getaffinity(0)
    try:
        _keep_on({max(cores)})
        yield
    finally:
        _keep_on(cores)


def _keep_on(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:  # it has ended since
            continue


def files_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
