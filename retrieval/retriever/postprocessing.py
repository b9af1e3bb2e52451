"""What a list should be beyond relevant, in one place: varied, within caps, as business rules say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.candidates import Candidates
from retrieval.postprocess.diversify import Method
from retrieval.postprocess.rules import Rules
from retrieval.retriever.retriever import Retriever


@dataclass(frozen=True)
class Shape:
    """The last stages of a list; see `Retriever.diversify` and `Retriever.apply_rules`.

    Attributes:
        diversify: The method; None varies nothing.
        strength: Of variety.
        sharpness: Of relevance.
        attribute: In place of content.
        caps: By attribute, how many answers of one value.
        rules: Applied last.
        page: Answers that are seen at once, and stand in the order of relevance.
        apart: A cosine that no two answers may exceed.
    """

    diversify: Method | None = None
    strength: float = 0.3
    sharpness: float = 1.0
    attribute: str | None = None
    caps: Mapping[str, int] = field(default_factory=dict)
    rules: Rules | None = None
    page: int | None = None
    apart: float | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to do, so that more candidates than answers are needed."""
        return bool(self.diversify or self._limited or self.rules)

    @property
    def _limited(self) -> bool:
        return bool(self.caps) or self.apart is not None

    def apply(self, retriever: Retriever, found: Candidates, k: int) -> Candidates:
        """Give k of the candidates."""
        if self.diversify or self._limited:
            # Rules come last, and may take out what was picked: then others follow.
            found = retriever.diversify(
                found,
                None if self.rules else k,
                method=self.diversify or "caps",
                strength=self.strength,
                sharpness=self.sharpness,
                attribute=self.attribute,
                caps=self.caps,
                page=self.page,
                apart=self.apart,
            )
        return retriever.apply_rules(found, self.rules, k) if self.rules else found.top(k)

    def to_json(self) -> dict[str, Any]:
        """Give what changes answers as plain JSON values."""
        rules = [repr(rule) for rule in self.rules.rules] if self.rules else []
        return {**vars(self), "caps": dict(self.caps), "rules": rules}
