"""Break evaluations down: by groups of queries, by groups of items, and into losses of the model and of the index.

Groups have names and values, and each value has its members: ``{"history": {"light": {"ann"}, "heavy": {"bob"}}}``.
A member may have several values, as a film with two genres has. Members without a value are reported as `REST`.

The loss of the model is that of exact search against a perfect ranking; the loss of the index is that of the index
against exact search.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError, ShapeError, examples
from indexing.index import FlatIndex, VectorIndex
from indexing.index.search import retrieve
from indexing.media.files import Modality
from retrieval.candidates import Candidates
from retrieval.evaluation.beyond_accuracy import InteractionCounts
from retrieval.evaluation.evaluate import DEFAULT_MEASURES, Evaluation, number
from retrieval.evaluation.metrics import cutoffs, per_query
from retrieval.evaluation.statistics import bootstrap_intervals, defined_mean
from retrieval.interactions.interactions import Interactions
from retrieval.models.features.attribute_values import Attribute
from retrieval.retriever.retriever import Retriever

Groups = dict[str, dict[str, frozenset[str]]]
"""For each name of a group, the ids of each value."""


def user_groups(interactions: Interactions) -> Groups:
    """Group the users of a log by the length of their histories: ``history`` is ``light`` or ``heavy``.

    Heavy users have more distinct items than the median user. Users who are not in the log are in neither group, and
    become a slice of their own.
    """
    counts = interactions.table.group_by("user_id").aggregate([("item_id", "count_distinct")])
    user_ids = np.array(counts["user_id"].to_pylist(), np.object_)
    lengths = counts["item_id_count_distinct"].to_numpy()
    heavy = lengths > (np.median(lengths) if len(lengths) else 0)
    return {"history": {"light": frozenset(user_ids[~heavy]), "heavy": frozenset(user_ids[heavy])}}


def item_groups(
    bundle: Bundle, interactions: Interactions, *, attributes: Sequence[str] = (), popular: float = 0.5
) -> Groups:
    """Group the items of a bundle.

    - ``item``: ``warm`` with, ``cold`` without past interactions;
    - ``popularity``: ``popular``, the fewest items that together have a fraction of the past interactions; ``tail``,
      the other warm items;
    - for each modality that any item has, such as ``image``: ``with image`` or ``without image``;
    - for each of the attributes, its values; an item with several values, in a list or as ``"a|b"``, is in each.

    Args:
        bundle: The opened bundle.
        interactions: Interactions before the test period.
        attributes: Names of attributes; bin numeric ones first.
        popular: The fraction of the interactions that popular items have, between 0 and 1.

    Raises:
        InputError: If the fraction is not between 0 and 1, or there are no interactions.
        FilterError: For an attribute that the bundle lacks.
    """
    if not 0 < popular < 1:
        raise InputError(f"popular is {popular}; give a fraction between 0 and 1, such as 0.5")
    item_ids = np.array(list(bundle.items), np.object_)
    is_live = bundle.is_live

    def group(**masks: NDArray[np.bool_]) -> dict[str, frozenset[str]]:
        return {value.replace("_", " "): frozenset(item_ids[mask & is_live]) for value, mask in masks.items()}

    counts = InteractionCounts.of(interactions, bundle.items).interactions
    order = np.argsort(-counts, kind="stable")
    cumulative = np.cumsum(counts[order]) - counts[order]
    is_popular = np.zeros(len(counts), np.bool_)
    # 0.07 * 100 is slightly above 7 in floating point, and seven are enough.
    is_popular[order] = cumulative < popular * counts.sum() - 1e-9
    groups: Groups = {
        "item": group(warm=counts > 0, cold=counts == 0),
        "popularity": group(popular=is_popular & (counts > 0), tail=~is_popular & (counts > 0)),
    }
    for modality in bundle.modality_vectors.modalities:
        exists = bundle.modality_vectors.exists[Modality(modality)]
        groups[modality] = group(**{f"with_{modality}": exists, f"without_{modality}": ~exists})
    for attribute in attributes:
        groups[attribute if attribute not in groups else f"attribute {attribute}"] = _by_value(bundle, attribute)
    return groups


def _by_value(bundle: Bundle, attribute: str) -> dict[str, frozenset[str]]:
    """Give the live items of each value, as features and diversity read an attribute: ``"a|b"`` is two values."""
    column = Attribute.named(bundle.attributes, attribute)
    rows = np.flatnonzero(bundle.is_live)
    lengths, codes = column.among(rows)
    members: dict[str, set[str]] = {}
    for row, code in zip(np.repeat(rows, lengths).tolist(), codes.tolist(), strict=True):
        members.setdefault(column.values[code], set()).add(bundle.items[row])
    return {value: frozenset(members[value]) for value in sorted(members)}


REST = "(none)"
Members = Mapping[str, Collection[str]]
"""For each value of a group its ids."""

# Measures that are defined for a subset of the relevant items; see `item_slices`.
SLICEABLE = ("recall", "hit_rate")


class SliceRow(NamedTuple):
    """One slice.

    Attributes:
        name: Name of the group.
        value: Value of the group.
        queries: Number of queries.
        means: For each measure its mean over these queries.
        intervals: For each measure the bootstrap interval, low and high; NaN for a single query.
        relevant: For slices of items, the number of pairs of a query and a relevant item; 0 for slices of queries.
    """

    name: str
    value: str
    queries: int
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    relevant: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return all fields for ``json.dumps``; NaN becomes null."""
        means = {name: number(mean) for name, mean in self.means.items()}
        intervals = {name: [number(low), number(high)] for name, (low, high) in self.intervals.items()}
        return self._asdict() | {"means": means, "intervals": intervals}


