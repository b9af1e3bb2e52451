"""Trains the second stage: once for validation, and once more on all interactions for serving."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexing.errors import TrainingError
from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.selection.behaviour_selection import (
    sample_users,
    training_users,
    validation_users,
)
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.fitting.steps import BEFORE_TEST, TRAIN
from retrieval.interactions.histories import History
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import UserBatch
from retrieval.training.cutoffs import Cutoff

if TYPE_CHECKING:
    from retrieval.ranking.heads import ScoringHead
    from retrieval.training.ranker.neural_head import Examples  # loads torch


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
        raise TrainingError(
            "no user has interactions in both the train and the validation part: there is nothing to order"
        )
    trainer.report_progress("sources", TRAIN, 0, 0)
    train, valid = [part.train for part in users], [part.valid for part in users]
    features = learner.fit_features(accepted.space, [part.train for part in splits])
    cutoff = Cutoff.between(train, valid)
    if by_time:  # all queries have one time, whenever the last interaction was
        cutoff = Cutoff(train, valid, np.full(len(train), features.statistics.now, np.int64))
    examples = [learner.examples(cutoff, features)]
    head = train_head(trainer, examples, TRAIN)
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
    space = trainer.retrain_space(accepted, histories, BEFORE_TEST).space
    trainer.curves.update(curves)  # those of the parts that are served
    trainer.report_progress("sources", BEFORE_TEST, 0, 0)
    cutoff = Cutoff.between([part.before_test for part in users], [part.test for part in users])
    later = learner.examples(cutoff, learner.fit_features(space, histories))
    return train_head(trainer, [*staged.examples, later], BEFORE_TEST)


def train_head(trainer: Trainer, examples: "list[Examples]", part_of_log: str) -> "ScoringHead":
    """Train a head on examples, and keep its losses in the curves of the trainer."""

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
    return stage.recommend(_users_at(trainer, stage, cutoff), trainer.bundle.items)


def pool_at(trainer: Trainer, stage: SecondStage, cutoff: Cutoff) -> Candidates:
    """Give the candidates that a stage orders for the users of a cutoff: those of every stage with its sources."""
    return stage.pool(_users_at(trainer, stage, cutoff), trainer.bundle.items, stage.per_source)


def _users_at(trainer: Trainer, stage: SecondStage, cutoff: Cutoff) -> UserBatch:
    features, user_ids = stage.features, [history.user_id for history in cutoff.histories]
    return cutoff.user_batch(features.statistics.now).with_profiles(features.profiles, trainer.profiles, user_ids)
