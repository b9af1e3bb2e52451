"""What turns the features of a candidate into one score; all heads are used and stored alike."""

from retrieval.ranking.heads.base import HeadKind, ScoringHead
from retrieval.ranking.heads.both import BothHead
from retrieval.ranking.heads.neural import NeuralHead
from retrieval.ranking.heads.trees import TreesHead

__all__ = ["BothHead", "HeadKind", "NeuralHead", "ScoringHead", "TreesHead"]