def slices(
    evaluation: Evaluation, groups: Mapping[str, Members | Sequence[str]], *, level: float = 0.95, seed: int = 0
) -> list[SliceRow]:
    """Slice an evaluation by groups of its queries: all measures, for every value that occurs.

    Args:
        evaluation: The evaluation.
        groups: For each name, the query_ids of each value, or else the value of each of the n queries in order.
        level: Level of the intervals.
        seed: Makes the intervals repeatable.

    Raises:
        ShapeError: If the number of values differs from that of queries.

    >>> from retrieval.evaluation import Evaluation
    >>> evaluation = Evaluation(("ann", "bob", "cem"), {"mrr@5": np.array([1.0, 0.5, 0.0])}, {}, 0)
    >>> [(row.value, row.queries, row.means) for row in slices(evaluation, {"history": {"heavy": {"ann", "bob"}}})]
    [('heavy', 2, {'mrr@5': 0.75}), ('(none)', 1, {'mrr@5': 0.0})]
    """
    ids, slice_rows = evaluation.query_ids, []
    for name, group in groups.items():
        if not isinstance(group, Mapping) and len(group) != len(ids):
            raise ShapeError(
                f"{name!r} has {len(group)} values for {len(ids)} queries with relevant items; one a query"
            )
        values_of_queries = _values_of(ids, group) if isinstance(group, Mapping) else [(value,) for value in group]
        for value in _ordered(group, values_of_queries):
            query_rows = np.array([row for row, values in enumerate(values_of_queries) if value in values], np.int64)
            columns = {measure: per_query[query_rows] for measure, per_query in evaluation.per_query.items()}
            slice_rows.append(_row(name, value, columns, level, seed))
    return slice_rows


