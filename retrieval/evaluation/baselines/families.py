"""Which baselines there are to compare with, which settings of each are tried, and how each is asked."""

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
from retrieval.interactions.histories import gathered
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_counts import item_counts
from retrieval.models.user_model import UserModel

Learned = Literal["liked", "all", "by weight"]
Settings: TypeAlias = dict[str, Any]
Grid: TypeAlias = dict[str, Sequence[Any]]

EASE_LOG = 5_000_000  # interactions that EASE is learned from at most
EASE_SOLVED, EASE_ITEMS = 5_000, 10_000  # users or items, whichever are fewer, and items in any case
EASE_CHOSEN = 3_000  # items over which its settings are chosen
_NO_HALF_LIFE = 1e9


class Asked(NamedTuple):
    """B users who ask a baseline.

    Attributes:
        histories: B arrays of rows, oldest first, each row once.
        weights: For each the weight of each of its items.
        exclude: For each the rows that must not come up.
    """

    histories: Sequence[Rows]
    weights: Sequence[Vectors]
    exclude: Sequence[Rows]

    def take(self, lines: Sequence[int]) -> "Asked":
        """Keep some of the users."""
        histories, exclude = ([part[line] for line in lines] for part in (self.histories, self.exclude))
        return Asked(histories, [self.weights[line] for line in lines], exclude)


Answering: TypeAlias = Callable[[Asked, int], Ranked]
"""A fitted baseline: the best k items for each user."""


@dataclass(frozen=True, eq=False)
class Past:
    """What baselines learn from.

    Attributes:
        log: What users did.
        items: The catalogue.
        least: What weighs less was disliked.
        content: (N, D) float32, vectors of the items, unit length; None where there are none.
        choosing: Whether settings are chosen on it, and not more than these: EASE is solved for fewer items then.
    """

    log: Interactions
    items: ItemIds
    least: float = 0.0
    content: Vectors | None = None
    choosing: bool = False

    @property
    def weights(self) -> Vectors:
        """(T,) float32, of all interactions."""
        weights: Vectors = self.log.table["weight"].to_numpy()
        return weights

    @property
    def learned(self) -> tuple[Learned, ...]:
        """What may be learned from: what was liked, or all that users did, where that is more."""
        return ("liked",) if UserModel(least=self.least).is_liked(self.weights).all() else ("liked", "all")

    @property
    def weighed(self) -> tuple[Learned, ...]:
        """The same, or all as it weighs, where not all weighs the same."""
        return self.learned if np.ptp(self.weights) == 0 else (*self.learned, "by weight")

    def read(self, learned: Learned) -> Interactions:
        """Give what is learned from; where interactions count as they weigh, the mean weight counts 1."""
        table = self.log.table
        if learned == "by weight":
            scaled = pa.array(self.weights / self.weights.mean(), pa.float32())
            return replace(self.log, table=table.set_column(3, "weight", scaled))
        if learned == "all":
            return self.log
        return replace(self.log, table=table.filter(pa.array(UserModel(least=self.least).is_liked(self.weights))))

    def shown(self, asked: Asked, learned: Learned) -> Sequence[Rows]:
        """Give histories as one is asked with them that has learned so."""
        if learned != "liked":
            return asked.histories
        return UserModel(least=self.least).liked_of(asked.histories, asked.weights)[0]


@dataclass(frozen=True, eq=False)
class Kind:
    """A baseline that may be fitted with several settings.

    Attributes:
        name: As the field knows it.
        grid: For each setting the values that are tried, the usual one first.
        fit: Fits it on a past with settings.
        for_new: Whether it answers users without a history.
        note: What of the past it does not read, and why.
    """

    name: str
    grid: Grid
    fit: Callable[[Past, Settings], Answering]
    for_new: bool = False
    note: str = ""


POPULAR, LATELY = "popularity", "popularity, decayed"


def kinds(past: Past, seed: int = 0) -> tuple[list[Kind], dict[str, str]]:
    """Give the baselines that a past is enough for, and for the others why it is not.

    Args:
        past: What they will learn from.
        seed: Of iALS.
    """
    learned: Grid = {"learned": past.learned}
    left_out: dict[str, str] = {}
    found = [Kind(POPULAR, learned, _popularity, for_new=True)]
    times = past.log.table["timestamp"].to_numpy()
    if np.ptp(times) > 0:
        found.append(Kind(LATELY, learned | {"decay_days": (30.0, 10.0, 3.0, 1.0)}, _popularity, for_new=True))
    else:
        left_out[LATELY] = "the log has no times"
    found.append(Kind("item-kNN", learned | {"neighbours": (100, 20, 300), "of_candidate": (False, True)}, _neighbours))
    if len(past.log) > EASE_LOG:
        left_out["EASE"] = f"it is learned from at most {EASE_LOG:,} interactions, and these are {len(past.log):,}"
    else:
        ease: Grid = {"learned": past.weighed, "half_life": (None, 50.0, 20.0, 5.0)}
        ease |= {"regularisation": (200.0, 50.0, 100.0, 500.0, 1000.0)}
        most = most_items(past)
        note = f"of the {most:,} most touched items alone, for time" if most < len(past.items) else ""
        found.append(Kind("EASE", ease, _Ease(), note=note))
    als = learned | {"factors": (32, 16, 64), "alpha": (5.0, 1.0, 20.0)}
    found.append(Kind("iALS", als, lambda past, settings: _factors(past, settings, seed)))
    if past.content is not None and past.content.any():
        found.append(Kind("content", learned | {"half_life": (None, 20.0, 5.0)}, _content))
    else:
        left_out["content"] = "there are no vectors of content"
    return found, left_out


