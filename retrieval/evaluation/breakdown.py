"""Where quality is lost: by groups of queries, by groups of items, and by the index.

Groups have names and values, and each value has its members: ``{"history": {"light": {"ann"}, "heavy": {"bob"}}}``.
A member may be in several, as a film with two genres is. What is in none is reported all the same, as `REST`.

Two losses are told apart: that of the model (exact search falls short of perfect), and that of the index (it is not
exact).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError, ShapeError, examples
from indexing.index import FlatIndex, VectorIndex
from indexing.index.search import retrieve
from indexing.media.files import Modality
from retrieval.candidates import Candidates
from retrieval.evaluation.beyond_accuracy import Past
from retrieval.evaluation.evaluate import DEFAULT_MEASURES, Evaluation, number
from retrieval.evaluation.metrics import cutoffs, per_query
from retrieval.evaluation.statistics import bootstrap_intervals, defined_mean
from retrieval.features.column_encoders import values_in
from retrieval.filters.values import attribute_type
from retrieval.interactions.interactions import Interactions
from retrieval.retriever.retriever import Retriever

Groups = dict[str, dict[str, frozenset[str]]]
"""For each name, the ids of each value."""


def user_groups(past: Interactions) -> Groups:
    """Tell users of a log apart by how much they did: ``history`` is ``light`` or ``heavy``.

    Heavy are those with more different items than the median user. Who is not in the log is in neither, and becomes a
    slice of their own.
    """
    counted = past.table.group_by("user_id").aggregate([("item_id", "count_distinct")])
    names = np.array(counted["user_id"].to_pylist(), np.object_)
    lengths = counted["item_id_count_distinct"].to_numpy()
    heavy = lengths > (np.median(lengths) if len(lengths) else 0)
    return {"history": {"light": frozenset(names[~heavy]), "heavy": frozenset(names[heavy])}}


def item_groups(bundle: Bundle, past: Interactions, *, attributes: Sequence[str] = (), popular: float = 0.5) -> Groups:
    """Tell the items of a bundle apart.

    - ``item``: ``warm`` with, ``cold`` without interactions in the past;
    - ``popularity``: ``popular``, the fewest items that together hold a share of the past interactions; ``tail``, the
      other warm ones;
    - for each modality that any item has, as ``image``: ``with image`` or ``without image``;
    - for each attribute asked for, its values; an item with several values is in each.

    Args:
        bundle: The opened bundle.
        past: What users did before what is to be found.
        attributes: Names of attributes; one with numbers is best made into ranges first.
        popular: The share of the interactions that makes the popular items, between 0 and 1.

    Raises:
        InputError: For a senseless share, or an empty past.
        FilterError: For an attribute that the bundle lacks.
    """
    if not 0 < popular < 1:
        raise InputError(f"a share of {popular} makes no popular items; give a number between 0 and 1, such as 0.5")
    names = np.array(list(bundle.items), np.object_)
    alive = bundle.alive

    def group(**masks: NDArray[np.bool_]) -> dict[str, frozenset[str]]:
        return {value.replace("_", " "): frozenset(names[mask & alive]) for value, mask in masks.items()}

    counts = Past.of(past, bundle.items).interactions
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), np.bool_)
    # A share of 0.07 of 100 is a hair above 7 in floating point, and seven are enough.
    head[order] = before < popular * counts.sum() - 1e-9
    groups: Groups = {
        "item": group(warm=counts > 0, cold=counts == 0),
        "popularity": group(popular=head & (counts > 0), tail=~head & (counts > 0)),
    }
    for modality in bundle.modality_vectors.modalities:
        exists = bundle.modality_vectors.exists[Modality(modality)]
        groups[modality] = group(**{f"with_{modality}": exists, f"without_{modality}": ~exists})
    for attribute in attributes:
        groups[attribute if attribute not in groups else f"attribute {attribute}"] = _by_value(bundle, attribute)
    return groups


def _by_value(bundle: Bundle, attribute: str) -> dict[str, frozenset[str]]:
    attribute_type(bundle.attributes, attribute)  # says which there are, when there is no such
    table = bundle.attributes.select(["item_id", attribute]).filter(pa.array(bundle.alive))
    members: dict[str, set[str]] = {}
    for line in table.to_pylist():
        for value in values_in(line[attribute]):
            members.setdefault(value, set()).add(line["item_id"])
    return {value: frozenset(members[value]) for value in sorted(members)}


REST = "(none)"
Members = Mapping[str, Collection[str]]
"""For each value of a group the ids in it."""

# Of these measures, a part of the relevant items has a value of its own; see `item_slices`.
CUTTABLE = ("recall", "hit_rate")


class SliceRow(NamedTuple):
    """One slice.

    Attributes:
        name: What was sliced by.
        value: Which slice.
        queries: How many queries it has: few queries say little, which the interval shows.
        means: For each measure its mean over these queries.
        intervals: For each measure the bootstrap interval, low and high; NaN where one query has no spread to tell.
        relevant: For slices of items, how many pairs of a query and a relevant item are in it; 0 for those of queries.
    """

    name: str
    value: str
    queries: int
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    relevant: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give everything as an object that ``json.dumps`` takes; null for NaN."""
        means = {name: number(mean) for name, mean in self.means.items()}
        intervals = {name: [number(low), number(high)] for name, (low, high) in self.intervals.items()}
        return self._asdict() | {"means": means, "intervals": intervals}


