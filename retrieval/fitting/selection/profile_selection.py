"""Selects how much profiles count, on users held out of training."""

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
from retrieval.fitting.selection.behaviour_selection import MAX_SCORES, SELECTION_METRIC
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.features.column_encoders import columns_of
from retrieval.models.profile_model import ProfileModel
from retrieval.training.one_standard_error import clearly_better, first_as_good
from retrieval.training.profile_model import (
    MIN_PROFILES,
    NUM_FOLDS,
    Doubles,
    first_tastes,
    fit_taste_model,
    with_profile,
)

PROFILE_WEIGHTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.5)
MAX_RELEVANT = 20  # first items of a user that count as relevant


class NewUsers(NamedTuple):
    """Quality of recommendations to held-out users before their first interaction.

    Attributes:
        users: How many.
        popular: ndcg@20 by popularity alone.
        profiles: ndcg@20 with their profiles.
    """

    users: int
    popular: float
    profiles: float


def select_profile_model(
    profiles: Profiles, histories: Sequence[History], items: Vectors, item_ids: ItemIds, min_relevance: float = 0.0
) -> tuple[ProfileModel, NewUsers]:
    """Fit a model of what users of a profile like, and select its weight.

    Args:
        profiles: Attributes of users; not all of them need a history.
        histories: Of all users.
        items: (N, R) float32, the item vectors of behaviour, popularity last.
        item_ids: The N items.
        min_relevance: An interaction of a smaller weight is a dislike.

    Raises:
        TrainingError: When too few users have a profile, when profiles do not differ, or when new users are not
            answered better with them.
    """
    histories = with_profile(profiles, histories)
    if len(histories) < MIN_PROFILES:
        raise TrainingError(f"{len(histories)} users of the log have a profile; a profile model needs {MIN_PROFILES}")
    attributes = profiles.of([history.user_id for history in histories])
    columns = columns_of(attributes)
    if not columns:
        raise TrainingError(f"the columns {attributes.column_names} of profiles are the same for all users")
    targets, folds = first_tastes(histories, items), np.random.default_rng(0).permutation(len(histories)) % NUM_FOLDS
    queries = np.zeros((len(histories), items.shape[1]), np.float32)
    for fold in range(NUM_FOLDS):
        held_out = folds == fold
        model = fit_taste_model(columns, attributes.filter(pa.array(~held_out)), targets[~held_out], 1.0)
        queries[held_out] = model.queries(attributes.filter(pa.array(held_out)))
    weight, quality = _select_weight(queries, histories, items, item_ids, min_relevance)
    ignored = set(attributes.column_names) - {column.column for column in columns}
    return replace(fit_taste_model(columns, attributes, targets, weight), ignored=tuple(sorted(ignored))), quality


def _select_weight(
    queries: Vectors, histories: Sequence[History], items: Vectors, item_ids: ItemIds, min_relevance: float
) -> tuple[float, NewUsers]:
    """Select the weight with which new users find most of their first items."""
    relevant_rows = [history.liked(min_relevance)[:MAX_RELEVANT] for history in histories]
    with_relevant = np.array([number for number, rows in enumerate(relevant_rows) if len(rows)], np.int64)
    sample = np.random.default_rng(0).permutation(len(with_relevant))[: max(MIN_PROFILES, MAX_SCORES // len(items))]
    users, index = with_relevant[np.sort(sample)], FlatIndex(items)
    relevant = [[item_ids[row] for row in relevant_rows[user]] for user in users.tolist()]

    def values(weight: float) -> Doubles:
        weighted = queries[users] * np.append(np.full(items.shape[1] - 1, weight), 1).astype(np.float32)
        scores, rows = retrieve(index, weighted, MAX_RELEVANT)
        candidates = Candidates(weighted, rows, scores, item_ids, "retrieve")
        return evaluate(candidates, relevant, measures=[SELECTION_METRIC]).per_query[SELECTION_METRIC]

    popular = values(0.0)
    by_weight = {weight: values(weight) for weight in PROFILE_WEIGHTS}
    best = PROFILE_WEIGHTS[first_as_good([by_weight[weight] for weight in PROFILE_WEIGHTS])]
    quality = NewUsers(len(users), round(float(popular.mean()), 4), round(float(by_weight[best].mean()), 4))
    if not clearly_better(by_weight[best], popular):
        raise TrainingError(
            f"profiles do not predict the first items of {quality.users} held-out users: {SELECTION_METRIC} "
            f"{quality.profiles:.4f} with them, {quality.popular:.4f} by popularity alone, a difference within chance"
        )
    return best, quality