def most_items(past: Past) -> int:
    """Say of how many items EASE is solved: all, where that takes seconds."""
    users = len(past.log.table["user_id"].unique())
    most = EASE_ITEMS if users <= EASE_SOLVED else EASE_SOLVED
    return min(len(past.items), min(most, EASE_CHOSEN) if past.choosing else most)


def _popularity(past: Past, settings: Settings) -> Answering:
    model = Popularity.fit(past.read(settings["learned"]), past.items, decay_days=settings.get("decay_days"))
    return lambda asked, k: model.recommend(asked.histories, k, exclude=asked.exclude)


def _neighbours(past: Past, settings: Settings) -> Answering:
    config = KNNConfig(neighbours=settings["neighbours"], of_candidate=settings["of_candidate"])
    return _asking(ItemKNN.fit(past.read(settings["learned"]), past.items, config), past, settings)


def _factors(past: Past, settings: Settings, seed: int) -> Answering:
    config = ALSConfig(factors=settings["factors"], alpha=settings["alpha"])
    model = ImplicitALS.fit(past.read(settings["learned"]), past.items, config, seed=seed)
    return _asking(model, past, settings)


def _content(past: Past, settings: Settings) -> Answering:
    if past.content is None:
        raise TypeError("a past without content; `kinds` leaves this baseline out then")
    users = UserModel(half_life=settings["half_life"] or _NO_HALF_LIFE, longest=1_000_000)
    return _asking(ContentKNN(past.content, users), past, settings)


def _asking(model: Recommender, past: Past, settings: Settings) -> Answering:
    return lambda asked, k: model.recommend(past.shown(asked, settings["learned"]), k, exclude=asked.exclude)


@dataclass(frozen=True, eq=False)
class _Ease:
    """Fits EASE over the most touched items; settings that only asking depends on cost no further matrix.

    Attributes:
        last: The model that was fitted last, from what, and how.
    """

    last: dict[tuple[int, Learned, float], tuple[EASE, Rows]] = field(default_factory=dict)

    def __call__(self, past: Past, settings: Settings) -> Answering:
        key = (id(past), settings["learned"], settings["regularisation"])
        if key not in self.last:
            self.last.clear()
            log, kept = past.read(settings["learned"]), _most_touched(past, most_items(past))
            weighted = settings["learned"] == "by weight"
            some = ItemIds([past.items[row] for row in kept.tolist()])
            model = EASE.fit(log, some, regularisation=settings["regularisation"], weighted=weighted)
            self.last[key] = model, kept
        model, kept = self.last[key]
        usual = float(past.weights.mean()) if settings["learned"] == "by weight" else 0.0
        served = EASE(model.weights, settings["half_life"])
        return lambda asked, k: _by_ease(served, kept, past, settings["learned"], usual, asked, k)


def _by_ease(model: EASE, kept: Rows, past: Past, learned: Learned, usual: float, asked: Asked, k: int) -> Ranked:
    """Ask EASE over some of the items, of which the others are never answers."""
    place = np.full(len(past.items), -1, np.int64)
    place[kept] = np.arange(len(kept))
    shown = past.shown(asked, learned)
    here = [place[rows] >= 0 for rows in shown]
    histories = [place[rows[mask]] for rows, mask in zip(shown, here, strict=True)]
    weights = [one[mask] / usual for one, mask in zip(asked.weights, here, strict=True)] if usual else None
    exclude = [place[rows][place[rows] >= 0] for rows in asked.exclude]
    found = model.recommend(histories, k, exclude=exclude, weights=weights)
    return Ranked(np.where(found.rows < 0, -1, kept[found.rows]), found.scores)


def _most_touched(past: Past, most: int) -> Rows:
    """Give the rows of so many items, ascending: those that most users did something with."""
    if most >= len(past.items):
        return np.arange(len(past.items))
    counts = item_counts(gathered(past.log, past.items).rows, len(past.items))
    return np.sort(np.argsort(-counts, kind="stable")[:most])
