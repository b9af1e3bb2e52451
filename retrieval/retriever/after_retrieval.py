"""What comes after retrieval, as functions of a state: ordering anew, diversity, explanations, nearest parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from indexing.arrays import Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from indexing.media.files import Modality
from indexing.runtime.arguments import check_kind, check_mapping
from retrieval.candidates import Candidates, require_candidates
from retrieval.postprocess.diversify import (
    METHODS,
    Apart,
    Cap,
    Known,
    LessShown,
    Limit,
    Method,
    check_spread,
    diversified,
    exposures,
    objective,
)
from retrieval.ranking.explain import Explanation, explain, with_features, with_modalities, with_profiles
from retrieval.ranking.reranker import STAGE
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.loaded_bundle import LoadedBundle


class Part(NamedTuple):
    """The part of an item that is nearest to a query.

    Attributes:
        modality: What it is.
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
        bundle: Where they were found.

    Returns:
        For each query one entry a hit, in the order of the hits: None where nothing of the item can be compared with
        the query: it has no direction, or says nothing of any modality that the item has.

    Raises:
        InputError: When the queries have no vectors, as those of a pool.
    """
    candidates, dim = candidates.pointing_into(bundle.items), bundle.manifest.encoder.dim
    if candidates.queries.shape[1] != dim:
        raise InputError(
            f"queries have {candidates.queries.shape[1]} dimensions, the bundle's vectors {dim}; give what a search or "
            "recommend found"
        )
    queries, separate = unit(candidates.queries), bundle.manifest.encoder.separate
    best: dict[tuple[int, int], Part] = {}
    for modality, parts in bundle.parts.items():
        for query, rows in enumerate(candidates.rows):
            for row in rows[rows >= 0].tolist() if queries[query].any() else ():
                first, end = np.searchsorted(parts.rows, (row, row + 1))
                if first == end:
                    continue
                cosines = unit(parts.vectors[first:end]) @ queries[query]
                if separate and not cosines.any():  # the query says nothing of this modality
                    continue
                place = int(cosines.argmax())
                found = Part(modality, parts.labels[first + place], float(cosines[place]))
                best[query, row] = max(best.get((query, row), found), found, key=lambda part: part.score)
    return [[best.get((query, row)) for row in rows.tolist() if row >= 0] for query, rows in enumerate(candidates.rows)]


def reranked(state: LoadedBundle, candidates: Candidates, k: int | None) -> Candidates:
    """Order candidates by the learned head; see `Retriever.rerank`."""
    here = state.here(candidates)
    if here.stage == STAGE and here.among is not None:
        ranked = here if here is candidates else _anew(state, here, here.among)
        return ranked if k is None else ranked.top(k)
    ranked = state.reranker.rerank(replace(here, among=None))
    if isinstance(state.reranker, SecondStage) and ranked.stage == STAGE:
        ranked = replace(ranked, among=ranked)
    return ranked if k is None else ranked.top(k)


def _anew(state: LoadedBundle, candidates: Candidates, among: Candidates) -> Candidates:
    """Order what another head ordered, where it stands among all that it ordered; what is beyond that follows."""
    ranked = state.reranker.rerank(replace(among, among=None))
    wanted = [np.isin(line, hits) for line, hits in zip(ranked.rows, candidates.rows, strict=True)]
    rows = np.where(np.array(wanted, np.bool_).reshape(ranked.rows.shape), ranked.rows, -1)
    kept = replace(ranked, rows=rows).reordered(ranked.scores, ranked.stage).followed_by(candidates)
    return replace(kept, among=ranked if isinstance(state.reranker, SecondStage) else None)


@dataclass(frozen=True, eq=False)
class Diversity:
    """How lists are varied; what is what, `Retriever.diversify` says."""

    method: Method = "mmr"
    strength: float = 0.3
    sharpness: float = 1.0
    attribute: str | None = None
    caps: Mapping[str, int] | None = None
    apart: float | None = None
    page: int | None = None
    shown: Candidates | None = None
    spread: float = 0.1

    def check(self) -> None:
        """Check what can be checked without a bundle.

        Raises:
            InputError: When a method, or a number, cannot be used.
        """
        check_kind(self.method, str, "method", f"give one of {list(METHODS)}")
        check_spread(self.spread)
        if self.caps is not None:
            check_mapping(self.caps, "caps", "{'brand': 2}")


def varied(state: LoadedBundle, candidates: Candidates, wish: Diversity, k: int | None) -> Candidates:
    """Pick what is relevant and varied; see `Retriever.diversify`."""
    candidates = state.here(candidates)
    wish.check()
    named = None if wish.attribute is None else state.attribute(wish.attribute)
    known = Known(state.vectors, state.centre, state.users, named)
    limits: list[Limit] = [Cap(state.attribute(name), most) for name, most in (wish.caps or {}).items()]
    if wish.apart is not None:
        limits.append(Apart(state.vectors, wish.apart))
    wanted = objective(wish.method, known, wish.strength, wish.sharpness)
    if wish.shown is not None:
        require_candidates(wish.shown, "shown")
        counts = exposures(wish.shown, max(1, wish.shown.rows.shape[1]), state.items)
        wanted = LessShown(wanted, counts, wish.spread)
    ranked = diversified(candidates, wanted, k, caps=limits, page=wish.page)
    return ranked if k is None else ranked.top(k)


def explained(
    state: LoadedBundle, candidates: Candidates, weights: Sequence[Vectors] | None, most: int, among: Candidates | None
) -> list[list[Explanation]]:
    """Say what made each hit one; see `Retriever.explain`."""
    candidates = state.here(candidates)
    if among is not None:
        among = state.here(among, "among")
    told = explain(candidates, state.space, state.centre, weights, most)
    told = with_profiles(told, candidates, state.space)
    told = with_modalities(told, candidates, state.bundle.modality_vectors, state.adapter)
    ranked = among or candidates
    ranked = ranked.among or ranked
    if ranked.stage != STAGE or not isinstance(state.reranker, SecondStage):
        return told
    return with_features(told, candidates, ranked, state.reranker, most)


def matched_parts(state: LoadedBundle, candidates: Candidates) -> list[list[Part | None]]:
    """Say which part of each hit is nearest to its query; see `Retriever.nearest_parts`."""
    candidates = state.here(candidates)
    dim = state.vectors.shape[1]
    queries = candidates.queries[:, :dim]
    if not queries.shape[1]:  # a pool is asked for by its histories alone
        queries = np.zeros((len(candidates), dim), np.float32)
    users = [line for line, past in enumerate(candidates.histories) if len(past) and not queries[line].any()]
    if users:  # whose query is all behaviour: the nearest part is that to what they like
        pasts = [candidates.histories[line] for line in users]
        queries = queries.copy()
        queries[users] = state.users.taste(state.vectors, pasts, state.centre)
    return nearest_parts(replace(candidates, queries=queries), state.bundle)
