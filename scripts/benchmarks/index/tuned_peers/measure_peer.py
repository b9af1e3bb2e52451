"""One peer over one catalogue: built, tuned for each kind of query, and measured once on others."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import numpy as np

from indexing.arrays import Rows
from scripts.benchmarks.index.catalogues import KINDS, K
from scripts.benchmarks.index.tuned_peers.drawn_files import DrawnFiles
from scripts.benchmarks.index.tuned_peers.peer_list import Peer
from scripts.benchmarks.index.tuned_peers.runner_process import NotMeasuredError, RunnerProcess
from scripts.benchmarks.index.tuned_peers.tuning import Effort, Measured, smallest_effort

ROUNDS, ONE_BY_ONE = 3, 200


@dataclass(frozen=True)
class Limits:
    """Seconds that a peer may take to build, and to be tuned and measured; its goal of recall; threads of batches."""

    build: float
    search: float
    goal: float
    threads: int


def measure_peer(peer: Peer, python: Path, catalogue: DrawnFiles, limits: Limits, work: Path) -> dict[str, Any]:
    """Build, tune and measure a peer; what could not be measured is a row with the reason.

    Args:
        peer: The peer.
        python: The interpreter of its environment.
        catalogue: Items and queries.
        limits: Its limits.
        work: Where files are kept for the time of it, and what it prints.
    """
    (work / "logs").mkdir(parents=True, exist_ok=True)
    row: dict[str, Any] = {"settings": dict(peer.settings)}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        log = work / "logs" / f"{len(catalogue.items)}-{peer.name}.txt"
        with RunnerProcess.of(python, peer.runner, log) as runner:
            try:
                row |= _built(runner, peer, catalogue, limits, Path(folder))
                searches = _Searches(runner, catalogue, limits, Path(folder, "rows.npy"))
                for kind in KINDS:
                    row[kind] = searches.tuned_and_measured(peer, kind)
            except NotMeasuredError as error:
                row["not measured"] = str(error)
    return row


def _built(runner: RunnerProcess, peer: Peer, catalogue: DrawnFiles, limits: Limits, folder: Path) -> dict[str, Any]:
    (own := folder / "index").mkdir()
    request = {
        "do": "build",
        "vectors": str(catalogue.folder / "items.npy"),
        "queries": {kind: str(catalogue.queries("tune", kind)) for kind in KINDS},
        "k": K,
        "threads": limits.threads,
        "settings": dict(peer.settings),
        "folder": str(own),
        "packages": list(peer.names),
    }
    answer = runner.ask(request, limits.build)
    return {
        "note": answer["note"],
        "versions": answer["versions"],
        "build seconds": round(answer["seconds"], 1),
        "bytes a vector": round(answer["bytes"] / len(catalogue.items)),
        "MiB before the build": answer["MiB before"],
        "MiB at most": answer["MiB at most"],
    }


class _Searches:
    """Searches of one runner, all of them within one limit of time."""

    def __init__(self, runner: RunnerProcess, catalogue: DrawnFiles, limits: Limits, rows: Path) -> None:
        self._runner, self._catalogue, self._limits, self._rows = runner, catalogue, limits, rows
        self._until = monotonic() + limits.search

    def tuned_and_measured(self, peer: Peer, kind: str) -> dict[str, Any]:
        """Tune on held-out queries of a kind, and measure what was chosen on the others."""
        tuned = smallest_effort(peer.ladders, lambda effort: self._tried(kind, effort), self._limits.goal)
        effort = tuned.chosen.effort
        found, seconds = self._search("search", "report", kind, effort, rounds=ROUNDS)
        one_by_one = self._search("search one by one", "report", kind, effort, rounds=1)[1]
        return {
            "effort": dict(effort),
            "reaches the goal on held-out queries": tuned.reaches,
            "recall on held-out queries": round(tuned.chosen.recall, 4),
            "efforts tried": tuned.tried,
            "recall": round(self._catalogue.recall("report", kind, found), 4),
            "queries/s": round(len(found) / median(seconds)),
            "ms a query by itself, p50": round(1000 * median(one_by_one), 3),
        }

    def _tried(self, kind: str, effort: Effort) -> Measured:
        found, seconds = self._search("search", "tune", kind, effort, rounds=1)
        return Measured(effort, self._catalogue.recall("tune", kind, found), seconds[0])

    def _search(self, verb: str, part: str, kind: str, effort: Effort, rounds: int) -> tuple[Rows, list[float]]:
        alone = verb == "search one by one"
        queries = self._catalogue.queries(part, kind)
        if alone:
            first = self._rows.with_name("few.npy")
            np.save(first, np.load(queries, allow_pickle=False)[:ONE_BY_ONE], allow_pickle=False)
            queries = first
        request: Mapping[str, Any] = {
            "do": verb,
            "queries": str(queries),
            "kind": kind,
            "effort": dict(effort),
            "threads": 1 if alone else self._limits.threads,
            "rounds": rounds,
            "rows": str(self._rows),
        }
        late = f"tuning and measuring took more than {self._limits.search:.0f} s; stopped at {kind}, {dict(effort)}"
        if (left := self._until - monotonic()) <= 0:
            raise NotMeasuredError(late)
        try:
            answer = self._runner.ask(request, left)
        except NotMeasuredError as error:
            if monotonic() < self._until:
                raise
            raise NotMeasuredError(late) from error
        rows: Rows = np.load(self._rows, allow_pickle=False)
        wrong = rows[(rows < -1) | (rows >= len(self._catalogue.items))]
        if rows.ndim != 2 or rows.shape[1] != K or len(wrong):
            example = f"row {wrong[0]} of {len(self._catalogue.items)} items" if len(wrong) else f"shape {rows.shape}"
            raise NotMeasuredError(f"a search with {dict(effort)} gave {example}")
        return rows, answer["seconds"]
