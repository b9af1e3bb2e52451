"""Configuration of an index: its goals, and the search parameters for each kind of query."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, get_args

from indexing.errors import InputError
from indexing.runtime.arguments import check_choice, check_flag, check_number, check_whole

MAX_EFFORT = 10_000_000


@dataclass(frozen=True)
class SearchParams:
    """Parameters of a search, which trade time for recall; those that an index does not use are 0.

    Attributes:
        lists: How many inverted lists are scanned.
        candidates: How many of the best codes get scores from finer vectors.
        ef_search: How many candidates a walk over a graph keeps.
    """

    lists: int = 0
    candidates: int = 0
    ef_search: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_EFFORT:
                raise InputError(f"effort {name} is {value!r}, expected a whole number from 0 to {MAX_EFFORT}")

    def to_json(self) -> dict[str, int]:
        """Return the fields that are in use."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class SearchParamsByKind:
    """Search parameters for each kind of query (``"text"``, ``"image"``, …).

    Attributes:
        kinds: Search parameters by kind of query.
        default: Used when no kind has search parameters.
    """

    kinds: Mapping[str, SearchParams] = field(default_factory=dict)
    default: SearchParams = field(default_factory=SearchParams)

    @property
    def greatest(self) -> SearchParams:
        """The greatest of all in every field: enough for any kind that was measured."""
        if not self.kinds:
            return self.default
        return SearchParams(
            *(max(getattr(effort, spec.name) for effort in self.kinds.values()) for spec in fields(SearchParams))
        )

    def of(self, kind: str | None) -> SearchParams:
        """Return the effort for a kind of query; for none, or one that is unknown, the greatest of all."""
        known = None if kind is None else self.kinds.get(kind)
        return self.greatest if known is None else known

    def to_json(self) -> dict[str, dict[str, int]]:
        """Return them as plain JSON values."""
        return {kind: effort.to_json() for kind, effort in self.kinds.items()}

    @classmethod
    def from_json(
        cls, data: Mapping[str, Mapping[str, int]], default: SearchParams | None = None
    ) -> "SearchParamsByKind":
        """Read what `to_json` gave.

        Raises:
            InputError: When it is something else.
        """
        try:
            kinds = {kind: SearchParams(**effort) for kind, effort in data.items()}
        except (AttributeError, TypeError) as error:
            raise InputError(f"efforts {str(data)[:60]!r} cannot be read: {error}") from error
        return cls(kinds, default or SearchParams())


IndexKind = Literal["auto", "best", "flat", "hnsw", "ivf", "sharded", "lancedb"]
BUILT_IN_FILES = ("sharded", "lancedb")
"""Kinds that are written while they are built, and not by `VectorIndex.save`."""
WITH_LISTS = ("auto", "best", "ivf", "sharded")
"""Kinds that are inverted lists, or may be, which can be built on a GPU."""


@dataclass(frozen=True)
class IndexConfig:
    """What the index must achieve.

    Attributes:
        min_recall: Share of the exact best k that every kind of query must find, with a confidence of 97.5 %.
        k: Depth at which recall is measured.
        kind: ``"flat"``, exact search; ``"hnsw"``, a graph; ``"ivf"``, inverted lists; ``"auto"`` for the first of a
            short list by size that meets the goals, and up to 50,000 vectors finds at least .99; ``"best"`` to build
            every family of FAISS and take the fastest that meets them; ``"sharded"``, inverted lists in several files,
            for more vectors than an index can be built of in memory; or ``"lancedb"``, a table of LanceDB, for its
            storage and versions, not for its speed.
        m: Edges a node of the HNSW graph.
        sample: How many held-out queries of each kind to measure on.
        max_memory: Most memory the loaded index may take: bytes, or text such as ``"512M"`` or ``"2G"``. With shards it
            bounds what building the index takes as well, beyond the vectors that are indexed; 2G when None.
        max_latency_ms: Longest median time of one query by itself on this machine, for every kind of query.
        on_disk: Leave the codes of shards in their files too: a search takes two to five times as long.
    """

    min_recall: float = 0.95
    k: int = 10
    kind: IndexKind = "auto"
    m: int = 16
    sample: int = 500
    max_memory: int | str | None = None
    max_latency_ms: float | None = None
    on_disk: bool = False

    def __post_init__(self) -> None:
        check_number(self.min_recall, "min_recall", "give a number of more than 0 and at most 1", above=0, maximum=1)
        check_choice(self.kind, "the kind of index", get_args(IndexKind))
        for name in ("k", "m", "sample"):
            check_whole(getattr(self, name), name)
        if self.max_latency_ms is not None:
            check_number(self.max_latency_ms, "max_latency_ms", "give a number of more than 0", above=0)
        if self.max_memory is not None:
            parse_bytes(self.max_memory)
        if check_flag(self.on_disk, "on_disk") and self.kind != "sharded":
            raise InputError(
                f"on_disk is for kind 'sharded', not {self.kind!r}: other kinds keep their codes in memory"
            )

    @property
    def memory(self) -> float:
        """Most bytes that the loaded index may take; infinite without a goal."""
        return float("inf") if self.max_memory is None else parse_bytes(self.max_memory)


UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?)(?:I?B)?", re.IGNORECASE)


def parse_bytes(size: int | str) -> int:
    """Read a number of bytes; K, M, G and T are powers of 1,024.

    >>> parse_bytes("2G"), parse_bytes("1.5 kB"), parse_bytes("3MiB"), parse_bytes(100)
    (2147483648, 1536, 3145728, 100)

    Raises:
        InputError: When it is not one, or less than one byte.
    """
    match = _SIZE.fullmatch(str(size).strip()) if type(size) in (int, str) else None
    size_ = float(match[1]) * UNITS[match[2].upper()] if match else 0.0
    value = int(size_) if size_ < 2**63 else 0
    if value < 1:
        raise InputError(f"{size!r} is no amount of memory; give bytes, or text such as '512M' or '2G'")
    return value
