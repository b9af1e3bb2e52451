"""Learning the second stage: where it is judged, and once more where it is served."""

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
from retrieval.fitting.selection.held_out_new_users import SHORT_LENGTHS, HeldOutUsers
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
    """A second stage that is to be judged.

    Attributes:
        stage: Its sources learned from the early part.
        examples: What its head learned from.
    """

    stage: SecondStage
    examples: "list[Examples]"


def train_second_stage(
    trainer: Trainer,
    passed: FittedModel,
    splits: Sequence[TemporalSplit],
    validation: Validation,
) -> TrainedStage:
    """Train the second stage on the validation part of each history: a visit that continues.

    Args:
        trainer: How to learn.
        passed: What helps so far, learned from the early part.
        splits: Of all users.
        validation: Those whom it will be judged by, who must not find what they are judged by too easily.

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
    return TrainedStage(stage, examples)


class ReturningUsers(NamedTuple):
    """What serves users who return after a while, and those without a history.

    Attributes:
        passed: What helps so far, with the query weights for these users.
        head: Orders their candidates; None where no window could judge it.
        gain: What the head gains over retrieval for users who return, in windows that it was not trained on; None where
            none could judge.
        gain_of_new: The same for users without a history.
    """

    passed: FittedModel
    head: "ScoringHead | None" = None
    gain: Gain | None = None
    gain_of_new: Gain | None = None


def train_for_returning(
    trainer: Trainer, passed: FittedModel, cutoffs: Sequence[Cutoff], validation: Validation
) -> ReturningUsers:
    """Train a second head on what users did in each of several windows, and judge it by later windows.

    It is a head of its own: one that orders the next items of a visit well orders those of a new visit worse than
    retrieval does. Content, behaviour and sources are learned from what came before each window. From the third window
    on, a head that was trained on the windows before judges the candidates of this window. The head that is returned
    is trained on all windows.

    Args:
        trainer: How to learn.
        passed: What helps so far, learned from the early part.
        cutoffs: The windows, oldest first.
        validation: Judges lists.
    """
    windows, curves, model, chosen = _Windows(trainer, validation), dict(trainer.curves), None, False
    for number, cutoff in enumerate(cutoffs, start=1):
        name = window_name(number, len(cutoffs))
        try:
            # From the second on, it continues from the window before, in fewer passes.
            model = trainer.space_again(model or passed, cutoff.pasts, name, afresh=model is None)
            if not chosen and (users := liking_users(cutoff, validation.min_relevance)):
                passed, model = select_returning_weights(passed, model, users, validation)
                chosen = True
            if trainer.config.reranker is not None and len(cutoffs) >= JUDGED_FROM:
                windows.add(name, cutoff, model, judges=number >= JUDGED_FROM)
        except TrainingError:  # too little in this window
            continue
    gain = windows.gain(new=False)
    head = None if gain is None else _train_head(trainer, windows.examples, WINDOWS)
    trainer.curves.clear()
    trainer.curves.update(curves)  # of what is served to visits, not of what is learned here
    return ReturningUsers(passed, head, gain, windows.gain(new=True))


class _Windows:
    """The examples of windows, and how each was answered by retrieval and by a head trained on those before it."""

    def __init__(self, trainer: Trainer, validation: Validation) -> None:
        self.trainer, self.validation = trainer, validation
        self.examples: list[Examples] = []
        self.values: list[tuple[Mask, NDArray[np.float64], NDArray[np.float64]]] = []

    def add(self, name: str, cutoff: Cutoff, model: FittedModel, *, judges: bool) -> None:
        """Learn sources from what came before a window, judge the head so far, and add the window to its examples."""
        trainer, learner, asking = self.trainer, self.trainer.stage_learner(), cutoff.asking(new=True)
        asking = asking.take(sample_users(range(len(asking.pasts)), len(trainer.bundle.items)))
        trainer.told("sources", name, 0, 0)
        features = learner.seen(model.space, cutoff.pasts)
        examples = learner.examples(asking, features)
        if judges and self.examples:
            head = _train_head(trainer, self.examples, name)
            stage = replace(learner.served(head, features, model.space, 0), returning=head)
            retrieved = self.validation.recommend(model.space.for_returning, asking.pasts)
            before, after = (
                self.validation.values(candidates, asking.wanted, VALIDATION_METRIC)
                for candidates in (retrieved, answer_at(trainer, stage, asking))
            )
            liked = [len(later.liked(self.validation.min_relevance)) > 0 for later in asking.wanted]
            self.values.append((asking.new[liked], before, after))
        self.examples.append(examples)

    def gain(self, *, new: bool) -> Gain | None:
        """Give the gain of the heads over retrieval in all windows that judged, of new users or of those who return."""
        if not self.values:
            return None
        is_new, before, after = (np.concatenate(values) for values in zip(*self.values, strict=True))
        chosen = is_new == new
        return Gain.of(before[chosen], after[chosen]) if chosen.sum() >= MIN_USERS else None


def liking_users(cutoff: Cutoff, min_relevance: float) -> Cutoff | None:
    """Give the users with a history who liked something in a window, or None where they are too few to judge by."""
    returning = cutoff.asking()
    rows = [row for row, later in enumerate(returning.wanted) if len(later.liked(min_relevance))]
    return returning.take(rows) if len(rows) >= MIN_USERS else None


def select_returning_weights(
    passed: FittedModel, earlier: FittedModel, users: Cutoff, validation: Validation
) -> tuple[FittedModel, FittedModel]:
    """Choose how much each part of a query counts for users who return: by the defaults, or as in a visit.

    In a visit the last interactions tell most of what comes next; after days popularity tells more. The defaults did
    best at a cut in time, so those of a visit are taken only where they do surely better. Weights change queries alone,
    so that one index serves both.

    Args:
        passed: What helps so far.
        earlier: The same, learned from what came before a window.
        users: Who returned in the window, as `liking_users` gives them.
        validation: Judges lists.

    Returns:
        Both models with the weights.
    """
    weights = {f"{RETURNING}{name}": value for name, value in DEFAULT_WEIGHTS._asdict().items()}
    defaults = _with_serving(earlier, weights)
    by_defaults, by_visit = (
        validation.recommend(model.space.for_returning, users.pasts) for model in (defaults, earlier)
    )
    if validation.gain(by_defaults, by_visit, users.wanted).low > 0:
        return passed, earlier
    return _with_serving(passed, weights), defaults


def _with_serving(fitted: FittedModel, told: dict[str, float]) -> FittedModel:
    """Serve those who come back with weights of their own."""
    if (block := fitted.block) is None:
        return fitted
    serving = block.serving | told
    behaviour = apply_serving(block.behaviour, serving)
    return fitted._replace(
        block=block._replace(behaviour=behaviour, serving=serving), space=replace(fitted.space, behaviour=behaviour)
    )


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
