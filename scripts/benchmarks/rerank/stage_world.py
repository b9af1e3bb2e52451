"""A second stage as large as a shop's, fabricated: parts have the sizes of learned ones, and random numbers.

What is measured is speed, which depends on sizes and on how often the same item comes up, not on what was learned. So
nothing but the heads is learned. Items are in clusters and their popularity falls as one over the rank; users stay with
four clusters. Half of a user's candidates are neighbours of the history, the others are popular.
"""

from dataclasses import dataclass

import numpy as np

from indexing.arrays import Rows, Vectors, unit
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour, QueryTower
from retrieval.models.item_space import ItemSpace
from retrieval.models.new_items import ColdStartModel
from retrieval.models.user_model import UserModel
from retrieval.ranking.features import ItemStatistics, StageFeatures
from retrieval.ranking.heads import NeuralHead, TreesHead
from retrieval.ranking.sources import Neighbours, Popular, Source, UserBatch, space_sources
from retrieval.training.ranker.neural_head import Examples, train_neural_head, train_trees_head
from retrieval.training.ranker.sources import fit_recent
from retrieval.training.ranker_config import HeadConfig, TreesConfig

CLUSTERS, LIKED = 200, 4
CATEGORIES = 20
CLOSED, NEXT, CHANNELS = 63, 65, 3  # of towers as `BehaviourConfig` has them
NEIGHBOURS = 200
SHORTEST, LONGEST = 30, 50
DAYS = 365
NOW = 1_700_000_000
LEVELS = np.arange(1, 6, dtype=np.float32)
WORTH = (LEVELS / 3).astype(np.float32)


