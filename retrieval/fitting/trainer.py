"""Learning the parts of a bundle: each training goes on after a kill, says how far it is, and leaves its losses."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.errors import TrainingError
from indexing.store.collect import ModalityVectors, fuse
from retrieval.features.item_features import FeatureMatrix, ItemFeatures, views_of
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.fitted_model import FittedModel, ServedBehaviour
from retrieval.fitting.published_model import PublishedModel
from retrieval.fitting.selection.behaviour_selection import SELECTION_METRIC
from retrieval.fitting.selection.held_out_new_users import MAX_RELEVANT, HeldOutUsers
from retrieval.fitting.selection.profile_selection import NewUsers, select_profile_model
from retrieval.fitting.selection.validation import Validation
from retrieval.fitting.steps import EARLY, Step, StepCounter, Tell
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.adapter import Adapter
from retrieval.models.behaviour import Behaviour
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.training.config import AdapterConfig, BehaviourConfig
from retrieval.training.profile_model import learn_profile_taste
from retrieval.training.ranker.shown_items import ShownItems
from retrieval.training.ranker_config import StageConfig

if TYPE_CHECKING:
    from retrieval.training.ranker.ranker import StageLearner

REFRESH_PASSES = 0.25  # of the passes of a training from the start


@dataclass(frozen=True, eq=False)
class Trainer:
    """Learns any part from any past.

    Attributes:
        bundle: Whose items they are.
        config: How the parts are trained, as `FitConfig.scaled` gives it.
        description: How the items are described.
        min_relevance: An interaction of a smaller weight is a dislike.
        profiles: What is known of users beside what they did, if anything.
        before: What is in force, where learning goes on from it; None to begin anew.
        work: Folder in which a training that was killed goes on; nothing is kept when None.
        tell: Called as learning goes on.
        curves: Receives the losses of each part, those of its last training.
        steps: Numbers the steps that `tell` is called with.
        shown: What was shown to users, from which the second stage learns too, if anybody knows.
    """

    bundle: Bundle
    config: FitConfig
    description: ItemFeatures
    min_relevance: float
    profiles: Profiles | None = None
    before: PublishedModel | None = None
    work: Path | None = None
    tell: Tell | None = None
    curves: dict[str, Any] = field(default_factory=dict)
    steps: StepCounter = field(default_factory=StepCounter)
    shown: ShownItems | None = None

    @cached_property
    def frozen(self) -> ModalityVectors:
        """The frozen vectors of the items."""
        return self.bundle.modality_vectors

    @cached_property
    def fused(self) -> Vectors:
        """Content without an adapter: (N, D) float32."""
        return fuse(self.frozen)

    @cached_property
    def described(self) -> FeatureMatrix:
        """The items by their description."""
        return self.description.of(self.frozen, self.bundle.attributes)

    def adapter(self, histories: Sequence[History], part_of_log: str) -> Adapter:
        """Learn an adapter that keeps search.

        Args:
            histories: The histories.
            part_of_log: Its name, as in `Step.past`.

        Raises:
            TrainingError: When there is too little to learn from.
        """
        from retrieval.fitting.selection.search_bound import bound_search_loss
        from retrieval.training.adapter.adapter import train_adapter  # torch is loaded only by those who learn

        histories = self._liked_histories(histories)
        config, start = self.config.adapter or AdapterConfig(), None
        if self.before is not None:
            histories, start = self.before.replay_sample(histories, config.seed), self.before.adapter
            config = replace(config, epochs=self._refresh_epochs(config.epochs_for(_num_sequences(histories))))
        total, done = config.epochs_for(_num_sequences(histories)), 0
        self.told("adapter", part_of_log, 0, total)

        def after(more: int) -> None:
            nonlocal done
            done += more
            self.told("adapter", part_of_log, done, total)

        rows, weights = [history.rows for history in histories], [history.weights for history in histories]
        adapter, curve = train_adapter(
            self.frozen, rows, self.config.user_model, config, after, self.work, start, weights
        )
        kept = bound_search_loss(adapter, self.frozen)
        self.curves["adapter"] = curve.to_json() | kept.to_json()
        return kept.adapter

    def behaviour(self, histories: Sequence[History], part_of_log: str, earlier: Behaviour | None = None) -> Behaviour:
        """Learn a behaviour block; see `adapter`.

        Args:
            histories: The histories.
            part_of_log: Its name, as in `Step.past`.
            earlier: Learned from a part of them, from which the learned tower goes on in fewer passes.
        """
        from retrieval.training.behaviour.behaviour import learn_behaviour
        from retrieval.training.behaviour.warm_start import TowerStart

        liked = [history for history in self._liked_histories(histories) if len(history)]
        config, start = self.config.behaviour or BehaviourConfig(), None
        learned = config.next_items
        total = learned.epochs_for(_num_sequences(liked)) if learned else 0
        if self.before is not None and self.before.block is not None and learned is not None:
            again = self.before.replay_sample(liked, learned.seed)
            total = self._refresh_epochs(learned.epochs_for(_num_sequences(again)))
            config = replace(config, next_items=replace(learned, epochs=total))
            start = TowerStart.of(self.before.block.behaviour, again)
        elif earlier is not None and learned is not None and (start := TowerStart.of(earlier, liked)) is not None:
            total = self._refresh_epochs(total)
            config = replace(config, next_items=replace(learned, epochs=total))
        goes_on = earlier is not None and self.before is None  # the losses that are told are of a whole training
        self.told("behaviour", part_of_log, 0, total)
        return learn_behaviour(
            liked,
            self.described,
            config,
            lambda epoch, _: self.told("behaviour", part_of_log, epoch, total),
            work=self.work,
            start=start,
            ended=None if goes_on else lambda curve: self.curves.update(behaviour=curve.to_json()),
        )

    def stage_learner(self) -> "StageLearner":
        """Give what learns a second stage."""
        from retrieval.training.ranker.ranker import StageLearner  # torch is loaded only by those who learn

        views = views_of(self.description, self.frozen, self.bundle.attributes)
        config = self.config.reranker or StageConfig()
        if config.min_relevance is None:  # what was disliked is no more to be found by the head than by the judge
            config = replace(config, min_relevance=self.min_relevance)
        return StageLearner(self.bundle.items, views, config=config, profiles=self.profiles, shown=self.shown)

    def again(
        self, passed: FittedModel, histories: Sequence[History], part_of_log: str, *, afresh: bool = False
    ) -> FittedModel:
        """Learn parts once more, from other pasts; the order of candidates is learned once, their sources anew.

        Args:
            passed: The parts.
            histories: The histories.
            part_of_log: Its name, as in `Step.past`.
            afresh: Begin anew, for what was learned before knows more than these; go on from it otherwise.
        """
        fitted, stage = self.space_again(passed, histories, part_of_log, afresh=afresh), passed.reranker
        if stage is None:
            return fitted
        self.told("sources", part_of_log, 0, 0)
        features = self.stage_learner().learn_features(fitted.space, histories)
        return fitted._replace(reranker=replace(stage, features=features, vectors=fitted.space.indexed))

    def profile_taste(self, histories: Sequence[History], block: ServedBehaviour) -> tuple[ProfileModel, NewUsers]:
        """Learn what profiles say; see `select_profile_model`."""
        if self.profiles is None:
            raise TrainingError("nobody has a profile")
        self.told("profiles", EARLY, 0, 0)
        return select_profile_model(
            self.profiles,
            self._liked_histories(histories),
            block.behaviour.items,
            self.bundle.items,
            self.min_relevance,
        )

    def short_histories(self, passed: FittedModel, validation: Validation, held_out: HeldOutUsers) -> FittedModel:
        """Choose how far a short history counts, by what is best for new users.

        Args:
            passed: What helps so far, trained without the held-out users.
            validation: Judges lists.
            held_out: The quality is that of these users.
        """
        from retrieval.fitting.selection.serving_weights import choose_few
        from retrieval.training.one_standard_error import Values

        if (block := passed.block) is None:
            return passed

        def evaluate(tried: Behaviour) -> Values:
            candidates = validation.recommend(replace(passed.space, behaviour=tried), held_out.histories, MAX_RELEVANT)
            return validation.values(candidates, held_out.relevant, SELECTION_METRIC)

        behaviour, few = choose_few(block.behaviour, evaluate)
        space = replace(passed.space, behaviour=behaviour)
        return passed._replace(block=ServedBehaviour(behaviour, block.serving | {"few": few}), space=space)

    def space_again(
        self, passed: FittedModel, histories: Sequence[History], part_of_log: str, *, afresh: bool = False
    ) -> FittedModel:
        """Learn adapter and behaviour once more, those that there are; see `again`."""
        adapter, content = passed.adapter, self.fused
        if adapter is not None:
            adapter = self.adapter(histories, part_of_log)
            content = adapter.apply(self.frozen)
        block, taste = self._retrain_behaviour(passed, histories, part_of_log, afresh=afresh)
        space = ItemSpace.of(content, self.config.user_model, block.behaviour if block else None, taste)
        return FittedModel(adapter, block, None, space, self.description)

    def _retrain_behaviour(
        self, passed: FittedModel, histories: Sequence[History], part_of_log: str, *, afresh: bool
    ) -> tuple[ServedBehaviour | None, ProfileModel | None]:
        """Learn behaviour and what profiles say to it once more, if there is any."""
        from retrieval.fitting.selection.serving_weights import apply_serving

        block, taste = passed.block, passed.profiles
        if block is None:
            return None, None
        start = None if afresh else block.behaviour
        block = block._replace(behaviour=apply_serving(self.behaviour(histories, part_of_log, start), block.serving))
        if taste is not None and self.profiles is not None:
            taste = learn_profile_taste(self.profiles, self._liked_histories(histories), block.behaviour.items, taste)
        return block, taste

    def told(self, part: str, part_of_log: str, done: int, total: int) -> None:
        """Tell how far a part is."""
        if self.tell is not None:
            self.tell(Step(part, part_of_log, done, total, *self.steps.number(part, part_of_log)))

    def _liked_histories(self, histories: Sequence[History]) -> list[History]:
        """Give what was liked, as much as it counts: no part learns from dislikes, as none is asked with them."""
        return [history.counted_by(self.config.user_model) for history in histories]

    def _refresh_epochs(self, epochs: int) -> int:
        return max(1, round(REFRESH_PASSES * epochs))


def _num_sequences(histories: Sequence[History]) -> int:
    """Count the histories that teach what comes next."""
    return sum(len(history) >= 2 for history in histories)
