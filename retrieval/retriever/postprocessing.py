"""The settings of all stages after ranking: duplicates, diversity, caps and business rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.candidates import Candidates
from retrieval.interactions.impressions import Impressions
from retrieval.postprocess.diversify import Method
from retrieval.postprocess.duplicates import Collapse
from retrieval.postprocess.rules import Rules
from retrieval.retriever.retriever import Retriever


@dataclass(frozen=True)
class Postprocessing:
    """The last stages of a list; see `Retriever.diversify` and `Retriever.apply_rules`.

    Attributes:
        diversify: The method; None is no diversification.
        strength: The weight of diversity, from 0 to 1.
        sharpness: The power of relevance.
        attribute: The attribute that is diversified, in place of content.
        caps: For each attribute the largest number of hits with the same value.
        rules: Applied last.
        page: Hits on a page; each page is in the order of relevance.
        max_similarity: The largest cosine between two hits.
        impressions: Items that were shown to users, for the rules that read them.
        collapse: Variants and near-duplicates are shown once; this is applied first.
    """

    diversify: Method | None = None
    strength: float = 0.3
    sharpness: float = 1.0
    attribute: str | None = None
    caps: Mapping[str, int] = field(default_factory=dict)
    rules: Rules | None = None
    page: int | None = None
    max_similarity: float | None = None
    impressions: Impressions | None = None
    collapse: Collapse = field(default_factory=Collapse)

    def __bool__(self) -> bool:
        """Whether there is anything to do, so that more candidates than hits are needed."""
        return bool(self.diversify or self._limited or self.rules or self.collapse)

    @property
    def _limited(self) -> bool:
        return bool(self.caps) or self.max_similarity is not None

    def apply(self, retriever: Retriever, candidates: Candidates, k: int, *, at: int | None = None) -> Candidates:
        """Apply all stages, and keep k candidates.

        Args:
            retriever: Of the bundle.
            candidates: In the order of the ranking.
            k: Kept of each query.
            at: The time of the request, up to which impressions count; that of the last impression when None.
        """
        if self.collapse:
            candidates = retriever.collapse(
                candidates, group_by=self.collapse.group_by, min_similarity=self.collapse.min_similarity
            )
        if self.diversify or self._limited:
            # Rules come last and may exclude selected items, so all candidates are kept for them.
            candidates = retriever.diversify(
                candidates,
                None if self.rules else k,
                method=self.diversify or "caps",
                strength=self.strength,
                sharpness=self.sharpness,
                attribute=self.attribute,
                caps=self.caps,
                page=self.page,
                max_similarity=self.max_similarity,
            )
        if not self.rules:
            return candidates.top(k)
        until = None if self.impressions is None else at
        return retriever.apply_rules(candidates, self.rules, k, impressions=self.impressions, at=until)

    def to_json(self) -> dict[str, Any]:
        """Give the settings as plain JSON values."""
        rules = [repr(rule) for rule in self.rules.rules] if self.rules else []
        settings = {**vars(self), "caps": dict(self.caps), "rules": rules, "collapse": vars(self.collapse)}
        settings["apart"] = settings.pop("max_similarity")  # jobs of earlier versions go on
        if not self.collapse:
            del settings["collapse"]
        if self.impressions is None:
            del settings["impressions"]
            return settings
        return settings | {"impressions": self.impressions.digest()}
