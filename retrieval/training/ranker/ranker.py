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
from retrieval.ranking.sources import Source, pool_candidates
from retrieval.training.cutoffs import Cutoff
from retrieval.training.ranker.neural_head import Examples, train_neural_head, train_trees_head
from retrieval.training.ranker.shown_items import ShownItems
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
        shown: What was shown to users, if anybody knows: it says what each candidate counts.
    """

    items: ItemIds
    views: Mapping[str, Vectors]
    space_of: Callable[[Sequence[History]], ItemSpace] | None = None
    config: StageConfig = field(default_factory=StageConfig)
    learn: LearnSources | None = None
    profiles: Profiles | None = None
    shown: ShownItems | None = None

    def features(self, histories: Sequence[History]) -> tuple[StageFeatures, ItemSpace]:
        """Learn all that candidates are found and seen by.

        Raises:
            TrainingError: When nothing was given that learns a space.
        """
        if self.space_of is None:
            raise TrainingError("a space is learned at each moment; give space_of, or call seen with a space")
        space = self.space_of([history for history in histories if len(history)])
        return self.seen(space, histories), space

    def seen(self, space: ItemSpace, histories: Sequence[History]) -> StageFeatures:
        """Learn sources and counts from the past that a space was learned from."""
        liked = (history.counted_by(space.users) for history in histories)
        non_empty = [history for history in liked if len(history)]
        sources = self.learn(non_empty, space) if self.learn else learn_sources(non_empty, space, self.config.sources)
        return StageFeatures(sources, self.views, ItemStatistics.of(non_empty, len(self.items)))

    def examples(self, cutoff: Cutoff, features: StageFeatures | None = None) -> Examples:
        """Learn from what was before a moment, and label the candidates by what came next.

        Args:
            cutoff: Of all users.
            features: Learned from its past; learned here when None.

        Raises:
            TrainingError: When a source was learned from something that is to be found.
        """
        features = features or self.features(cutoff.pasts)[0]
        users = cutoff.asking(new=self.config.new_users)
        if not users.pasts:
            raise TrainingError("no user has interactions both before a cut and after it: there is nothing to order")
        check_books(features.sources, users.wanted)
        names = [history.user_id for history in users.pasts]
        batch = users.asked(features.statistics.now).knowing(features.profiles, self.profiles, names)
        candidates = pool_candidates(features.sources, batch, self.items, self.config.candidates_per_source)
        gains, weights = self.gains(candidates, users.wanted), None
        if self.shown is not None:
            weights = self.shown.weights(candidates.rows, gains, users.pasts, users.wanted)
        return Examples(features.of(candidates), gains, candidates.rows >= 0, weights)

    def gains(self, candidates: Candidates, targets: Sequence[History]) -> Vectors:
        """Mark the candidates that came next: (B, K) float32, 1 or 0."""
        min_relevance = -np.inf if self.config.min_relevance is None else self.config.min_relevance
        liked = [following.rows[following.weights >= min_relevance] for following in targets]
        return np.stack(
            [np.isin(candidate_rows, rows) for candidate_rows, rows in zip(candidates.rows, liked, strict=True)]
        ).astype(np.float32)

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
        joined, head_kind = Examples.joined(list(examples)), self.config.head
        if head_kind == "trees":
            return train_trees_head(joined, self.config.trees), {"head": head_kind}
        head, curve = train_neural_head(joined, self.config.neural, progress, work)
        return head, {"head": head_kind} | curve.to_json()

    def stage(self, head: ScoringHead, histories: Sequence[History]) -> SecondStage:
        """Give the stage as it is served after a past: sources learned from all of it, a head from earlier."""
        features, space = self.features(histories)
        return self.served(head, features, space)

    def served(self, head: ScoringHead, features: StageFeatures, space: ItemSpace, fewest: int = 1) -> SecondStage:
        """Join head and features; ``fewest`` is 0 for a head that has met users without a history."""
        return SecondStage(features, head, space.indexed, fewest, per_source=self.config.candidates_per_source)
