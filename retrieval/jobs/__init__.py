"""Answers for millions of users in bounded memory: streamed from Parquet, into parts, and gone on with after a kill."""

from retrieval.jobs.answering import Answers, BatchConfig, answers, recommend_batches, rerank_batches, steps_of
from retrieval.jobs.files import ParquetFiles
from retrieval.jobs.flat import FlatCandidates
from retrieval.jobs.job import JobReport, run_job, write_answers
from retrieval.jobs.lines import Quarantined
from retrieval.jobs.listed import ListedUsers
from retrieval.jobs.logged import LoggedHistories, LogUsers

__all__ = [
    "Answers",
    "BatchConfig",
    "FlatCandidates",
    "JobReport",
    "ListedUsers",
    "LogUsers",
    "LoggedHistories",
    "ParquetFiles",
    "Quarantined",
    "answers",
    "recommend_batches",
    "rerank_batches",
    "run_job",
    "steps_of",
    "write_answers",
]
