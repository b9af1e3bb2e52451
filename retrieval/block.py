"""Learning a behaviour block for a bundle: from the early part, served as the middle part wants it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from indexing.bundle import Bundle
from indexing.errors import TrainingError
from indexing.types import Vectors
from retrieval.behaviour import Behaviour
from retrieval.cut import Cut
from retrieval.description import Description
from retrieval.item_space import ItemSpace
from retrieval.judging import FEWEST, Judging
from retrieval.prepare import History
from retrieval.training.config import BehaviourConfig

MEASURE = "ndcg@20"
# Users times items: so many scores are computed to judge once; fewer where it is done for every serving that is tried.
MOST_SCORES, MOST_TRIED = 100_000_000, 25_000_000


class Block(NamedTuple):
    """A behaviour block with what it is predicted from and how it is served.

    Attributes:
        described: (N, F) float32, the items by their description.
        behaviour: Learned from the early part.
        serving: How much each part of a query counts.
        value: ndcg@20 of the middle part, which the serving was chosen by.
    """

    described: Vectors
    behaviour: Behaviour
    serving: dict[str, float]
    value: float


def learned_block(
    described: Vectors, content: ItemSpace, cuts: Sequence[Cut], judging: Judging, config: BehaviourConfig
) -> Block:
    """Learn from the early part of histories, and choose the serving on the middle.

    Args:
        described: (N, F) float32, the items by their description.
        content: The same items, without behaviour.
        cuts: Of all users.
        judging: Recommends.
        config: How to learn.

    Raises:
        TrainingError: When there is too little to learn from.
    """
    from retrieval.training.behaviour import learn_behaviour
    from retrieval.training.serving import choose_serving

    behaviour = learn_behaviour([part.early for part in cuts if len(part.early)], described, config)
    users = sample(taught(cuts, judging.least), len(content.indexed), MOST_TRIED)
    if not users:
        raise TrainingError("no user has interactions both early and in the middle: there is nothing to choose by")

    joined = ItemSpace.of(content.content, content.users, behaviour)

    def judge(tried: Behaviour) -> float:
        space = replace(joined, behaviour=tried)  # serving changes queries, no item
        found = judging.recommend(space, [part.early for part in users], 20)
        return judging.mean(found, [part.middle for part in users], MEASURE)

    return Block(described, *choose_serving(behaviour, judge))


def learned_again(block: Block, pasts: Sequence[History], config: BehaviourConfig) -> Behaviour:
    """Learn on more than the early part, to be served as a block is."""
    from retrieval.training.behaviour import learn_behaviour
    from retrieval.training.serving import served

    return served(learn_behaviour(pasts, block.described, config), block.serving)


def taught(cuts: Sequence[Cut], least: float) -> list[Cut]:
    """Give the users with an early part, and something that weighs at least so much in the middle."""
    return [part for part in cuts if len(part.early) and len(part.middle.liked(least))]


def judged(cuts: Sequence[Cut], least: float) -> list[Cut]:
    """Give the users with a past, and something that weighs at least so much in the last part."""
    return [part for part in cuts if len(part.past) and len(part.last.liked(least))]


def sample(cuts: Sequence[Cut], items: int, scores: int = MOST_SCORES) -> list[Cut]:
    """Give as many users as can be judged over so many items in seconds, drawn by seed 0, in their order."""
    drawn = np.random.default_rng(0).permutation(len(cuts))[: max(FEWEST, scores // items)]
    return [cuts[line] for line in sorted(drawn.tolist())]


def description_of(bundle: Bundle) -> Description:
    """Learn how the items are described: by vectors and attributes, without the id and texts that were embedded."""
    but = {"item_id", *(bundle.manifest.columns.get("text") or ())}
    return Description.learn(bundle.modality_vectors, bundle.attributes, but=but)
