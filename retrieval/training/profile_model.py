"""Learn what people of a profile like before they have done anything, and whether it is worth asking with.

Ridge regression from attributes to the mean of what users did first, in the item vectors of behaviour. How much it
counts beside popularity, and whether at all, is told by users who were left out of it, five parts in turn. Items and
popularity were learned from them too, which flatters what is popular as much.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Vectors
from retrieval.features.column_encoders import AttributeColumn, lines_of
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.profile_model import ProfileModel, centred

RIDGE = 100.0  # what is not told by more than so many users counts less than half
EARLY = 20.0  # an interaction with so many of its user before it counts half
DISLIKED = 0.3  # what one counts that weighs less than the mean
FEWEST, FOLDS = 50, 5

Doubles: TypeAlias = NDArray[np.float64]


def learn_profile_taste(
    profiles: Profiles, histories: Sequence[History], items: Vectors, chosen: ProfileModel
) -> ProfileModel:
    """Learn what profiles say once more, with the columns and the share that `choose_profile_taste` chose."""
    histories = profiled(profiles, histories)
    attributes = profiles.of([history.user_id for history in histories])
    model = fitted_taste(chosen.columns, chosen.table(attributes), first_tastes(histories, items), chosen.share)
    return replace(model, ignored=chosen.ignored)


def profiled(profiles: Profiles, histories: Sequence[History]) -> list[History]:
    """Give the users who did something and have a profile."""
    has_profile = profiles.lines([history.user_id for history in histories]) >= 0
    return [
        history for history, included in zip(histories, has_profile.tolist(), strict=True) if included and len(history)
    ]


def first_tastes(histories: Sequence[History], items: Vectors) -> Doubles:
    """Give the mean of what users did first, in item vectors without popularity: (U, R - 1) float64."""
    mean = np.mean(np.concatenate([history.weights for history in histories]), dtype=np.float64)
    tastes = np.empty((len(histories), items.shape[1] - 1))
    for row, history in enumerate(histories):
        counts = 0.5 ** (np.arange(len(history)) / EARLY) * np.where(history.weights < mean, DISLIKED, 1.0)
        tastes[row] = counts @ items[history.rows, :-1] / counts.sum()
    return tastes


def fitted_taste(
    columns: tuple[AttributeColumn, ...], attributes: pa.Table, tastes: Doubles, share: float
) -> ProfileModel:
    """Learn the map of U users, (U, R - 1), whose queries have this share as their root mean square length."""
    encoded = lines_of(columns, attributes)
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
