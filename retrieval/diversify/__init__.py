"""Lists that are varied, calibrated or capped. Candidates in, Candidates out."""

from retrieval.diversify.calibrated import Calibrated
from retrieval.diversify.caps import Cap
from retrieval.diversify.dpp import DPP
from retrieval.diversify.greedy import Objective, diversified
from retrieval.diversify.mmr import MMR, MSD
from retrieval.diversify.relevance import Relevant, relevance

__all__ = ["DPP", "MMR", "MSD", "Calibrated", "Cap", "Objective", "Relevant", "diversified", "relevance"]