def item_slices(
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    groups: Mapping[str, Members],
    *,
    measures: Sequence[str] = ("recall@10", "recall@20"),
    level: float = 0.95,
    seed: int = 0,
) -> list[SliceRow]:
    """Measure how well the relevant items of each group are retrieved.

    Only the relevant sets are restricted to a group, not the ranked lists; a query counts in each slice in which it has
    relevant items. Only recall and hit rate keep their meaning: a query's recall is the mean of its slices' recalls
    weighted by the numbers of relevant items. The other measures do not: relevant items of other slices take
    positions in the list, so that no list could reach an ndcg, map or precision of 1.

    Args:
        candidates: Ranked items for B queries.
        relevant: For each query the item_ids that are relevant.
        groups: For each name the item_ids of each value, as `item_groups` returns.
        measures: ``recall@k`` and ``hit_rate@k``.
        level: Level of the intervals.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: For a measure that is not defined for a subset of the relevant items.
        ShapeError: If the number of collections differs from that of queries.
    """
    if undefined := [measure for measure in cutoffs(measures) if measure.partition("@")[0] not in SLICEABLE]:
        raise InputError(f"{examples(undefined)} has no meaning for a part of the relevant items; {SLICEABLE} have")
    if len(relevant) != len(candidates):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(candidates)} queries; one a query")
    slice_rows = []
    for name, group in groups.items():
        item_ids = sorted({item_id for ids in relevant for item_id in ids})
        values = dict(zip(item_ids, _values_of(item_ids, group), strict=True))
        for value in _ordered(group, values.values()):
            targets = [{item_id for item_id in ids if value in values[item_id]} for ids in relevant]
            queries = [query for query, ids in enumerate(targets) if ids]
            slice_targets = [targets[query] for query in queries]
            columns = per_query(candidates.rows[queries], slice_targets, candidates.items, measures)
            slice_rows.append(_row(name, value, columns, level, seed, sum(map(len, slice_targets))))
    return slice_rows


def _values_of(ids: Sequence[str], group: Members) -> list[tuple[str, ...]]:
    """Return the values that each id has in a group; `REST` for an id without any."""
    values_of: dict[str, list[str]] = {}
    for value, members in group.items():
        for member in members:
            values_of.setdefault(member, []).append(value)
    return [tuple(values_of.get(member, (REST,))) for member in ids]


def _ordered(group: Members | Sequence[str], occurring: Iterable[Collection[str]]) -> list[str]:
    """Return the values that occur, in the order of the group, `REST` last."""
    values_present = {value for values in occurring for value in values}
    order = list(group) if isinstance(group, Mapping) else sorted(values_present)
    return [value for value in dict.fromkeys([*order, REST]) if value in values_present]


def _row(
    name: str, value: str, columns: dict[str, NDArray[np.float64]], level: float, seed: int, relevant: int = 0
) -> SliceRow:
    count = len(next(iter(columns.values())))
    intervals = bootstrap_intervals(np.column_stack(list(columns.values())), level=level, seed=seed)
    if count < 2:
        intervals = np.full_like(intervals, np.nan)
    bounds = {measure: (float(low), float(high)) for measure, (low, high) in zip(columns, intervals, strict=True)}
    return SliceRow(name, value, count, {m: defined_mean(v) for m, v in columns.items()}, bounds, relevant)


class Loss(NamedTuple):
    """The losses of the model and of the index in one measure, for one kind of query.

    Attributes:
        kind: The kind of query, such as ``"text"`` or ``"history"``.
        measure: The measure.
        queries: Number of queries.
        perfect: Mean of a perfect ranking, with all relevant items that may be recommended on top; below 1 if there
            are more than k of them, or some are not in the catalogue, or excluded.
        exact: Mean of exact search over the same vectors.
        served: Mean of the index.
        lost_by_model: ``perfect - exact``: only another model can reduce it.
        model_interval: Its paired bootstrap interval, low and high.
        lost_by_index: ``exact - served``: other search parameters or a larger index can reduce it; below 0 if the
            index misses items that are near but not relevant.
        index_interval: Its paired bootstrap interval, low and high.
    """

    kind: str
    measure: str
    queries: int
    perfect: float
    exact: float
    served: float
    lost_by_model: float
    model_interval: tuple[float, float]
    lost_by_index: float
    index_interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        numbers = {name: number(value) for name, value in self._asdict().items() if isinstance(value, float)}
        intervals = {"model_interval": list(self.model_interval), "index_interval": list(self.index_interval)}
        return self._asdict() | numbers | intervals


