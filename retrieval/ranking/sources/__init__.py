"""Where candidates come from: several sources, each of which scores all items for a history."""

from retrieval.ranking.sources.base import Source, TrainingLog, UserBatch, renumber_rows
from retrieval.ranking.sources.inner_product import SpaceSource, inner_product_scores, space_sources, users_of_space
from retrieval.ranking.sources.item_neighbours import Neighbours, neighbour_scores, neighbour_table, top_neighbours
from retrieval.ranking.sources.pool import pool_candidates, top_rows_by_source
from retrieval.ranking.sources.popularity import Popular, Recent

__all__ = [
    "Neighbours",
    "Popular",
    "Recent",
    "Source",
    "SpaceSource",
    "TrainingLog",
    "UserBatch",
    "inner_product_scores",
    "neighbour_scores",
    "neighbour_table",
    "pool_candidates",
    "renumber_rows",
    "space_sources",
    "top_neighbours",
    "top_rows_by_source",
    "users_of_space",
]