@dataclass(frozen=True, eq=False)
class World:
    """Items and users, and what a second stage is made of."""

    items: ItemIds
    clusters: Rows
    members: list[Rows]
    features: StageFeatures
    space: ItemSpace

    @classmethod
    def of(cls, count: int, dim: int, past_users: int, seed: int) -> "World":
        """Fabricate N items and the users that they are known by."""
        rng = np.random.default_rng(seed)
        clusters = rng.integers(0, CLUSTERS, count)
        members = [np.flatnonzero(clusters == one) for one in range(CLUSTERS)]
        centres = rng.normal(size=(CLUSTERS, dim)).astype(np.float32)

        def around() -> Vectors:
            return unit(centres[clusters] + rng.standard_normal((count, dim), np.float32))

        categories = np.eye(CATEGORIES, dtype=np.float32)[clusters % CATEGORIES]
        views = {"text": around(), "image": around(), "category": categories}
        views["image"][rng.random(count) < 0.1] = 0  # a tenth of the items have no picture
        space = ItemSpace.of(unit(views["text"] + views["image"]), UserModel(), _behaviour(count, rng))
        user_histories = _pasts(members, past_users, rng)
        facts = ItemStatistics.of(user_histories, count)
        sources: list[Source] = [*space_sources(space)]
        sources += [
            _neighbours(name, clusters, members, rng) for name in ("ease", "ease_liked", "ease_ratings", "next")
        ]
        sources += [Popular("popular", np.log1p(facts.counts)), fit_recent(user_histories, count, 14.0)]
        items = ItemIds([f"i{row}" for row in range(count)])
        return cls(items, clusters, members, StageFeatures(sources, views, facts), space)

    def candidates(self, users: int, each: int, seed: int) -> Candidates:
        """Give users who ask now, and what they may be given, as `Retriever.recommend` gives it."""
        rng = np.random.default_rng([seed, 1])
        asked = UserBatch.after(_pasts(self.members, users, rng))
        near: Neighbours = next(one for one in self.features.sources if isinstance(one, Neighbours))
        rows = np.empty((users, each), np.int64)
        for line, history in enumerate(asked.histories):
            beside = rng.choice(near.rows[near.table_rows[history]].ravel(), each // 2)
            popular = _popular(len(self.clusters), 2 * each, rng)
            drawn = np.concatenate([beside, popular, rng.integers(0, len(self.clusters), 2 * each)])
            _, first = np.unique(drawn, return_index=True)
            rows[line] = drawn[np.sort(first)][:each]
        scores = np.broadcast_to(-np.arange(each, dtype=np.float32), rows.shape)
        queries = self.space.user_queries(asked.histories, asked.weights)
        histories, weights = tuple(asked.histories), tuple(asked.weights)
        return Candidates(queries, rows, scores, self.items, "retrieve", histories=histories, weights=weights)

    def heads(self, candidates: Candidates, seed: int) -> tuple[NeuralHead, TreesHead]:
        """Learn both heads, as wide as by default, to find what is drawn by one feature and chance."""
        features = self.features.of(candidates)
        drawn = features[:, :, 0] + np.random.default_rng(seed).normal(size=features.shape[:2])
        gains = (drawn >= np.sort(drawn, axis=1)[:, -5:-4]).astype(np.float32)
        examples = Examples(features, gains, candidates.rows >= 0)
        neural, _ = train_neural_head(examples, HeadConfig(epochs=2, seed=seed))
        return neural, train_trees_head(examples, TreesConfig(seed=seed, num_threads=2))


def _behaviour(count: int, rng: np.random.Generator) -> Behaviour:
    """Give two towers with as many dimensions and channels as learned ones."""
    items = rng.standard_normal((count, CLOSED + NEXT + 1), np.float32)
    said = rng.standard_normal((count, CLOSED + CHANNELS * NEXT), np.float32)
    closed = QueryTower(np.array([10], np.float32), WORTH[None], np.zeros(CLOSED, np.float32))
    half_lives = np.array([15.0, 3.0, 15.0], np.float32)
    later = QueryTower(half_lives, np.tile(WORTH, (CHANNELS, 1)), np.zeros(NEXT, np.float32), 0.3)
    nothing = np.zeros((0, 1), np.float32)
    width = items.shape[1] + said.shape[1]
    predictor = ColdStartModel(nothing, 1.0, np.zeros((0, width), np.float32), np.zeros(width, np.float32))
    return Behaviour(items, said, np.ones(count, np.float32), LEVELS, (closed, later), predictor, 0.1, 0.1)


def _neighbours(name: str, clusters: Rows, members: list[Rows], rng: np.random.Generator) -> Neighbours:
    """Give every item as many neighbours as can be kept, of its own cluster; EASE itself would know 6,000 items."""
    rows = np.empty((len(clusters), NEIGHBOURS), np.int32)
    for cluster, here in enumerate(members):
        rows[clusters == cluster] = here[rng.integers(0, len(here), (len(here), NEIGHBOURS))]
    values = (rng.standard_normal(rows.shape, np.float32) / 10).astype(np.float32)
    return Neighbours(name, np.arange(len(rows)), rows, values, np.ones(len(clusters), np.bool_), 20.0, LEVELS, WORTH)


def _pasts(members: list[Rows], users: int, rng: np.random.Generator) -> list[History]:
    """Draw users who stay with a few clusters, the popular items of which they take more often."""
    found = []
    for user in range(users):
        count = int(rng.integers(SHORTEST, LONGEST + 1))
        liked = rng.integers(0, CLUSTERS, LIKED)[rng.integers(0, LIKED, count)]
        rows = np.array([members[cluster][_popular(len(members[cluster]), 1, rng)[0]] for cluster in liked])
        times = np.sort(NOW - rng.integers(0, DAYS * SECONDS_PER_DAY, count))
        found.append(History(f"u{user}", rows, times, rng.integers(1, 6, count).astype(np.float32)))
    return found


def _popular(count: int, many: int, rng: np.random.Generator) -> Rows:
    """Draw places so that the chance of each falls about as one over its rank."""
    places: Rows = (np.float64(count) ** rng.random(many)).astype(np.int64) - 1
    return places
