"""The baselines, their grids of settings, and how each recommends for users."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from retrieval.evaluation.baselines.ease import EASE
from retrieval.evaluation.baselines.neighbours import ALSConfig, ImplicitALS, ItemKNN, KNNConfig
from retrieval.evaluation.baselines.recommender import Ranked, Recommender
from retrieval.evaluation.baselines.simple import ContentKNN, Popularity
from retrieval.interactions.histories import all_histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_popularity import item_counts
from retrieval.models.user_model import UserModel

Feedback = Literal["liked", "all", "by weight"]
Settings: TypeAlias = dict[str, Any]
Grid: TypeAlias = dict[str, Sequence[Any]]

EASE_MAX_INTERACTIONS = 5_000_000  # EASE is left out for larger logs
EASE_MAX_SOLVED, EASE_MAX_ITEMS = 5_000, 10_000  # the smaller of users and items; items in any case
EASE_MAX_TUNING_ITEMS = 3_000  # items while settings are tuned
_NO_HALF_LIFE = 1e9


class UserBatch(NamedTuple):
    """B users to recommend for.

    Attributes:
        histories: B arrays of rows, oldest first, each row once.
        weights: For each history the weights of its items.
        exclude: For each user the rows that must not be recommended.
    """

    histories: Sequence[Rows]
    weights: Sequence[Vectors]
    exclude: Sequence[Rows]

    def take(self, positions: Sequence[int]) -> "UserBatch":
        """Return the batch of some of the users."""
        histories, exclude = ([part[position] for position in positions] for part in (self.histories, self.exclude))
        return UserBatch(histories, [self.weights[position] for position in positions], exclude)


FittedBaseline: TypeAlias = Callable[[UserBatch, int], Ranked]
"""A fitted baseline: returns the best k items for each user."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The data that baselines are fitted on.

    Attributes:
        log: The interactions.
        items: The catalogue.
        min_relevance: Interactions of a lower weight are dislikes.
        content: (N, D) float32, unit vectors of the items; None if there are none.
        for_tuning: Whether it is used for tuning only: EASE is then solved for fewer items.
    """

    log: Interactions
    items: ItemIds
    min_relevance: float = 0.0
    content: Vectors | None = None
    for_tuning: bool = False

    @property
    def weights(self) -> Vectors:
        """(T,) float32, the weights of all interactions."""
        weights: Vectors = self.log.table["weight"].to_numpy()
        return weights

    @property
    def feedback(self) -> tuple[Feedback, ...]:
        """The kinds of feedback to try: liked interactions, and all if some are disliked."""
        return (
            ("liked",) if UserModel(min_relevance=self.min_relevance).is_liked(self.weights).all() else ("liked", "all")
        )

    @property
    def weighted_feedback(self) -> tuple[Feedback, ...]:
        """`feedback`, and weighted interactions if weights differ."""
        return self.feedback if np.ptp(self.weights) == 0 else (*self.feedback, "by weight")

    def interactions(self, feedback: Feedback) -> Interactions:
        """Return the interactions of a kind of feedback; weights are scaled to a mean of 1."""
        table = self.log.table
        if feedback == "by weight":
            scaled = pa.array(self.weights / self.weights.mean(), pa.float32())
            return replace(self.log, table=table.set_column(3, "weight", scaled))
        if feedback == "all":
            return self.log
        return replace(
            self.log, table=table.filter(pa.array(UserModel(min_relevance=self.min_relevance).is_liked(self.weights)))
        )

    def query_histories(self, users: UserBatch, feedback: Feedback) -> Sequence[Rows]:
        """Return the histories to recommend for, with liked items only if the model was fitted on these."""
        if feedback != "liked":
            return users.histories
        return UserModel(min_relevance=self.min_relevance).liked_items(users.histories, users.weights)[0]


@dataclass(frozen=True, eq=False)
class BaselineFamily:
    """A kind of baseline with the grid of its settings.

    Attributes:
        name: Its common name.
        grid: For each setting the values to try, the default first.
        fit: Fits it on data with settings.
        for_new: Whether it recommends for users without a history.
        note: What part of the data it does not use, and why.
    """

    name: str
    grid: Grid
    fit: Callable[[TrainingData, Settings], FittedBaseline]
    for_new: bool = False
    note: str = ""


POPULAR, DECAYED = "popularity", "popularity, decayed"


def baseline_families(data: TrainingData, seed: int = 0) -> tuple[list[BaselineFamily], dict[str, str]]:
    """Return the baselines that can be fitted on the data, and for the others why they cannot.

    Args:
        data: The data to fit on.
        seed: For iALS.
    """
    feedback: Grid = {"learned": data.feedback}
    left_out: dict[str, str] = {}
    families = [BaselineFamily(POPULAR, feedback, _popularity, for_new=True)]
    times = data.log.table["timestamp"].to_numpy()
    if np.ptp(times) > 0:
        decayed: Grid = feedback | {"decay_days": (30.0, 10.0, 3.0, 1.0)}
        families.append(BaselineFamily(DECAYED, decayed, _popularity, for_new=True))
    else:
        left_out[DECAYED] = "the log has no times"
    knn: Grid = feedback | {"neighbours": (100, 20, 300), "of_candidate": (False, True)}
    families.append(BaselineFamily("item-kNN", knn, _neighbours))
    if len(data.log) > EASE_MAX_INTERACTIONS:
        left_out["EASE"] = (
            f"it is fitted on at most {EASE_MAX_INTERACTIONS:,} interactions, and the log has {len(data.log):,}"
        )
    else:
        ease: Grid = {"learned": data.weighted_feedback, "half_life": (None, 50.0, 20.0, 5.0)}
        ease |= {"regularisation": (200.0, 50.0, 100.0, 500.0, 1000.0)}
        num_items = num_ease_items(data)
        note = f"fitted on the {num_items:,} most popular items only, for time" if num_items < len(data.items) else ""
        families.append(BaselineFamily("EASE", ease, _EaseFamily(), note=note))
    als = feedback | {"factors": (32, 16, 64), "alpha": (5.0, 1.0, 20.0)}
    families.append(BaselineFamily("iALS", als, lambda data, settings: _als(data, settings, seed)))
    if data.content is not None and data.content.any():
        families.append(BaselineFamily("content", feedback | {"half_life": (None, 20.0, 5.0)}, _content))
    else:
        left_out["content"] = "there are no content vectors"
    return families, left_out


def num_ease_items(data: TrainingData) -> int:
    """Return for how many items EASE is solved: all, if that takes seconds."""
    num_users = len(data.log.table["user_id"].unique())
    max_items = EASE_MAX_ITEMS if num_users <= EASE_MAX_SOLVED else EASE_MAX_SOLVED
    return min(len(data.items), min(max_items, EASE_MAX_TUNING_ITEMS) if data.for_tuning else max_items)


def _popularity(data: TrainingData, settings: Settings) -> FittedBaseline:
    model = Popularity.fit(data.interactions(settings["learned"]), data.items, decay_days=settings.get("decay_days"))
    return lambda users, k: model.recommend(users.histories, k, exclude=users.exclude)


def _neighbours(data: TrainingData, settings: Settings) -> FittedBaseline:
    config = KNNConfig(neighbours=settings["neighbours"], of_candidate=settings["of_candidate"])
    return _on_query_histories(ItemKNN.fit(data.interactions(settings["learned"]), data.items, config), data, settings)


def _als(data: TrainingData, settings: Settings, seed: int) -> FittedBaseline:
    config = ALSConfig(factors=settings["factors"], alpha=settings["alpha"])
    model = ImplicitALS.fit(data.interactions(settings["learned"]), data.items, config, seed=seed)
    return _on_query_histories(model, data, settings)


def _content(data: TrainingData, settings: Settings) -> FittedBaseline:
    if data.content is None:
        raise TypeError("data without content; `baseline_families` leaves this baseline out then")
    user_model = UserModel(half_life=settings["half_life"] or _NO_HALF_LIFE, longest=1_000_000)
    return _on_query_histories(ContentKNN(data.content, user_model), data, settings)


def _on_query_histories(model: Recommender, data: TrainingData, settings: Settings) -> FittedBaseline:
    return lambda users, k: model.recommend(data.query_histories(users, settings["learned"]), k, exclude=users.exclude)


@dataclass(frozen=True, eq=False)
class _EaseFamily:
    """Fits EASE on the most popular items; reuses the matrix for settings that only change how it is queried.

    Attributes:
        cache: The model that was fitted last with its item rows, by data, feedback and regularisation.
    """

    cache: dict[tuple[int, Feedback, float], tuple[EASE, Rows]] = field(default_factory=dict)

    def __call__(self, data: TrainingData, settings: Settings) -> FittedBaseline:
        key = (id(data), settings["learned"], settings["regularisation"])
        if key not in self.cache:
            self.cache.clear()
            interactions, item_rows = data.interactions(settings["learned"]), _most_popular(data, num_ease_items(data))
            weighted = settings["learned"] == "by weight"
            ease_items = ItemIds([data.items[row] for row in item_rows.tolist()])
            model = EASE.fit(interactions, ease_items, regularisation=settings["regularisation"], weighted=weighted)
            self.cache[key] = model, item_rows
        model, item_rows = self.cache[key]
        mean_weight = float(data.weights.mean()) if settings["learned"] == "by weight" else 0.0
        with_half_life = EASE(model.weights, settings["half_life"])
        return lambda users, k: _ease_recommend(
            with_half_life, item_rows, data, settings["learned"], mean_weight, users, k
        )


def _ease_recommend(
    model: EASE, item_rows: Rows, data: TrainingData, feedback: Feedback, mean_weight: float, users: UserBatch, k: int
) -> Ranked:
    """Recommend by EASE that was fitted on some of the items; the others are never recommended."""
    position = np.full(len(data.items), -1, np.int64)
    position[item_rows] = np.arange(len(item_rows))
    query_histories = data.query_histories(users, feedback)
    masks = [position[rows] >= 0 for rows in query_histories]
    histories = [position[rows[mask]] for rows, mask in zip(query_histories, masks, strict=True)]
    weights = None
    if mean_weight:
        weights = [values[mask] / mean_weight for values, mask in zip(users.weights, masks, strict=True)]
    exclude = [position[rows][position[rows] >= 0] for rows in users.exclude]
    ranked = model.recommend(histories, k, exclude=exclude, weights=weights)
    return Ranked(np.where(ranked.rows < 0, -1, item_rows[ranked.rows]), ranked.scores)


def _most_popular(data: TrainingData, num_items: int) -> Rows:
    """Return the rows of the most popular items, ascending."""
    if num_items >= len(data.items):
        return np.arange(len(data.items))
    counts = item_counts(all_histories(data.log, data.items).rows, len(data.items))
    return np.sort(np.argsort(-counts, kind="stable")[:num_items])
