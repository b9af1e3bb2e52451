"""Where candidates come from: several sources, each of which scores all items for a history."""

from retrieval.sources.neighbours import Neighbours, said, strongest
from retrieval.sources.pool import pooled, tops
from retrieval.sources.popular import Popular, Recent
from retrieval.sources.source import Asked, Book, Source, renumbered
from retrieval.sources.spaces import SpaceSource, scored, space_sources, users_of_space

__all__ = [
    "Asked",
    "Book",
    "Neighbours",
    "Popular",
    "Recent",
    "Source",
    "SpaceSource",
    "pooled",
    "renumbered",
    "said",
    "scored",
    "space_sources",
    "strongest",
    "tops",
    "users_of_space",
]
