"""Baselines whose settings are tuned on a validation part: the latest interactions of the training data.

Settings are tuned one after the other: each keeps the value that scores best on the validation part, fitted on the
interactions before it. Then the baseline is fitted on all training data. Test interactions are not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, MissingExtraError
from retrieval.evaluation.baselines.families import (
    DECAYED,
    POPULAR,
    BaselineFamily,
    FittedBaseline,
    Settings,
    TrainingData,
    UserBatch,
    baseline_families,
)
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.metrics import cutoffs, per_query
from retrieval.evaluation.splits.queries import EvaluationQueries, evaluation_queries
from retrieval.evaluation.splits.splits import Split, at_time, by_user

Cut = Literal["user", "time"]

MIN_USERS = 10  # with fewer, settings are not tuned
MAX_TUNING_USERS = 1_000  # of more users a sample is drawn
MAX_TUNING_INTERACTIONS = 5_000_000  # with more, settings are not tuned, for time
_MAX_SCORES = 200_000_000  # users x items, to tune or to evaluate
_TOLERANCE = 1e-9  # of a mean of a thousand values in double precision


@dataclass(frozen=True, eq=False)
class TunedBaseline:
    """A fitted baseline.

    Attributes:
        name: Its common name.
        settings: The tuned settings.
        recommend: Returns the best k items for each user.
        note: What part of the data it does not use, and why; empty if it uses all.
    """

    name: str
    settings: Settings
    recommend: FittedBaseline
    note: str = ""

    def describe_settings(self) -> str:
        """Return the settings as text, such as ``learned liked, half life 20``."""
        return ", ".join(
            f"{name.replace('_', ' ')} {f'{value:g}' if isinstance(value, float) else value}"
            for name, value in self.settings.items()
            if value is not None and value is not False
        )

    def to_json(self) -> dict[str, Any]:
        """Return name, settings and note."""
        return {"name": self.name, "settings": self.settings} | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, eq=False)
class Baselines:
    """The fitted baselines.

    Attributes:
        fitted: The baselines.
        left_out: Why others could not be fitted, by name.
        chosen_by: Number of users that settings were tuned on; 0 if the defaults were used.
    """

    fitted: tuple[TunedBaseline, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    chosen_by: int = 0


def tuned_baselines(
    data: TrainingData, *, way: Cut = "user", share: float = 0.2, measure: str = "ndcg@10", seed: int = 0
) -> Baselines:
    """Fit popularity, decayed popularity, item-kNN, EASE, iALS and content.

    Baselines that need a history recommend popular items to users without one, by decayed popularity if the log has
    times.

    Args:
        data: The data to fit on.
        way: How the validation part is cut off: the last interactions of each user, or all after one time. Use the one
            by which the test part was cut off.
        share: The fraction of the interactions in the validation part.
        measure: The measure to tune for.
        seed: For iALS, and for sampling users.
    """
    families, left_out = baseline_families(data, seed)
    split = _validation_split(data, way, share)
    queries = None if split is None else _validation_queries(split, data, seed)
    tuning_data = data if split is None else replace(data, log=split.past, for_tuning=True)
    fitted: dict[str, TunedBaseline] = {}
    for family in families:
        try:
            settings = _tune(family, tuning_data, queries, measure)
            recommend = family.fit(data, settings)
        except MissingExtraError as error:
            left_out[family.name] = str(error)
            continue
        if not family.for_new:
            fallback = fitted[DECAYED] if DECAYED in fitted else fitted[POPULAR]
            recommend = _WithFallback(recommend, fallback.recommend)
        fitted[family.name] = TunedBaseline(family.name, settings, recommend, family.note)
    return Baselines(tuple(fitted.values()), left_out, 0 if queries is None else len(queries))


def max_users(items: ItemIds, at_most: int) -> int:
    """Return for how many users all items can be scored in little time."""
    return min(at_most, max(20 * MIN_USERS, _MAX_SCORES // max(len(items), 1)))


def draw_sample(count: int, at_most: int, seed: int) -> Rows:
    """Return at most ``at_most`` positions below ``count``, drawn at random and ascending."""
    if count <= at_most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:at_most])


@dataclass(frozen=True, eq=False)
class _WithFallback:
    """A baseline for users with a history, and another for users without.

    Attributes:
        recommend: For users with a history.
        fallback: For users without a history.
    """

    recommend: FittedBaseline
    fallback: FittedBaseline

    def __call__(self, users: UserBatch, k: int) -> Ranked:
        ranked = self.recommend(users, k)
        new = [position for position, history in enumerate(users.histories) if not len(history)]
        if new:
            ranked.rows[new], ranked.scores[new] = self.fallback(users.take(new), k)
        return ranked


def _validation_split(data: TrainingData, way: Cut, share: float) -> Split | None:
    """Split off the validation part; None if that is not possible or tuning takes too long."""
    if len(data.log) > MAX_TUNING_INTERACTIONS:
        return None
    try:
        return by_user(data.log, share) if way == "user" else at_time(data.log, share=share)
    except InputError:  # for example if all interactions have the same time
        return None


def _validation_queries(split: Split, data: TrainingData, seed: int) -> EvaluationQueries | None:
    """Return queries for items that users liked in the validation part; None if too few users did."""
    try:
        queries = evaluation_queries(split, data.items, min_weight=data.min_relevance or None)
    except InputError:
        return None
    positions = draw_sample(len(queries), max_users(data.items, MAX_TUNING_USERS), seed)
    return queries.take(positions) if len(positions) >= MIN_USERS else None


def _tune(family: BaselineFamily, data: TrainingData, queries: EvaluationQueries | None, measure: str) -> Settings:
    """Tune one setting after the other; return the defaults if there are too few queries."""
    settings = {name: values[0] for name, values in family.grid.items()}
    if queries is not None and not family.for_new:
        queries = queries.take(np.flatnonzero(~queries.new))
    if queries is None or len(queries) < MIN_USERS:
        return settings
    best = -1.0
    for name, values in family.grid.items():
        for value in values if best < 0 else values[1:]:  # the first value is already part of the best settings
            candidate = settings | {name: value}
            score = _mean_score(family.fit(data, candidate), queries, measure)
            if score > best + _TOLERANCE:
                settings, best = candidate, score
    return settings


def _mean_score(recommend: FittedBaseline, queries: EvaluationQueries, measure: str) -> float:
    (k,) = cutoffs([measure]).values()
    deleted = np.flatnonzero(~queries.items.is_live)
    ranked = recommend(UserBatch(queries.histories, queries.weights, with_deleted(queries.histories, deleted)), k)
    return float(per_query(ranked.rows, queries.relevant, queries.items, [measure])[measure].mean())


def with_deleted(histories: Sequence[Rows], deleted: Rows) -> list[Rows]:
    """Return the rows to exclude: the items of each history, and deleted items."""
    return [np.union1d(history, deleted) if len(deleted) else history for history in histories]
