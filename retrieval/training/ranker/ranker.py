"""Train the second stage at one or more cutoffs, on sources that were trained on earlier interactions only."""

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
from retrieval.ranking.context_affinity import ContextAffinity
from retrieval.ranking.features import ItemStatistics, StageFeatures
from retrieval.ranking.heads import ScoringHead
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import Source, pool_candidates
from retrieval.training.cutoffs import Cutoff
from retrieval.training.ranker.neural_head import Examples, train_neural_head, train_trees_head
from retrieval.training.ranker.shown_items import ShownItems
from retrieval.training.ranker.sources import check_training_logs, fit_sources
from retrieval.training.ranker_config import StageConfig

FitSources = Callable[[Sequence[History], ItemSpace], Sequence[Source]]


@dataclass(frozen=True, eq=False)
class StageTrainer:
    """Trains sources on histories up to a cutoff, and a head on the candidates at one or more cutoffs.

    Attributes:
        items: The catalogue.
        views: Item vectors by name; see `StageFeatures`.
        space_of: Trains the item space on histories; not needed by `fit_features`.
        config: The settings.
        fit_sources: Trains all sources on histories; `fit_sources` when None.
        profiles: Attributes of users, where the space reads them.
        shown: Impressions, if there are any: they weight the candidates.
        context: Columns of the context of interactions that are features.
    """

    items: ItemIds
    views: Mapping[str, Vectors]
    space_of: Callable[[Sequence[History]], ItemSpace] | None = None
    config: StageConfig = field(default_factory=StageConfig)
    fit_sources: FitSources | None = None
    profiles: Profiles | None = None
    shown: ShownItems | None = None
    context: Sequence[str] = ()

    def features(self, histories: Sequence[History]) -> tuple[StageFeatures, ItemSpace]:
        """Train a space, and sources and features in it.

        Raises:
            TrainingError: When ``space_of`` is None.
        """
        if self.space_of is None:
            raise TrainingError("a space is trained at each cutoff; give space_of, or call fit_features with a space")
        space = self.space_of([history for history in histories if len(history)])
        return self.fit_features(space, histories), space

    def fit_features(self, space: ItemSpace, histories: Sequence[History]) -> StageFeatures:
        """Train sources and item statistics on the histories that the space was trained on."""
        liked = (history.counted_by(space.users) for history in histories)
        non_empty = [history for history in liked if len(history)]
        sources = (
            self.fit_sources(non_empty, space)
            if self.fit_sources
            else fit_sources(non_empty, space, self.config.sources)
        )
        count = len(self.items)
        context = ContextAffinity.of(non_empty, self.views, count, self.context)
        return StageFeatures(sources, self.views, ItemStatistics.of(non_empty, count), context=context)

    def examples(self, cutoff: Cutoff, features: StageFeatures | None = None) -> Examples:
        """Give the candidates of the active users at a cutoff, labelled by their targets.

        Args:
            cutoff: Of all users.
            features: Trained on the histories of the cutoff; trained here when None.

        Raises:
            TrainingError: When no user is active, or a source was trained on a target.
        """
        features = features or self.features(cutoff.histories)[0]
        users = cutoff.active(new=self.config.new_users)
        if not users.histories:
            raise TrainingError("no user has interactions both before and after the cutoff: there is nothing to order")
        targets = users.targets
        if features.context is not None:
            users, rows = users.by_context()
            targets = [targets[row] for row in rows]  # what was taken in another context was not rejected
        check_training_logs(features.sources, users.targets)
        names = [history.user_id for history in users.histories]
        batch = users.user_batch(features.statistics.now).with_profiles(features.profiles, self.profiles, names)
        candidates = pool_candidates(features.sources, batch, self.items, self.config.candidates_per_source)
        gains, weights = self.gains(candidates, users.targets), None
        if self.shown is not None:
            weights = self.shown.weights(candidates.rows, gains, users.histories, targets)
        return Examples(features.of(candidates), gains, candidates.rows >= 0, weights)

    def gains(self, candidates: Candidates, targets: Sequence[History]) -> Vectors:
        """Give the relevance of the candidates: (B, K) float32, 1 for a liked target, else 0."""
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
        """Train the head that the settings name, and return it with a record of the training.

        Args:
            examples: Of any users and cutoffs.
            progress: Called after each epoch of a neural head with the number of epochs done and their total.
            work: Folder for checkpoints of a neural head, from which a killed training continues; None keeps none.

        Raises:
            TrainingError: When too few users have a relevant candidate.
            MissingExtraError: For trees without the extra ``trees``.
        """
        joined, head_kind = Examples.joined(list(examples)), self.config.head
        if head_kind == "trees":
            return train_trees_head(joined, self.config.trees), {"head": head_kind}
        head, curve = train_neural_head(joined, self.config.neural, progress, work)
        return head, {"head": head_kind} | curve.to_json()

    def stage(self, head: ScoringHead, histories: Sequence[History]) -> SecondStage:
        """Give the stage to serve: a trained head, with sources trained on all histories."""
        features, space = self.features(histories)
        return self.assemble(head, features, space)

    def assemble(
        self, head: ScoringHead, features: StageFeatures, space: ItemSpace, min_history: int = 1
    ) -> SecondStage:
        """Join head and features; ``min_history`` is 0 for a head that was trained on users without a history too."""
        return SecondStage(features, head, space.indexed, min_history, per_source=self.config.candidates_per_source)
