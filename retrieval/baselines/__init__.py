"""Recommenders to beat: each learns from a past, and ranks the items of a catalogue for histories.

>>> from retrieval.baselines import EASE, Popularity
"""

from retrieval.baselines.als import ALSConfig, ImplicitALS
from retrieval.baselines.content import ContentKNN
from retrieval.baselines.ease import EASE
from retrieval.baselines.nearest import ItemKNN, KNNConfig
from retrieval.baselines.popularity import Popularity
from retrieval.baselines.recommender import ForNewUsers, Ranked, Recommender

__all__ = [
    "EASE",
    "ALSConfig",
    "ContentKNN",
    "ForNewUsers",
    "ImplicitALS",
    "ItemKNN",
    "KNNConfig",
    "Popularity",
    "Ranked",
    "Recommender",
]
