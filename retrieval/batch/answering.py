"""Recommendations for very many users in chunks: retrieve, or take given candidates, then apply the later stages."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import lengths_of
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from indexing.runtime.ray_engine import RayEngine
from retrieval.batch.input_rows import Chunk, Source, UserLines, check_items
from retrieval.batch.retriever_actors import ChunkTable, answered_by_actors
from retrieval.batch.tables import MemoryTables, ParquetFiles
from retrieval.batch.user_rows import ListedUsers
from retrieval.candidates import FOLDED, Candidates
from retrieval.filters import Where
from retrieval.interactions.context import ContextLike, request_context
from retrieval.interactions.parse_values import request_seconds
from retrieval.postprocess.titles import BESIDE, TITLE, with_titles
from retrieval.ranking.reranker import ExactReranker
from retrieval.retriever.postprocessing import Postprocessing
from retrieval.retriever.query_inputs import UserHistories, warn_of_later_interactions
from retrieval.retriever.recommend import (
    Request,
    Stages,
    context_columns,
    new_queries,
    note_returning,
    queries_of,
    recommended_once,
    request_of,
)
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
        ("source", pa.string()),
    ]
)
RULED = pa.field("rules", pa.list_(pa.string()))
# Candidates in memory at once, counting those that a history excludes: users with very long histories are answered in
# small blocks.
MAX_CANDIDATES = 2_000_000


@dataclass(frozen=True)
class BatchConfig:
    """The settings of a batch job.

    Attributes:
        k: Hits for each user.
        depth: Candidates for each user that are retrieved for the later stages.
        rerank: Rerank by the second stage, where one was published; search the index alone when False.
        exclude_seen: Leave out the items of the history; what was disliked is left out in any case.
        where: A filter that every hit satisfies.
        shape: Diversity, caps and rules.
        chunk: Users answered and written at once; an interruption loses at most one chunk.
        titles: Add the title of each hit.
        at: Time of all requests, given as ``times`` of `Retriever.recommend` and kept in seconds since 1970; users then
            return after the days since their last interaction. None means now, within the visit of that.
        context: The context of all requests, where the rows of users have no column of it; see `Request`.
    """

    k: int = 10
    depth: int = 200
    rerank: bool = True
    exclude_seen: bool = True
    where: Where = ()
    shape: Postprocessing = field(default_factory=Postprocessing)
    chunk: int = 4096
    titles: bool = False
    at: int | None = None
    context: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("k", "depth", "chunk"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} is {value!r}, expected at least 1, and a whole number")
        if self.at is not None:
            object.__setattr__(self, "at", int(request_seconds([self.at], "at")[0]))

    def to_json(self) -> dict[str, Any]:
        """Give the settings that change answers as plain JSON values; filters as the text that `parse_filter` reads."""
        where = self.where if isinstance(self.where, list | tuple) else [self.where]
        added = {"titles": self.titles, "at": self.at is not None, "context": bool(self.context)}  # by later versions
        settings = {name: value for name, value in vars(self).items() if added.get(name, True)}
        return {**settings, "where": [str(condition) for condition in where], "shape": self.shape.to_json()}

    @property
    def schema(self) -> pa.Schema:
        """The columns of answers."""
        schema = SCHEMA.insert(BESIDE, TITLE) if self.titles else SCHEMA
        schema = schema.append(FOLDED) if self.shape.collapse else schema
        return schema.append(RULED) if self.shape.rules else schema


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to a chunk of users.

    Attributes:
        chunk: The users.
        found: Their hits, in order, in one or more batches.
        schema: The schema of `to_arrow`.
        titled: The bundle whose titles are added; None for none.
    """

    chunk: Chunk
    found: tuple[Candidates, ...]
    schema: pa.Schema = SCHEMA
    titled: Bundle | None = None

    def to_arrow(self) -> pa.Table:
        """Give `Candidates.to_arrow` of all hits, with ``title`` and ``rules`` where there are such."""
        tables = (
            candidates.to_arrow() if self.titled is None else with_titles(candidates, self.titled)
            for candidates in self.found
        )
        return pa.concat_tables([self.schema.empty_table(), *tables])

    def quarantined(self) -> pa.Table:
        """Give the quarantined rows: ``line, query_id, reason``."""
        return self.chunk.quarantined_table()


