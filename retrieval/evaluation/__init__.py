"""How good candidates are: measured per query, reported with intervals, compared in pairs, cut into slices.

>>> from retrieval.evaluation import compare, evaluate

>>> from retrieval.evaluation import slices
"""

from retrieval.evaluation.baselines.compare_baselines import AgainstBaselines, against_baselines
from retrieval.evaluation.beyond_accuracy import Beyond
from retrieval.evaluation.breakdown import Groups, Loss, SliceRow, item_groups, item_slices, losses, slices, user_groups
from retrieval.evaluation.compare import Comparison, Difference, compare
from retrieval.evaluation.crossmodal import Side, cross_modal, encoded_sides, evaluate_pairs, median_rank, sides_of
from retrieval.evaluation.evaluate import Estimate, Evaluation, evaluate
from retrieval.evaluation.metrics import KNOWN_MEASURES

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
