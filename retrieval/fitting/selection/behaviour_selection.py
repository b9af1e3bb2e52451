"""Learning a behaviour block for a bundle: from the early part, served as the middle part wants it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.bundle.bundle import Bundle
from indexing.errors import TrainingError
from retrieval.features.item_features import ItemFeatures
from retrieval.fitting.fitted_model import ServedBehaviour
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import FEWEST, Validation
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour
from retrieval.models.item_space import ItemSpace

MEASURE = "ndcg@20"
User = TypeVar("User")
# Users times items: so many scores are computed to judge once; fewer where it is done for every serving that is tried.
MOST_SCORES, MOST_TRIED = 100_000_000, 25_000_000


class SelectedBehaviour(NamedTuple):
    """A block learned from the early part, and what it is worth.

    Attributes:
        block: Served as the middle part wants it.
        value: ndcg@20 of the middle part, which the serving was chosen by.
    """

    block: ServedBehaviour
    value: float


def select_behaviour(
    learn: Callable[[Sequence[History]], Behaviour],
    content: ItemSpace,
    cuts: Sequence[TemporalSplit],
    validation: Validation,
    tried: Callable[[int], None] | None = None,
) -> SelectedBehaviour:
    """Learn from the early part of histories, and choose the serving on the middle.

    Args:
        learn: Learns a block.
        content: The items, without behaviour.
        cuts: Of all users.
        validation: Says what is liked.
        tried: Called after each serving that was tried with how many they are.

    Raises:
        TrainingError: When there is too little to learn from.
    """
    from retrieval.fitting.selection.serving_weights import choose_serving  # torch is loaded only by those who learn
    from retrieval.training.serving_trials import ServingTrials

    behaviour = learn([part.early for part in cuts if len(part.early)])
    users = sample_users(training_users(cuts, validation.least), len(content.indexed), MOST_TRIED)
    if not users:
        raise TrainingError("no user has interactions both early and in the middle: there is nothing to choose by")
    joined, count = ItemSpace.of(content.content, content.users, behaviour), 0
    trials = ServingTrials(
        joined, [part.early for part in users], [part.middle.liked(validation.least) for part in users]
    )

    def judge(one: Behaviour) -> NDArray[np.float64]:
        nonlocal count
        count += 1
        if tried is not None:
            tried(count)
        return trials.values(one)

    behaviour, serving, value = choose_serving(behaviour, judge, in_order=content.users.in_order)
    return SelectedBehaviour(ServedBehaviour(behaviour, serving), value)


def training_users(cuts: Sequence[TemporalSplit], least: float, *, new: bool = False) -> list[TemporalSplit]:
    """Give the users with an early part, or new ones too, and something that weighs at least so much in the middle."""
    return [part for part in cuts if (new or len(part.early)) and len(part.middle.liked(least))]


def validation_users(cuts: Sequence[TemporalSplit], least: float) -> list[TemporalSplit]:
    """Give the users with a past, and something that weighs at least so much in the last part."""
    return [part for part in cuts if len(part.past) and len(part.last.liked(least))]


def sample_users(users: Sequence[User], items: int, scores: int = MOST_SCORES) -> list[User]:
    """Give as many users as can be judged over so many items in seconds, drawn by seed 0, in their order."""
    drawn = np.random.default_rng(0).permutation(len(users))[: max(FEWEST, scores // items)]
    return [users[line] for line in sorted(drawn.tolist())]


def description_of(bundle: Bundle) -> ItemFeatures:
    """Learn how the items are described: by vectors, attributes and how much is said of them."""
    texts = bundle.manifest.columns.get("text") or ()
    return ItemFeatures.learn(bundle.modality_vectors, bundle.attributes, exclude={"item_id"}, texts=texts)
