"""Recommenders to beat: each learns from a past, and ranks the items of a catalogue for histories.

>>> from retrieval.evaluation.baselines import EASE, Popularity
"""

from retrieval.evaluation.baselines.ease import EASE
from retrieval.evaluation.baselines.neighbours import ALSConfig, ImplicitALS, ItemKNN, KNNConfig
from retrieval.evaluation.baselines.recommender import ForNewUsers, Ranked, Recommender
from retrieval.evaluation.baselines.simple import ContentKNN, Popularity

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
