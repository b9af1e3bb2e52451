"""Learning the second stage: where it is judged, and once more where it is served."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexing.errors import TrainingError
from retrieval.fitting.fitted_model import Fitted
from retrieval.fitting.returning_users import Earlier
from retrieval.fitting.selection.behaviour_selection import judged, sample, taught
from retrieval.fitting.selection.temporal_split import Cut
from retrieval.fitting.selection.validation import Judging
from retrieval.fitting.trainer import BEFORE, EARLIER, EARLY, Lessons
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.moments import Moment

if TYPE_CHECKING:
    from retrieval.ranking.heads import ScoringHead
    from retrieval.training.ranker.neural_head import Examples  # torch is loaded only by those who learn


class Staged(NamedTuple):
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
    asking: Moment | None = None


def learn_stage(
    lessons: Lessons, passed: Fitted, cuts: Sequence[Cut], judging: Judging, earlier: Earlier | None
) -> Staged:
    """Learn the second stage: of each user what came in the middle, and of all what came after one moment.

    The one is a visit that goes on, the other one that begins, perhaps the first: each has a head, for what orders the
    one well orders the other worse than retrieval does. Of those who ask at the moment for all every other one teaches,
    and the rest judge.

    Args:
        lessons: How to learn.
        passed: What helps so far, learned from the early part.
        cuts: Of all users.
        judging: Those whom it will be judged by, who must not find what they are judged by too easily.
        earlier: Everybody at one moment, and what was learned before it; None where that cannot be told.

    Raises:
        TrainingError: When there is too little to learn from, or a source has seen what it is to find.
    """
    from retrieval.training.ranker.leak_checks import check_recalls

    learner = lessons.stage_learner()
    by_time = lessons.config.way == "time"
    users = sample(taught(cuts, judging.least, new=by_time and learner.config.new_users), len(lessons.bundle.items))
    fewest = 0 if by_time and learner.config.new_users else 1
    if not users:
        raise TrainingError("no user has interactions both early and in the middle: there is nothing to order")
    lessons.told("sources", EARLY, 0, 0)
    early, middle = [part.early for part in users], [part.middle for part in users]
    features = learner.seen(passed.space, [part.early for part in cuts])
    moment = Moment.between(early, middle)
    if by_time:  # all ask at once, whenever they did the last
        moment = Moment(early, middle, np.full(len(early), features.facts.now, np.int64))
    examples = [learner.examples(moment, features)]
    head = _head(lessons, examples, EARLY)
    taught_by, last = (early, middle), (judging.pasts, [part.last for part in judging.cuts])
    check_recalls(features.sources, taught_by, last, len(lessons.bundle.items))
    stage = learner.served(head, features, passed.space, fewest)
    if earlier is None:
        return Staged(stage, examples)
    space, asking = earlier.fitted.space, earlier.asking
    lessons.told("sources", EARLIER, 0, 0)
    features = learner.seen(space, earlier.moment.pasts)
    try:
        returning = _head(lessons, [*examples, learner.examples(asking.every_other(0), features)], EARLIER)
    except TrainingError:  # too few of them have a candidate that they took
        return Staged(replace(stage, leaves_returning=True), examples)
    then = replace(learner.served(head, features, space, fewest), returning=returning)
    return Staged(replace(stage, returning=returning), examples, then, asking.every_other(1))


def with_the_last_part(
    lessons: Lessons, passed: Fitted, examples: "list[Examples]", cuts: Sequence[Cut]
) -> "ScoringHead":
    """Learn the head of a stage that passed once more, to find what each did last, too.

    Args:
        lessons: How to learn.
        passed: What is published, learned from the early part.
        examples: What it learned from when it was judged.
        cuts: Of all users.
    """
    learner = lessons.stage_learner()
    users = sample(judged(cuts, lessons.least), len(lessons.bundle.items))
    pasts, curves = [part.past for part in cuts], dict(lessons.curves)
    space = lessons.space_again(passed, pasts, BEFORE).space
    lessons.curves.update(curves)  # of what is served
    lessons.told("sources", BEFORE, 0, 0)
    moment = Moment.between([part.past for part in users], [part.last for part in users])
    return _head(lessons, [*examples, learner.examples(moment, learner.seen(space, pasts))], BEFORE)


def _head(lessons: Lessons, examples: "list[Examples]", past: str) -> "ScoringHead":
    def told(done: int, total: int) -> None:
        lessons.told("reranker", past, done, total)

    head, lessons.curves["reranker"] = lessons.stage_learner().head(examples, told, lessons.work)
    return head
