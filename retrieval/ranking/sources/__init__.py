"""Where candidates come from: several sources, each of which scores all items for a history."""

from retrieval.ranking.sources.base import Source, TrainingLog, UserBatch, renumbered
from retrieval.ranking.sources.inner_product import SpaceSource, scored, space_sources, users_of_space
from retrieval.ranking.sources.item_neighbours import Neighbours, said, strongest
from retrieval.ranking.sources.pool import pooled, tops
from retrieval.ranking.sources.popularity import Popular, Recent

__all__ = [
    "Neighbours",
    "Popular",
    "Recent",
    "Source",
    "SpaceSource",
    "TrainingLog",
    "UserBatch",
    "pooled",
    "renumbered",
    "said",
    "scored",
    "space_sources",
    "strongest",
    "tops",
    "users_of_space",
]
