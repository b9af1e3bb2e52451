"""Selects the shortest history whose candidates the head orders."""

from collections.abc import Sequence
from typing import NamedTuple

from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.part_training.fit_ranker import pool_at
from retrieval.fitting.part_training.trainer import Trainer
from retrieval.fitting.selection.held_out_new_users import SHORT_LENGTHS, ShortHistories
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import VALIDATION_METRIC, Validation
from retrieval.interactions.histories import History
from retrieval.ranking.second_stage import SecondStage
from retrieval.training.cutoffs import Cutoff


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
        pool = pool_at(trainer, stages["reranker"], Cutoff.between(users.histories, relevant))
        values = {
            name: validation.mean(tried.rerank(pool), relevant, VALIDATION_METRIC) for name, tried in stages.items()
        }
        measured[length.name] = values
        if values["reranker"] < values["retrieval"]:
            shortest = max(shortest, above)
        above = length.shortest
    return shortest, measured
