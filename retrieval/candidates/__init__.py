"""What flows from stage to stage: ranked items for a batch of queries, and where each hit comes from."""

from retrieval.candidates.candidates import Candidates, Hit, check_num_rows, require_candidates
from retrieval.candidates.folded import FOLDED
from retrieval.candidates.sources import SOURCES, Source, codes_for, source_code, sources_of

__all__ = [
    "FOLDED",
    "SOURCES",
    "Candidates",
    "Hit",
    "Source",
    "check_num_rows",
    "codes_for",
    "require_candidates",
    "source_code",
    "sources_of",
]