def losses(
    retriever: Retriever,
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    *,
    kind: str,
    measures: Sequence[str] = DEFAULT_MEASURES,
    level: float = 0.95,
    seed: int = 0,
) -> list[Loss]:
    """Separate the loss of the model from the loss of the index in the first stage.

    Each query is searched again, exactly and by the index, up to the largest k, without the rows of its history; an
    item query (kind ``"item"``) without its own row. Filters and reranking of the candidates are not repeated. Ties go
    to the lower row.

    Args:
        retriever: The retriever whose vectors and index are measured.
        candidates: Their queries (B, D) and histories are searched with, as `Retriever.search_texts` or
            `Retriever.recommend` returns them.
        relevant: For each query the item_ids that are relevant; queries without any are left out.
        kind: The kind of query, for which the search parameters of the index were tuned.
        measures: Any of ``KNOWN_MEASURES``, with a number for k.
        level: Level of the intervals.
        seed: Makes the intervals repeatable.

    Returns:
        One entry per measure. Lists of several kinds may be joined.

    Raises:
        InputError: For an unknown measure, or if no query has relevant items.
        ShapeError: If the number of collections differs from that of queries.
    """
    if len(relevant) != len(candidates):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(candidates)} queries; one a query")
    k = max(cutoffs(measures).values())
    with_relevant = [query for query, ids in enumerate(relevant) if len(ids)]
    if not with_relevant:
        raise InputError(f"none of {len(relevant)} queries has relevant items, so nothing can be lost")
    candidates, targets = (
        candidates.take(with_relevant).pointing_into(retriever.items),
        [relevant[query] for query in with_relevant],
    )
    excluded = (
        list(retriever.items.rows(candidates.query_ids)[:, None]) if kind == "item" else list(candidates.histories)
    )
    rankings = {
        "perfect": _perfect(retriever, targets, excluded, k),
        "exact": _exact(retriever, candidates, excluded, k),
        "served": retrieve(retriever.index, candidates.queries, k, exclude=excluded, kind=kind)[1],
    }
    values = {name: per_query(rows, targets, retriever.items, measures) for name, rows in rankings.items()}
    perfect, exact, served = (np.column_stack(list(values[name].values())) for name in rankings)
    by_model = bootstrap_intervals(perfect - exact, level=level, seed=seed)
    by_index = bootstrap_intervals(exact - served, level=level, seed=seed)
    means = [ranking.mean(axis=0).tolist() for ranking in (perfect, exact, served)]
    return [
        Loss(kind, measure, len(targets), p, x, s, p - x, _bounds(by_model, n), x - s, _bounds(by_index, n))
        for n, (measure, p, x, s) in enumerate(zip(values["exact"], *means, strict=True))
    ]


def _perfect(retriever: Retriever, targets: Sequence[Collection[str]], excluded: Sequence[Rows], k: int) -> Rows:
    """Rank the relevant items that are in the catalogue and not excluded: (B, k) rows, padded with -1."""
    rows = np.full((len(targets), k), -1, np.int64)
    for query, (ids, excluded_rows) in enumerate(zip(targets, excluded, strict=True)):
        top = np.setdiff1d(retriever.items.rows(retriever.items.known(set(ids))), excluded_rows)[:k]
        rows[query, : len(top)] = top
    return rows


def _exact(retriever: Retriever, candidates: Candidates, excluded: Sequence[Rows], k: int) -> Rows:
    """Search all live items that have a vector, exactly."""
    live_rows = np.flatnonzero(retriever.bundle.is_live & retriever.vectors.any(axis=1))
    position = np.full(len(retriever.items), -1, np.int64)
    position[live_rows] = np.arange(len(live_rows))
    exclude = [position[rows][position[rows] >= 0] for rows in excluded]
    index: VectorIndex = FlatIndex(retriever.indexed[live_rows])
    rows = retrieve(index, candidates.queries, k, exclude=exclude)[1]
    return np.where(rows >= 0, live_rows[rows], -1)


def _bounds(intervals: NDArray[np.float64], column: int) -> tuple[float, float]:
    return float(intervals[column, 0]), float(intervals[column, 1])
