"""Leaks around the answers: among the negatives of training, in the history, or not yet born."""

from collections.abc import Collection, Mapping

import numpy as np

from retrieval.candidates import Candidates
from retrieval.evaluation.splits.leaks.report import items_by_user, report
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.interactions import Interactions


def check_negatives(
    negatives: Mapping[str, Collection[str]],
    future: Interactions,
    *,
    min_weight: float | None = None,
    chance: float = 0.0,
) -> None:
    """Check that training was not handed, as negatives, what the user will like.

    Negatives drawn at random hit answers now and then, and to spare just those would be a leak of its own. Say with
    ``chance`` how many of them may, for instance the answers of a user by the size of the catalogue.

    Args:
        negatives: For each user_id the item_ids that training took as negatives.
        future: What should be found.
        min_weight: Only interactions of at least this weight are answers.
        chance: The largest share of negatives that may be answers.

    Raises:
        LeakError: "answers among the negatives".
    """
    answers = items_by_user(future, min_weight)
    bad = [(user, item) for user, ids in negatives.items() for item in ids if item in answers.get(user, ())]
    total = sum(map(len, negatives.values()))
    report(
        "answers among the negatives",
        f"of {total} training negatives are what the same user likes in the future (user, item)",
        bad if len(bad) > chance * total else [],
        "draw negatives from what the user had not touched in the past, without a look at the future",
    )


def check_answers(relevant: Mapping[str, Collection[str]], seen: Mapping[str, Collection[str]]) -> None:
    """Check that what should be found can be: what was seen is excluded from every answer.

    Args:
        relevant: For each query the item_ids that should be found.
        seen: For each query the item_ids in its history, or excluded for another reason.

    Raises:
        LeakError: "answers already seen".
    """
    report(
        "answers already seen",
        f"of {sum(map(len, relevant.values()))} relevant items are in the query's own history (query, item)",
        [(query, item) for query, ids in relevant.items() for item in ids if item in seen.get(query, ())],
        "take them out of what is relevant, as retrieval.evaluation.splits.queries does, or exclude nothing",
    )


def check_candidates(candidates: Candidates, split: Split) -> None:
    """Check that no candidate is an item which nobody had touched at the cut, but somebody has in the future.

    Leave this check out where new items are known in advance, as in an evaluation of cold items.

    Raises:
        LeakError: "items of the future among the candidates".
    """
    new, items = split.new_items, candidates.items
    bad = [row for row in np.unique(candidates.rows).tolist() if row >= 0 and items[row] in new]
    lists = int(np.isin(candidates.rows, bad).any(axis=1).sum())
    report(
        "items of the future among the candidates",
        f"items, in {lists} of {len(candidates)} lists, were first touched after the past",
        [items[row] for row in bad],
        "rank only the items of the past, or leave this check out where new items are known in advance",
    )
