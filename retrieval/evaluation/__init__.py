"""How good candidates are: measured per query, reported with intervals.

>>> from retrieval.evaluation import evaluate
"""

from retrieval.evaluation.evaluation import Evaluation, evaluate
from retrieval.evaluation.metrics import KNOWN_MEASURES

__all__ = ["KNOWN_MEASURES", "Evaluation", "evaluate"]