def steps_of(retriever: Retriever, config: BatchConfig) -> tuple[Step, ...]:
    """Give the stages after retrieval, in order; the best k are kept at the end."""
    steps: list[Step] = []
    if config.rerank:
        steps.append(retriever.rerank)
    if config.shape:
        steps.append(lambda found: config.shape.apply(retriever, found, config.k, at=config.at))
    return tuple(steps)


def recommend_batches(
    retriever: Retriever, users: Given, config: BatchConfig | None = None, *, steps: Sequence[Step] | None = None
) -> Iterator[Answers]:
    """Recommend to very many users in bounded memory.

    Args:
        retriever: The retriever of the bundle.
        users: Parquet (a file, or a folder of files), a table or record batches with one row for each user:
            ``user_id``, ``history`` (item_ids, oldest first), and optionally ``weights``, ``last_time`` and attributes
            of profiles.
        config: The settings.
        steps: Functions applied to the candidates, instead of `steps_of`.

    Yields:
        The answers of a chunk of users at a time, in the order of the users.

    Raises:
        InputError: When a column is missing or a file cannot be read. Rows that cannot be used are in
            `Answers.quarantined`.
    """
    config = config or BatchConfig()
    source = ListedUsers(_tables(users), retriever)
    return answers(retriever, source, config, steps=steps)


def rerank_batches(
    retriever: Retriever, users: Given, config: BatchConfig | None = None, *, steps: Sequence[Step] | None = None
) -> Iterator[Answers]:
    """Rerank given candidates of very many users in bounded memory; see `recommend_batches`.

    Each row also has ``candidates`` (item_ids) and optionally ``scores``; without these, the score is the exact inner
    product of user and item, as in retrieval.
    """
    source = ListedUsers(_tables(users), retriever, given=True)
    return answers(retriever, source, config or BatchConfig(), steps=steps)


def answers(
    retriever: Retriever, source: Source, config: BatchConfig, *, steps: Sequence[Step] | None = None, start: int = 0
) -> Iterator[Answers]:
    """Answer the users of a source, from a row on.

    Raises:
        InputError: When the source was made for another state of the bundle, or does not say when users did the last
            interaction, and they ask at a time.
    """
    check_source(retriever, source, config)
    all_steps = steps_of(retriever, config) if steps is None else tuple(steps)
    for chunk in _chunks(source, config, start):
        yield _answered_chunk(retriever, chunk, config, all_steps)


def answers_by_actors(
    retriever: Retriever, source: Source, config: BatchConfig, engine: RayEngine, *, start: int = 0
) -> Iterator[ChunkTable]:
    """Answer the users of a source, from a row on, by actors of Ray; see `answers` and `answered_by_actors`."""
    check_source(retriever, source, config)
    chunks = _chunks(source, config, start)
    return answered_by_actors(retriever, engine, chunks, answers_table, lambda chunk: (chunk.users, config))


def answers_table(retriever: Retriever, users: UserLines, config: BatchConfig) -> pa.Table:
    """Answer users, and give the table of their hits; see `Answers.to_arrow`."""
    chunk = Chunk(0, len(users), users)
    return _answered_chunk(retriever, chunk, config, steps_of(retriever, config)).to_arrow()


def _chunks(source: Source, config: BatchConfig, start: int) -> Iterator[Chunk]:
    """Read the users of a source, and warn at the end of those with later interactions."""
    num_users, num_later = 0, 0
    for chunk in source.chunks(start, config.chunk, timed=config.at is not None):
        num_users, num_later = num_users + len(chunk.users), num_later + chunk.users.num_later(config.at)
        yield chunk
    warn_of_later_interactions(num_later, num_users)


def _answered_chunk(retriever: Retriever, chunk: Chunk, config: BatchConfig, steps: Sequence[Step]) -> Answers:
    blocks = _blocks(chunk.users, config)
    found = tuple(answered(retriever, chunk.users.take(block), config, steps) for block in blocks)
    return Answers(chunk, found, config.schema, retriever.bundle if config.titles else None)


def check_source(retriever: Retriever, source: Source, config: BatchConfig) -> None:
    """Check that users of a source can be answered by a bundle with some settings; see `answers`."""
    check_items(source.items, retriever.items, "the users")
    if config.at is not None:
        source.check_times()


