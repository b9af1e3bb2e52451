"""The stages after retrieval, as functions of a state: reranking, diversity, explanations, nearest parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np

from indexing.arrays import Mask, unit
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from indexing.media.files import Modality
from indexing.runtime.arguments import check_kind, check_list, check_mapping
from retrieval.candidates import Candidates, require_candidates
from retrieval.candidates.sources import EXACT, source_code
from retrieval.interactions.impressions import ImpressionsLike, as_impressions
from retrieval.interactions.parse_values import Moment, request_seconds
from retrieval.postprocess.diversify import (
    METHODS,
    Cap,
    DiversityContext,
    ExposurePenalty,
    Limit,
    MaxSimilarity,
    Method,
    check_exposure_weight,
    diversified,
    exposures,
    objective,
)
from retrieval.postprocess.rules import Rule, Ruled, Rules, ShownImpressions
from retrieval.ranking.confidence import MatchClassifier, MatchConfidence, judge_candidates
from retrieval.ranking.explain import (
    Explanation,
    explain,
    finite_weights,
    with_features,
    with_modalities,
    with_profiles,
)
from retrieval.ranking.reranker import STAGE, Reranker
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.loaded_bundle import LoadedBundle


class Part(NamedTuple):
    """The part of an item that is nearest to a query.

    Attributes:
        modality: Its modality.
        label: Which one: ``"0"`` for the first picture or text, ``"1 at 12.5 s"`` for a frame of a film.
        score: Its cosine with the query.
    """

    modality: Modality
    label: str
    score: float


def nearest_parts(candidates: Candidates, bundle: Bundle) -> list[list[Part | None]]:
    """Find for each hit of each query the part that is nearest to it, among the frozen vectors of the item.

    Args:
        candidates: B queries with their hits.
        bundle: The bundle in which they were found.

    Returns:
        For each query one entry for each hit, in order: None where no part of the item can be compared with the query,
        as the query is zero, or zero in each modality of the item.

    Raises:
        InputError: When the queries have no vectors, as those of a pool.
    """
    candidates, dim = candidates.pointing_into(bundle.items), bundle.manifest.encoder.dim
    if candidates.queries.shape[1] != dim:
        raise InputError(
            f"queries have {candidates.queries.shape[1]} dimensions, the bundle's vectors {dim}; give the result "
            "of a search or of recommend"
        )
    queries, separate = unit(candidates.queries), bundle.manifest.encoder.separate
    best: dict[tuple[int, int], Part] = {}
    for modality, parts in bundle.parts.items():
        for query, rows in enumerate(candidates.rows):
            for row in rows[rows >= 0].tolist() if queries[query].any() else ():
                start, stop = np.searchsorted(parts.rows, (row, row + 1))
                if start == stop:
                    continue
                cosines = unit(parts.vectors[start:stop]) @ queries[query]
                if separate and not cosines.any():  # the query is zero in this modality
                    continue
                position = int(cosines.argmax())
                part_found = Part(modality, parts.labels[start + position], float(cosines[position]))
                best[query, row] = max(best.get((query, row), part_found), part_found, key=lambda part: part.score)
    return [[best.get((query, row)) for row in rows.tolist() if row >= 0] for query, rows in enumerate(candidates.rows)]


def rerank(state: LoadedBundle, candidates: Candidates, k: int | None) -> Candidates:
    """Order candidates by the learned head; see `Retriever.rerank`."""
    current = state.here(candidates)
    _require_vectors(current, "reranking")
    if current.stage in (STAGE, EXACT) and current.among is not None:
        ranked = current if current is candidates else _reranked_among(state, current, current.among)
        return ranked if k is None else ranked.top(k)
    ranked = _reranker(state, current).rerank(replace(current, among=None))
    if isinstance(state.reranker, SecondStage) and ranked.stage in (STAGE, EXACT):
        ranked = replace(ranked, among=ranked)
    return ranked if k is None else ranked.top(k)


def _reranker(state: LoadedBundle, candidates: Candidates) -> Reranker:
    """Give the reranker, for which a dislike is what it was in the request of the candidates."""
    stage = state.reranker
    return stage.liking(candidates.min_relevance) if isinstance(stage, SecondStage) else stage


def _require_vectors(candidates: Candidates, what: str) -> None:
    """Refuse lists of a search by words alone, which encodes no query: all their inner products would be 0."""
    if candidates.sources is None:
        return
    by_words: Mask = (candidates.sources == source_code("words")).any(axis=1)
    if (by_words & ~candidates.queries.any(axis=1)).any():
        raise InputError(
            f"{what} needs the vectors of queries, and a search by words alone encodes none; search by vectors, or by "
            "both"
        )


def _reranked_among(state: LoadedBundle, candidates: Candidates, among: Candidates) -> Candidates:
    """Rerank candidates of an earlier ranker among all that it scored; candidates beyond these follow."""
    ranked = _reranker(state, among).rerank(replace(among, among=None))
    is_listed = [
        np.isin(rows_ranked, rows_listed) for rows_ranked, rows_listed in zip(ranked.rows, candidates.rows, strict=True)
    ]
    rows = np.where(np.array(is_listed, np.bool_).reshape(ranked.rows.shape), ranked.rows, -1)
    sources = None if ranked.sources is None else np.where(rows >= 0, ranked.sources, np.int8(-1))
    listed = replace(ranked, rows=rows, sources=sources).reordered(ranked.scores, ranked.stage).followed_by(candidates)
    return replace(listed, among=ranked if isinstance(state.reranker, SecondStage) else None)


@dataclass(frozen=True, eq=False)
class Diversity:
    """The settings of `Retriever.diversify`.

    Attributes:
        method: ``"mmr"`` or ``"msd"``, by how items look and read, or by an attribute; ``"calibrated"`` to the shares
            that an attribute has in the history; ``"caps"`` for caps alone.
        strength: From 0, relevance alone, to 1, variety alone.
        sharpness: Above 1, the first hits are kept more and the last ones less.
        attribute: Items with the same values of it are similar, in place of their content; ``"calibrated"`` needs one.
        caps: For attributes how many of the k may have the same value; more come only when no others are left.
        max_similarity: A cosine, as search gives it: no two of the k have content that is more similar; more come
            only when no others are left.
        page: Hits that are seen at once: each so many stand in the order of relevance, not as they were picked.
        shown: Lists that other users see, such as yesterday's: items that are in many of them are ranked lower.
            Items that this bundle lacks are ignored.
        exposure_weight: How much ``shown`` counts, where relevance is from 0 to 1.
    """

    method: Method = "mmr"
    strength: float = 0.3
    sharpness: float = 1.0
    attribute: str | None = None
    caps: Mapping[str, int] | None = None
    max_similarity: float | None = None
    page: int | None = None
    shown: Candidates | None = None
    exposure_weight: float = 0.1

    def check(self) -> None:
        """Check what can be checked without a bundle.

        Raises:
            InputError: When a method, or a number, cannot be used.
        """
        check_kind(self.method, str, "method", f"give one of {list(METHODS)}")
        check_exposure_weight(self.exposure_weight)
        if self.caps is not None:
            check_mapping(self.caps, "caps", "{'brand': 2}")
        if self.method == "caps" and not self.caps and self.max_similarity is None and self.shown is None:
            raise InputError(
                "the method 'caps' has nothing to do without caps",
                python="give caps={'brand': 2}, max_similarity=0.9 or another method",
                cli="give diversify.caps or diversify.max_similarity in the file of --postprocess, or another method",
                http='give "caps": {"brand": 2}, "max_similarity": 0.9 or another method',
            )


def diversify(state: LoadedBundle, candidates: Candidates, settings: Diversity, k: int | None) -> Candidates:
    """Select relevant and diverse hits; see `Retriever.diversify`."""
    candidates = state.here(candidates)
    settings.check()
    attribute = None if settings.attribute is None else state.attribute(settings.attribute)
    context = DiversityContext(state.vectors, state.centre, state.users, attribute)
    limits: list[Limit] = [Cap(state.attribute(name), cap) for name, cap in (settings.caps or {}).items()]
    if settings.max_similarity is not None:
        limits.append(MaxSimilarity(state.vectors, settings.max_similarity))
    target = objective(settings.method, context, settings.strength, settings.sharpness)
    if settings.shown is not None:
        require_candidates(settings.shown, "shown")
        counts = exposures(settings.shown, max(1, settings.shown.rows.shape[1]), state.items)
        target = ExposurePenalty(target, counts, settings.exposure_weight)
    ranked = diversified(candidates, target, k, caps=limits, page=settings.page)
    return ranked if k is None else ranked.top(k)


def apply_rules(
    state: LoadedBundle,
    candidates: Candidates,
    rules: Rules | Sequence[Rule],
    k: int | None,
    shown: ShownImpressions | None,
) -> Ruled:
    """Apply business rules; see `Retriever.apply_rules`."""
    candidates = state.here(candidates)
    if not isinstance(rules, Rules):
        check_list(rules, "rules")
        rules = Rules(tuple(rules))
    after = rules.apply(candidates, state.bundle.attributes, shown)
    return after if k is None else cast(Ruled, after.top(k))


def shown_until(impressions: ImpressionsLike | None, at: Moment | None) -> ShownImpressions | None:
    """Join impressions and the time of a request, in UTC where it has no zone; None without impressions.

    Raises:
        InputError: When either is something else, or a time is given without impressions.
    """
    until = None if at is None else int(request_seconds([at], "at")[0])
    if impressions is None:
        if at is not None:
            raise InputError("at is the time up to which impressions count, and there are none; give impressions, too")
        return None
    return ShownImpressions(as_impressions(impressions), until)


def explain_hits(
    state: LoadedBundle,
    candidates: Candidates,
    weights: Sequence[Sequence[float]] | None,
    max_reasons: int,
    among: Candidates | None,
) -> list[list[Explanation]]:
    """Explain each hit; see `Retriever.explain`.

    Args:
        state: Of the bundle.
        candidates: The hits.
        weights: How much each item of ``candidates.histories`` was liked, as it was for the recommendations, each item
            once; what the candidates know of it when None.
        max_reasons: At most so many items of a history, and so many features, for each hit.
        among: What `rerank` gave, all of it, for candidates that do not know it, as those that were read from a file:
            what a head reads of a hit depends on the others.
    """
    candidates = state.here(candidates)
    given = None if weights is None else finite_weights(weights, candidates.histories)
    if among is not None:
        among = state.here(among, "among")
    space = state.space.liking(candidates.min_relevance)
    explanations = explain(candidates, space, state.centre, given, max_reasons)
    explanations = with_profiles(explanations, candidates, space)
    explanations = with_modalities(explanations, candidates, state.bundle.modality_vectors, state.adapter)
    scored = among or candidates
    scored = scored.among or scored
    stage = _reranker(state, scored)
    if scored.stage != STAGE or not isinstance(stage, SecondStage):
        return explanations
    return with_features(explanations, candidates, scored, stage, max_reasons)


def verdicts(
    state: LoadedBundle, candidates: Candidates, kind: str, matching: MatchClassifier | None
) -> MatchConfidence:
    """Judge for each query whether the catalogue has a good match; see `Retriever.verdicts`."""
    candidates = state.here(candidates)
    _require_vectors(candidates, "a verdict")
    check_kind(kind, str, "kind", "give 'text', 'image' or 'audio'")
    if matching is not None:
        check_kind(matching, MatchClassifier, "matching", "give what MatchClassifier.fit gives, or None")
    return judge_candidates(candidates, state.vectors, matching or state.matching(kind))


def matched_parts(state: LoadedBundle, candidates: Candidates) -> list[list[Part | None]]:
    """Find the part of each hit that is nearest to its query; see `Retriever.nearest_parts`."""
    candidates = state.here(candidates)
    dim = state.vectors.shape[1]
    queries = candidates.queries[:, :dim]
    if not queries.shape[1]:  # candidates of a file have no query vectors
        queries = np.zeros((len(candidates), dim), np.float32)
    lacks_content: Mask = np.asarray(~queries.any(axis=1), np.bool_)
    if lacks_content.any():  # use the content of what was liked in the history
        space = state.space.liking(candidates.min_relevance)
        liked, weights = space.users.liked_items(candidates.histories, candidates.weights or None)
        queries = np.where(lacks_content[:, None], space.tastes(liked, weights, state.centre), queries)
    return nearest_parts(replace(candidates, queries=queries), state.bundle)
