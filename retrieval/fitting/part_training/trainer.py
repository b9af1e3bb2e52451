"""Trains the parts of a bundle: a killed training continues, reports its progress, and keeps its losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.errors import TrainingError
from indexing.store.collect import ModalityVectors, fuse
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.fitted_model import FittedModel, ServedBehaviour
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.selection.behaviour_selection import SELECTION_METRIC
from retrieval.fitting.selection.held_out_new_users import MAX_RELEVANT, ShortHistories
from retrieval.fitting.selection.profile_selection import NewUsers, select_profile_model
from retrieval.fitting.selection.validation import Validation
from retrieval.fitting.steps import TRAIN, Step, StepCounter
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.adapter import Adapter
from retrieval.models.behaviour import Behaviour
from retrieval.models.features.item_features import FeatureMatrix, ItemFeatures, views_of
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.training.config import AdapterConfig, BehaviourConfig
from retrieval.training.profile_model import refit_profile_model
from retrieval.training.ranker.shown_items import ShownItems
from retrieval.training.ranker_config import StageConfig

if TYPE_CHECKING:
    from retrieval.training.ranker.ranker import StageTrainer

REFRESH_PASSES = 0.25  # of the passes of a training from the start


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains any part on any histories.

    Attributes:
        bundle: The bundle of the items.
        config: The settings of all parts, as `FitConfig.scaled` gives them.
        description: The features of items.
        min_relevance: An interaction of a smaller weight is a dislike.
        profiles: Attributes of users, if there are any.
        published: The published parts, from which training continues; None to train from scratch.
        work: Folder for checkpoints, from which a killed training continues; None keeps none.
        on_step: Called with the progress.
        curves: Receives the losses of the last training of each part.
        steps: Numbers the steps that ``on_step`` is called with.
        shown: Impressions, if there are any: the second stage is trained on them too.
        context: Columns of the context of interactions.
    """

    bundle: Bundle
    config: FitConfig
    description: ItemFeatures
    min_relevance: float
    profiles: Profiles | None = None
    published: PublishedModel | None = None
    work: Path | None = None
    on_step: Callable[[Step], None] | None = None
    curves: dict[str, Any] = field(default_factory=dict)
    steps: StepCounter = field(default_factory=StepCounter)
    shown: ShownItems | None = None
    context: Sequence[str] = ()

    @cached_property
    def frozen(self) -> ModalityVectors:
        """The frozen vectors of the items."""
        return self.bundle.modality_vectors

    @cached_property
    def fused(self) -> Vectors:
        """Item vectors of content without an adapter: (N, D) float32."""
        return fuse(self.frozen)

    @cached_property
    def features(self) -> FeatureMatrix:
        """The features of the items."""
        return self.description.of(self.frozen, self.bundle.attributes)

    @cached_property
    def views(self) -> dict[str, Vectors]:
        """The views of the items that the second stage compares, computed once for all its trainings."""
        return views_of(self.description, self.frozen, self.bundle.attributes)

    def train_adapter(self, histories: Sequence[History], part_of_log: str) -> Adapter:
        """Train an adapter, and bound the search recall that it costs.

        Args:
            histories: The histories.
            part_of_log: Name of this part of the log, as in `Step.trained_on`.

        Raises:
            TrainingError: When there is too little to learn from.
        """
        from retrieval.fitting.selection.search_bound import bound_search_loss
        from retrieval.training.adapter.adapter import train_adapter  # loads torch

        histories = self._liked_histories(histories)
        config, start = self.config.adapter or AdapterConfig(), None
        if self.published is not None:
            histories, start = self.published.replay_sample(histories, config.seed), self.published.adapter
            config = replace(config, epochs=self._refresh_epochs(config.epochs_for(_num_sequences(histories))))
        total, done = config.epochs_for(_num_sequences(histories)), 0
        self.report_progress("adapter", part_of_log, 0, total)

        def on_epochs(num_epochs: int) -> None:
            nonlocal done
            done += num_epochs
            self.report_progress("adapter", part_of_log, done, total)

        rows, weights = [history.rows for history in histories], [history.weights for history in histories]
        adapter, curve = train_adapter(
            self.frozen, rows, self.config.user_model, config, on_epochs, self.work, start, weights
        )
        bounded = bound_search_loss(adapter, self.frozen)
        self.curves["adapter"] = curve.to_json() | bounded.to_json()
        return bounded.adapter

    def train_behaviour(
        self, histories: Sequence[History], part_of_log: str, initial: Behaviour | None = None
    ) -> Behaviour:
        """Train a behaviour block; see `train_adapter`.

        Args:
            histories: The histories.
            part_of_log: Name of this part of the log, as in `Step.trained_on`.
            initial: Trained on a part of them: the trained tower continues from it, in fewer passes.
        """
        from retrieval.training.behaviour.behaviour import train_behaviour
        from retrieval.training.behaviour.warm_start import TowerStart

        liked = [history for history in self._liked_histories(histories) if len(history)]
        config, start = self.config.behaviour or BehaviourConfig(), None
        learned = config.next_items
        total = learned.epochs_for(_num_sequences(liked)) if learned else 0
        if self.published is not None and self.published.block is not None and learned is not None:
            replayed = self.published.replay_sample(liked, learned.seed)
            total = self._refresh_epochs(learned.epochs_for(_num_sequences(replayed)))
            config = replace(config, next_items=replace(learned, epochs=total))
            start = TowerStart.of(self.published.block.behaviour, replayed)
        elif initial is not None and learned is not None and (start := TowerStart.of(initial, liked)) is not None:
            total = self._refresh_epochs(total)
            config = replace(config, next_items=replace(learned, epochs=total))
        is_short = initial is not None and self.published is None  # curves are those of a whole training
        self.report_progress("behaviour", part_of_log, 0, total)
        return train_behaviour(
            liked,
            self.features,
            config,
            lambda epoch, _: self.report_progress("behaviour", part_of_log, epoch, total),
            work=self.work,
            start=start,
            ended=None if is_short else lambda curve: self.curves.update(behaviour=curve.to_json()),
        )

    def stage_trainer(self, context: Sequence[str] = ()) -> "StageTrainer":
        """Give the trainer of the second stage, with some columns of the context as features."""
        from retrieval.training.ranker.ranker import StageTrainer  # loads torch

        config = self.config.reranker or StageConfig()
        if config.min_relevance is None:  # dislikes are not relevant, as in validation
            config = replace(config, min_relevance=self.min_relevance)
        return StageTrainer(
            self.bundle.items, self.views, config=config, profiles=self.profiles, shown=self.shown, context=context
        )

    def retrain(
        self, accepted: FittedModel, histories: Sequence[History], part_of_log: str, *, from_scratch: bool = False
    ) -> FittedModel:
        """Train parts once more on other histories; the head of a reranker stays, its sources are trained again.

        Args:
            accepted: The parts.
            histories: The histories.
            part_of_log: Name of this part of the log, as in `Step.trained_on`.
            from_scratch: Whether to start from random weights, because the parts were trained on later interactions;
                else training continues from the parts.
        """
        fitted, stage = (
            self.retrain_space(accepted, histories, part_of_log, from_scratch=from_scratch),
            accepted.reranker,
        )
        if stage is None:
            return fitted
        self.report_progress("sources", part_of_log, 0, 0)
        features = self.stage_trainer(stage.features.context_columns).fit_features(fitted.space, histories)
        return fitted._replace(reranker=replace(stage, features=features, vectors=fitted.space.indexed))

    def train_profile_model(
        self, histories: Sequence[History], block: ServedBehaviour
    ) -> tuple[ProfileModel, NewUsers]:
        """Train a profile model; see `select_profile_model`."""
        if self.profiles is None:
            raise TrainingError("no user has a profile")
        self.report_progress("profiles", TRAIN, 0, 0)
        return select_profile_model(
            self.profiles,
            self._liked_histories(histories),
            block.behaviour.items,
            self.bundle.items,
            self.min_relevance,
        )

    def select_history_shrinkage(
        self, accepted: FittedModel, validation: Validation, held_out: ShortHistories
    ) -> FittedModel:
        """Select how much a short history counts, by the quality for held-out users.

        Args:
            accepted: The parts that helped so far, trained without the held-out users.
            validation: Computes the quality of lists.
            held_out: The users.
        """
        from retrieval.fitting.selection.serving_weights import select_history_shrinkage
        from retrieval.training.one_standard_error import Values

        if (block := accepted.block) is None:
            return accepted

        def evaluate(tried: Behaviour) -> Values:
            candidates = validation.recommend(
                replace(accepted.space, behaviour=tried), held_out.histories, MAX_RELEVANT
            )
            return validation.values(candidates, held_out.relevant, SELECTION_METRIC)

        behaviour, shrinkage = select_history_shrinkage(block.behaviour, evaluate)
        space = replace(accepted.space, behaviour=behaviour)
        return accepted._replace(block=ServedBehaviour(behaviour, block.serving | {"few": shrinkage}), space=space)

    def retrain_space(
        self, accepted: FittedModel, histories: Sequence[History], part_of_log: str, *, from_scratch: bool = False
    ) -> FittedModel:
        """Train adapter and behaviour block once more, where there are any; see `retrain`."""
        adapter, content = accepted.adapter, self.fused
        if adapter is not None:
            adapter = self.train_adapter(histories, part_of_log)
            content = adapter.apply(self.frozen)
        block, taste = self._retrain_behaviour(accepted, histories, part_of_log, from_scratch=from_scratch)
        space = ItemSpace.of(content, self.config.user_model, block.behaviour if block else None, taste)
        return FittedModel(adapter, block, None, space, self.description)

    def _retrain_behaviour(
        self, accepted: FittedModel, histories: Sequence[History], part_of_log: str, *, from_scratch: bool
    ) -> tuple[ServedBehaviour | None, ProfileModel | None]:
        """Train the behaviour block and the profile model once more, where there are any."""
        from retrieval.fitting.selection.serving_weights import apply_serving

        block, taste = accepted.block, accepted.profiles
        if block is None:
            return None, None
        start = None if from_scratch else block.behaviour
        behaviour = self.train_behaviour(histories, part_of_log, start)
        block = block._replace(behaviour=apply_serving(behaviour, block.serving))
        if taste is not None and self.profiles is not None:
            taste = refit_profile_model(self.profiles, self._liked_histories(histories), block.behaviour.items, taste)
        return block, taste

    def report_progress(self, part: str, part_of_log: str, done: int, total: int) -> None:
        """Report the progress of a part."""
        if self.on_step is not None:
            self.on_step(Step(part, part_of_log, done, total, *self.steps.number(part, part_of_log)))

    def _liked_histories(self, histories: Sequence[History]) -> list[History]:
        """Give the liked interactions with their weights: dislikes are in no training data and in no query."""
        return [history.counted_by(self.config.user_model) for history in histories]

    def _refresh_epochs(self, epochs: int) -> int:
        return max(1, round(REFRESH_PASSES * epochs))


def _num_sequences(histories: Sequence[History]) -> int:
    """Count the histories with a next item to learn from."""
    return sum(len(history) >= 2 for history in histories)
