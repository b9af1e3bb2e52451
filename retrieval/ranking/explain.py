"""Why an item was recommended: its parts, and the items of the history that brought it up."""

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

READ = 50


@dataclass(frozen=True)
class Explanation:
    """Why one hit has its score.

    Attributes:
        item_id: The hit.
        score: By retrieval: the sum of the four below.
        content: What looks, reads and sounds like the history.
        behaviour: What users of the history's items went on to.
        popularity: What users take whatever their history.
        profile: What new users of the same profile like beside that; see `with_profiles`.
        history: Items of the history and by how much the score would be lower without each, the most telling first.
        stages: The score by each stage: ``"retrieve"``, and that which ordered the candidates last, if another.
        modalities: How much each counts in the item's content, ``{"text": 0.7, "image": 0.3}``, the most first.
        features: By how much each group of features moved the score of the head, the most first; see
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
    most: int = 5,
) -> list[list[Explanation]]:
    """Explain the hits of recommendations: each item of a history is dropped, and the user asked for again.

    Args:
        candidates: B queries that were made of histories. Those of a pool, which no index was asked for, are asked for
            here: `Explanation.score` is what retrieval would have given.
        space: Where they were found.
        centre: (D,) float32, the mean content, as it was for the queries.
        weights: For each history how much each item was liked, as it was for the queries; as the candidates say when
            None.
        most: So many items of a history a hit.

    Returns:
        For each query one explanation a hit, in the order of the hits. Of histories the last 50 items are dropped.

    Raises:
        InputError: When a query was not made of a history, or is of another space.
    """
    if not is_whole(most, 0):
        raise InputError(f"most={shown_number(most)} items of a history; give 0 or more")
    weights = candidates.weights or None if weights is None else weights
    space = _asked(candidates, space)
    candidates = _with_queries(candidates, space, centre, weights)
    # A search asks content alone, a user without a history behaviour alone.
    asked = [bool(query[space.dim :].any()) for query in candidates.queries]
    if not all(len(past) or new for past, new in zip(candidates.histories, asked, strict=True)):
        raise InputError("only recommendations are explained: each query needs the history that it was made of")
    told = []
    for line, rows in enumerate(candidates.rows):
        hits, query = rows[rows >= 0], candidates.queries[line]
        products = space.indexed[hits] * query
        behaviour = products[:, space.dim :]
        popularity = behaviour[:, -1] if behaviour.shape[1] else np.zeros(len(hits), np.float32)
        parts = np.stack([products[:, : space.dim].sum(axis=1), behaviour.sum(axis=1) - popularity, popularity], axis=1)
        history = candidates.histories[line]
        given = None if weights is None else weights[line]
        if given is not None:  # what was disliked brings nothing up
            liked = space.users.is_liked(given)
            history, given = history[liked], np.asarray(given)[liked]
        effects = _effects(space, history, hits, given, centre)
        told.append(
            [
                Explanation(
                    candidates.items[row],
                    float(parts[place].sum()),
                    content=float(parts[place, 0]),
                    behaviour=float(parts[place, 1]),
                    popularity=float(parts[place, 2]),
                    history=_most_telling(candidates, history, effects[place], most),
                    stages=_stages(candidates, line, place, float(parts[place].sum())),
                )
                for place, row in enumerate(hits.tolist())
            ]
        )
    return told


def finite_weights(weights: Sequence[Sequence[float] | Vectors], histories: Sequence[Rows]) -> list[Vectors]:
    """Give weights of histories as arrays of float32.

    Raises:
        InputError: When a weight is no finite number.
        ShapeError: When there is not one weight for each row of each history.
    """
    try:
        given = [np.asarray(one, np.float32) for one in weights]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"weights are numbers, a list for each history, as [[5.0, 1.0]]: {error}") from error
    if [one.shape for one in given] != [(len(past),) for past in histories]:
        raise ShapeError(
            f"weights of shapes {examples(one.shape for one in given)} for histories of "
            f"{examples(map(len, histories))} items; give one weight for each item of each history"
        )
    for line, one in enumerate(given):
        if len(bad := np.flatnonzero(~np.isfinite(one))):
            raise InputError(f"weights[{line}][{bad[0]}] is {one[bad[0]]}; give finite numbers")
    return given


def _asked(candidates: Candidates, space: ItemSpace) -> ItemSpace:
    """Give the space as it was asked: in a visit, by those who come back, or for items that nobody has met."""
    if candidates.new_items and space.has_only_new(candidates.rows[candidates.rows >= 0]):
        return space.for_new_items
    return space if candidates.idle is None else space.for_returning


def _with_queries(
    candidates: Candidates, space: ItemSpace, centre: Vectors | None, weights: Sequence[Vectors] | None
) -> Candidates:
    """Give candidates with the queries that their histories make, where no index was asked."""
    width = candidates.queries.shape[1]
    if width == space.indexed.shape[1]:
        return candidates
    if width:
        raise InputError(f"queries have dimension {width}, the bundle {space.indexed.shape[1]}; explain what it found")
    return replace(candidates, queries=space.asked(candidates.histories, weights, centre, candidates.new))


def with_modalities(
    told: list[list[Explanation]], candidates: Candidates, frozen: ModalityVectors, adapter: Adapter | None
) -> list[list[Explanation]]:
    """Give explanations that also say how much each modality counts in the item.

    Args:
        told: One explanation a hit, of `explain`.
        candidates: What was explained.
        frozen: The frozen vectors of all rows.
        adapter: What weighs the modalities; without one they count as they were fused.
    """
    rows = np.unique(candidates.rows[candidates.rows >= 0])
    items = frozen.take(rows)
    weights = ModalityGate().weigh(items)[1] if adapter is None else adapter.modality_weights(items)
    names = [str(modality) for modality in items.vectors]
    of_item = {}
    for row, line in zip(rows.tolist(), weights.tolist(), strict=True):
        ordered = sorted(zip(names, line, strict=True), key=lambda pair: -pair[1])
        of_item[candidates.items[row]] = {name: weight for name, weight in ordered if weight > 0}
    return [[replace(one, modalities=of_item[one.item_id]) for one in hits] for hits in told]


def with_profiles(told: list[list[Explanation]], candidates: Candidates, space: ItemSpace) -> list[list[Explanation]]:
    """Give explanations in which what profiles say is no part of behaviour.

    Args:
        told: One explanation a hit, of `explain`.
        candidates: What was explained.
        space: Where they were found.
    """
    if candidates.new is None or space.behaviour is None:
        return told
    asked = (1 - space.behaviour.own(candidates.histories)) * candidates.new
    asked[:, -1] = 0  # popularity, which all ask alike
    found = []
    for rows, query, hits in zip(candidates.rows, asked, told, strict=True):
        moved = (space.indexed[rows[rows >= 0], space.dim :] @ query).tolist()
        pairs = zip(hits, moved, strict=True)
        found.append([replace(one, profile=by, behaviour=one.behaviour - by) for one, by in pairs])
    return found


def _stages(candidates: Candidates, line: int, place: int, retrieved: float) -> dict[str, float]:
    """Give the score of a hit by retrieval and by the stage that ordered it last; hits stand before all padding."""
    return {"retrieve": retrieved, candidates.stage: float(candidates.scores[line, place])}


def _effects(space: ItemSpace, history: Rows, hits: Rows, weights: Vectors | None, centre: Vectors | None) -> Vectors:
    """By how much the score of each hit falls when one of the last items of the history is dropped: (K, H).

    The others then count as much as all did. What is popular and what a profile says have no part in it.
    """
    places = range(max(0, len(history) - READ), len(history))
    if not places:
        return np.zeros((len(hits), 0), np.float32)
    own, block = 1.0, space.behaviour
    if block is not None:
        own = float(block.own([history])[0, 0])
        space = replace(space, behaviour=replace(block, few=0.0))
    dropped = places if len(history) > 1 else ()  # without an only one nothing is left
    pasts = [history, *(np.delete(history, place) for place in dropped)]
    liked = None if weights is None else [weights, *(np.delete(weights, place) for place in dropped)]
    queries = np.float32(own) * space.asked(pasts, liked, centre)
    if block is not None:
        queries[:, -1] = 0
    scores = space.indexed[hits] @ queries.T
    effects: Vectors = scores[:, :1] - scores[:, 1:] if dropped else scores
    return effects


def _most_telling(candidates: Candidates, history: Rows, effects: Vectors, most: int) -> tuple[tuple[str, float], ...]:
    recent = history[len(history) - len(effects) :]
    return tuple((candidates.items[recent[place]], float(effects[place])) for place in np.argsort(-effects)[:most])


_NEAR = 1e-3  # of a score: products of lists of other lengths are summed up in another order


def with_features(
    told: list[list[Explanation]], hits: Candidates, among: Candidates, stage: SecondStage, most: int = 5
) -> list[list[Explanation]]:
    """Give explanations that also say which features of the head moved the score.

    A group of features, as all that is known by one source, is set to its mean over the candidates of the query: by so
    much the score falls (occlusion, after Zeiler and Fergus, 2014). The user's own features are the same for all.

    Args:
        told: One explanation a hit, of `explain`.
        hits: What was explained.
        among: What the head ordered, for the same queries: the hits and all others.
        stage: Which has the head.
        most: So many groups a hit, those that move it most, up or down, first.

    Returns:
        Nothing more where the head did not order a hit: of a short history, of an item that nobody has met, or
        one that a rule pinned.

    Raises:
        ShapeError: When the queries are not the same.
        InputError: When ``among`` was cut, or ordered by something else since the head ordered it.
    """
    if among.query_ids != hits.query_ids:
        raise ShapeError(f"hits of {len(hits)} queries among candidates of {len(among)}, or of others; give the same")
    learned, groups = stage.ordered_by_head(among), [one.group for one in stage.features.features]
    columns = {group: np.array([one == group for one in groups]) for group in dict.fromkeys(groups)}
    found = []
    for line, explanations in enumerate(told):
        rows = hits.rows[line][hits.rows[line] >= 0]
        effects = _moved(stage, among.take([line]), learned[line], rows, columns)
        found.append(
            [
                replace(one, features=_first(effects.get(row, {}), most))
                for one, row in zip(explanations, rows.tolist(), strict=True)
            ]
        )
    return found


def _moved(
    stage: SecondStage, among: Candidates, learned: Mask, wanted: Rows, columns: Mapping[str, Mask]
) -> dict[int, dict[str, float]]:
    """Give the effects of all groups for those rows of one list that are wanted and that the head ordered."""
    kept = among.rows[0] >= 0
    rows, scores, learned = among.rows[0][kept], among.scores[0][kept], learned[kept]
    features = stage.features.of(among)[0][kept]
    head = stage.head_of(among, 0)
    by_head = head.score(features) - stage.held_of(rows)
    if not np.allclose(by_head[learned], scores[learned], rtol=_NEAR, atol=_NEAR):
        raise InputError(
            f"the candidates of query {among.query_ids[0]!r} were cut or changed since the head ordered them, or "
            "ordered in another state, and what it reads of one depends on the others; rerank them, or give among=, "
            "all that `rerank` gave"
        )
    places = np.flatnonzero(learned & np.isin(rows, wanted))
    usual = features.mean(axis=0)
    without: Vectors = np.stack([np.where(group, usual, features[places]) for group in columns.values()])
    effects = (by_head[places] + stage.held_of(rows)[places] - head.score(without)).T.tolist()
    return {
        row: dict(zip(columns, line, strict=True)) for row, line in zip(rows[places].tolist(), effects, strict=True)
    }


def _first(effects: Mapping[str, float], most: int) -> dict[str, float]:
    ordered = sorted(effects.items(), key=lambda pair: -abs(pair[1]))
    return {name: effect for name, effect in ordered[:most] if effect}
