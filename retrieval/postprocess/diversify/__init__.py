"""Lists that are varied, calibrated or capped. Candidates in, Candidates out."""

from retrieval.postprocess.diversify.calibration import Calibrated
from retrieval.postprocess.diversify.caps import Cap, MaxSimilarity
from retrieval.postprocess.diversify.exposure_penalty import ExposurePenalty, check_exposure_weight, exposures
from retrieval.postprocess.diversify.greedy import Limit, Objective, Relevant, diversified, relevance
from retrieval.postprocess.diversify.methods import METHODS, DiversityContext, Method, objective
from retrieval.postprocess.diversify.mmr import MMR, MSD

__all__ = [
    "METHODS",
    "MMR",
    "MSD",
    "Calibrated",
    "Cap",
    "DiversityContext",
    "ExposurePenalty",
    "Limit",
    "MaxSimilarity",
    "Method",
    "Objective",
    "Relevant",
    "check_exposure_weight",
    "diversified",
    "exposures",
    "objective",
    "relevance",
]
