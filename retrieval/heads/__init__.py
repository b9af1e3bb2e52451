"""What turns the features of a candidate into one score; all heads are used and stored alike."""

from retrieval.heads.head import HEADS, HeadKind, ScoringHead
from retrieval.heads.neural import NeuralHead
from retrieval.heads.trees import TreesHead

__all__ = ["HEADS", "HeadKind", "NeuralHead", "ScoringHead", "TreesHead"]
