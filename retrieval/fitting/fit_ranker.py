"""Learning the second stage: where it is judged, and once more where it is served."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexing.errors import TrainingError
from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.selection.behaviour_selection import (
    SELECTION_METRIC,
    sample_users,
    training_users,
    validation_users,
)
from retrieval.fitting.selection.held_out_new_users import SHORT_LENGTHS, HeldOutUsers
from retrieval.fitting.selection.serving_weights import RETURNING, apply_serving
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import VALIDATION_METRIC, Validation
from retrieval.fitting.steps import BEFORE, EARLIER, EARLY
from retrieval.fitting.trainer import Trainer
from retrieval.interactions.histories import History
from retrieval.models.behaviour import DEFAULT_WEIGHTS
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.cutoffs import Cutoff


class EarlierModel(NamedTuple):
    """Everybody at one moment.

    Attributes:
        fitted: Content and behaviour, learned from what all did before it.
        cutoff: What all had done by then.
        asking: Those who did something afterwards; of very many some.
    """

    fitted: FittedModel
    cutoff: Cutoff
    asking: Cutoff


def train_on_earlier(trainer: Trainer, passed: FittedModel, cutoff: Cutoff) -> EarlierModel:
    """Learn content and behaviour once more, from what came before a moment for all."""
    curves = dict(trainer.curves)
    fitted = trainer.space_again(passed, cutoff.pasts, EARLIER, afresh=True)
    trainer.curves.update(curves)  # of what is served, not of what was learned for an earlier moment alone
    asking = cutoff.asking(new=True)
    return EarlierModel(fitted, cutoff, asking.take(sample_users(range(len(asking.pasts)), len(trainer.bundle.items))))


def select_returning_weights(
    passed: FittedModel, earlier: EarlierModel, validation: Validation
) -> tuple[FittedModel, EarlierModel]:
    """Choose how much each part of a query counts for those who come back: as in a visit, or by the defaults.

    In a visit what was done last tells most of what comes next; after days what is popular tells more. The defaults are
    what a cut in time was best served with; of the two the better is taken. They change queries alone, so that one
    index serves both.
    """
    asking, min_relevance = earlier.asking, validation.min_relevance
    pairs = zip(asking.pasts, asking.wanted, strict=True)
    users = [
        user for user, (history, relevant) in enumerate(pairs) if len(history) and len(relevant.liked(min_relevance))
    ]
    if not users:
        return passed, earlier
    returning = asking.take(users)
    weights = {f"{RETURNING}{name}": value for name, value in DEFAULT_WEIGHTS._asdict().items()}
    alternative = _with_serving(earlier.fitted, weights)
    values = [
        validation.values(
            validation.recommend(model.space.for_returning, returning.pasts), returning.wanted, SELECTION_METRIC
        ).mean()
        for model in (earlier.fitted, alternative)
    ]
    if values[1] <= values[0]:
        return passed, earlier
    return _with_serving(passed, weights), earlier._replace(fitted=alternative)


def _with_serving(fitted: FittedModel, told: dict[str, float]) -> FittedModel:
    """Serve those who come back with weights of their own."""
    if (block := fitted.block) is None:
        return fitted
    serving = block.serving | told
    behaviour = apply_serving(block.behaviour, serving)
    return fitted._replace(
        block=block._replace(behaviour=behaviour, serving=serving), space=replace(fitted.space, behaviour=behaviour)
    )


if TYPE_CHECKING:
    from retrieval.ranking.heads import ScoringHead
    from retrieval.training.ranker.neural_head import Examples  # torch is loaded only by those who learn


class TrainedStage(NamedTuple):
    """A second stage that is to be judged.

    Attributes:
        stage: Its sources learned from the early part.
        examples: What its head learned from.
        later: The same heads with sources learned from what came before the moment for all; None where there is none.
        asking: Who asks then, and was not learned from.
    """

    stage: SecondStage
    examples: "list[Examples]"
    later: SecondStage | None = None
    asking: Cutoff | None = None


def train_second_stage(
    trainer: Trainer,
    passed: FittedModel,
    splits: Sequence[TemporalSplit],
    validation: Validation,
    earlier: EarlierModel | None,
) -> TrainedStage:
    """Learn the second stage: of each user what came in the middle, and of all what came after one moment.

    The one is a visit that goes on, the other one that begins, perhaps the first: each has a head, for what orders the
    one well orders the other worse than retrieval does. Of those who ask at the moment for all every other one teaches,
    and the rest judge.

    Args:
        trainer: How to learn.
        passed: What helps so far, learned from the early part.
        splits: Of all users.
        validation: Those whom it will be judged by, who must not find what they are judged by too easily.
        earlier: Everybody at one moment, and what was learned before it; None where that cannot be told.

    Raises:
        TrainingError: When there is too little to learn from, or a source has seen what it is to find.
    """
    from retrieval.training.ranker.sources import check_recalls

    learner = trainer.stage_learner()
    by_time = trainer.config.split == "time"
    users = sample_users(
        training_users(splits, validation.min_relevance, new=by_time and learner.config.new_users),
        len(trainer.bundle.items),
    )
    fewest = 0 if by_time and learner.config.new_users else 1
    if not users:
        raise TrainingError("no user has interactions both early and in the middle: there is nothing to order")
    trainer.told("sources", EARLY, 0, 0)
    early, middle = [part.train for part in users], [part.valid for part in users]
    features = learner.seen(passed.space, [part.train for part in splits])
    cutoff = Cutoff.between(early, middle)
    if by_time:  # all ask at once, whenever they did the last
        cutoff = Cutoff(early, middle, np.full(len(early), features.statistics.now, np.int64))
    examples = [learner.examples(cutoff, features)]
    head = _train_head(trainer, examples, EARLY)
    taught_by, last = (early, middle), (validation.histories, [part.test for part in validation.splits])
    check_recalls(features.sources, taught_by, last, len(trainer.bundle.items))
    stage = learner.served(head, features, passed.space, fewest)
    if earlier is None:
        return TrainedStage(stage, examples)
    space, asking = earlier.fitted.space, earlier.asking
    trainer.told("sources", EARLIER, 0, 0)
    features = learner.seen(space, earlier.cutoff.pasts)
    try:
        returning = _train_head(trainer, [*examples, learner.examples(asking.every_other(0), features)], EARLIER)
    except TrainingError:  # too few of them have a candidate that they took
        return TrainedStage(replace(stage, leaves_returning=True), examples)
    then = replace(learner.served(head, features, space, fewest), returning=returning)
    return TrainedStage(replace(stage, returning=returning), examples, then, asking.every_other(1))


def retrain_with_last_part(
    trainer: Trainer, passed: FittedModel, examples: "list[Examples]", splits: Sequence[TemporalSplit]
) -> "ScoringHead":
    """Learn the head of a stage that passed once more, to find what each did last, too.

    Args:
        trainer: How to learn.
        passed: What is published, learned from the early part.
        examples: What it learned from when it was judged.
        splits: Of all users.
    """
    learner = trainer.stage_learner()
    users = sample_users(validation_users(splits, trainer.min_relevance), len(trainer.bundle.items))
    histories, curves = [part.before_test for part in splits], dict(trainer.curves)
    space = trainer.space_again(passed, histories, BEFORE).space
    trainer.curves.update(curves)  # of what is served
    trainer.told("sources", BEFORE, 0, 0)
    cutoff = Cutoff.between([part.before_test for part in users], [part.test for part in users])
    return _train_head(trainer, [*examples, learner.examples(cutoff, learner.seen(space, histories))], BEFORE)


def _train_head(trainer: Trainer, examples: "list[Examples]", part_of_log: str) -> "ScoringHead":
    def told(done: int, total: int) -> None:
        trainer.told("reranker", part_of_log, done, total)

    head, trainer.curves["reranker"] = trainer.stage_learner().head(examples, told, trainer.work)
    return head


def answer_visits(trainer: Trainer, stage: SecondStage, histories: Sequence[History]) -> Candidates:
    """Answer users in their visit, as `Retriever.recommend` does."""
    return answer_at(trainer, stage, Cutoff.between(list(histories), [part_of_log[:0] for part_of_log in histories]))


def answer_at(trainer: Trainer, stage: SecondStage, cutoff: Cutoff) -> Candidates:
    """Answer those who ask at a cutoff, as `Retriever.recommend` does."""
    features, names = stage.features, [history.user_id for history in cutoff.pasts]
    batch = cutoff.asked(features.statistics.now).knowing(features.profiles, trainer.profiles, names)
    return stage.recommend(batch, trainer.bundle.items)


class Length(NamedTuple):
    """Histories of about one length.

    Attributes:
        items: How many items users are asked after, one user after the other in turn.
        shortest: From so many items on a history is taken to be like these.
    """

    items: tuple[int, ...]
    shortest: int

    @property
    def name(self) -> str:
        """The lengths as text, as ``1-3``."""
        return "-".join(map(str, sorted({self.items[0], self.items[-1]})))


LENGTHS = (Length(SHORT_LENGTHS, 1), Length((5,), 4), Length((10,), 8), Length((20,), 15))
LONGER = 30  # items of a history that is longer than any of these


def select_shortest_history(
    trainer: Trainer,
    stage: SecondStage,
    passed: FittedModel,
    splits: Sequence[TemporalSplit],
    left_out: Sequence[History],
    validation: Validation,
) -> tuple[int, dict[str, dict[str, float]]]:
    """Choose from which length on the head orders candidates, by users who were left out of learning.

    Most histories that a head learns from are long. What orders them well may order the first lists of a new user worse
    than retrieval does. The head orders histories of a length where it does at least as well as retrieval at this
    length and at all above. Its sources are learned once more, without the new users.

    Args:
        trainer: How to learn.
        stage: That passed.
        passed: What it stands on, learned without the users who were left out.
        splits: Of all users.
        left_out: All that these users did.
        validation: Judges lists.

    Returns:
        Items that a history must have, and for each length ndcg@10 of ``retrieval`` and of the ``reranker``.
    """
    learner, out = trainer.stage_learner(), {history.user_id for history in left_out}
    features = learner.seen(passed.space, [part.train for part in splits if part.train.user_id not in out])
    judged = {
        part: learner.served(stage.head, features, passed.space, fewest)
        for part, fewest in (("retrieval", LONGER), ("reranker", 1))
    }
    shortest, measured, above = stage.min_history, dict[str, dict[str, float]](), LONGER
    for length in reversed(LENGTHS):
        if (users := HeldOutUsers.of(left_out, validation.min_relevance, length.items)) is None:
            continue
        values = {
            part: validation.mean(answer_visits(trainer, one, users.histories), users.relevant, VALIDATION_METRIC)
            for part, one in judged.items()
        }
        measured[length.name] = values
        if values["reranker"] < values["retrieval"]:
            shortest = max(shortest, above)
        above = length.shortest
    return shortest, measured
