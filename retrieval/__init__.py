"""Online and learning: a bundle in, ranked items out.

>>> from retrieval import Interactions, Retriever, fit
"""

import indexing as _indexing  # noqa: F401 - before NumPy is loaded: it says how threads wait
from retrieval.candidates import Candidates, Hit
from retrieval.evaluation import Evaluation, evaluate
from retrieval.fitting.fit import fit
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.published_model import carry_over
from retrieval.fitting.report import FitReport
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.ranking.reranker import Reranker
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.queries import Query
from retrieval.retriever.retriever import Retriever

__all__ = [
    "Candidates",
    "Evaluation",
    "FitConfig",
    "FitReport",
    "Hit",
    "Impressions",
    "Interactions",
    "Profiles",
    "Query",
    "Reranker",
    "Retriever",
    "carry_over",
    "compact",
    "evaluate",
    "fit",
    "repair",
]
