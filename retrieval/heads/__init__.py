"""What turns the features of a candidate into one score; all heads are used and stored alike."""

from retrieval.heads.both import BothHead
from retrieval.heads.head import HEADS, ScoringHead
from retrieval.heads.neural import NeuralHead
from retrieval.heads.trees import TreesHead
from retrieval.training.stage_config import HeadKind

__all__ = ["HEADS", "BothHead", "HeadKind", "NeuralHead", "ScoringHead", "TreesHead"]
