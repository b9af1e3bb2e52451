"""Business rules, applied last, and shown in the answer: pin, boost, bury, exclude, freshness, frequency."""

from retrieval.postprocess.rules.apply import ShownImpressions
from retrieval.postprocess.rules.from_json import OF_SHOWN, Rules
from retrieval.postprocess.rules.rule_types import (
    Boost,
    Bury,
    Exclude,
    FrequencyCap,
    Fresh,
    Pin,
    Rotate,
    Rule,
    ShownRule,
)
from retrieval.postprocess.rules.ruled_candidates import Ruled

__all__ = [
    "OF_SHOWN",
    "Boost",
    "Bury",
    "Exclude",
    "FrequencyCap",
    "Fresh",
    "Pin",
    "Rotate",
    "Rule",
    "Ruled",
    "Rules",
    "ShownImpressions",
    "ShownRule",
]
