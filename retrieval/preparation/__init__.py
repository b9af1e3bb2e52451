"""From a log as it was written to one worth learning from, with a report of what was left out.

>>> from retrieval.preparation import PrepareConfig, prepare
"""

from retrieval.preparation.config import BotLimits, Caps, PrepareConfig, PushLimits
from retrieval.preparation.decay import decayed
from retrieval.preparation.report import PreparationReport, Push, Removal
from retrieval.preparation.steps import prepare

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
