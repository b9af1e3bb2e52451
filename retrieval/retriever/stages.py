"""The verbs after retrieval: candidates are ordered anew, varied, ruled, judged and explained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from indexing.runtime.arguments import check_kind, check_mapping, plural
from retrieval.candidates import Candidates, require_candidates
from retrieval.features.attribute_values import Attribute
from retrieval.postprocess.blend import Blend
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
from retrieval.postprocess.rules import Rule, Ruled, Rules
from retrieval.ranking.confidence.known_items import judged, matching_of
from retrieval.ranking.confidence.match_confidence import Matching, Verdicts
from retrieval.ranking.explain.explain import Explanation, explain, finite_weights, with_modalities, with_profiles
from retrieval.ranking.explain.feature_attribution import with_features
from retrieval.ranking.reranker import STAGE
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.matched_parts import Part, nearest_parts
from retrieval.retriever.state import Opened


class LaterStages(Opened):
    """What a `Retriever` does with candidates once they are found; each verb takes them and leaves them as they are.

    Candidates of another state, or of another bundle, are taken by their item ids; an `UnknownItemError` says so when
    one is not in this one. Their queries stay those that they were found with.
    """

    def rerank(self, candidates: Candidates, k: int | None = None) -> Candidates:
        """Order candidates anew by the learned head, and keep the best k of each query (all when None).

        Where no head was learned the order is that of the exact score, and the stage says so: ``"exact"``. What both
        stages of `recommend` gave has the order of the head already, and keeps it; that of another state or bundle is
        ordered anew, among all that its head ordered.
        """
        here = self._here(candidates)
        if here.stage == STAGE and here.among is not None:
            ranked = here if here is candidates else self._anew(here, here.among)
            return ranked if k is None else ranked.top(k)
        ranked = self.reranker.rerank(replace(here, among=None))
        if isinstance(self.reranker, SecondStage):
            ranked = replace(ranked, among=ranked)
        return ranked if k is None else ranked.top(k)

    def blend(self, candidates: Candidates, weights: Mapping[str, float]) -> Candidates:
        """Weigh other objectives beside the score, ``{"margin": 0.2}``; see `retrieval.postprocess.blend.Blend`."""
        return Blend(self.bundle.attributes, weights).rerank(self._here(candidates))

    def diversify(
        self,
        candidates: Candidates,
        k: int | None = None,
        *,
        method: Method = "mmr",
        strength: float = 0.3,
        sharpness: float = 1.0,
        attribute: str | None = None,
        caps: Mapping[str, int] | None = None,
        apart: float | None = None,
        page: int | None = None,
        shown: Candidates | None = None,
        spread: float = 0.1,
    ) -> Candidates:
        """Pick the k of each query that are relevant and varied, and keep these (all, reordered, when None).

        Args:
            candidates: More than k a query, best first.
            k: Answers a query.
            method: ``"mmr"`` or ``"msd"``, by how items look and read, or by an attribute; ``"calibrated"`` to the
                shares that an attribute has in the history; ``"caps"`` for caps alone.
            strength: From 0, relevance alone, to 1, variety alone.
            sharpness: Above 1, the first hits are kept more and the last ones less.
            attribute: Whose values make items alike, in place of their content; ``"calibrated"`` needs one.
            caps: For attributes how many of the k may have the same value; more come only when no others are left.
            apart: A cosine, as search gives it: no two of the k have content that is more alike; more come only when no
                others are left.
            page: Answers that are seen at once: each so many stand in the order of relevance, not as they were picked.
            shown: Lists that others are shown, such as yesterday's, all their hits: what is in many of them gives way.
                What this bundle does not have any more counts for nothing.
            spread: How much it does, where relevance is from 0 to 1.

        Raises:
            InputError: For an unknown method or attribute, or a number that cannot be used.
            UnknownItemError: When a candidate is not in this bundle.
        """
        candidates = self._here(candidates)
        check_kind(method, str, "method", f"give one of {list(METHODS)}")
        check_spread(spread)
        if caps is not None:
            check_mapping(caps, "caps", "{'brand': 2}")
        named = None if attribute is None else self._attribute(attribute)
        known = Known(self.vectors, self.centre, self.users, named)
        limits: list[Limit] = [Cap(self._attribute(name), most) for name, most in (caps or {}).items()]
        if apart is not None:
            limits.append(Apart(self.vectors, apart))
        wanted = objective(method, known, strength, sharpness)
        if shown is not None:
            require_candidates(shown, "shown")
            counts = exposures(shown, max(1, shown.rows.shape[1]), self.items)
            wanted = LessShown(wanted, counts, spread)
        ranked = diversified(candidates, wanted, k, caps=limits, page=page)
        return ranked if k is None else ranked.top(k)

    def apply_rules(self, candidates: Candidates, rules: Rules | Sequence[Rule], k: int | None = None) -> Ruled:
        """Apply business rules, as the last stage, and keep the best k of each query; hits know what touched them.

        Raises:
            FilterError: When a filter names no attribute of this bundle.
            UnknownItemError: When a pinned item or a candidate is not in the bundle.
        """
        candidates = self._here(candidates)
        if not isinstance(rules, Rules):
            plural(rules, "rules")
            rules = Rules(tuple(rules))
        ruled = rules.apply(candidates, self.bundle.attributes)
        return ruled if k is None else cast(Ruled, ruled.top(k))

    def verdicts(self, candidates: Candidates, *, kind: str = "text", matching: Matching | None = None) -> Verdicts:
        """Say of each search whether the catalogue holds what it asks for.

        Args:
            candidates: What `search_texts` or its like found, reranked or not.
            kind: What the queries are: ``"text"``, ``"image"`` or ``"audio"``.
            matching: What judges them; learned from the bundle's own items, once a kind, when None.
        """
        candidates = self._here(candidates)
        check_kind(kind, str, "kind", "give 'text', 'image' or 'audio'")
        if matching is not None:
            check_kind(matching, Matching, "matching", "give what Matching.fit gives, or None")
        if matching is None and kind not in self._matching:
            self._matching[kind] = matching_of(self.bundle, self.vectors, kind)
        return judged(candidates, self.vectors, matching or self._matching[kind])

    def explain(
        self,
        candidates: Candidates,
        *,
        weights: Sequence[Sequence[float]] | None = None,
        most: int = 5,
        among: Candidates | None = None,
    ) -> list[list[Explanation]]:
        """Say for each hit of recommendations what made it one; see `retrieval.ranking.explain.explain.explain`.

        Args:
            candidates: The hits.
            weights: How much each item of ``candidates.histories`` was liked, as it was for the recommendations, each
                item once; what the candidates know of it when None.
            most: So many items of a history, and so many features, a hit.
            among: What `rerank` gave, all of it, for candidates that do not know it, as those that were read from a
                file: what a head reads of a hit depends on the others.

        Raises:
            InputError: When a query was not made of a history, weights are not finite, or the candidates of the stage
                ``"rerank"`` are not what the head ordered and ``among`` is not either.
            ShapeError: When weights and histories, or candidates and ``among``, do not fit.
        """
        candidates = self._here(candidates)
        if among is not None:
            among = self._here(among, "among")
        given = None if weights is None else finite_weights(weights, candidates.histories)
        told = explain(candidates, self._rows.space, self.centre, given, most)
        told = with_profiles(told, candidates, self._rows.space)
        told = with_modalities(told, candidates, self.bundle.modality_vectors, self.adapter)
        ranked = among or candidates
        ranked = ranked.among or ranked
        if ranked.stage != STAGE or not isinstance(self.reranker, SecondStage):
            return told
        return with_features(told, candidates, ranked, self.reranker, most)

    def nearest_parts(self, candidates: Candidates) -> list[list[Part | None]]:
        """Say for each hit which of the item's texts, pictures, sounds or frames is nearest to the query.

        None stands where nothing of the item can be compared with the query; see `retrieval.retriever.matched_parts`.
        """
        candidates = self._here(candidates)
        queries, dim = candidates.queries[:, : self.vectors.shape[1]], self.vectors.shape[1]
        if not queries.shape[1]:  # a pool is asked for by its histories alone
            queries = np.zeros((len(candidates), dim), np.float32)
        users = [line for line, past in enumerate(candidates.histories) if len(past) and not queries[line].any()]
        if users:  # whose query is all behaviour: the nearest part is that to what they like
            pasts = [candidates.histories[line] for line in users]
            queries = queries.copy()
            queries[users] = self.users.taste(self.vectors, pasts, self.centre)
        return nearest_parts(replace(candidates, queries=queries), self.bundle)

    def _here(self, candidates: Candidates, name: str = "candidates") -> Candidates:
        """Give candidates with the rows that their items have in this state; those of this state as they are."""
        require_candidates(candidates, name)
        return candidates.pointing_into(self.items)

    def _anew(self, candidates: Candidates, among: Candidates) -> Candidates:
        """Order what another head ordered, where it stands among all that it ordered; what is beyond that follows."""
        ranked = self.reranker.rerank(replace(among, among=None))
        wanted = [np.isin(line, hits) for line, hits in zip(ranked.rows, candidates.rows, strict=True)]
        rows = np.where(np.array(wanted, np.bool_).reshape(ranked.rows.shape), ranked.rows, -1)
        kept = replace(ranked, rows=rows).reordered(ranked.scores, ranked.stage).followed_by(candidates)
        return replace(kept, among=ranked if isinstance(self.reranker, SecondStage) else None)

    def _attribute(self, name: str) -> Attribute:
        check_kind(name, str, "attribute", "give the name of one, as text")
        if name not in self._attributes:
            self._attributes[name] = Attribute.named(self.bundle.attributes, name)
        return self._attributes[name]
