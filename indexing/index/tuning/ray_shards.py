"""Shards that actors of Ray code, compare with queries and search; files and answers are those of one process.

The driver trains once, for all shards, and sends each actor the rows of its shard, block by block. The actor compares
each block with the held-out queries, and writes the file of the shard where the driver reads it: on a file system that
both see under the same path. Then actors search the shards while efforts are tuned for the whole.
"""

import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import monotonic, perf_counter
from typing import Any, NamedTuple

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import CommonspaceWarning, EngineError
from indexing.index.backends.build_sharded import (
    DEFAULT_MEMORY,
    GrowingShard,
    Layout,
    TrainedCodes,
    open_built,
    split_at_shards,
    train_shards,
)
from indexing.index.backends.faiss_base import write_faiss
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import ShardedIndex, capped_efforts, clear, shard_path
from indexing.index.base import VectorIndex, check_search, merged, no_answers, padded
from indexing.index.config import IndexConfig, SearchParamsByKind
from indexing.index.tuning.build import IndexReport
from indexing.index.tuning.families import shortlist
from indexing.index.tuning.recall import (
    BLOCK_ROWS,
    GroundTruth,
    HeldOutQueries,
    known_and_asked,
    nearest,
    stacked,
    truths_of,
)
from indexing.index.tuning.trial import tune
from indexing.runtime.ray_cluster import answer_of, connected, first_line, losses
from indexing.runtime.ray_engine import RayEngine, number_of_actors
from indexing.runtime.warn import warn

MAX_TRIES = 4  # of a shard, each by an actor that was lost
BLOCKS_AHEAD = 2  # that an actor has been sent and has not coded yet


def build_shards_by_actors(
    vectors: Vectors, config: IndexConfig, queries: HeldOutQueries, path: Path, engine: RayEngine
) -> tuple[ShardedIndex, IndexReport, dict[str, GroundTruth]]:
    """Build and tune an index in shards with actors of Ray; see `build_index`.

    Args:
        vectors: (N, D) float32, which is read block by block by several threads.
        config: The goals; `IndexConfig.max_memory` is that of each actor.
        queries: For each kind some held-out ones.
        path: As for `ShardedIndex.load`.
        engine: Where.

    Returns:
        The index, what was measured, and what exact search finds.

    Raises:
        EngineError: When the cluster cannot be reached or has no room for an actor, a node does not see the folder, or
            the actors of a shard are lost again and again.
    """
    started = perf_counter()

    def blocks() -> Iterator[Vectors]:
        return (vectors[start : start + BLOCK_ROWS] for start in range(0, len(vectors), BLOCK_ROWS))

    memory, (family,) = config.max_memory or DEFAULT_MEMORY, shortlist(config, *vectors.shape)
    layout, trained = train_shards(blocks, max_memory=memory, on_disk=config.on_disk)
    clear(path)
    with connected(engine.address) as ray:
        writer = ShardWriter(ray, engine, vectors, path.absolute(), trained, layout)
        truth, asked = known_and_asked(queries, config.sample)
        wanted = stacked(asked) if asked else np.empty((0, vectors.shape[1]), np.float32)
        scores, rows = writer.write(wanted, config.k + 1)
        truth |= truths_of(asked, scores, rows, config.k) if asked else {}
        index, seconds = open_built(path, layout.num_shards), perf_counter() - started
        searched = ShardsOnActors.of(ray, engine, index, path.absolute())
        try:
            trial = tune(family, index, vectors, config, truth, seconds, searched=searched)
        finally:
            searched.stop()
    report = IndexReport.of(trial, config, [trial.to_json()], perf_counter() - started)
    index = index.with_efforts(trial.index.efforts)
    index.keep_greatest()
    return index, report, truth


class ShardOrder(NamedTuple):
    """Where the file of a shard is to be, of how many rows, and what is asked of these.

    Queries are (B, D) float32, each of which wants the best ``depth``.
    """

    path: Path
    rows: int
    queries: Vectors
    depth: int


class BuiltShard(NamedTuple):
    """What became of a shard: the node, the bytes of its file, and the exact answers among its rows."""

    node: str
    size: int
    scores: Vectors
    rows: Rows


