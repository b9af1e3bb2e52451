"""Trains the parts of a model one after the other, and keeps those that help on the test part of the log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from indexing.arrays import Vectors
from indexing.errors import TrainingError
from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel, ServedBehaviour
from retrieval.fitting.part_training.fit_ranker import (
    TrainedStage,
    answer_visits,
    retrain_with_last_part,
    train_in_context,
    train_second_stage,
)
from retrieval.fitting.part_training.returning_users import ReturningUsers, train_for_returning
from retrieval.fitting.part_training.shortest_history import select_shortest_history
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.publish_gate import why_not_published
from retrieval.fitting.report import Gains
from retrieval.fitting.selection.behaviour_selection import select_behaviour
from retrieval.fitting.selection.held_out_new_users import ShortHistories, hold_out_users
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import Validation
from retrieval.fitting.steps import TRAIN
from retrieval.interactions.histories import History
from retrieval.models.adapter import Adapter
from retrieval.models.behaviour import Behaviour
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.cutoffs import Cutoff

if TYPE_CHECKING:
    from retrieval.ranking.heads import ScoringHead

Part = TypeVar("Part")


class Validated(NamedTuple):
    """The parts that helped, as they were validated.

    Attributes:
        parts: Trained on the train part, with the head that was trained without the test part.
        before: The lists of frozen vectors for the validation users.
        targets: What counts as relevant where the head reads the context; else none, and the test part counts.
    """

    parts: FittedModel
    before: Candidates
    targets: Sequence[History] = ()


@dataclass(eq=False)
class PartSelection:
    """Trains behaviour block or adapter, profile model and second stage in order, each beside the parts that helped.

    Attributes:
        trainer: Trains a part.
        validation: The validation users, and the quality of lists for them.
        splits: Of all users.
        histories: Of all users.
        cutoffs: The windows that the head for returning users is trained on, oldest first.
        notes: Receives why a part was not trained or not published, by part.
        ndcg: ndcg@10 on the test part, by model.
        short_histories: As `FitReport.short`.
        new_users: As `FitReport.new_users`.
        gains: Of the best model over frozen vectors, and of the heads for returning users and for contexts.
    """

    trainer: Trainer
    validation: Validation
    splits: Sequence[TemporalSplit]
    histories: Sequence[History]
    cutoffs: Sequence[Cutoff]
    notes: dict[str, str]
    ndcg: dict[str, float] = field(default_factory=dict)
    short_histories: dict[str, dict[str, float]] = field(default_factory=dict)
    new_users: dict[str, float] = field(default_factory=dict)
    gains: Gains = field(default_factory=Gains)
    _best: Candidates | None = field(init=False, default=None)  # lists of the best model so far
    _head: "ScoringHead | None" = field(init=False, default=None)  # of the second stage, as it was validated
    _targets: Sequence[History] = field(init=False, default=())  # of its validation

    def train(self) -> tuple[FittedModel, Validated]:
        """Train each part on the train part of the log, and keep it if it helps on the test part."""
        trainer, config, train_parts = self.trainer, self.trainer.config, [part.train for part in self.splits]
        train, held_out = hold_out_users([history for history in train_parts if len(history)])
        frozen = ItemSpace.of(trainer.fused, config.user_model)
        before = self._best = self.validation.recommend_all(frozen)
        self.ndcg["frozen"] = self.validation.ndcg(before)
        accepted = self._train_space(frozen, train, train_parts)
        block, held_out_ids = accepted.block, {history.user_id for history in held_out}
        held_out_histories = [
            history for history in self.histories if block is not None and history.user_id in held_out_ids
        ]
        short = ShortHistories.of(held_out_histories, self.validation.min_relevance)
        if short is not None:
            accepted = trainer.select_history_shrinkage(accepted, self.validation, short)
        stage = self._train_stage(accepted, before, held_out_histories if short is not None else ())
        # Without a behaviour block new users get no recommendations.
        cutoffs = self.cutoffs if block else []
        if trainer.context and (stage is None or stage.features.context is None):  # it says nothing of visits
            trainer = replace(trainer, context=())
        returning = train_for_returning(trainer, accepted, cutoffs, self.validation, stage is not None)
        if stage is None:
            return returning.accepted, Validated(returning.accepted, before)
        accepted = returning.accepted._replace(reranker=self._with_returning(stage, returning))
        validated = replace(stage, head=self._head or stage.head)
        return accepted, Validated(accepted._replace(reranker=validated), before, self._targets)

    def _train_stage(
        self, accepted: FittedModel, before: Candidates, held_out_histories: Sequence[History]
    ) -> SecondStage | None:
        """Train the second stage for visits; give it if it helps.

        Args:
            accepted: The parts that helped so far.
            before: The lists of frozen vectors.
            held_out_histories: Of users who select the shortest history that the head orders; none where they are too
                few.
        """
        staged = self._train_if_better(
            "reranker",
            lambda: train_second_stage(self.trainer, accepted, self.splits, self.validation),
            lambda trained: answer_visits(self.trainer, trained.stage, self.validation.histories),
        )
        if self._best is not None and self._best is not before:
            self.gains["gain"] = self.validation.gain(before, self._best)
        staged = self._train_in_context(accepted, staged, before)
        if staged is None:
            return None
        stage, self._head = staged.stage, staged.stage.head
        if self.trainer.config.retrains_reranker:
            stage = replace(stage, head=retrain_with_last_part(self.trainer, accepted, staged, self.splits))
        if held_out_histories and stage.min_history:
            validated = (staged.stage, accepted, self.splits, held_out_histories, self.validation)
            min_history, self.short_histories = select_shortest_history(self.trainer, *validated)
            stage = replace(stage, min_history=min_history)
        return stage

    def _train_space(self, frozen: ItemSpace, train: Sequence[History], train_parts: Sequence[History]) -> FittedModel:
        """Train behaviour block or adapter, and the profile model, and keep those that help."""
        trainer = self.trainer
        block = self._train_if_better(
            "behaviour",
            lambda: self._train_behaviour(frozen, train),
            lambda block: self._recommend(trainer.fused, block.behaviour),
        )
        adapter = self._train_adapter(block, train)
        content = adapter.apply(trainer.frozen) if adapter else trainer.fused
        taste = self._train_profiles(block, train_parts)
        space = ItemSpace.of(content, trainer.config.user_model, block.behaviour if block else None, taste)
        return FittedModel(adapter, block, None, space, trainer.description)

    def _train_if_better(self, name: str, train: Callable[[], Part], rank: Callable[[Part], Candidates]) -> Part | None:
        """Train a configured part; give it if the interval of its gain over the best model so far is above zero."""
        if getattr(self.trainer.config, name) is None or self._best is None:
            return None
        if (part := self._train_or_note(name, train)) is None:
            return None
        candidates = rank(part)
        self.ndcg[name], gain = self.validation.ndcg(candidates), self.validation.gain(self._best, candidates)
        if reason := why_not_published(gain):
            self.notes[name] = reason
            return None
        self._best = candidates
        return part

    def _train_or_note(self, name: str, train: Callable[[], Part]) -> Part | None:
        """Train a part; add a note where it cannot be trained, because the other parts may still help."""
        try:
            return train()
        except TrainingError as error:
            self.notes[name] = str(error)
            return None

    def _train_in_context(
        self, accepted: FittedModel, staged: TrainedStage | None, before: Candidates
    ) -> TrainedStage | None:
        """Train the second stage with the context of requests; give it if it surely gains over the one without."""
        if not self.trainer.context or self.trainer.config.reranker is None or self._best is None:
            return staged
        curves, best = dict(self.trainer.curves), self._best
        inputs = (self.trainer, accepted, self.splits, self.validation, best)
        found = self._train_or_note("context", lambda: train_in_context(*inputs))
        if found is None:
            return staged
        self.gains["in_context"] = found.gain
        if reason := why_not_published(found.gain):
            self.notes["context"] = reason
            self.trainer.curves.update(curves)
            return staged
        self.notes.pop("reranker", None)  # of the stage without context
        self.gains["gain"], self._targets = self.validation.gain(before, found.answers, found.targets), found.targets
        return found.staged

    def _with_returning(self, stage: SecondStage, returning: ReturningUsers) -> SecondStage:
        """Add the head for returning and for new users where it gains; add a note where it does not."""
        if self.trainer.config.split != "both":
            return stage
        if stage.features.context is not None and returning.in_context is not None:
            returning = returning.in_context
        self.gains["in_time"] = returning.gain
        notes = returning.why_not_served(fast=not self.trainer.config.trains_on_windows)
        self.notes |= {name: f"ordered by retrieval, {why}" for name, why in notes.items()}
        if "returning users" not in notes:
            return replace(stage, returning=returning.head, orders_new="new users" not in notes)
        return replace(stage, leaves_returning=True)

    def _train_adapter(self, block: ServedBehaviour | None, train: Sequence[History]) -> Adapter | None:
        """Train an adapter if there is no behaviour block; beside one it gains nothing."""
        if block is None:
            return self._train_if_better(
                "adapter",
                lambda: self.trainer.train_adapter(train, TRAIN),
                lambda adapter: self._recommend(adapter.apply(self.trainer.frozen)),
            )
        if self.trainer.config.adapter is not None:
            self.notes["adapter"] = (
                "not trained: beside a behaviour block it gains nothing; to train it, fit without behaviour"
            )
        return None

    def _train_profiles(self, block: ServedBehaviour | None, train: Sequence[History]) -> ProfileModel | None:
        """Train a profile model if there are profiles; give it if it does better for new users than popularity."""
        if self.trainer.profiles is None:
            return None
        if block is None:
            self.notes["profiles"] = "not trained: they need a behaviour block, and there is none"
            return None
        trained = self._train_or_note("profiles", lambda: self.trainer.train_profile_model(train, block))
        taste, record = trained or (None, None)
        self.new_users = record._asdict() if record else {}
        return taste

    def _recommend(self, content: Vectors, behaviour: Behaviour | None = None) -> Candidates:
        return self.validation.recommend_all(ItemSpace.of(content, self.trainer.config.user_model, behaviour))

    def _train_behaviour(self, content: ItemSpace, train: Sequence[History]) -> ServedBehaviour:
        trainer = self.trainer
        return select_behaviour(
            lambda _: trainer.train_behaviour(train, TRAIN),
            content,
            self.splits,
            self.validation,
            lambda num_trials: trainer.report_progress("serving", TRAIN, num_trials, 0),
        ).block
