"""Trains a behaviour block on the train part of histories, and selects its serving weights on the validation part."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.bundle.bundle import Bundle
from indexing.errors import TrainingError
from retrieval.fitting.fitted_model import ServedBehaviour
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import MIN_USERS, Validation
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour
from retrieval.models.features.item_features import ItemFeatures
from retrieval.models.item_space import ItemSpace

SELECTION_METRIC = "ndcg@20"
User = TypeVar("User")
# Maximum number of scores, users times items, in one evaluation; fewer where it is repeated for every trial.
MAX_SCORES, MAX_SCORES_A_TRIAL = 100_000_000, 25_000_000


class SelectedBehaviour(NamedTuple):
    """A block trained on the train part, and its quality.

    Attributes:
        block: With the serving weights that the validation part selected.
        value: ndcg@20 on the validation part, by which the weights were selected.
    """

    block: ServedBehaviour
    value: float


def select_behaviour(
    train: Callable[[Sequence[History]], Behaviour],
    content: ItemSpace,
    splits: Sequence[TemporalSplit],
    validation: Validation,
    on_trial: Callable[[int], None] | None = None,
) -> SelectedBehaviour:
    """Train on the train part of histories, and select the serving weights on the validation part.

    Args:
        train: Trains a block.
        content: The items, without behaviour.
        splits: Of all users.
        validation: Gives the minimum relevance.
        on_trial: Called after each trial of serving weights with the number of trials so far.

    Raises:
        TrainingError: When there is too little to train on.
    """
    from retrieval.fitting.selection.serving_weights import select_serving  # torch is loaded only by those who learn
    from retrieval.training.serving_trials import ServingTrials

    behaviour = train([split.train for split in splits if len(split.train)])
    users = training_users(splits, validation.min_relevance)
    users = sample_users(users, len(content.indexed), MAX_SCORES_A_TRIAL)
    if not users:
        raise TrainingError(
            "no user has interactions in both the train and the validation part: there is nothing to select on"
        )
    space, num_trials = ItemSpace.of(content.content, content.users, behaviour), 0
    relevant = [split.valid.liked(validation.min_relevance) for split in users]
    trials = ServingTrials(space, [split.train for split in users], relevant)

    def evaluate(tried: Behaviour) -> NDArray[np.float64]:
        nonlocal num_trials
        num_trials += 1
        if on_trial is not None:
            on_trial(num_trials)
        return trials.values(tried)

    behaviour, serving, value = select_serving(behaviour, evaluate, in_order=content.users.in_order)
    return SelectedBehaviour(ServedBehaviour(behaviour, serving), value)


def training_users(splits: Sequence[TemporalSplit], min_relevance: float, *, new: bool = False) -> list[TemporalSplit]:
    """Give the users with a train part, or new ones too, who liked something in the validation part."""
    return [split for split in splits if (new or len(split.train)) and len(split.valid.liked(min_relevance))]


def validation_users(splits: Sequence[TemporalSplit], min_relevance: float) -> list[TemporalSplit]:
    """Give the users with a history before the test part who liked something in it."""
    return [split for split in splits if len(split.before_test) and len(split.test.liked(min_relevance))]


def sample_users(users: Sequence[User], num_items: int, max_scores: int = MAX_SCORES) -> list[User]:
    """Give a random sample of users (seed 0, in their order), for whom all items are scored in seconds."""
    sample = np.random.default_rng(0).permutation(len(users))[: max(MIN_USERS, max_scores // num_items)]
    return [users[number] for number in sorted(sample.tolist())]


def fit_item_features(bundle: Bundle) -> ItemFeatures:
    """Fit the features of items: vectors, attributes and counts."""
    texts = bundle.manifest.columns.get("text") or ()
    return ItemFeatures.fit(bundle.modality_vectors, bundle.attributes, exclude={"item_id"}, texts=texts)
