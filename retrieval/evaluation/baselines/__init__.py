"""Recommenders to beat: each learns from a past, and ranks the items of a catalogue for histories.

>>> from retrieval.evaluation.baselines import EASE, Popularity
"""

from retrieval.evaluation.baselines.als import ALSConfig, ImplicitALS
from retrieval.evaluation.baselines.content import ContentKNN
from retrieval.evaluation.baselines.ease import EASE
from retrieval.evaluation.baselines.nearest import ItemKNN, KNNConfig
from retrieval.evaluation.baselines.popularity import Popularity
from retrieval.evaluation.baselines.recommender import ForNewUsers, Ranked, Recommender

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
