"""How those are answered who come back: what is best at one moment for all, of whom many did the last long ago."""

from dataclasses import replace
from typing import NamedTuple

from retrieval.fitting.fitted_model import Fitted
from retrieval.fitting.selection.behaviour_selection import MEASURE, sample
from retrieval.fitting.selection.serving_weights import RETURNING, served
from retrieval.fitting.selection.validation import Judging
from retrieval.fitting.trainer import EARLIER, Lessons
from retrieval.models.behaviour import QueryWeights
from retrieval.models.user_model import ALL_ALIKE
from retrieval.training.config import BehaviourConfig
from retrieval.training.moments import Moment


class Earlier(NamedTuple):
    """Everybody at one moment.

    Attributes:
        fitted: Content and behaviour, learned from what all did before it.
        moment: What all had done by then.
        asking: Those who did something afterwards; of very many some.
    """

    fitted: Fitted
    moment: Moment
    asking: Moment


def learned_before(lessons: Lessons, passed: Fitted, moment: Moment) -> Earlier:
    """Learn content and behaviour once more, from what came before a moment for all."""
    curves = dict(lessons.curves)
    fitted = lessons.space_again(passed, moment.pasts, EARLIER, afresh=True)
    lessons.curves.update(curves)  # of what is served, not of what was learned for an earlier moment alone
    asking = moment.asking(new=True)
    return Earlier(fitted, moment, asking.take(sample(range(len(asking.pasts)), len(lessons.bundle.items))))


def serving_those_who_return(
    lessons: Lessons, passed: Fitted, earlier: Earlier, judging: Judging
) -> tuple[Fitted, Earlier]:
    """Choose how much each part of a query counts for those who come back: as in a visit, or by the settings.

    In a visit what was done last tells most of what comes next; after days what is popular tells more. The settings are
    what a cut in time was best served with; of the two the better is taken. They change queries alone, so that one
    index serves both.
    """
    asking, least = earlier.asking, judging.least
    there = zip(asking.pasts, asking.wanted, strict=True)
    lines = [line for line, (past, later) in enumerate(there) if len(past) and len(later.liked(least))]
    if not lines:
        return passed, earlier
    back = asking.take(lines)
    config = lessons.config.behaviour or BehaviourConfig()
    half_life = ALL_ALIKE if config.half_life is None else config.half_life
    weights = QueryWeights(half_life, config.share, config.popular, config.content)
    told = {f"{RETURNING}{name}": value for name, value in weights._asdict().items()}
    otherwise = _served(earlier.fitted, told)
    values = [
        judging.values(judging.recommend(one.space.for_returning, back.pasts), back.wanted, MEASURE).mean()
        for one in (earlier.fitted, otherwise)
    ]
    if values[1] <= values[0]:
        return passed, earlier
    return _served(passed, told), earlier._replace(fitted=otherwise)


def _served(fitted: Fitted, told: dict[str, float]) -> Fitted:
    """Serve those who come back with weights of their own."""
    if (block := fitted.block) is None:
        return fitted
    serving = block.serving | told
    behaviour = served(block.behaviour, serving)
    return fitted._replace(
        block=block._replace(behaviour=behaviour, serving=serving), space=replace(fitted.space, behaviour=behaviour)
    )
