"""Trains the head for returning users on the windows of a log, and validates it on later windows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.errors import TrainingError
from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.part_training.fit_ranker import answer_at, train_head
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.selection.behaviour_selection import (
    sample_users,
)
from retrieval.fitting.selection.serving_weights import RETURNING, apply_serving
from retrieval.fitting.selection.validation import MIN_USERS, VALIDATION_METRIC, Gain, Validation
from retrieval.fitting.steps import VALIDATED_FROM, WINDOWS, window_name
from retrieval.models.behaviour import DEFAULT_WEIGHTS
from retrieval.training.cutoffs import Cutoff

if TYPE_CHECKING:
    from retrieval.ranking.heads import ScoringHead
    from retrieval.training.ranker.neural_head import Examples  # loads torch


PLAIN, IN_CONTEXT, OVER_PLAIN = "plain", "in context", "in context, over plain"
Values: TypeAlias = NDArray[np.float64]


class ReturningUsers(NamedTuple):
    """The parts that serve returning users, and users without a history.

    Attributes:
        accepted: The parts that helped so far, with the query weights for these users.
        head: Orders their candidates; None where it does not surely gain for returning users.
        gain: The gain of the head over retrieval for returning users, in windows that it was not trained on; None where
            no window could validate it.
        gain_of_new: The same for users without a history.
        in_context: The same with the context of requests, where that surely gains over the head without.
    """

    accepted: FittedModel
    head: "ScoringHead | None" = None
    gain: Gain | None = None
    gain_of_new: Gain | None = None
    in_context: "ReturningUsers | None" = None

    def why_not_served(self, *, fast: bool) -> dict[str, str]:
        """Say why the head does not serve ``returning users`` or ``new users``."""
        notes: dict[str, str] = {}
        for name, gain in {"returning users": self.gain, "new users": self.gain_of_new}.items():
            if gain is None:
                too_few = "because too few of them are in the last windows of the log, or it has no times"
                notes[name] = "because a fast fit trains no head for them" if fast else too_few
            elif not gain.is_sure:
                notes[name] = (
                    f"because the interval of the gain of a head is not above zero: {gain}, on {gain.users} users"
                )
        if "returning users" in notes and "new users" not in notes:
            notes["new users"] = f"like returning users: {self.gain_of_new}"
        return notes


def train_for_returning(
    trainer: Trainer, accepted: FittedModel, cutoffs: Sequence[Cutoff], validation: Validation, has_stage: bool
) -> ReturningUsers:
    """Train a second head on the interactions of several windows, and validate it on later windows.

    It is a separate head, because a head that orders the next items of a visit well orders those of a new visit worse
    than retrieval does. Content, behaviour and sources are learned from the interactions before each window. From the
    third window on, a head that was trained on the windows before is validated on this window. If these heads surely
    gain for returning users, one is trained on all windows.

    Args:
        trainer: Trains the parts.
        accepted: The parts that helped so far, trained on the train part.
        cutoffs: The windows, oldest first.
        validation: Computes the quality of lists.
        has_stage: Whether there is a second stage for a head; else the query weights alone are selected.
    """
    windows, curves, model, has_weights = _Windows(trainer, validation), dict(trainer.curves), None, False
    trains_head = has_stage and len(cutoffs) >= VALIDATED_FROM
    for number, cutoff in enumerate(cutoffs, start=1):
        name = window_name(number, len(cutoffs))
        try:
            # From the second on, it continues from the window before, in fewer passes.
            model = trainer.retrain_space(model or accepted, cutoff.histories, name, from_scratch=model is None)
            if not has_weights and (users := liking_users(cutoff, validation.min_relevance)):
                accepted, model = select_returning_weights(accepted, model, users, validation)
                has_weights = True
            if trains_head:
                windows.add(name, cutoff, model, validates=number >= VALIDATED_FROM)
            elif has_weights:
                break
        except TrainingError:  # too little in this window
            continue
    trained = {variant: windows.trained(variant, accepted) for variant in (PLAIN, IN_CONTEXT)}
    gain = windows.gain(OVER_PLAIN, new=False)
    in_context = trained[IN_CONTEXT] if gain is not None and gain.is_sure else None
    trainer.curves.clear()
    trainer.curves.update(curves)  # those of the parts that serve visits
    return trained[PLAIN]._replace(in_context=in_context)


class _Windows:
    """The training examples of windows, and the quality of retrieval and of earlier heads in each.

    Attributes:
        examples: For a head without and, where there is one, with the context of requests: those of each window.
        values: Without a context the quality of retrieval and of the head; with one also, by what was liked in the
            context of the first of it, that of retrieval, or of the head without, and of the head with it.
    """

    def __init__(self, trainer: Trainer, validation: Validation) -> None:
        self.trainer, self.validation = trainer, validation
        self.examples: dict[str, list[Examples]] = {PLAIN: [], IN_CONTEXT: []}
        self.values: dict[str, list[tuple[Mask, Values, Values]]] = {PLAIN: [], IN_CONTEXT: [], OVER_PLAIN: []}

    def add(self, name: str, cutoff: Cutoff, model: FittedModel, *, validates: bool) -> None:
        """Learn sources from the histories before a window, validate the head so far, and add its examples."""
        trainer, users = self.trainer, cutoff.active(new=True)
        learner = trainer.stage_trainer(trainer.context)
        users = users.take(sample_users(range(len(users.histories)), len(trainer.bundle.items)))
        trainer.report_progress("sources", name, 0, 0)
        features = learner.fit_features(model.space, cutoff.histories)
        variants = {PLAIN: (replace(features, context=None), users)}
        if features.context is not None:
            variants[IN_CONTEXT] = (features, users.in_first_context(self.validation.min_relevance))
        found = dict[str, Candidates]()
        for variant, (read, judged) in variants.items():
            examples = learner.examples(users, read)
            if validates and self.examples[variant]:
                head = train_head(trainer, self.examples[variant], name)
                stage = replace(learner.assemble(head, read, model.space, 0), returning=head)
                found[variant] = ordered = answer_at(trainer, stage, judged)
                retrieved = self.validation.recommend(model.space.for_returning, users.histories, new=ordered.new)
                self._compare(variant, judged, retrieved, ordered)
                if variant == IN_CONTEXT:
                    self._compare(OVER_PLAIN, judged, found[PLAIN], ordered)
            self.examples[variant].append(examples)

    def _compare(self, name: str, users: Cutoff, before: Candidates, after: Candidates) -> None:
        """Keep the quality of two lists for users of a window, by their targets."""
        first, second = (self.validation.values(found, users.targets, VALIDATION_METRIC) for found in (before, after))
        has_liked = [len(target.liked(self.validation.min_relevance)) > 0 for target in users.targets]
        self.values[name].append((users.new[has_liked], first, second))

    def gain(self, name: str, *, new: bool) -> Gain | None:
        """Give the gain of the heads in all validation windows, for new or for returning users."""
        if not self.values[name]:
            return None
        is_new, before, after = (np.concatenate(values) for values in zip(*self.values[name], strict=True))
        mask = is_new == new
        return Gain.of(before[mask], after[mask]) if mask.sum() >= MIN_USERS else None

    def trained(self, variant: str, accepted: FittedModel) -> ReturningUsers:
        """Train a head on all windows, where such heads surely gain."""
        gain = self.gain(variant, new=False)
        head = train_head(self.trainer, self.examples[variant], WINDOWS) if gain is not None and gain.is_sure else None
        return ReturningUsers(accepted, head, gain, self.gain(variant, new=True))


def liking_users(cutoff: Cutoff, min_relevance: float) -> Cutoff | None:
    """Give the users with a history who liked something in a window; None where they are too few to validate on."""
    returning = cutoff.active()
    rows = [row for row, target in enumerate(returning.targets) if len(target.liked(min_relevance))]
    return returning.take(rows) if len(rows) >= MIN_USERS else None


def select_returning_weights(
    accepted: FittedModel, earlier: FittedModel, users: Cutoff, validation: Validation
) -> tuple[FittedModel, FittedModel]:
    """Select the query weights for returning users: the defaults, or those of a visit.

    Within a visit the last interactions predict the next ones best; after days popularity predicts more. The defaults
    did best at a cutoff in time, so the weights of a visit are used only where the interval of their gain is above
    zero. Weights change queries alone, so that one index serves both.

    Args:
        accepted: The parts that helped so far.
        earlier: The same parts, trained on the interactions before a window.
        users: The users who returned in the window, as `liking_users` gives them.
        validation: Computes the quality of lists.

    Returns:
        Both models with the weights.
    """
    weights = {f"{RETURNING}{name}": value for name, value in DEFAULT_WEIGHTS._asdict().items()}
    defaults = _with_serving(earlier, weights)
    with_defaults, with_visit_weights = (
        validation.recommend(model.space.for_returning, users.histories) for model in (defaults, earlier)
    )
    if validation.gain(with_defaults, with_visit_weights, users.targets).low > 0:
        return accepted, earlier
    return _with_serving(accepted, weights), defaults


def _with_serving(fitted: FittedModel, weights: dict[str, float]) -> FittedModel:
    """Set the query weights for returning users."""
    if (block := fitted.block) is None:
        return fitted
    serving = block.serving | weights
    behaviour = apply_serving(block.behaviour, serving)
    return fitted._replace(
        block=block._replace(behaviour=behaviour, serving=serving), space=replace(fitted.space, behaviour=behaviour)
    )