class ShardActor:
    """Codes the vectors of one shard, and compares them with queries.

    Args:
        order: The shard.
        trained: What shards share.
    """

    def __init__(self, order: ShardOrder, trained: TrainedCodes) -> None:
        self._order, self._shard, self._done = order, GrowingShard(trained, order.rows), 0
        self._answers = no_answers(len(order.queries))

    def ready(self) -> None:
        """Check that this node sees the folder.

        Raises:
            EngineError: When it does not.
        """
        folder = self._order.path.parent
        if not folder.is_dir():
            raise EngineError(
                f"the node {socket.gethostname()} does not see {folder}, where the driver wants the shards: keep the "
                "bundle on a file system that all nodes share under the same path"
            )

    def add(self, block: Vectors) -> None:
        """Add (rows, D) vectors."""
        if len(self._order.queries):
            scores, rows = nearest(self._order.queries, block, self._order.depth)
            self._answers = merged(self._answers, (scores, rows + self._done), self._order.depth)
        self._shard.add(block)
        self._done += len(block)

    def finish(self) -> BuiltShard:
        """Write the file."""
        path = self._order.path
        write_faiss(self._shard.finished(), path)
        return BuiltShard(socket.gethostname(), path.stat().st_size, *self._answers)


class ShardWriter:
    """Writes the files of shards beside a path, as `build_sharded` does, several at a time.

    Args:
        ray: The module, connected to a cluster.
        engine: How many actors, and what each takes.
        vectors: (N, D) float32.
        path: As for `ShardedIndex.load`.
        trained: What the shards share.
        layout: Of the vectors.
    """

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - a module
        engine: RayEngine,
        vectors: Vectors,
        path: Path,
        trained: TrainedCodes,
        layout: Layout,
    ) -> None:
        self._ray, self._engine, self._vectors, self._path, self._layout = ray, engine, vectors, path, layout
        self._trained, self._actor = ray.put(trained), _remote(ray, engine, ShardActor)
        self._lock, self._working, self._last_end = Lock(), 0, monotonic()  # of actors that are fed

    def write(self, queries: Vectors, depth: int) -> tuple[Vectors, Rows]:
        """Write all files, and give the exact answers to (B, D) queries: (B, depth) scores and rows."""
        answers = no_answers(len(queries))

        def build(number: int) -> BuiltShard:
            order = ShardOrder(shard_path(self._path, number), len(self._rows(number)), queries, depth)
            return self._built(order, number)

        with ThreadPoolExecutor(number_of_actors(self._engine, self._ray.cluster_resources())) as pool:
            for number, built in enumerate(pool.map(build, range(self._layout.num_shards))):
                answers = merged(answers, (built.scores, built.rows + self._rows(number).start), depth)
        return answers

    def _rows(self, number: int) -> range:
        start = number * self._layout.rows_per_shard
        return range(start, min(start + self._layout.rows_per_shard, self._layout.size))

    def _blocks(self, number: int) -> Iterator[Vectors]:
        """Give the rows of a shard in the blocks that one process codes at once."""
        rows, first = self._rows(number), self._rows(number).start // BLOCK_ROWS * BLOCK_ROWS
        cuts = (
            self._vectors[max(start, rows.start) : min(start + BLOCK_ROWS, rows.stop)]
            for start in range(first, rows.stop, BLOCK_ROWS)
        )
        return split_at_shards(cuts, self._layout.block, self._layout.rows_per_shard)

    def _built(self, order: ShardOrder, number: int) -> BuiltShard:
        """Have a shard written, again by another actor where one is lost."""
        error: Exception | None = None
        for _ in range(MAX_TRIES):
            actor = self._actor.remote(order, self._trained)
            try:
                built = self._fed(actor, number)
            except losses(self._ray) as lost:
                error = lost
                continue
            finally:
                self._ray.kill(actor)
            _check_written(order.path, built)
            return built
        raise EngineError(
            f"{MAX_TRIES} actors of Ray were lost at shard {number} ({first_line(error) if error else ''}): is there "
            "memory enough for max_memory on each node?",
            python="lower max_memory of IndexConfig, or raise cpus so that a node has fewer actors",
            cli="lower --max-index-memory, or raise --actor-cpus so that a node has fewer actors",
        ) from error

    def _fed(self, actor: Any, number: int) -> BuiltShard:  # noqa: ANN401 - of Ray
        self._await(actor)
        with self._counted():
            waiting: deque[Any] = deque()
            for block in self._blocks(number):
                waiting.append(actor.add.remote(block))
                if len(waiting) > BLOCKS_AHEAD:
                    answer_of(self._ray, waiting.popleft())
            for reference in waiting:
                answer_of(self._ray, reference)
            built: BuiltShard = answer_of(self._ray, actor.finish.remote())
        return built

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count an actor as working while the block runs."""
        with self._lock:
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working, self._last_end = self._working - 1, monotonic()

    def _await(self, actor: Any) -> None:  # noqa: ANN401 - of Ray
        """Wait until an actor is there: for as long as others work, which may have the room that it needs."""
        ready, began, seconds = actor.ready.remote(), monotonic(), self._engine.start_seconds
        while True:
            try:
                answer_of(self._ray, ready, min(1.0, seconds))
            except self._ray.exceptions.GetTimeoutError as error:
                with self._lock:
                    idle = not self._working and monotonic() - max(began, self._last_end) > seconds
                if idle:
                    raise EngineError(
                        f"no actor of Ray was ready within {seconds:g} s: each needs {self._engine.cpus:g} CPU; what "
                        f"the cluster has free is {self._ray.available_resources()}"
                    ) from error
            else:
                return


class SearchActor:
    """Searches some shards.

    Args:
        paths: The file of each, by its number.
    """

    def __init__(self, paths: Mapping[int, Path]) -> None:
        self._shards = {number: IvfIndex.load(path) for number, path in paths.items()}

    def ready(self) -> None:
        """Say that the shards are open."""

    def search(
        self, queries: Vectors, k: int, efforts: SearchParamsByKind, kind: str | None
    ) -> list[tuple[int, Vectors, Rows]]:
        """Search each shard: its number, and (B, j) scores and rows."""
        found = []
        for number, shard in self._shards.items():
            tuned = shard.with_efforts(capped_efforts(efforts, shard))
            found.append((number, *tuned.search(queries, min(k, len(shard)), None, kind)))
        return found


class ShardsOnActors(ShardedIndex):
    """Shards that actors search at the same time.

    Where an actor is lost, this process searches its shards.

    Args:
        shards: The shards, which this process has opened too.
        ray: The module, connected to a cluster.
        actors: Each with the numbers of its shards.
    """

    def __init__(self, shards: Sequence[VectorIndex], ray: Any, actors: Mapping[Any, Sequence[int]]) -> None:  # noqa: ANN401 - a module
        super().__init__(shards)
        self._ray, self._actors = ray, actors

    @classmethod
    def of(cls, ray: Any, engine: RayEngine, index: ShardedIndex, path: Path) -> "ShardsOnActors":  # noqa: ANN401 - a module
        """Start actors for the shards of an index beside a path, as many as the cluster has room for."""
        remote, count = _remote(ray, engine, SearchActor), len(index.shards)
        room = int(ray.cluster_resources().get("CPU", 0) / engine.cpus)
        num_actors = max(1, min(count, room, engine.actors or count))
        numbers = [range(first, count, num_actors) for first in range(num_actors)]
        actors = {remote.remote({number: shard_path(path, number) for number in some}): list(some) for some in numbers}
        end, absent = monotonic() + engine.start_seconds, 0
        for actor in actors:
            try:
                answer_of(ray, actor.ready.remote(), max(0.0, end - monotonic()))
            except (*losses(ray), ray.exceptions.GetTimeoutError):
                ray.kill(actor)  # as if it was lost later
                absent += 1
        if absent:
            warn(
                f"{absent} of {num_actors} actors of Ray did not start, and this process searches their shards, which "
                "takes longer",
                CommonspaceWarning,
            )
        return cls(index.shards, ray, actors)

    def with_efforts(self, efforts: SearchParamsByKind) -> "ShardsOnActors":
        """Return the same index with other efforts in each shard."""
        return ShardsOnActors(super().with_efforts(efforts).shards, self._ray, self._actors)

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        if allow is not None:
            return super().search(queries, k, allow, kind)
        queries, k = check_search(self, queries, k, allow), int(k)
        asked, answers = self._ray.put(queries), no_answers(len(queries))
        coming = [actor.search.remote(asked, k, self.efforts, kind) for actor in self._actors]
        for numbers, reference in zip(self._actors.values(), coming, strict=True):
            try:
                found = answer_of(self._ray, reference)
            except losses(self._ray):
                shards = ((number, self.shards[number]) for number in numbers)
                found = [(number, *one.search(queries, min(k, len(one)), None, kind)) for number, one in shards]
            for number, scores, rows in found:
                answers = merged(answers, (scores, np.where(rows >= 0, rows + self._starts[number], -1)), k)
        return padded(*answers, k)

    def stop(self) -> None:
        """End the actors."""
        for actor in self._actors:
            self._ray.kill(actor)


def _remote(ray: Any, engine: RayEngine, actor: type) -> Any:  # noqa: ANN401 - of Ray
    return ray.remote(actor).options(num_cpus=engine.cpus, max_restarts=0)


def _check_written(path: Path, built: BuiltShard) -> None:
    """Raise an error where this process does not see what a node has written."""
    size = path.stat().st_size if path.exists() else None
    if size != built.size:
        raise EngineError(
            f"the node {built.node} has written {built.size} bytes to {path}, where the driver sees "
            f"{'nothing' if size is None else size}: keep the bundle on a file system that all nodes share under the "
            "same path"
        )
