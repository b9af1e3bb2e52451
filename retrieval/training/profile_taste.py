"""Learn what people of a profile like before they have done anything, and whether it is worth asking with.

Ridge regression from attributes to the mean of what users did first, in the item vectors of behaviour. How much it
counts beside popularity, and whether at all, is told by users who were left out of it, five parts in turn. Items and
popularity were learned from them too, which flatters what is popular as much.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.errors import TrainingError
from indexing.index import FlatIndex
from indexing.item_ids import ItemIds
from indexing.types import Vectors
from retrieval.attribute_columns import AttributeColumn, columns_of, lines_of
from retrieval.block import MEASURE, MOST_SCORES
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.prepare import History
from retrieval.profile_taste import ProfileTaste, centred
from retrieval.profiles import Profiles
from retrieval.retrieve import retrieve
from retrieval.training.choosing import clearly_better, first_as_good

RIDGE = 100.0  # what is not told by more than so many users counts less than half
EARLY = 20.0  # an interaction with so many of its user before it counts half
DISLIKED = 0.3  # what one counts that weighs less than the mean
FEWEST, FOLDS = 50, 5
SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.5)
WANTED = 20  # of what users did first, which should be found

Doubles: TypeAlias = NDArray[np.float64]


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
) -> tuple[ProfileTaste, NewUsers]:
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
        one = _learned(columns, attributes.filter(pa.array(~left_out)), tastes[~left_out], 1.0)
        asked[left_out] = one.queries(attributes.filter(pa.array(left_out)))
    share, told = _best_share(asked, pasts, items, item_ids, least)
    ignored = set(attributes.column_names) - {one.column for one in columns}
    return replace(_learned(columns, attributes, tastes, share), ignored=tuple(sorted(ignored))), told


def learn_profile_taste(
    profiles: Profiles, pasts: Sequence[History], items: Vectors, chosen: ProfileTaste
) -> ProfileTaste:
    """Learn what profiles say once more, with the columns and the share that `choose_profile_taste` chose."""
    pasts = profiled(profiles, pasts)
    attributes = profiles.of([past.user_id for past in pasts])
    again = _learned(chosen.columns, chosen.table(attributes), first_tastes(pasts, items), chosen.share)
    return replace(again, ignored=chosen.ignored)


def profiled(profiles: Profiles, pasts: Sequence[History]) -> list[History]:
    """Give the users who did something and have a profile."""
    there = profiles.lines([past.user_id for past in pasts]) >= 0
    return [past for past, known in zip(pasts, there.tolist(), strict=True) if known and len(past)]


def first_tastes(pasts: Sequence[History], items: Vectors) -> Doubles:
    """Give the mean of what users did first, in item vectors without popularity: (U, R - 1) float64."""
    mean = np.mean(np.concatenate([past.weights for past in pasts]), dtype=np.float64)
    tastes = np.empty((len(pasts), items.shape[1] - 1))
    for line, past in enumerate(pasts):
        counts = 0.5 ** (np.arange(len(past)) / EARLY) * np.where(past.weights < mean, DISLIKED, 1.0)
        tastes[line] = counts @ items[past.rows, :-1] / counts.sum()
    return tastes


def _learned(columns: tuple[AttributeColumn, ...], attributes: pa.Table, tastes: Doubles, share: float) -> ProfileTaste:
    """Learn the map of U users, (U, R - 1), whose queries have this share as their root mean square length."""
    lines = lines_of(columns, attributes)
    means = np.concatenate([_mean_of_known(line) for line in lines]).astype(np.float32)
    described = centred(lines, means).astype(np.float64)
    gram = described.T @ described + RIDGE * np.eye(described.shape[1])
    weights = np.linalg.solve(gram, described.T @ (tastes - tastes.mean(axis=0)))
    length = np.sqrt(np.mean(np.sum((described @ weights) ** 2, axis=1)))
    return ProfileTaste(columns, means, (weights / max(length, 1e-12)).astype(np.float32), share)


def _mean_of_known(line: Vectors) -> Vectors:
    known = line.any(axis=1)
    mean: Vectors = line[known].mean(axis=0) if known.any() else np.zeros(line.shape[1], np.float32)
    return mean


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
