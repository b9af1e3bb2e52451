"""Judges parts whose scores were lowered or that were softened, on interactions that they were not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.part_training.fit_ranker import answer_visits
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.publish_gate import why_not_published
from retrieval.fitting.selection.score_penalties import Shares, shares_of
from retrieval.fitting.selection.softening import Change
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.interactions.histories import History
from retrieval.models.item_space import ItemSpace


def recommend(
    trainer: Trainer,
    validation: Validation,
    parts: FittedModel,
    histories: Sequence[History],
    targets: Sequence[History] = (),
) -> Candidates:
    """Recommend to users as in serving, in the context of the first target of each where there are any."""
    if parts.reranker is None:
        return validation.recommend(parts.space, histories)
    return answer_visits(trainer, parts.reranker, histories, targets)


@dataclass(frozen=True, eq=False)
class ServedGain:
    """Judges the change of parts by that of the same parts before they were trained on everything.

    Attributes:
        trainer: Of the parts.
        validation: The validation users.
        validated: The parts, trained on interactions before the test part.
        before: Lists for the validation users that the parts must do better than, or, of a refresh, as well as.
        targets: What counts as relevant; the test part when empty.
        histories: Of the users whose lists keep the bound.
        refreshes: Whether the lists before are those of published parts.
    """

    trainer: Trainer
    validation: Validation
    validated: FittedModel
    before: Candidates
    targets: Sequence[History]
    histories: Sequence[History]
    refreshes: bool = False

    def shares_without(self) -> Shares:
        """Give the shares of the lists without any learned part: (N,) float64."""
        frozen = ItemSpace.of(self.trainer.fused, self.trainer.config.user_model)
        return shares_of(self.validation.recommend(frozen, self.histories))

    def judge(self, change: Change) -> tuple[Gain, str]:
        """Give the gain of changed parts, and why they do not help, or ""."""
        served = self._recommend(change(self.validated, self._recommend))
        gain = self.validation.gain(self.before, served, self.targets or None)
        reason = why_not_published(gain)
        if self.refreshes:  # not surely worse than the published parts
            reason = "" if gain.high >= 0 else f"the published parts do better: {gain}, on {gain.users} users"
        return gain, f"with items held back that would be shown out of proportion: {reason}" if reason else ""

    def _recommend(self, parts: FittedModel) -> Candidates:
        return recommend(self.trainer, self.validation, parts, self.validation.histories, self.targets)
