"""Business rules, applied last, and shown in the answer: pin, boost, bury, exclude, freshness."""

from retrieval.postprocess.rules.from_json import Rules
from retrieval.postprocess.rules.rule_types import Boost, Bury, Exclude, Fresh, Pin, Rule
from retrieval.postprocess.rules.ruled_candidates import Ruled

__all__ = ["Boost", "Bury", "Exclude", "Fresh", "Pin", "Rule", "Ruled", "Rules"]
