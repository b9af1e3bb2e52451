"""How good candidates are: measured per query, reported with intervals, compared in pairs, cut into slices.

>>> from retrieval.evaluation import compare, evaluate, slices
"""

from retrieval.evaluation.against import AgainstBaselines, against_baselines
from retrieval.evaluation.beyond import Beyond
from retrieval.evaluation.compare import Comparison, Difference, compare
from retrieval.evaluation.crossmodal import Side, cross_modal, evaluate_pairs, median_rank
from retrieval.evaluation.evaluation import Estimate, Evaluation, evaluate
from retrieval.evaluation.groups import Groups, item_groups, user_groups
from retrieval.evaluation.losses import Loss, losses
from retrieval.evaluation.metrics import KNOWN_MEASURES
from retrieval.evaluation.sides import encoded_sides, sides_of
from retrieval.evaluation.slices import SliceRow, item_slices, slices

__all__ = [
    "KNOWN_MEASURES",
    "AgainstBaselines",
    "Beyond",
    "Comparison",
    "Difference",
    "Estimate",
    "Evaluation",
    "Groups",
    "Loss",
    "Side",
    "SliceRow",
    "against_baselines",
    "compare",
    "cross_modal",
    "encoded_sides",
    "evaluate",
    "evaluate_pairs",
    "item_groups",
    "item_slices",
    "losses",
    "median_rank",
    "sides_of",
    "slices",
    "user_groups",
]
