"""Lists of some queries put in the place of those that candidates have."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError, examples
from retrieval.candidates.candidates import Candidates
from retrieval.candidates.sources import UNKNOWN, Codes, have_same_stage, joined_stage
from retrieval.interactions.context import joined_context

Kind = TypeVar("Kind", bound=Candidates)


def with_lists(candidates: Kind, positions: Rows, lists: Candidates) -> Kind:
    """Replace the hits of some queries: rows, scores, sources and folded items; all else stays.

    Args:
        candidates: Of B queries.
        positions: (n,) int64, the queries whose lists are replaced.
        lists: Of these n queries; shorter lists are padded.
    """
    width = max(candidates.rows.shape[1], lists.rows.shape[1])
    known: dict[str, tuple[Any, Any, Any]] = {
        "rows": (candidates.rows, lists.rows, -1),
        "scores": (candidates.scores, lists.scores, -np.inf),
    }
    if candidates.sources is not None or lists.sources is not None:
        known["sources"] = (_codes(candidates), _codes(lists), UNKNOWN)
    changed: dict[str, Any] = {}
    for name, (present, new, padding) in known.items():
        padded, more = (
            np.pad(array, [(0, 0), (0, width - array.shape[1])], constant_values=padding) for array in (present, new)
        )
        padded[positions] = more
        changed[name] = padded
    if candidates.folded or lists.folded:
        folded = list(candidates.folded or ({},) * len(candidates))
        for position, stands_for in zip(positions.tolist(), lists.folded or ({},) * len(lists), strict=True):
            folded[position] = stands_for
        changed["folded"] = tuple(folded)
    return replace(candidates, **changed)


def concatenated(first: Candidates, second: Candidates) -> Candidates:
    """Append the queries of other candidates of the same bundle, which are named otherwise; shorter lists are padded.

    The stage is that of the first, or ``"rerank"`` where it is that of one. Where one lacks sources, weights or what
    hits stand for, these are unknown, or empty, for its queries alone. Users without a history are joined to those
    of visits and to those who return.

    Raises:
        InputError: When one has users who return and the other visits, the times of requests or the queries by
            profiles are known of one alone, or dislikes are other ones: reranked together, some would be answered as
            others.
        UnknownItemError: When the second has an item that the bundle of the first lacks.
    """
    second = second.pointing_into(first.items)
    _check_alike(first, second)
    width, counts = max(first.rows.shape[1], second.rows.shape[1]), (len(first), len(second))
    both = (first, second)

    def joined(arrays: Sequence[NDArray[Any]], padding: float) -> NDArray[Any]:
        return np.concatenate(
            [np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=padding) for array in arrays]
        )

    def known(name: str) -> NDArray[Any] | None:
        arrays = [getattr(one, name) for one in both]
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    def entries(name: str, missing: Any) -> tuple[Any, ...]:  # noqa: ANN401 - of any field
        values = [getattr(one, name) for one in both]
        filled = [value or (missing,) * count for value, count in zip(values, counts, strict=True)]
        return tuple(filled[0] + filled[1]) if any(values) else ()

    has_sources = any(one.sources is not None for one in both)
    return replace(
        first,
        queries=np.concatenate([first.queries, second.queries]),
        rows=joined([one.rows for one in both], -1),
        scores=joined([one.scores for one in both], -np.inf),
        stage=joined_stage([one.stage for one in both]),
        query_ids=first.query_ids + second.query_ids,
        histories=first.histories + second.histories,
        weights=entries("weights", np.empty(0, np.float32)),
        times=known("times"),
        new=known("new"),
        idle=None if first.idle is second.idle is None else np.concatenate([_idle(one) for one in both]),
        context=joined_context([(one.context, count) for one, count in zip(both, counts, strict=True)]),
        among=None if first.among is None or second.among is None else concatenated(first.among, second.among),
        sources=joined([_codes(one) for one in both], UNKNOWN) if has_sources else None,
        folded=entries("folded", {}),
        min_relevance=first.min_relevance if any(map(len, first.histories)) else second.min_relevance,
    )


def _check_alike(first: Candidates, second: Candidates) -> None:
    """Check that what heads read of users is known of both; see `concatenated`."""
    # The second stage takes the end of the log where no time was given, so that its lists always have one.
    same = have_same_stage(first.stage, second.stage)
    kinds = "requests with a time, and without" if same else f"the stages {first.stage!r} and {second.stage!r}"
    for one, other in ((first, second), (second, first)):
        visits = [name for name, rows in zip(other.query_ids, other.histories, strict=True) if len(rows)]
        missing = {
            "users who return, and visits that go on": one.idle is not None and other.idle is None and bool(visits),
            kinds: one.times is not None and other.times is None,
            "users with profiles, and without": one.new is not None and other.new is None,
            f"requests with min_relevance={one.min_relevance}, and {other.min_relevance}": (
                one.min_relevance != other.min_relevance and any(map(len, one.histories)) and bool(visits)
            ),
        }
        for what, differs in missing.items():
            if differs and len(one) and len(other):
                raise InputError(
                    f"these are of {what}: {examples(one.query_ids)} beside {examples(visits or other.query_ids)}; "
                    "rerank them apart, and join the tables of `to_arrow`, or recommend to all of them in the same way"
                )


def _idle(candidates: Candidates) -> Vectors:
    return np.zeros(len(candidates), np.float32) if candidates.idle is None else candidates.idle


def _codes(candidates: Candidates) -> Codes:
    """Give the sources of hits, unknown where candidates do not say them."""
    if candidates.sources is None:
        return np.full(candidates.rows.shape, UNKNOWN, np.int8)
    return candidates.sources
