"""Business rules, applied last, and shown in the answer: pin, boost, bury, exclude, freshness."""

from retrieval.rules.kinds import Boost, Bury, Exclude, Fresh, Pin, Rule
from retrieval.rules.reading import Rules
from retrieval.rules.ruled import Ruled

__all__ = ["Boost", "Bury", "Exclude", "Fresh", "Pin", "Rule", "Ruled", "Rules"]
