"""Learning a behaviour block for a bundle: from the early part, served as the middle part wants it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.bundle.bundle import Bundle
from indexing.errors import TrainingError
from retrieval.features.item_features import Description
from retrieval.fitting.fitted_model import Block
from retrieval.fitting.selection.temporal_split import Cut
from retrieval.fitting.selection.validation import FEWEST, Judging
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour
from retrieval.models.item_space import ItemSpace

MEASURE = "ndcg@20"
User = TypeVar("User")
# Users times items: so many scores are computed to judge once; fewer where it is done for every serving that is tried.
MOST_SCORES, MOST_TRIED = 100_000_000, 25_000_000


class Chosen(NamedTuple):
    """A block learned from the early part, and what it is worth.

    Attributes:
        block: Served as the middle part wants it.
        value: ndcg@20 of the middle part, which the serving was chosen by.
    """

    block: Block
    value: float


def learned_block(
    learn: Callable[[Sequence[History]], Behaviour],
    content: ItemSpace,
    cuts: Sequence[Cut],
    judging: Judging,
    tried: Callable[[int], None] | None = None,
) -> Chosen:
    """Learn from the early part of histories, and choose the serving on the middle.

    Args:
        learn: Learns a block.
        content: The items, without behaviour.
        cuts: Of all users.
        judging: Says what is liked.
        tried: Called after each serving that was tried with how many they are.

    Raises:
        TrainingError: When there is too little to learn from.
    """
    from retrieval.fitting.selection.serving_weights import choose_serving  # torch is loaded only by those who learn
    from retrieval.training.serving_trials import Trials

    behaviour = learn([part.early for part in cuts if len(part.early)])
    users = sample(taught(cuts, judging.least), len(content.indexed), MOST_TRIED)
    if not users:
        raise TrainingError("no user has interactions both early and in the middle: there is nothing to choose by")
    joined, count = ItemSpace.of(content.content, content.users, behaviour), 0
    trials = Trials(joined, [part.early for part in users], [part.middle.liked(judging.least) for part in users])

    def judge(one: Behaviour) -> NDArray[np.float64]:
        nonlocal count
        count += 1
        if tried is not None:
            tried(count)
        return trials.values(one)

    behaviour, serving, value = choose_serving(behaviour, judge, in_order=content.users.in_order)
    return Chosen(Block(behaviour, serving), value)


def taught(cuts: Sequence[Cut], least: float, *, new: bool = False) -> list[Cut]:
    """Give the users with an early part, or new ones too, and something that weighs at least so much in the middle."""
    return [part for part in cuts if (new or len(part.early)) and len(part.middle.liked(least))]


def judged(cuts: Sequence[Cut], least: float) -> list[Cut]:
    """Give the users with a past, and something that weighs at least so much in the last part."""
    return [part for part in cuts if len(part.past) and len(part.last.liked(least))]


def sample(users: Sequence[User], items: int, scores: int = MOST_SCORES) -> list[User]:
    """Give as many users as can be judged over so many items in seconds, drawn by seed 0, in their order."""
    drawn = np.random.default_rng(0).permutation(len(users))[: max(FEWEST, scores // items)]
    return [users[line] for line in sorted(drawn.tolist())]


def description_of(bundle: Bundle) -> Description:
    """Learn how the items are described: by vectors, attributes and how much is said of them."""
    texts = bundle.manifest.columns.get("text") or ()
    return Description.learn(bundle.modality_vectors, bundle.attributes, but={"item_id"}, texts=texts)
