"""Answers for very many users, chunk by chunk: retrieve, or take what was retrieved, then one step after the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from indexing.arrays import Vectors, lengths_of
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from retrieval.batch.input_rows import Chunk, Source, UserLines, check_items
from retrieval.batch.tables import MemoryTables, ParquetFiles
from retrieval.batch.user_rows import ListedUsers
from retrieval.candidates import Candidates
from retrieval.filters import Where
from retrieval.postprocess.titles import BESIDE, TITLE, with_titles
from retrieval.ranking.reranker import ExactReranker
from retrieval.retriever.postprocessing import Shape
from retrieval.retriever.recommend import new_queries, user_queries
from retrieval.retriever.retriever import Retriever

Step: TypeAlias = Callable[[Candidates], Candidates]
Given: TypeAlias = Path | str | pa.Table | Iterable[pa.RecordBatch]

SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int64()),
        ("score", pa.float32()),
        ("stage", pa.string()),
    ]
)
RULED = pa.field("rules", pa.list_(pa.string()))
QUARANTINED = pa.schema([("line", pa.int64()), ("query_id", pa.string()), ("reason", pa.string())])
# Candidates that are held at once, with those that a history takes away again: of a user with a history of a hundred
# thousand items few are answered beside them.
MOST_CANDIDATES = 2_000_000


@dataclass(frozen=True)
class BatchConfig:
    """How very many users are answered.

    Attributes:
        k: Answers a user.
        depth: Candidates a user that are retrieved for the steps after it.
        rerank: Answer by both stages, where a second one was published; by the index alone when False.
        exclude_seen: Leave out the items of the history.
        where: What every answer satisfies.
        shape: What a list should be beyond relevant.
        chunk: Users answered and written at once; a kill costs at most so many.
        titles: Give each answer its title, too.
    """

    k: int = 10
    depth: int = 200
    rerank: bool = True
    exclude_seen: bool = True
    where: Where = ()
    shape: Shape = field(default_factory=Shape)
    chunk: int = 4096
    titles: bool = False

    def __post_init__(self) -> None:
        for name in ("k", "depth", "chunk"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} is {value!r}, expected at least 1, and a whole number")

    def to_json(self) -> dict[str, Any]:
        """Give what changes answers as plain JSON values; filters as the text that `parse_filter` reads."""
        where = self.where if isinstance(self.where, list | tuple) else [self.where]
        given = {name: value for name, value in vars(self).items() if name != "titles" or value}
        return {**given, "where": [str(one) for one in where], "shape": self.shape.to_json()}

    @property
    def schema(self) -> pa.Schema:
        """The columns of answers."""
        schema = SCHEMA.insert(BESIDE, TITLE) if self.titles else SCHEMA
        return schema.append(RULED) if self.shape.rules else schema


@dataclass(frozen=True, eq=False)
class Answers:
    """What became of a chunk.

    Attributes:
        chunk: The users.
        found: Their answers, in order, in one or more batches.
        schema: Of a table of them.
        titled: The bundle whose titles stand beside the items; None for none.
    """

    chunk: Chunk
    found: tuple[Candidates, ...]
    schema: pa.Schema = SCHEMA
    titled: Bundle | None = None

    def to_arrow(self) -> pa.Table:
        """Give one line a hit: ``query_id, item_id, rank, score, stage``; ``title`` and ``rules`` where wanted."""
        tables = (one.to_arrow() if self.titled is None else with_titles(one, self.titled) for one in self.found)
        return pa.concat_tables([self.schema.empty_table(), *tables])

    def quarantined(self) -> pa.Table:
        """Give the lines that could not be answered: ``line, query_id, reason``."""
        columns = zip(*self.chunk.quarantined, strict=True) if self.chunk.quarantined else ([], [], [])
        return pa.table(list(map(list, columns)), schema=QUARANTINED)


def steps_of(retriever: Retriever, config: BatchConfig) -> tuple[Step, ...]:
    """Give what candidates go through once they are there, in order; the best k are kept at the end."""
    steps: list[Step] = []
    if config.rerank:
        steps.append(retriever.rerank)
    if config.shape:
        steps.append(lambda found: config.shape.apply(retriever, found, config.k))
    return tuple(steps)


def recommend_batches(
    retriever: Retriever, users: Given, config: BatchConfig | None = None, *, steps: Sequence[Step] | None = None
) -> Iterator[Answers]:
    """Recommend to very many users in bounded memory.

    Args:
        retriever: Of the bundle.
        users: Parquet (a file, or a folder of files), a table or record batches with one line a user: ``user_id``,
            ``history`` (item_ids, oldest first) and, if there are any, ``weights`` of these and attributes of profiles.
        config: How.
        steps: What candidates go through, instead of `steps_of`.

    Yields:
        The answers of some thousands of users at a time, in the order of the users.

    Raises:
        InputError: When a column is missing or a file cannot be read. A line that cannot be used ends nothing: it is in
            `Answers.quarantined`.
    """
    config = config or BatchConfig()
    source = ListedUsers(_tables(users), retriever)
    return answers(retriever, source, config, steps=steps)


def rerank_batches(
    retriever: Retriever, users: Given, config: BatchConfig | None = None, *, steps: Sequence[Step] | None = None
) -> Iterator[Answers]:
    """Put given candidates of very many users in order, in bounded memory.

    Each line also has ``candidates`` (item_ids) and, if there are any, ``scores``; without them the exact inner product
    of user and item is taken, as retrieval would. For the rest see `recommend_batches`.
    """
    source = ListedUsers(_tables(users), retriever, given=True)
    return answers(retriever, source, config or BatchConfig(), steps=steps)


def answers(
    retriever: Retriever, source: Source, config: BatchConfig, *, steps: Sequence[Step] | None = None, start: int = 0
) -> Iterator[Answers]:
    """Answer the users of a source from a line on.

    Raises:
        InputError: When the source was made for another state of the bundle.
    """
    check_items(source.items, retriever.items, "the users")
    through = steps_of(retriever, config) if steps is None else tuple(steps)
    for chunk in source.chunks(start, config.chunk):
        users = chunk.users
        found = (answered(retriever, users.take(lines), config, through) for lines in _blocks(users, config))
        yield Answers(chunk, tuple(found), config.schema, retriever.bundle if config.titles else None)


def answered(retriever: Retriever, users: UserLines, config: BatchConfig, steps: Sequence[Step]) -> Candidates:
    """Answer some users: retrieve or take what was given, go through the steps, keep the best."""
    found = given(retriever, users) if users.candidates is not None else retrieved(retriever, users, config, steps)
    for step in steps:
        found = step(found)
    return found.top(config.k)


def retrieved(retriever: Retriever, users: UserLines, config: BatchConfig, steps: Sequence[Step]) -> Candidates:
    """Recommend by the histories: as many as the steps want, or no more than are kept."""
    return retriever.recommend(
        [[retriever.items[row] for row in history] for history in users.histories],
        max(config.k, config.depth) if steps else config.k,
        stages="all" if config.rerank else "retrieval",
        where=config.where,
        exclude_seen=config.exclude_seen,
        user_ids=users.names,
        weights=_plain(users.weights),
        profiles=users.profiles,
        least=users.least,
    )


def given(retriever: Retriever, users: UserLines) -> Candidates:
    """Make candidates of what was given."""
    listed, scored = users.candidates or (), users.scores
    lengths = lengths_of(listed)
    there = np.arange(lengths.max(initial=0)) < lengths[:, None]
    rows = np.full(there.shape, -1, np.int64)
    scores = np.where(there, np.float32(0), np.float32(-np.inf))
    rows[there] = np.concatenate([np.empty(0, np.int64), *listed])
    if scored is not None:
        scores[there] = np.concatenate([np.empty(0, np.float32), *scored])
    new = new_queries(retriever.state, users.profiles, len(users))
    queries = user_queries(retriever.state, users.histories, _plain(users.weights), new, users.least)
    found = Candidates(
        queries,
        rows,
        scores,
        retriever.items,
        "retrieve",
        users.names,
        users.histories,
        users.weights or (),
        new=new,
    )
    return found if scored is not None else replace(ExactReranker(retriever.indexed).rerank(found), stage=found.stage)


def _blocks(users: UserLines, config: BatchConfig) -> Iterator[slice]:
    """Part users so that what is held of each part is bounded."""
    if users.candidates is not None:
        wide = list(map(len, users.candidates))
    else:
        wide = [max(config.k, config.depth) + len(history) for history in users.histories]
    start, widest = 0, 0
    for line, width in enumerate(wide):
        if line > start and max(widest, width) * (line + 1 - start) > MOST_CANDIDATES:
            yield slice(start, line)
            start, widest = line, 0
        widest = max(widest, width)
    if start < len(wide):
        yield slice(start, len(wide))


def _plain(weights: tuple[Vectors, ...] | None) -> list[list[float]] | None:
    return None if weights is None else [one.tolist() for one in weights]


def _tables(given: Given) -> ParquetFiles | MemoryTables:
    return ParquetFiles(given) if isinstance(given, Path | str) else MemoryTables(given)
