"""Online and learning: a bundle in, ranked items out.

>>> from retrieval import Interactions, Retriever, fit
"""

from retrieval.candidates import Candidates, Hit
from retrieval.carried import carry_over
from retrieval.evaluation import Evaluation, evaluate
from retrieval.fit import fit
from retrieval.fit_report import FitConfig, FitReport
from retrieval.interactions import Interactions
from retrieval.learned import compact, repair
from retrieval.profiles import Profiles
from retrieval.rerank import Reranker
from retrieval.retriever import Retriever

__all__ = [
    "Candidates",
    "Evaluation",
    "FitConfig",
    "FitReport",
    "Hit",
    "Interactions",
    "Profiles",
    "Reranker",
    "Retriever",
    "carry_over",
    "compact",
    "evaluate",
    "fit",
    "repair",
]