def slices(
    evaluation: Evaluation, groups: Mapping[str, Members | Sequence[str]], *, level: float = 0.95, seed: int = 0
) -> list[SliceRow]:
    """Cut an evaluation by groups of its queries: all measures, for every group that has any query.

    Args:
        evaluation: What was measured.
        groups: For each name, the query_ids of each value, or else the value of each of the n queries in order.
        level: Of the intervals.
        seed: Makes the intervals repeatable.

    Raises:
        ShapeError: When there is not one value a query.

    >>> from retrieval.evaluation import Evaluation
    >>> found = Evaluation(("ann", "bob", "cem"), {"mrr@5": np.array([1.0, 0.5, 0.0])}, {}, 0)
    >>> [(row.value, row.queries, row.means) for row in slices(found, {"history": {"heavy": {"ann", "bob"}}})]
    [('heavy', 2, {'mrr@5': 0.75}), ('(none)', 1, {'mrr@5': 0.0})]
    """
    ids, rows = evaluation.query_ids, []
    for name, group in groups.items():
        if not isinstance(group, Mapping) and len(group) != len(ids):
            raise ShapeError(
                f"{name!r} has {len(group)} values for {len(ids)} queries with relevant items; one a query"
            )
        of_query = _values_of(ids, group) if isinstance(group, Mapping) else [(value,) for value in group]
        for value in _ordered(group, of_query):
            lines = np.array([line for line, values in enumerate(of_query) if value in values], np.int64)
            columns = {measure: one[lines] for measure, one in evaluation.per_query.items()}
            rows.append(_row(name, value, columns, level, seed))
    return rows


def item_slices(
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    groups: Mapping[str, Members],
    *,
    measures: Sequence[str] = ("recall@10", "recall@20"),
    level: float = 0.95,
    seed: int = 0,
) -> list[SliceRow]:
    """Measure how well the relevant items of each group are found, among all items as before.

    Only the relevant set is cut, never the list; each query with relevant items in a slice counts there once. Only
    recall and hit rate keep their meaning: a query's recall is the mean of its slices' recalls weighted by their
    relevant items. The others do not: relevant items of other slices take up places, so that no list could reach an
    ndcg, map or precision of 1, and mrr would punish a good answer for standing before another.

    Args:
        candidates: Ranked items for B queries.
        relevant: For each query the item_ids that should be found.
        groups: For each name the item_ids of each value, as `item_groups` gives.
        measures: ``recall@k`` and ``hit_rate@k``.
        level: Of the intervals.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: For a measure that is not defined for a part of the relevant items.
        ShapeError: When there are not as many collections as queries.
    """
    if wrong := [measure for measure in cutoffs(measures) if measure.partition("@")[0] not in CUTTABLE]:
        raise InputError(f"{examples(wrong)} has no meaning for a part of the relevant items; {CUTTABLE} have")
    if len(relevant) != len(candidates):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(candidates)} queries; one a query")
    rows = []
    for name, group in groups.items():
        every = sorted({item_id for ids in relevant for item_id in ids})
        values = dict(zip(every, _values_of(every, group), strict=True))
        for value in _ordered(group, values.values()):
            wanted = [{item_id for item_id in ids if value in values[item_id]} for ids in relevant]
            lines = [line for line, ids in enumerate(wanted) if ids]
            some = [wanted[line] for line in lines]
            columns = per_query(candidates.rows[lines], some, candidates.items, measures)
            rows.append(_row(name, value, columns, level, seed, sum(map(len, some))))
    return rows


def _values_of(ids: Sequence[str], group: Members) -> list[tuple[str, ...]]:
    """Give the values that each id has in a group; `REST` for one that has none."""
    found: dict[str, list[str]] = {}
    for value, members in group.items():
        for member in members:
            found.setdefault(member, []).append(value)
    return [tuple(found.get(one, (REST,))) for one in ids]


