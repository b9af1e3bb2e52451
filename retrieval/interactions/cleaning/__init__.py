"""Cleaning of logs before learning: bots, push attacks and caps, with a report of removed interactions.

>>> from retrieval.interactions.cleaning import PrepareConfig, prepare
"""

from retrieval.interactions.cleaning.config import BotLimits, Caps, PrepareConfig, PushLimits
from retrieval.interactions.cleaning.pipeline import decayed, prepare
from retrieval.interactions.cleaning.report import PreparationReport, Push, Removal

__all__ = [
    "BotLimits",
    "Caps",
    "PreparationReport",
    "PrepareConfig",
    "Push",
    "PushLimits",
    "Removal",
    "decayed",
    "prepare",
]
