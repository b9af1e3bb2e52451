"""Lists that are varied, calibrated or capped. Candidates in, Candidates out."""

from retrieval.diversify.apart import Apart
from retrieval.diversify.calibrated import Calibrated
from retrieval.diversify.caps import Cap
from retrieval.diversify.dpp import DPP
from retrieval.diversify.exposure import LessShown, check_spread, exposures
from retrieval.diversify.greedy import Limit, Objective, diversified
from retrieval.diversify.methods import METHODS, Known, Method, objective
from retrieval.diversify.mmr import MMR, MSD
from retrieval.diversify.relevance import Relevant, relevance

__all__ = [
    "DPP",
    "METHODS",
    "MMR",
    "MSD",
    "Apart",
    "Calibrated",
    "Cap",
    "Known",
    "LessShown",
    "Limit",
    "Method",
    "Objective",
    "Relevant",
    "check_spread",
    "diversified",
    "exposures",
    "objective",
    "relevance",
]
