"""Fits a profile model: what new users with given attributes like before their first interaction.

It is a ridge regression from attributes to the mean of the first items of each user, in the item vectors of behaviour.
The weight of the prediction beside popularity is selected by cross-validation with five folds. Item vectors and
popularity are trained on the held-out users too, which favours popularity as much as profiles.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Vectors
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.features.column_encoders import AttributeColumn, encode_columns
from retrieval.models.profile_model import ProfileModel, centred

RIDGE = 100.0  # an attribute value of fewer users counts less than half
EARLY = 20.0  # an interaction after this many of the same user counts half
DISLIKED = 0.3  # weight of an interaction below the mean weight
MIN_PROFILES, NUM_FOLDS = 50, 5

Doubles: TypeAlias = NDArray[np.float64]


def refit_profile_model(
    profiles: Profiles, histories: Sequence[History], items: Vectors, chosen: ProfileModel
) -> ProfileModel:
    """Fit a profile model again, with the columns and the share that `select_profile_model` selected."""
    histories = with_profile(profiles, histories)
    attributes = profiles.of([history.user_id for history in histories])
    model = fit_taste_model(chosen.columns, chosen.table(attributes), first_tastes(histories, items), chosen.share)
    return replace(model, ignored=chosen.ignored)


def with_profile(profiles: Profiles, histories: Sequence[History]) -> list[History]:
    """Give the users with interactions and a profile."""
    has_profile = profiles.positions([history.user_id for history in histories]) >= 0
    return [
        history for history, included in zip(histories, has_profile.tolist(), strict=True) if included and len(history)
    ]


def first_tastes(histories: Sequence[History], items: Vectors) -> Doubles:
    """Give the mean vector of the first items of each user, without popularity: (U, R - 1) float64."""
    mean = np.mean(np.concatenate([history.weights for history in histories]), dtype=np.float64)
    tastes = np.empty((len(histories), items.shape[1] - 1))
    for row, history in enumerate(histories):
        counts = 0.5 ** (np.arange(len(history)) / EARLY) * np.where(history.weights < mean, DISLIKED, 1.0)
        tastes[row] = counts @ items[history.rows, :-1] / counts.sum()
    return tastes


def fit_taste_model(
    columns: tuple[AttributeColumn, ...], attributes: pa.Table, tastes: Doubles, share: float
) -> ProfileModel:
    """Fit attributes to the tastes of U users, (U, R - 1); ``share`` is the root mean square length of the queries."""
    encoded = encode_columns(columns, attributes)
    means = np.concatenate([_mean_of_known(values) for values in encoded]).astype(np.float32)
    features = centred(encoded, means).astype(np.float64)
    gram = features.T @ features + RIDGE * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, features.T @ (tastes - tastes.mean(axis=0)))
    length = np.sqrt(np.mean(np.sum((features @ weights) ** 2, axis=1)))
    return ProfileModel(columns, means, (weights / max(length, 1e-12)).astype(np.float32), share)


def _mean_of_known(encoded: Vectors) -> Vectors:
    has_value = encoded.any(axis=1)
    mean: Vectors = encoded[has_value].mean(axis=0) if has_value.any() else np.zeros(encoded.shape[1], np.float32)
    return mean
