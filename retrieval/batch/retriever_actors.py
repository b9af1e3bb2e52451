"""Actors of Ray that hold the retriever of a bundle, and answer chunks of a batch job as this process does.

Between driver and actors go lines of users or rows of items, and tables of answers. The driver reads the chunks and
writes the answers in their order, so that files, checksums and what is resumed are those of a job without Ray.
"""

import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from indexing.bundle.bundle import Bundle
from indexing.errors import CommonspaceError, EngineError, InputError
from indexing.filesystem.file_checks import Check
from indexing.runtime.ray_cluster import connected
from indexing.runtime.ray_engine import RayEngine
from indexing.runtime.ray_pool import RayPool, Work
from indexing.runtime.warn import warn
from retrieval.batch.input_rows import Chunk
from retrieval.retriever.loaded_bundle import open_bundle
from retrieval.retriever.retriever import Retriever

Said: TypeAlias = list[tuple[type[Warning], str]]
SMALLER = "lower chunk", "lower --chunk-size"


class OpenedBundle(NamedTuple):
    """How an actor opens the bundle, and the state that it answers from: a generation, and the last change."""

    root: Path
    learned: bool
    check: Check
    state: tuple[str, int]

    @classmethod
    def of(cls, bundle: Bundle) -> "OpenedBundle":
        """Describe an opened bundle."""
        state, learned = bundle.state, bundle.generation.has_learned
        return cls(bundle.root.absolute(), learned, bundle.check, (state.generation, state.last))


class RetrieverActor:
    """Answers chunks, one at a time.

    Args:
        opened: The bundle.
    """

    def __init__(self, opened: OpenedBundle) -> None:
        self._failure: Exception | None = None
        try:
            self._retriever = Retriever(_open(opened))
        except Exception as error:
            self._failure = error

    def ready(self) -> None:
        """Raise what kept the bundle from being opened.

        Raises:
            EngineError: When this node does not see the bundle, or sees another state of it.
        """
        if self._failure is not None:
            raise self._failure

    def answer(self, function: Callable[..., pa.Table], arguments: tuple[object, ...]) -> tuple[pa.Table, Said]:
        """Call a function with the retriever and more arguments; give its table, and what it warned of."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table = function(self._retriever, *arguments)
        return table, [(warning.category, str(warning.message)) for warning in caught]


@dataclass(frozen=True, eq=False)
class ChunkTable:
    """The answers to a chunk, as a table.

    Attributes:
        chunk: What was answered.
        table: A row for each hit.
    """

    chunk: Chunk
    table: pa.Table

    def to_arrow(self) -> pa.Table:
        """Give the table."""
        return self.table

    def quarantined(self) -> pa.Table:
        """Give the quarantined rows: ``line, query_id, reason``."""
        return self.chunk.quarantined_table()


def answered_by_actors(
    retriever: Retriever,
    engine: RayEngine,
    chunks: Iterable[Chunk],
    function: Callable[..., pa.Table],
    arguments_of: Callable[[Chunk], tuple[object, ...]],
) -> Iterator[ChunkTable]:
    """Answer chunks by actors, in their order; few more are read than actors work at.

    Args:
        retriever: Of the bundle, which all nodes see under the same path.
        engine: Where.
        chunks: What is asked.
        function: Of a module, called with a retriever and the arguments of a chunk; gives the table of its answers.
        arguments_of: Gives these of a chunk.

    Raises:
        EngineError: When the cluster cannot be reached or has no room for an actor, or a node sees another bundle.
        MissingExtraError: When Ray is not installed.
    """
    if engine.gpus:
        raise InputError(f"gpus is {engine.gpus:g}, and answering takes none: leave it out")
    work = Work(RetrieverActor, OpenedBundle.of(retriever.bundle), "answer", 1, "the bundle", SMALLER)
    with connected(engine.address) as ray:
        pool = RayPool(ray, engine, work)
        try:
            jobs = pool.map(chunks, lambda chunk: ((function, arguments_of(chunk)), f"row {chunk.first}"))
            for chunk, (table, said) in jobs:
                for category, message in said:
                    warn(message, category)
                yield ChunkTable(chunk, table)
        finally:
            pool.stop()


def _open(opened: OpenedBundle) -> Bundle:
    host, (generation, last) = socket.gethostname(), opened.state
    try:  # what was changed since the job began is not looked at, by no actor
        bundle = open_bundle(opened.root, generation=generation, learned=opened.learned, check=opened.check).until(last)
    except CommonspaceError as error:
        raise EngineError(
            f"the node {host} cannot open the bundle {opened.root} ({error}): keep it on a file system that all nodes "
            "share under the same path"
        ) from error
    found = bundle.state.generation, bundle.state.last
    if found != opened.state:
        raise EngineError(
            f"the node {host} sees {found[0]} of {opened.root} with {found[1]} changes, the driver {generation} "
            f"with {last}: nodes have different copies of it; bring them to the same state"
        )
    return bundle
