"""What moved a hit: what the head reads of it against what is usual among the candidates of its query."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from indexing.arrays.types import Mask, Rows, Vectors
from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.ranking.explain.explain import Explanation
from retrieval.ranking.second_stage import SecondStage

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