def answered(retriever: Retriever, users: UserLines, config: BatchConfig, steps: Sequence[Step]) -> Candidates:
    """Answer users: retrieve or take the given candidates, apply the steps, keep the best k."""
    if users.candidates is not None:
        note_returning(retriever.state, users.histories, returning=config.at is not None, stages=_stages(config))
    candidates = (
        listed_candidates(retriever, users, config.at, _context(users, config))
        if users.candidates is not None
        else retrieved(retriever, users, config, steps)
    )
    for step in steps:
        candidates = step(candidates)
    return candidates.top(config.k)


def retrieved(retriever: Retriever, users: UserLines, config: BatchConfig, steps: Sequence[Step]) -> Candidates:
    """Recommend to users: ``depth`` candidates where later stages follow, else k."""
    state, stages = retriever.state, _stages(config)
    asked, context = _histories(users, config.at), _context(users, config)
    request = request_of(state, asked, users.profiles, context, config.where, config.exclude_seen, None, stages)
    k = max(config.k, config.depth) if steps else config.k
    return recommended_once(state, request, k, stages, config.shape.collapse.as_arguments())


def _stages(config: BatchConfig) -> Stages:
    return "all" if config.rerank else "retrieval"


def _histories(users: UserLines, at: int | None) -> UserHistories:
    """Give the users as those of a request at a time; of later interactions `answers` warns once for all chunks."""
    weights = None if users.weights is None else list(users.weights)
    histories = UserHistories(list(users.histories), weights, None, users.names, users.min_relevance)
    if at is None:
        return histories
    return replace(histories, times=np.full(len(users), at, np.int64), last=_last_times(users, at))


def _last_times(users: UserLines, at: int) -> NDArray[np.int64]:
    """Give the times of last interactions up to a time: of later ones `answers` warns once for all chunks."""
    if users.last is None:
        raise InputError(f"the users ask at {at}, but the times of their last interactions were not read")
    return np.minimum(users.last, at)


def listed_candidates(
    retriever: Retriever, users: UserLines, at: int | None = None, context: ContextLike | None = None
) -> Candidates:
    """Give the listed candidates of users, in the order of their scores.

    Args:
        retriever: Of the bundle.
        users: With candidates.
        at: Time of all requests; None means now, within the visit of the last interaction.
        context: Of the requests; that of the users when None.
    """
    context = users.context if context is None else context
    item_rows, given_scores = users.candidates or (), users.scores
    lengths = lengths_of(item_rows)
    is_candidate = np.arange(lengths.max(initial=0)) < lengths[:, None]
    rows = np.full(is_candidate.shape, -1, np.int64)
    scores = np.where(is_candidate, np.float32(0), np.float32(-np.inf))
    rows[is_candidate] = np.concatenate([np.empty(0, np.int64), *item_rows])
    if given_scores is not None:
        scores[is_candidate] = np.concatenate([np.empty(0, np.float32), *given_scores])
    profile_queries = new_queries(retriever.state, users.profiles, len(users))
    request = Request.of(retriever.state, _histories(users, at), profile_queries)
    times = request.users.times
    candidates = Candidates(
        queries_of(retriever.state, request),
        rows,
        scores,
        retriever.items,
        "retrieve",
        users.names,
        users.histories,
        users.weights or (),
        times,
        profile_queries,
        request.users.idle,
        context=request_context(context, context_columns(retriever.state), times, len(users)),
        min_relevance=request.min_relevance,
    )
    return (
        candidates
        if given_scores is not None
        else replace(ExactReranker(retriever.indexed).rerank(candidates), stage=candidates.stage)
    )


def _blocks(users: UserLines, config: BatchConfig) -> Iterator[slice]:
    """Split users into blocks of bounded memory."""
    if users.candidates is not None:
        widths = list(map(len, users.candidates))
    else:
        widths = [max(config.k, config.depth) + len(history) for history in users.histories]
    start, widest = 0, 0
    for position, width in enumerate(widths):
        if position > start and max(widest, width) * (position + 1 - start) > MAX_CANDIDATES:
            yield slice(start, position)
            start, widest = position, 0
        widest = max(widest, width)
    if start < len(widths):
        yield slice(start, len(widths))


def _context(users: UserLines, config: BatchConfig) -> pa.Table | Mapping[str, str] | None:
    """Give the context of users: of their lines, and for all others columns that hold for all."""
    if users.context is None:
        return config.context or None
    table = users.context
    for name, value in config.context.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * len(users), pa.string()))
    return table


def _tables(given: Given) -> ParquetFiles | MemoryTables:
    return ParquetFiles(given) if isinstance(given, Path | str) else MemoryTables(given)
