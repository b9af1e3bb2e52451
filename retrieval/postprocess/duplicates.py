"""Near-duplicates and variants of one product, shown once: the best-ranked hit of a group stands for the others.

Two hits are of one group when they have the same value of an attribute, as a ``parent_id``, or when the cosine of their
content is at least ``min_similarity``. Content is what search compares: where items have texts and pictures, both must
be similar. A hit is folded into the best-ranked hit shown that it belongs to, so similarity is not handed on from one
folded hit to the next, and no two hits shown belong together. Groups are read from the current attributes and vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.errors import InputError
from indexing.runtime.arguments import check_choice, check_kind, is_number, is_whole, shown_number
from retrieval.candidates import Candidates, check_num_rows
from retrieval.filters.values import attribute_type

MIN_SIMILARITY = 0.98  # for want of a better one: see docs/decisions/0025
_TOLERANCE = 1e-6  # cosines of equal float32 vectors differ from 1 by this much
_AT_ONCE = 8_000_000  # numbers of vectors held at a time

Duplicates = Literal["show", "collapse"]
GroupCodes = NDArray[np.int64]


class ShowOnce(TypedDict, total=False):
    """Keyword arguments of every verb that finds items: variants and near-duplicates are shown once.

    As many distinct hits as asked for are found where they exist: four times as many items are retrieved, and for the
    queries that are then short four times as many again, until k are left or nothing more is found. Near-duplicates are
    sought among the best 4,000, or four times as many as asked for, and a `CommonspaceWarning` says where these have
    fewer distinct hits.

    Attributes:
        group_by: An attribute, as ``"parent_id"``: of the items with one value the best-ranked is shown. Items without
            a value are groups of their own.
        duplicates: ``"collapse"`` shows near-duplicates once, ``"show"`` shows them all.
        min_similarity: The smallest cosine of near-duplicates; see `MIN_SIMILARITY`.
    """

    group_by: str | None
    duplicates: Duplicates
    min_similarity: float


@dataclass(frozen=True)
class Collapse:
    """Which hits are shown once; checked.

    Attributes:
        group_by: The attribute that variants share.
        min_similarity: The smallest cosine of near-duplicates; None shows them all.

    Raises:
        InputError: When one cannot be used.
    """

    group_by: str | None = None
    min_similarity: float | None = None

    def __post_init__(self) -> None:
        if self.group_by is not None:
            check_kind(self.group_by, str, "group_by", "give the name of an attribute, as 'parent_id', or None")
        similarity = self.min_similarity
        if similarity is not None and (not is_number(similarity, 0, 1) or similarity <= 0):
            raise InputError(
                f"min_similarity is {shown_number(similarity)}; give a cosine above 0 and up to 1, as {MIN_SIMILARITY}"
            )

    @classmethod
    def of(cls, arguments: ShowOnce) -> "Collapse":
        """Read the keyword arguments of a verb."""
        if not arguments:
            return _SHOW_ALL
        if unknown := sorted(arguments.keys() - ShowOnce.__optional_keys__):
            raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
        duplicates = check_choice(arguments.get("duplicates", "show"), "duplicates", get_args(Duplicates))
        similarity = arguments.get("min_similarity")
        if similarity is not None and duplicates != "collapse":
            raise InputError(f"min_similarity is {shown_number(similarity)}, but duplicates are shown; collapse them")
        if similarity is None and duplicates == "collapse":
            similarity = MIN_SIMILARITY
        return cls(arguments.get("group_by"), similarity)

    def as_arguments(self) -> ShowOnce:
        """Give the keyword arguments of a verb."""
        arguments: ShowOnce = {"group_by": self.group_by}
        if self.min_similarity is not None:
            arguments |= {"duplicates": "collapse", "min_similarity": self.min_similarity}
        return arguments

    def __bool__(self) -> bool:
        """Whether anything is shown once."""
        return self.group_by is not None or self.min_similarity is not None


_SHOW_ALL = Collapse()


def group_codes(attributes: pa.Table, name: str) -> GroupCodes:
    """Number the values of an attribute: (N,) int64, alike for equal values; -1 for items without a value.

    Raises:
        FilterError: When there is none of that name.
        InputError: When an item may have several values.

    >>> group_codes(pa.table({"parent_id": ["shoe", None, "mug", "shoe", " "]}), "parent_id").tolist()
    [0, -1, 1, 0, -1]
    """
    dtype = attribute_type(attributes, name)
    if pa.types.is_nested(dtype):
        raise InputError(f"group_by={name!r} holds {dtype}; give an attribute with one value for each item")
    column = attributes[name].combine_chunks()
    if pa.types.is_dictionary(dtype):
        column = pc.cast(column, dtype.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    codes = column.dictionary_encode().indices
    numbers: GroupCodes = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def collapsed(
    candidates: Candidates,
    k: int | None = None,
    *,
    codes: GroupCodes | None = None,
    vectors: Vectors | None = None,
    min_similarity: float = MIN_SIMILARITY,
) -> Candidates:
    """Show the best-ranked hit of each group, k of each query (all when None); the order and the scores stay.

    Args:
        candidates: B queries, best first.
        k: Hits for each query.
        codes: (N,) int64, equal for items of one group, -1 for a group of its own; see `group_codes`.
        vectors: (N, D) float32, by which near-duplicates are found. One that is zero has none.
        min_similarity: Their smallest cosine.

    Returns:
        Candidates whose ``folded`` says which hits each one stands for.

    Raises:
        InputError: When k is below 1.
    """
    if k is not None and not is_whole(k):
        raise InputError(f"k is {shown_number(k)}; give a whole number of at least 1, or None for all")
    for name, per_row in (("group codes", codes), ("vectors", vectors)):
        if per_row is not None:
            check_num_rows(len(per_row), candidates, name)
    leaders = _leaders(candidates.rows, k, codes, None if vectors is None else (vectors, min_similarity))
    return _folded(candidates, leaders, k)


def _leaders(
    rows: Rows, k: int | None, codes: GroupCodes | None, near: tuple[Vectors, float] | None
) -> NDArray[np.int64]:
    """Give the position of the hit that represents each hit: (B, K); -1 for padding, and beyond the k shown."""
    leaders = np.full(rows.shape, -1, np.int64)
    for query, all_rows in enumerate(rows):
        positions = np.flatnonzero(all_rows >= 0)
        of_query = all_rows[positions]
        units = None if near is None else _units(near[0], of_query)
        groups = None if codes is None else codes[of_query]
        free: Mask = np.ones(len(of_query), np.bool_)
        for _ in range(len(of_query) if k is None else k):
            if not free.any():
                break
            first = int(free.argmax())
            same: Mask = np.zeros(len(of_query), np.bool_)
            if groups is not None and groups[first] >= 0:
                same |= groups == groups[first]
            if near is not None:
                same |= _similar(near, of_query, units, first)
            same[first] = True
            leaders[query, positions[same & free]] = positions[first]
            free &= ~same
    return leaders


def _units(vectors: Vectors, rows: Rows) -> Vectors | None:
    """Give the vectors of the hits of a query, of unit length, where they are few enough to be held at once."""
    return unit(vectors[rows]) if len(rows) * vectors.shape[1] <= _AT_ONCE else None


def _similar(near: tuple[Vectors, float], rows: Rows, units: Vectors | None, first: int) -> Mask:
    """Mark the hits whose cosine with the hit that leads is large enough: (K,) bool."""
    vectors, min_similarity = near
    if units is not None:
        return are_near(units @ units[first], min_similarity)
    leader, step = unit(vectors[rows[first]][None])[0], max(1, _AT_ONCE // vectors.shape[1])
    parts = (unit(vectors[rows[start : start + step]]) @ leader for start in range(0, len(rows), step))
    return are_near(np.concatenate(list(parts)), min_similarity)


def are_near(cosines: Vectors, min_similarity: float) -> Mask:
    """Mark cosines of near-duplicates; those of equal vectors may differ from 1 by rounding."""
    near: Mask = cosines >= min_similarity - _TOLERANCE
    return near


def _folded(candidates: Candidates, leaders: NDArray[np.int64], k: int | None) -> Candidates:
    """Put the representatives first, and keep the hits that they represent."""
    positions = np.arange(leaders.shape[1])
    leads = leaders == positions
    order = np.argsort(~leads, axis=1, kind="stable")
    placed = candidates.placed(order, np.take_along_axis(candidates.scores, order, axis=1), candidates.stage)
    shown = np.take_along_axis(leads, order, axis=1)
    before = candidates.folded or ({},) * len(candidates)
    folded = tuple(
        _stands_for(rows, leaders_of_query, earlier)
        for rows, leaders_of_query, earlier in zip(candidates.rows, leaders, before, strict=True)
    )
    width = int(shown.sum(axis=1).max(initial=0)) if k is None else min(k, leaders.shape[1])
    rows = np.where(shown, placed.rows, -1)
    scores = np.where(shown, placed.scores, np.float32(-np.inf))
    sources = None if placed.sources is None else np.where(shown, placed.sources, np.int8(-1))
    return replace(placed, rows=rows, scores=scores, sources=sources, folded=folded).top(width)


def _stands_for(rows: Rows, leaders: NDArray[np.int64], earlier: Mapping[int, Rows]) -> dict[int, Rows]:
    """Give for each shown row the rows that it represents, in their order, if there are any."""
    folded: dict[int, list[int]] = {}
    listed = rows.tolist()
    for position, (row, leader) in enumerate(zip(listed, leaders.tolist(), strict=True)):
        if leader >= 0:
            others = folded.setdefault(listed[leader], [])
            if leader != position:
                others.append(row)
            if row in earlier:
                others.extend(earlier[row].tolist())
    return {row: np.array(others, np.int64) for row, others in folded.items() if others}
