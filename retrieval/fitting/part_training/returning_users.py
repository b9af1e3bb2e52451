"""Trains the head for returning users on the windows of a log, and validates it on later windows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.errors import TrainingError
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


class ReturningUsers(NamedTuple):
    """The parts that serve returning users, and users without a history.

    Attributes:
        accepted: The parts that helped so far, with the query weights for these users.
        head: Orders their candidates; None where it does not surely gain for returning users.
        gain: The gain of the head over retrieval for returning users, in windows that it was not trained on; None where
            no window could validate it.
        gain_of_new: The same for users without a history.
    """

    accepted: FittedModel
    head: "ScoringHead | None" = None
    gain: Gain | None = None
    gain_of_new: Gain | None = None

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
    gain = windows.gain(new=False)
    head = train_head(trainer, windows.examples, WINDOWS) if gain is not None and gain.is_sure else None
    trainer.curves.clear()
    trainer.curves.update(curves)  # those of the parts that serve visits
    return ReturningUsers(accepted, head, gain, windows.gain(new=True))


class _Windows:
    """The training examples of windows, and the quality of retrieval and of earlier heads in each."""

    def __init__(self, trainer: Trainer, validation: Validation) -> None:
        self.trainer, self.validation = trainer, validation
        self.examples: list[Examples] = []
        self.values: list[tuple[Mask, NDArray[np.float64], NDArray[np.float64]]] = []

    def add(self, name: str, cutoff: Cutoff, model: FittedModel, *, validates: bool) -> None:
        """Learn sources from the histories before a window, validate the head so far, and add its examples."""
        trainer, learner, users = self.trainer, self.trainer.stage_trainer(), cutoff.active(new=True)
        users = users.take(sample_users(range(len(users.histories)), len(trainer.bundle.items)))
        trainer.report_progress("sources", name, 0, 0)
        features = learner.fit_features(model.space, cutoff.histories)
        examples = learner.examples(users, features)
        if validates and self.examples:
            head = train_head(trainer, self.examples, name)
            stage = replace(learner.assemble(head, features, model.space, 0), returning=head)
            ordered = answer_at(trainer, stage, users)
            retrieved = self.validation.recommend(model.space.for_returning, users.histories, new=ordered.new)
            before, after = (
                self.validation.values(candidates, users.targets, VALIDATION_METRIC)
                for candidates in (retrieved, ordered)
            )
            has_liked = [len(target.liked(self.validation.min_relevance)) > 0 for target in users.targets]
            self.values.append((users.new[has_liked], before, after))
        self.examples.append(examples)

    def gain(self, *, new: bool) -> Gain | None:
        """Give the gain of the heads over retrieval in all validation windows, for new or for returning users."""
        if not self.values:
            return None
        is_new, before, after = (np.concatenate(values) for values in zip(*self.values, strict=True))
        mask = is_new == new
        return Gain.of(before[mask], after[mask]) if mask.sum() >= MIN_USERS else None


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