def _ordered(group: Members | Sequence[str], present: Iterable[Collection[str]]) -> list[str]:
    """Give the values that occur: in the order of the group, what is in none last."""
    found = {value for values in present for value in values}
    order = list(group) if isinstance(group, Mapping) else sorted(found)
    return [value for value in dict.fromkeys([*order, REST]) if value in found]


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
    """Where a measure was lost, for one kind of query.

    Attributes:
        kind: What the queries are, as ``"text"`` or ``"history"``.
        measure: Which.
        queries: How many were measured.
        perfect: Mean of a ranking with all that is relevant and may be shown on top; below 1 where more is relevant
            than fits in k, or is not in the catalogue, or is excluded.
        exact: Mean of exact search over the same vectors.
        served: Mean of the index.
        lost_by_model: ``perfect - exact``: only another model can win it.
        model_interval: Its paired bootstrap interval, low and high.
        lost_by_index: ``exact - served``: a greater effort or a larger index can win it; below 0 where to miss the
            nearest was luck.
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
        """Give the fields as plain JSON values."""
        numbers = {name: number(value) for name, value in self._asdict().items() if isinstance(value, float)}
        intervals = {"model_interval": list(self.model_interval), "index_interval": list(self.index_interval)}
        return self._asdict() | numbers | intervals


def losses(
    retriever: Retriever,
    asked: Candidates,
    relevant: Sequence[Collection[str]],
    *,
    kind: str,
    measures: Sequence[str] = DEFAULT_MEASURES,
    level: float = 0.95,
    seed: int = 0,
) -> list[Loss]:
    """Tell what the model lost from what the index lost, in the first stage.

    Each query is searched anew, exactly and by the index, as deep as the measures look, without the rows of its
    history; an item query (kind ``"item"``) without its own. Filters and reranking that the candidates went through are
    not repeated. Between equal scores both take the lower row.

    Args:
        retriever: What is measured: its vectors, and its index.
        asked: Whose queries (B, D) and histories to take, as `Retriever.search_texts` or `Retriever.recommend` gives.
        relevant: For each query the item_ids that should be found; queries with none are left out.
        kind: What the queries are: the index tries as hard as it was tuned to for this kind.
        measures: Any of ``KNOWN_MEASURES``, with a number for k.
        level: Of the intervals.
        seed: Makes the intervals repeatable.

    Returns:
        One line a measure. Lists of several kinds may be joined.

    Raises:
        InputError: For an unknown measure, or when no query has anything relevant.
        ShapeError: When there are not as many collections as queries.
    """
    if len(relevant) != len(asked):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(asked)} queries; one a query")
    depth = max(cutoffs(measures).values())
    judged = [query for query, ids in enumerate(relevant) if len(ids)]
    if not judged:
        raise InputError(f"none of {len(relevant)} queries has relevant items, so nothing can be lost")
    asked, wanted = asked.take(judged).pointing_into(retriever.items), [relevant[query] for query in judged]
    hidden = list(retriever.items.rows(asked.query_ids)[:, None]) if kind == "item" else list(asked.histories)
    rankings = {
        "perfect": _perfect(retriever, wanted, hidden, depth),
        "exact": _exact(retriever, asked, hidden, depth),
        "served": retrieve(retriever.index, asked.queries, depth, exclude=hidden, kind=kind)[1],
    }
    found = {name: per_query(rows, wanted, retriever.items, measures) for name, rows in rankings.items()}
    perfect, exact, served = (np.column_stack(list(found[name].values())) for name in rankings)
    by_model = bootstrap_intervals(perfect - exact, level=level, seed=seed)
    by_index = bootstrap_intervals(exact - served, level=level, seed=seed)
    means = [one.mean(axis=0).tolist() for one in (perfect, exact, served)]
    return [
        Loss(kind, measure, len(wanted), p, e, s, p - e, _bounds(by_model, n), e - s, _bounds(by_index, n))
        for n, (measure, p, e, s) in enumerate(zip(found["exact"], *means, strict=True))
    ]


def _perfect(retriever: Retriever, wanted: Sequence[Collection[str]], hidden: Sequence[Rows], depth: int) -> Rows:
    """Rank what is relevant, is in the catalogue and may be shown: (B, depth) rows, -1 where nothing else is."""
    rows = np.full((len(wanted), depth), -1, np.int64)
    for line, (ids, gone) in enumerate(zip(wanted, hidden, strict=True)):
        best = np.setdiff1d(retriever.items.rows(retriever.items.known(set(ids))), gone)[:depth]
        rows[line, : len(best)] = best
    return rows


def _exact(retriever: Retriever, asked: Candidates, hidden: Sequence[Rows], depth: int) -> Rows:
    """Search all living items that have a vector, exactly."""
    there = np.flatnonzero(retriever.bundle.alive & retriever.vectors.any(axis=1))
    position = np.full(len(retriever.items), -1, np.int64)
    position[there] = np.arange(len(there))
    exclude = [position[rows][position[rows] >= 0] for rows in hidden]
    oracle: VectorIndex = FlatIndex(retriever.indexed[there])
    rows = retrieve(oracle, asked.queries, depth, exclude=exclude)[1]
    return np.where(rows >= 0, there[rows], -1)


def _bounds(intervals: NDArray[np.float64], line: int) -> tuple[float, float]:
    return float(intervals[line, 0]), float(intervals[line, 1])
