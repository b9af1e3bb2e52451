"""Trains the second stage: once for validation, and once more on all interactions for serving."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.errors import TrainingError
from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.selection.behaviour_selection import (
    sample_users,
    training_users,
    validation_users,
)
from retrieval.fitting.selection.held_out_new_users import SHORT_LENGTHS, ShortHistories
from retrieval.fitting.selection.serving_weights import RETURNING, apply_serving
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import MIN_USERS, VALIDATION_METRIC, Gain, Validation
from retrieval.fitting.steps import BEFORE, EARLY, JUDGED_FROM, WINDOWS, window_name
from retrieval.fitting.trainer import Trainer
from retrieval.interactions.histories import History
from retrieval.models.behaviour import DEFAULT_WEIGHTS
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.cutoffs import Cutoff

if TYPE_CHECKING:
    from retrieval.ranking.heads import ScoringHead
    from retrieval.training.ranker.neural_head import Examples  # torch is loaded only by those who learn


class TrainedStage(NamedTuple):
    """A second stage before its validation.

    Attributes:
        stage: With sources that were learned from the train part.
        examples: The training examples of its head.
    """

    stage: SecondStage
    examples: "list[Examples]"


def train_second_stage(
    trainer: Trainer,
    accepted: FittedModel,
    splits: Sequence[TemporalSplit],
    validation: Validation,
    context: Sequence[str] = (),
) -> TrainedStage:
    """Train the second stage on the validation part of each history: a visit that continues.

    Args:
        trainer: Trains the parts.
        accepted: The parts that helped so far, trained on the train part.
        splits: Of all users.
        validation: The validation users; their recall must not show that a source has seen their test part.
        context: Columns of the context that are features of the head.

    Raises:
        TrainingError: When there is too little to learn from, or a source was learned from its targets.
    """
    from retrieval.training.ranker.sources import check_recalls

    learner = trainer.stage_trainer(context)
    by_time = trainer.config.split == "time"
    users = sample_users(
        training_users(splits, validation.min_relevance, new=by_time and learner.config.new_users),
        len(trainer.bundle.items),
    )
    min_history = 0 if by_time and learner.config.new_users else 1
    if not users:
        raise TrainingError("no user has interactions both early and in the middle: there is nothing to order")
    trainer.report_progress("sources", EARLY, 0, 0)
    train, valid = [part.train for part in users], [part.valid for part in users]
    features = learner.fit_features(accepted.space, [part.train for part in splits])
    cutoff = Cutoff.between(train, valid)
    if by_time:  # all queries have one time, whenever the last interaction was
        cutoff = Cutoff(train, valid, np.full(len(train), features.statistics.now, np.int64))
    examples = [learner.examples(cutoff, features)]
    head = _train_head(trainer, examples, EARLY)
    on_train, on_test = (train, valid), (validation.histories, [part.test for part in validation.splits])
    check_recalls(features.sources, on_train, on_test, len(trainer.bundle.items))
    stage = learner.assemble(head, features, accepted.space, min_history)
    return TrainedStage(stage, examples)


class StageInContext(NamedTuple):
    """A second stage with the context of requests, and what it gains.

    Attributes:
        staged: The stage.
        answers: Its lists for the validation users, each in the context of the first interaction that was liked.
        targets: The interactions of the test part in that context.
        gain: Of the answers over the best lists so far, by the targets.
    """

    staged: TrainedStage
    answers: Candidates
    targets: list[History]
    gain: Gain


def train_in_context(
    trainer: Trainer,
    accepted: FittedModel,
    splits: Sequence[TemporalSplit],
    validation: Validation,
    best: Candidates,
) -> StageInContext:
    """Train the second stage once more, with the context of requests; see `train_second_stage`.

    Args:
        trainer: Trains the parts.
        accepted: The parts that helped so far, trained on the train part.
        splits: Of all users.
        validation: The validation users.
        best: The best lists for them so far.
    """
    staged = train_second_stage(trainer, accepted, splits, validation, trainer.context)
    cutoff = Cutoff.between(validation.histories, [split.test for split in validation.splits])
    targets = cutoff.in_first_context(validation.min_relevance).targets
    answers = answer_visits(trainer, staged.stage, validation.histories, targets)
    return StageInContext(staged, answers, targets, validation.gain(best, answers, targets))


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
        """Say why the head serves ``returning users`` or ``new users`` not, for those that it does not serve."""
        notes: dict[str, str] = {}
        for name, gain in {"returning users": self.gain, "new users": self.gain_of_new}.items():
            if gain is None:
                too_few = "for too few of them are in the last windows of the log, or it has no times"
                notes[name] = "for a fast fit trains no head for them" if fast else too_few
            elif not gain.is_sure:
                notes[name] = f"for the gain of a head is not surely above zero: {gain}, on {gain.users} users"
        if "returning users" in notes and "new users" not in notes:
            notes["new users"] = f"as returning users are: {self.gain_of_new}"
        return notes


def train_for_returning(
    trainer: Trainer, accepted: FittedModel, cutoffs: Sequence[Cutoff], validation: Validation
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
    """
    windows, curves, model, has_weights = _Windows(trainer, validation), dict(trainer.curves), None, False
    for number, cutoff in enumerate(cutoffs, start=1):
        name = window_name(number, len(cutoffs))
        try:
            # From the second on, it continues from the window before, in fewer passes.
            model = trainer.retrain_space(model or accepted, cutoff.histories, name, from_scratch=model is None)
            if not has_weights and (users := liking_users(cutoff, validation.min_relevance)):
                accepted, model = select_returning_weights(accepted, model, users, validation)
                has_weights = True
            if trainer.config.reranker is not None and len(cutoffs) >= JUDGED_FROM:
                windows.add(name, cutoff, model, validates=number >= JUDGED_FROM)
        except TrainingError:  # too little in this window
            continue
    gain = windows.gain(new=False)
    head = _train_head(trainer, windows.examples, WINDOWS) if gain is not None and gain.is_sure else None
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
            head = _train_head(trainer, self.examples, name)
            stage = replace(learner.assemble(head, features, model.space, 0), returning=head)
            retrieved = self.validation.recommend(model.space.for_returning, users.histories)
            before, after = (
                self.validation.values(candidates, users.targets, VALIDATION_METRIC)
                for candidates in (retrieved, answer_at(trainer, stage, users))
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


def retrain_with_last_part(
    trainer: Trainer, accepted: FittedModel, staged: TrainedStage, splits: Sequence[TemporalSplit]
) -> "ScoringHead":
    """Train the head of a stage that helps once more, on the test part too.

    Args:
        trainer: Trains the parts.
        accepted: The parts that are published, trained on the train part.
        staged: The stage, and the examples that its head was trained on for validation.
        splits: Of all users.
    """
    learner = trainer.stage_trainer(staged.stage.features.context_columns)
    users = sample_users(validation_users(splits, trainer.min_relevance), len(trainer.bundle.items))
    histories, curves = [part.before_test for part in splits], dict(trainer.curves)
    space = trainer.retrain_space(accepted, histories, BEFORE).space
    trainer.curves.update(curves)  # those of the parts that are served
    trainer.report_progress("sources", BEFORE, 0, 0)
    cutoff = Cutoff.between([part.before_test for part in users], [part.test for part in users])
    later = learner.examples(cutoff, learner.fit_features(space, histories))
    return _train_head(trainer, [*staged.examples, later], BEFORE)


def _train_head(trainer: Trainer, examples: "list[Examples]", part_of_log: str) -> "ScoringHead":
    def report_progress(done: int, total: int) -> None:
        trainer.report_progress("reranker", part_of_log, done, total)

    head, trainer.curves["reranker"] = trainer.stage_trainer().head(examples, report_progress, trainer.work)
    return head


def answer_visits(
    trainer: Trainer, stage: SecondStage, histories: Sequence[History], targets: Sequence[History] = ()
) -> Candidates:
    """Recommend to users within their visit, as `Retriever.recommend` does, in the context of the first target."""
    following = list(targets) or [history[:0] for history in histories]
    return answer_at(trainer, stage, Cutoff.between(list(histories), following))


def answer_at(trainer: Trainer, stage: SecondStage, cutoff: Cutoff) -> Candidates:
    """Recommend to the users of a cutoff, as `Retriever.recommend` does."""
    features, user_ids = stage.features, [history.user_id for history in cutoff.histories]
    batch = cutoff.user_batch(features.statistics.now).with_profiles(features.profiles, trainer.profiles, user_ids)
    return stage.recommend(batch, trainer.bundle.items)


class LengthRange(NamedTuple):
    """A range of history lengths.

    Attributes:
        items: The lengths that histories are cut to, assigned to users in turn.
        shortest: Shortest history of this range.
    """

    items: tuple[int, ...]
    shortest: int

    @property
    def name(self) -> str:
        """The lengths as text: ``"1-3"``."""
        return "-".join(map(str, sorted({self.items[0], self.items[-1]})))


LENGTH_RANGES = (LengthRange(SHORT_LENGTHS, 1), LengthRange((5,), 4), LengthRange((10,), 8), LengthRange((20,), 15))
LONG_HISTORY = 30  # items; longer than any of these ranges


def select_shortest_history(
    trainer: Trainer,
    stage: SecondStage,
    accepted: FittedModel,
    splits: Sequence[TemporalSplit],
    held_out: Sequence[History],
    validation: Validation,
) -> tuple[int, dict[str, dict[str, float]]]:
    """Select the history length from which on the head orders candidates, by users held out of training.

    Most training histories are long. A head that orders their candidates well may order those of a new user worse than
    retrieval does. The head is used from the shortest length at which, and above which, it does at least as well as
    retrieval. Its sources are learned once more, without the held-out users.

    Args:
        trainer: Trains the parts.
        stage: The second stage, which helps.
        accepted: The parts that it uses, trained without the held-out users.
        splits: Of all users.
        held_out: The whole histories of the held-out users.
        validation: Computes the quality of lists.

    Returns:
        The minimum length of a history, and for each length ndcg@10 of ``retrieval`` and of the ``reranker``.
    """
    learner = trainer.stage_trainer(stage.features.context_columns)
    held_out_ids = {history.user_id for history in held_out}
    features = learner.fit_features(
        accepted.space, [part.train for part in splits if part.train.user_id not in held_out_ids]
    )
    stages = {
        name: learner.assemble(stage.head, features, accepted.space, min_history)
        for name, min_history in (("retrieval", LONG_HISTORY), ("reranker", 1))
    }
    shortest, measured, above = stage.min_history, dict[str, dict[str, float]](), LONG_HISTORY
    for length in reversed(LENGTH_RANGES):
        if (users := ShortHistories.of(held_out, validation.min_relevance, length.items)) is None:
            continue
        relevant = users.relevant
        if stage.features.context is not None:
            relevant = Cutoff.between(users.histories, relevant).in_first_context(validation.min_relevance).targets
        values = {
            name: validation.mean(answer_visits(trainer, tried, users.histories, relevant), relevant, VALIDATION_METRIC)
            for name, tried in stages.items()
        }
        measured[length.name] = values
        if values["reranker"] < values["retrieval"]:
            shortest = max(shortest, above)
        above = length.shortest
    return shortest, measured
