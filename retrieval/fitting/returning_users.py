"""How those are answered who come back: what is best at one moment for all, of whom many did the last long ago."""

from dataclasses import replace
from typing import NamedTuple

from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.selection.behaviour_selection import MEASURE, sample_users
from retrieval.fitting.selection.serving_weights import RETURNING, served
from retrieval.fitting.selection.validation import Validation
from retrieval.fitting.trainer import EARLIER, Trainer
from retrieval.models.behaviour import QueryWeights
from retrieval.models.user_model import ALL_ALIKE
from retrieval.training.config import BehaviourConfig
from retrieval.training.moments import Cutoff


class EarlierModel(NamedTuple):
    """Everybody at one moment.

    Attributes:
        fitted: Content and behaviour, learned from what all did before it.
        moment: What all had done by then.
        asking: Those who did something afterwards; of very many some.
    """

    fitted: FittedModel
    moment: Cutoff
    asking: Cutoff


def train_on_earlier(trainer: Trainer, passed: FittedModel, moment: Cutoff) -> EarlierModel:
    """Learn content and behaviour once more, from what came before a moment for all."""
    curves = dict(trainer.curves)
    fitted = trainer.space_again(passed, moment.pasts, EARLIER, afresh=True)
    trainer.curves.update(curves)  # of what is served, not of what was learned for an earlier moment alone
    asking = moment.asking(new=True)
    return EarlierModel(fitted, moment, asking.take(sample_users(range(len(asking.pasts)), len(trainer.bundle.items))))


def select_returning_weights(
    trainer: Trainer, passed: FittedModel, earlier: EarlierModel, validation: Validation
) -> tuple[FittedModel, EarlierModel]:
    """Choose how much each part of a query counts for those who come back: as in a visit, or by the settings.

    In a visit what was done last tells most of what comes next; after days what is popular tells more. The settings are
    what a cut in time was best served with; of the two the better is taken. They change queries alone, so that one
    index serves both.
    """
    asking, least = earlier.asking, validation.least
    there = zip(asking.pasts, asking.wanted, strict=True)
    lines = [line for line, (past, later) in enumerate(there) if len(past) and len(later.liked(least))]
    if not lines:
        return passed, earlier
    back = asking.take(lines)
    config = trainer.config.behaviour or BehaviourConfig()
    half_life = ALL_ALIKE if config.half_life is None else config.half_life
    weights = QueryWeights(half_life, config.share, config.popular, config.content)
    told = {f"{RETURNING}{name}": value for name, value in weights._asdict().items()}
    otherwise = _served(earlier.fitted, told)
    values = [
        validation.values(validation.recommend(one.space.for_returning, back.pasts), back.wanted, MEASURE).mean()
        for one in (earlier.fitted, otherwise)
    ]
    if values[1] <= values[0]:
        return passed, earlier
    return _served(passed, told), earlier._replace(fitted=otherwise)


def _served(fitted: FittedModel, told: dict[str, float]) -> FittedModel:
    """Serve those who come back with weights of their own."""
    if (block := fitted.block) is None:
        return fitted
    serving = block.serving | told
    behaviour = served(block.behaviour, serving)
    return fitted._replace(
        block=block._replace(behaviour=behaviour, serving=serving), space=replace(fitted.space, behaviour=behaviour)
    )
