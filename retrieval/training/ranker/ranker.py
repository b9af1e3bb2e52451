"""Learn the second stage: at several moments of the past, from sources that knew nothing later."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import TrainingError
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.features import ItemStatistics, StageFeatures
from retrieval.ranking.heads import ScoringHead
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import Source, pooled
from retrieval.training.cutoffs import Cutoff
from retrieval.training.ranker.neural_head import Examples, train_neural_head, train_trees_head
from retrieval.training.ranker.sources import check_books, learn_sources
from retrieval.training.ranker_config import StageConfig

LearnSources = Callable[[Sequence[History], ItemSpace], Sequence[Source]]


@dataclass(frozen=True, eq=False)
class StageLearner:
    """Learns sources at any moment, and a head from several.

    Attributes:
        items: The catalogue.
        views: Ways to look at items; see `StageFeatures`.
        space_of: Learns content and behaviour from a past, and from nothing else; not needed by `seen`.
        config: How to learn.
        learn: Learns all sources from a past; `learn_sources` when None.
        profiles: What is known of users beside what they did, where the space reads it.
    """

    items: ItemIds
    views: Mapping[str, Vectors]
    space_of: Callable[[Sequence[History]], ItemSpace] | None = None
    config: StageConfig = field(default_factory=StageConfig)
    learn: LearnSources | None = None
    profiles: Profiles | None = None

    def features(self, pasts: Sequence[History]) -> tuple[StageFeatures, ItemSpace]:
        """Learn all that candidates are found and seen by.

        Raises:
            TrainingError: When nothing was given that learns a space.
        """
        if self.space_of is None:
            raise TrainingError("a space is learned at each moment; give space_of, or call seen with a space")
        space = self.space_of([past for past in pasts if len(past)])
        return self.seen(space, pasts), space

    def seen(self, space: ItemSpace, pasts: Sequence[History]) -> StageFeatures:
        """Learn sources and counts from the past that a space was learned from."""
        liked = (past.counted_by(space.users) for past in pasts)
        some = [past for past in liked if len(past)]
        sources = self.learn(some, space) if self.learn else learn_sources(some, space, self.config.sources)
        return StageFeatures(sources, self.views, ItemStatistics.of(some, len(self.items)))

    def examples(self, moment: Cutoff, features: StageFeatures | None = None) -> Examples:
        """Learn from what was before a moment, and label the candidates by what came next.

        Args:
            moment: Of all users.
            features: Learned from its past; learned here when None.

        Raises:
            TrainingError: When a source was learned from something that is to be found.
        """
        features = features or self.features(moment.pasts)[0]
        asking = moment.asking(new=self.config.new_users)
        if not asking.pasts:
            raise TrainingError("no user has interactions both before a cut and after it: there is nothing to order")
        check_books(features.sources, asking.wanted)
        names = [past.user_id for past in asking.pasts]
        asked = asking.asked(features.facts.now).knowing(features.profiles, self.profiles, names)
        found = pooled(features.sources, asked, self.items, self.config.candidates_per_source)
        return Examples(features.of(found), self.gains(found, asking.wanted), found.rows >= 0)

    def gains(self, found: Candidates, wanted: Sequence[History]) -> Vectors:
        """Mark the candidates that came next: (B, K) float32, 1 or 0."""
        least = -np.inf if self.config.min_relevance is None else self.config.min_relevance
        liked = [later.rows[later.weights >= least] for later in wanted]
        return np.stack([np.isin(line, rows) for line, rows in zip(found.rows, liked, strict=True)]).astype(np.float32)

    def head(
        self,
        examples: Sequence[Examples],
        progress: Callable[[int, int], None] | None = None,
        work: Path | None = None,
    ) -> tuple[ScoringHead, dict[str, Any]]:
        """Learn the head that is asked for, and say how learning went.

        Args:
            examples: Of any users and moments.
            progress: Called after each epoch of a neural head with how many are done, and how many there are.
            work: Folder in which a neural head that was killed goes on; nothing is kept when None.

        Raises:
            TrainingError: When too few users have a candidate that they took.
            MissingExtraError: For trees without the extra ``trees``.
        """
        joined, kind = Examples.joined(list(examples)), self.config.head
        if kind == "trees":
            return train_trees_head(joined, self.config.trees), {"head": kind}
        head, curve = train_neural_head(joined, self.config.neural, progress, work)
        return head, {"head": kind} | curve.to_json()

    def stage(self, head: ScoringHead, pasts: Sequence[History]) -> SecondStage:
        """Give the stage as it is served after a past: sources learned from all of it, a head from earlier."""
        features, space = self.features(pasts)
        return self.served(head, features, space)

    def served(self, head: ScoringHead, features: StageFeatures, space: ItemSpace, fewest: int = 1) -> SecondStage:
        """Join head and features; ``fewest`` is 0 for a head that has met users without a history."""
        return SecondStage(features, head, space.indexed, fewest, each=self.config.candidates_per_source)
