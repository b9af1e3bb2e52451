"""Explains a recommendation: the parts of its score, and the effect of each item of the history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import InputError, ShapeError, examples
from indexing.runtime.arguments import is_whole, shown_number
from indexing.store.collect import ModalityVectors
from retrieval.candidates import Candidates
from retrieval.models.adapter import Adapter, ModalityGate
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.second_stage import SecondStage

MAX_HISTORY = 50


@dataclass(frozen=True)
class Explanation:
    """The parts of one hit's score.

    Attributes:
        item_id: The hit.
        score: Of retrieval: the sum of the four parts below.
        content: Similarity to the content of the history.
        behaviour: Similarity by what users of the history's items took next.
        popularity: The part that is the same for all users.
        profile: The part of what new users of the same profile like; see `with_profiles`.
        history: Items of the history, each with the drop of the score without it, largest first.
        stages: The score by each stage: ``"retrieve"``, and the stage that ordered the candidates last, if another.
        modalities: Weight of each modality in the item's content, ``{"text": 0.7, "image": 0.3}``, largest first.
        features: Effect of each group of features on the score of the head, largest first; see
            `retrieval.ranking.explain.with_features`.
    """

    item_id: str
    score: float
    content: float
    behaviour: float
    popularity: float
    history: tuple[tuple[str, float], ...]
    profile: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    modalities: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)


def explain(
    candidates: Candidates,
    space: ItemSpace,
    centre: Vectors | None = None,
    weights: Sequence[Vectors] | None = None,
    max_items: int = 5,
) -> list[list[Explanation]]:
    """Explain the hits of recommendations: each item of a history is left out in turn, and the hits are scored again.

    Args:
        candidates: Of B histories. Candidates of a pool have no queries; they are made here, and `Explanation.score` is
            what retrieval would have given.
        space: The space that was searched.
        centre: (D,) float32, the mean content, as in the queries.
        weights: For each history the weight of each item, as in the queries; those of the candidates when None.
        max_items: Items of the history that an explanation names.

    Returns:
        For each query one explanation a hit, in the order of the hits. The last 50 items of a history are left out in
        turn.

    Raises:
        InputError: When a query was not made of a history, or is of another space.
    """
    if not is_whole(max_items, 0):
        raise InputError(f"max_items={shown_number(max_items)} items of a history; give 0 or more")
    weights = candidates.weights or None if weights is None else weights
    space = _space_of_queries(candidates, space)
    candidates = _with_queries(candidates, space, centre, weights)
    # A search asks content alone, a user without a history behaviour alone.
    asks_behaviour = [bool(query[space.dim :].any()) for query in candidates.queries]
    if not all(len(history) or asks for history, asks in zip(candidates.histories, asks_behaviour, strict=True)):
        raise InputError("only recommendations are explained: each query needs the history that it was made of")
    explanations = []
    for number, rows in enumerate(candidates.rows):
        hits, query = rows[rows >= 0], candidates.queries[number]
        products = space.indexed[hits] * query
        behaviour = products[:, space.dim :]
        popularity = behaviour[:, -1] if behaviour.shape[1] else np.zeros(len(hits), np.float32)
        contributions = np.stack(
            [products[:, : space.dim].sum(axis=1), behaviour.sum(axis=1) - popularity, popularity], axis=1
        )
        history = candidates.histories[number]
        item_weights = None if weights is None else weights[number]
        if item_weights is not None:  # disliked items are no reason
            liked = space.users.is_liked(item_weights)
            history, item_weights = history[liked], np.asarray(item_weights)[liked]
        effects = _effects(space, history, hits, item_weights, centre)
        explanations.append(
            [
                Explanation(
                    candidates.items[row],
                    float(contributions[position].sum()),
                    content=float(contributions[position, 0]),
                    behaviour=float(contributions[position, 1]),
                    popularity=float(contributions[position, 2]),
                    history=_top_items(candidates, history, effects[position], max_items),
                    stages=_stages(candidates, number, position, float(contributions[position].sum())),
                )
                for position, row in enumerate(hits.tolist())
            ]
        )
    return explanations


def finite_weights(weights: Sequence[Sequence[float] | Vectors], histories: Sequence[Rows]) -> list[Vectors]:
    """Give weights of histories as arrays of float32.

    Raises:
        InputError: When a weight is no finite number.
        ShapeError: When there is not one weight for each row of each history.
    """
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
            arrays = [np.asarray(array, np.float32) for array in weights]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"weights are numbers, a list for each history, as [[5.0, 1.0]]: {error}") from error
    if [array.shape for array in arrays] != [(len(history),) for history in histories]:
        raise ShapeError(
            f"weights of shapes {examples(array.shape for array in arrays)} for histories of "
            f"{examples(map(len, histories))} items; give one weight for each item of each history"
        )
    for number, array in enumerate(arrays):
        if len(invalid := np.flatnonzero(~np.isfinite(array))):
            given = weights[number][invalid[0]]
            raise InputError(f"weights[{number}][{invalid[0]}] is {given}; give finite numbers within ±3.4e38")
    return arrays


def _space_of_queries(candidates: Candidates, space: ItemSpace) -> ItemSpace:
    """Give the space that was queried: for a visit, for users who come back, or for new items."""
    if candidates.new_items and space.has_only_new(candidates.rows[candidates.rows >= 0]):
        return space.for_new_items
    return space if candidates.idle is None else space.for_returning


def _with_queries(
    candidates: Candidates, space: ItemSpace, centre: Vectors | None, weights: Sequence[Vectors] | None
) -> Candidates:
    """Add the queries of the histories to candidates of a pool."""
    width = candidates.queries.shape[1]
    if width == space.indexed.shape[1]:
        return candidates
    if width:
        raise InputError(f"queries have dimension {width}, the bundle {space.indexed.shape[1]}; explain what it found")
    return replace(candidates, queries=space.user_queries(candidates.histories, weights, centre, candidates.new))


def with_modalities(
    explanations: list[list[Explanation]], candidates: Candidates, frozen: ModalityVectors, adapter: Adapter | None
) -> list[list[Explanation]]:
    """Add the weight of each modality in the item to explanations.

    Args:
        explanations: One explanation a hit, of `explain`.
        candidates: The candidates that were explained.
        frozen: The frozen vectors of all rows.
        adapter: Weighs the modalities; without one they count as they were fused.
    """
    rows = np.unique(candidates.rows[candidates.rows >= 0])
    items = frozen.take(rows)
    weights = ModalityGate().weigh(items)[1] if adapter is None else adapter.modality_weights(items)
    names = [str(modality) for modality in items.vectors]
    modalities_of = {}
    for row, row_weights in zip(rows.tolist(), weights.tolist(), strict=True):
        pairs = sorted(zip(names, row_weights, strict=True), key=lambda pair: -pair[1])
        modalities_of[candidates.items[row]] = {name: weight for name, weight in pairs if weight > 0}
    return [[replace(hit, modalities=modalities_of[hit.item_id]) for hit in hits] for hits in explanations]


def with_profiles(
    explanations: list[list[Explanation]], candidates: Candidates, space: ItemSpace
) -> list[list[Explanation]]:
    """Separate the part of profiles from that of behaviour in explanations.

    Args:
        explanations: One explanation a hit, of `explain`.
        candidates: The candidates that were explained.
        space: The space that was searched.
    """
    if candidates.new is None or space.behaviour is None:
        return explanations
    profile_queries = (1 - space.behaviour.history_fractions(candidates.histories)) * candidates.new
    profile_queries[:, -1] = 0  # popularity, the same in all queries
    result = []
    for rows, query, hits in zip(candidates.rows, profile_queries, explanations, strict=True):
        effects = (space.indexed[rows[rows >= 0], space.dim :] @ query).tolist()
        pairs = zip(hits, effects, strict=True)
        result.append(
            [
                replace(explanation, profile=effect, behaviour=explanation.behaviour - effect)
                for explanation, effect in pairs
            ]
        )
    return result


def _stages(candidates: Candidates, query: int, position: int, retrieved: float) -> dict[str, float]:
    """Give the score of a hit by retrieval and by the stage that ordered it last; padding comes after all hits."""
    return {"retrieve": retrieved, candidates.stage: float(candidates.scores[query, position])}


def _effects(space: ItemSpace, history: Rows, hits: Rows, weights: Vectors | None, centre: Vectors | None) -> Vectors:
    """Give the drop of each hit's score when one of the last items of the history is left out: (K, H).

    The other items then count as much as all did. Popularity and profiles are not part of it.
    """
    positions = range(max(0, len(history) - MAX_HISTORY), len(history))
    if not positions:
        return np.zeros((len(hits), 0), np.float32)
    history_share, block = 1.0, space.behaviour
    if block is not None:
        history_share = float(block.history_fractions([history])[0, 0])
        space = replace(space, behaviour=replace(block, history_shrinkage=0.0))
    left_out = positions if len(history) > 1 else ()  # without its only item a history is empty
    histories = [history, *(np.delete(history, position) for position in left_out)]
    weights_of = None if weights is None else [weights, *(np.delete(weights, position) for position in left_out)]
    queries = np.float32(history_share) * space.user_queries(histories, weights_of, centre)
    if block is not None:
        queries[:, -1] = 0
    scores = space.indexed[hits] @ queries.T
    effects: Vectors = scores[:, :1] - scores[:, 1:] if left_out else scores
    return effects


def _top_items(
    candidates: Candidates, history: Rows, effects: Vectors, max_items: int
) -> tuple[tuple[str, float], ...]:
    recent = history[len(history) - len(effects) :]
    return tuple(
        (candidates.items[recent[position]], float(effects[position])) for position in np.argsort(-effects)[:max_items]
    )


_TOLERANCE = 1e-3  # of a score: sums over lists of other lengths add up in another order


def with_features(
    explanations: list[list[Explanation]],
    hits: Candidates,
    reranked: Candidates,
    stage: SecondStage,
    max_items: int = 5,
) -> list[list[Explanation]]:
    """Add the effect of each group of features on the score of the head to explanations.

    A group of features, such as those of one source, is set to its mean over the candidates of the query; the effect is
    the drop of the score (occlusion, after Zeiler and Fergus, 2014). Features of the user are the same for all
    candidates.

    Args:
        explanations: One explanation a hit, of `explain`.
        hits: The candidates that were explained.
        reranked: All candidates that the head ordered, for the same queries.
        stage: The second stage with the head.
        max_items: Groups of features that an explanation names, those with the largest effect, up or down.

    Returns:
        The explanations, unchanged where the head did not order a hit: of a short history, of a new item, or of one
        that a rule pinned.

    Raises:
        ShapeError: When the queries are not the same.
        InputError: When ``reranked`` was truncated or ordered again since the head ordered it.
    """
    if reranked.query_ids != hits.query_ids:
        raise ShapeError(
            f"hits of {len(hits)} queries among candidates of {len(reranked)}, or of others; give the same"
        )
    by_head, groups = stage.ordered_by_head(reranked), [feature.group for feature in stage.features.features]
    columns = {group: np.array([name == group for name in groups]) for group in dict.fromkeys(groups)}
    result = []
    for number, of_query in enumerate(explanations):
        rows = hits.rows[number][hits.rows[number] >= 0]
        effects = _feature_effects(stage, reranked.take([number]), by_head[number], rows, columns)
        result.append(
            [
                replace(explanation, features=_largest(effects.get(row, {}), max_items))
                for explanation, row in zip(of_query, rows.tolist(), strict=True)
            ]
        )
    return result


def _feature_effects(
    stage: SecondStage, reranked: Candidates, by_head: Mask, hits: Rows, columns: Mapping[str, Mask]
) -> dict[int, dict[str, float]]:
    """Give the effects of all groups for the hits of one list that the head ordered."""
    valid = reranked.rows[0] >= 0
    rows, scores, by_head = reranked.rows[0][valid], reranked.scores[0][valid], by_head[valid]
    head = stage.head_of(reranked, 0)
    features = stage.features.of(reranked)[0][valid][:, : head.width]
    raw_scores = head.score(features)
    head_scores = stage.held_back(raw_scores[None], rows[None])[0]
    if not np.allclose(head_scores[by_head], scores[by_head], rtol=_TOLERANCE, atol=_TOLERANCE):
        raise InputError(
            f"the candidates of query {reranked.query_ids[0]!r} were cut or changed since the head ordered them, or "
            "ordered in another state, and the features of one depend on the others; rerank them, or give among=, "
            "all that `rerank` gave"
        )
    positions = np.flatnonzero(by_head & np.isin(rows, hits))
    means = features.mean(axis=0)
    occluded: Vectors = np.stack(
        [np.where(group[: head.width], means, features[positions]) for group in columns.values()]
    )
    effects = (raw_scores[positions] - head.score(occluded)).T.tolist()
    return {
        row: dict(zip(columns, row_effects, strict=True))
        for row, row_effects in zip(rows[positions].tolist(), effects, strict=True)
    }


def _largest(effects: Mapping[str, float], max_items: int) -> dict[str, float]:
    pairs = sorted(effects.items(), key=lambda pair: -abs(pair[1]))
    return {name: effect for name, effect in pairs[:max_items] if effect}
