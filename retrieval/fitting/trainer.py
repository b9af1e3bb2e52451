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
from retrieval.fitting.selection.behaviour_selection import MEASURE
from retrieval.fitting.selection.held_out_new_users import NEXT, HeldOutUsers
from retrieval.fitting.selection.profile_selection import NewUsers, choose_profile_taste
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
        least: What weighs less was disliked.
        profiles: What is known of users beside what they did, if anything.
        before: What is in force, where learning goes on from it; None to begin anew.
        work: Folder in which a training that was killed goes on; nothing is kept when None.
        tell: Called as learning goes on.
        curves: Receives the losses of each part, those of its last training.
        steps: Numbers the steps that `tell` is called with.
    """

    bundle: Bundle
    config: FitConfig
    description: ItemFeatures
    least: float
    profiles: Profiles | None = None
    before: PublishedModel | None = None
    work: Path | None = None
    tell: Tell | None = None
    curves: dict[str, Any] = field(default_factory=dict)
    steps: StepCounter = field(default_factory=StepCounter)

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

    def adapter(self, pasts: Sequence[History], past: str) -> Adapter:
        """Learn an adapter that keeps search.

        Args:
            pasts: The histories.
            past: What they are, by name.

        Raises:
            TrainingError: When there is too little to learn from.
        """
        from retrieval.fitting.selection.search_bound import bound_search_loss
        from retrieval.training.adapter.adapter import train_adapter  # torch is loaded only by those who learn

        pasts = self._liked(pasts)
        config, start = self.config.adapter or AdapterConfig(), None
        if self.before is not None:
            pasts, start = self.before.replay_sample(pasts, config.seed), self.before.adapter
            config = replace(config, epochs=self._fewer(config.epochs_for(_teaching(pasts))))
        total, done = config.epochs_for(_teaching(pasts)), 0
        self.told("adapter", past, 0, total)

        def after(more: int) -> None:
            nonlocal done
            done += more
            self.told("adapter", past, done, total)

        rows, weights = [one.rows for one in pasts], [one.weights for one in pasts]
        adapter, curve = train_adapter(
            self.frozen, rows, self.config.user_model, config, after, self.work, start, weights
        )
        kept = bound_search_loss(adapter, self.frozen)
        self.curves["adapter"] = curve.to_json() | kept.to_json()
        return kept.adapter

    def behaviour(self, pasts: Sequence[History], past: str, earlier: Behaviour | None = None) -> Behaviour:
        """Learn a behaviour block; see `adapter`.

        Args:
            pasts: The histories.
            past: What they are, by name.
            earlier: Learned from a part of them, from which the learned tower goes on in fewer passes.
        """
        from retrieval.training.behaviour.behaviour import learn_behaviour
        from retrieval.training.behaviour.warm_start import TowerStart

        some = [one for one in self._liked(pasts) if len(one)]
        config, start = self.config.behaviour or BehaviourConfig(), None
        learned = config.next_items
        total = learned.epochs_for(_teaching(some)) if learned else 0
        if self.before is not None and self.before.block is not None and learned is not None:
            again = self.before.replay_sample(some, learned.seed)
            total = self._fewer(learned.epochs_for(_teaching(again)))
            config = replace(config, next_items=replace(learned, epochs=total))
            start = TowerStart.of(self.before.block.behaviour, again)
        elif earlier is not None and learned is not None and (start := TowerStart.of(earlier, some)) is not None:
            total = self._fewer(total)
            config = replace(config, next_items=replace(learned, epochs=total))
        goes_on = earlier is not None and self.before is None  # the losses that are told are of a whole training
        self.told("behaviour", past, 0, total)
        return learn_behaviour(
            some,
            self.described,
            config,
            lambda epoch, _: self.told("behaviour", past, epoch, total),
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
            config = replace(config, min_relevance=self.least)
        return StageLearner(self.bundle.items, views, config=config, profiles=self.profiles)

    def again(self, passed: FittedModel, pasts: Sequence[History], past: str, *, afresh: bool = False) -> FittedModel:
        """Learn parts once more, from other pasts; the order of candidates is learned once, their sources anew.

        Args:
            passed: The parts.
            pasts: The histories.
            past: What they are, by name.
            afresh: Begin anew, for what was learned before knows more than these; go on from it otherwise.
        """
        found, stage = self.space_again(passed, pasts, past, afresh=afresh), passed.reranker
        if stage is None:
            return found
        self.told("sources", past, 0, 0)
        features = self.stage_learner().seen(found.space, pasts)
        return found._replace(reranker=replace(stage, features=features, vectors=found.space.indexed))

    def profile_taste(self, pasts: Sequence[History], block: ServedBehaviour) -> tuple[ProfileModel, NewUsers]:
        """Learn what profiles say; see `choose_profile_taste`."""
        if self.profiles is None:
            raise TrainingError("nobody has a profile")
        self.told("profiles", EARLY, 0, 0)
        return choose_profile_taste(
            self.profiles, self._liked(pasts), block.behaviour.items, self.bundle.items, self.least
        )

    def short_histories(self, passed: FittedModel, validation: Validation, newcomers: HeldOutUsers) -> FittedModel:
        """Choose how far a short history counts, by what is best for new users.

        Args:
            passed: What helps so far, learned from others than the newcomers.
            validation: Judges lists.
            newcomers: Tell what is best.
        """
        from retrieval.fitting.selection.serving_weights import choose_few
        from retrieval.training.one_standard_error import Values

        if (block := passed.block) is None:
            return passed

        def judge(one: Behaviour) -> Values:
            found = validation.recommend(replace(passed.space, behaviour=one), newcomers.begun, NEXT)
            return validation.values(found, newcomers.wanted, MEASURE)

        behaviour, few = choose_few(block.behaviour, judge)
        space = replace(passed.space, behaviour=behaviour)
        return passed._replace(block=ServedBehaviour(behaviour, block.serving | {"few": few}), space=space)

    def space_again(
        self, passed: FittedModel, pasts: Sequence[History], past: str, *, afresh: bool = False
    ) -> FittedModel:
        """Learn adapter and behaviour once more, those that there are; see `again`."""
        adapter, content = passed.adapter, self.fused
        if adapter is not None:
            adapter = self.adapter(pasts, past)
            content = adapter.apply(self.frozen)
        block, taste = self._block_again(passed, pasts, past, afresh=afresh)
        space = ItemSpace.of(content, self.config.user_model, block.behaviour if block else None, taste)
        return FittedModel(adapter, block, None, space, self.description)

    def _block_again(
        self, passed: FittedModel, pasts: Sequence[History], past: str, *, afresh: bool
    ) -> tuple[ServedBehaviour | None, ProfileModel | None]:
        """Learn behaviour and what profiles say to it once more, if there is any."""
        from retrieval.fitting.selection.serving_weights import served

        block, taste = passed.block, passed.profiles
        if block is None:
            return None, None
        start = None if afresh else block.behaviour
        block = block._replace(behaviour=served(self.behaviour(pasts, past, start), block.serving))
        if taste is not None and self.profiles is not None:
            taste = learn_profile_taste(self.profiles, self._liked(pasts), block.behaviour.items, taste)
        return block, taste

    def told(self, part: str, past: str, done: int, total: int) -> None:
        """Tell how far a part is."""
        if self.tell is not None:
            self.tell(Step(part, past, done, total, *self.steps.number(part, past)))

    def _liked(self, pasts: Sequence[History]) -> list[History]:
        """Give what was liked, as much as it counts: no part learns from dislikes, as none is asked with them."""
        return [past.counted_by(self.config.user_model) for past in pasts]

    def _fewer(self, epochs: int) -> int:
        return max(1, round(REFRESH_PASSES * epochs))


def _teaching(pasts: Sequence[History]) -> int:
    """Count the histories that teach what comes next."""
    return sum(len(past) >= 2 for past in pasts)
