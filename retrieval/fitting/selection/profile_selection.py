"""How much profiles count: chosen on users who are kept away from learning."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import TrainingError
from indexing.index import FlatIndex
from indexing.index.search import retrieve
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.features.column_encoders import columns_of
from retrieval.fitting.selection.behaviour_selection import MEASURE, MOST_SCORES
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.profile_model import ProfileModel
from retrieval.training.one_standard_error import clearly_better, first_as_good
from retrieval.training.profile_model import FEWEST, FOLDS, Doubles, first_tastes, fitted_taste, profiled

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.5)


WANTED = 20  # of what users did first, which should be found


class NewUsers(NamedTuple):
    """What users who were left out would have been shown before they did anything, against what they did first.

    Attributes:
        users: How many.
        popular: ndcg@20 of what is popular.
        profiles: ndcg@20 with their profiles.
    """

    users: int
    popular: float
    profiles: float


def choose_profile_taste(
    profiles: Profiles, pasts: Sequence[History], items: Vectors, item_ids: ItemIds, least: float = 0.0
) -> tuple[ProfileModel, NewUsers]:
    """Learn what profiles say, and how much that should count.

    Args:
        profiles: Of some of the users, and perhaps of others.
        pasts: What users did.
        items: (N, R) float32, the item vectors of behaviour, popularity last.
        item_ids: The N items.
        least: What weighs less was disliked.

    Raises:
        TrainingError: When too few have a profile, when profiles say nothing, or do not say what new users like.
    """
    pasts = profiled(profiles, pasts)
    if len(pasts) < FEWEST:
        raise TrainingError(f"{len(pasts)} users of the log have a profile; it takes {FEWEST} to learn what they say")
    attributes = profiles.of([past.user_id for past in pasts])
    columns = columns_of(attributes)
    if not columns:
        raise TrainingError(f"the columns {attributes.column_names} of profiles do not tell users apart")
    tastes, folds = first_tastes(pasts, items), np.random.default_rng(0).permutation(len(pasts)) % FOLDS
    asked = np.zeros((len(pasts), items.shape[1]), np.float32)
    for fold in range(FOLDS):
        left_out = folds == fold
        one = fitted_taste(columns, attributes.filter(pa.array(~left_out)), tastes[~left_out], 1.0)
        asked[left_out] = one.queries(attributes.filter(pa.array(left_out)))
    share, told = _best_share(asked, pasts, items, item_ids, least)
    ignored = set(attributes.column_names) - {one.column for one in columns}
    return replace(fitted_taste(columns, attributes, tastes, share), ignored=tuple(sorted(ignored))), told


def _best_share(
    asked: Vectors, pasts: Sequence[History], items: Vectors, item_ids: ItemIds, least: float
) -> tuple[float, NewUsers]:
    """Find the share that shows new users most of what they did first."""
    wanted = [past.liked(least)[:WANTED] for past in pasts]
    there = np.array([line for line, rows in enumerate(wanted) if len(rows)], np.int64)
    drawn = np.random.default_rng(0).permutation(len(there))[: max(FEWEST, MOST_SCORES // len(items))]
    lines, index = there[np.sort(drawn)], FlatIndex(items)
    relevant = [[item_ids[row] for row in wanted[line]] for line in lines.tolist()]

    def values(share: float) -> Doubles:
        queries = asked[lines] * np.append(np.full(items.shape[1] - 1, share), 1).astype(np.float32)
        scores, rows = retrieve(index, queries, WANTED)
        found = Candidates(queries, rows, scores, item_ids, "retrieve")
        return evaluate(found, relevant, measures=[MEASURE]).per_query[MEASURE]

    popular = values(0.0)
    each = {share: values(share) for share in SHARES}
    best = SHARES[first_as_good([each[share] for share in SHARES])]
    told = NewUsers(len(lines), round(float(popular.mean()), 4), round(float(each[best].mean()), 4))
    if not clearly_better(each[best], popular):
        raise TrainingError(
            f"profiles do not tell what {told.users} users who were left out did first: {MEASURE} {told.profiles:.4f} "
            f"with them, {told.popular:.4f} by popularity alone, which is no more than chance"
        )
    return best, told
