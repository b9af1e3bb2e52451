"""Answers for millions of users in bounded memory: streamed from Parquet into parts, and continued after a kill."""

from retrieval.batch.answering import Answers, BatchConfig, answers, recommend_batches, rerank_batches, steps_of
from retrieval.batch.candidate_rows import FlatCandidates
from retrieval.batch.input_rows import Quarantined
from retrieval.batch.job import JobReport, run_job, write_answers
from retrieval.batch.neighbours import NeighbourLists, NeighboursConfig, neighbour_batches, write_neighbours
from retrieval.batch.tables import ParquetFiles
from retrieval.batch.user_rows import ListedUsers, LogUsers
from retrieval.interactions.histories import LoggedHistories

__all__ = [
    "Answers",
    "BatchConfig",
    "FlatCandidates",
    "JobReport",
    "ListedUsers",
    "LogUsers",
    "LoggedHistories",
    "NeighbourLists",
    "NeighboursConfig",
    "ParquetFiles",
    "Quarantined",
    "answers",
    "neighbour_batches",
    "recommend_batches",
    "rerank_batches",
    "run_job",
    "steps_of",
    "write_answers",
    "write_neighbours",
]
