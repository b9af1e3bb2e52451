"""Batch jobs of `commonspace recommend` and `rerank`: very many users, answered into a folder of parts or one file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from indexing.catalogue.readers.sql import is_sql_url
from indexing.errors import InputError
from indexing.runtime.progress import progress
from indexing.runtime.ray_engine import RayEngine
from retrieval.batch import (
    BatchConfig,
    FlatCandidates,
    JobReport,
    ListedUsers,
    LoggedHistories,
    LogUsers,
    ParquetFiles,
    run_job,
    write_answers,
)
from retrieval.batch.answering import answers, answers_by_actors
from retrieval.batch.in_memory import read_candidates
from retrieval.batch.input_rows import Source
from retrieval.batch.job import Progressed
from retrieval.batch.table_files import check_out
from retrieval.batch.tables import TableFile, file_identity
from retrieval.cli.display.output import counted, known_json
from retrieval.cli.display.terminal import UsageError, show_json, show_pairs
from retrieval.cli.options.log import LogOptions, log_path
from retrieval.cli.options.output import OutputOptions
from retrieval.cli.options.users import UserOptions
from retrieval.cli.runs.histories import match_items, note_users_without_likes
from retrieval.interactions.interactions import source_name
from retrieval.interactions.known_items import KnownItems
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.retriever import Retriever

Log: TypeAlias = tuple[str, LogOptions]
"""Where a log is, and how it is read."""


def recommend_job(
    retriever: Retriever, users: UserOptions, log: LogOptions, config: BatchConfig, output: OutputOptions
) -> None:
    """Recommend to the users of a file, or of a log with their profiles."""
    if users.users is not None:
        _run(retriever, ListedUsers(ParquetFiles(users.users), retriever), config, output, engine=users.ray_engine())
    elif users.interactions is not None:
        histories, identity, known = _read_log(retriever, (users.interactions, log), everyone=True)
        if users.profiles is None:
            source = LogUsers(histories, identity)
        else:
            profiles = Profiles.open(users.profiles)
            source = LogUsers(
                histories, {**identity, "profiles": _profiles_identity(users.profiles, profiles)}, profiles
            )
        _run(retriever, source, config, output, known, users.ray_engine())


def rerank_job(
    retriever: Retriever,
    candidates: Path,
    log: Log | None,
    config: BatchConfig,
    output: OutputOptions,
    engine: RayEngine | None,
) -> None:
    """Rerank candidates of a file, with histories that are in it too or in a log."""
    is_table = candidates.is_file() and candidates.suffix.lower() in (".csv", ".jsonl", ".ndjson")
    tables = TableFile(candidates, read_candidates(candidates)) if is_table else ParquetFiles(candidates)
    source: Source
    known: KnownItems | None = None
    if "history" in tables.schema.names:
        if log is not None:
            raise InputError(
                f"{candidates} has histories of its own; leave out --interactions, or the column 'history'"
            )
        source = ListedUsers(tables, retriever, given=True)
    elif log is not None:
        histories, identity, known = _read_log(retriever, log)
        source = FlatCandidates(tables, histories, retriever.items, identity)
    else:
        raise UsageError(
            f"{candidates} has no column 'history'; say with --interactions which log the histories are in"
        )
    _run(retriever, source, config, output, known, engine)


def _read_log(
    retriever: Retriever, log: Log, *, everyone: bool = False
) -> tuple[LoggedHistories, Mapping[str, Any], KnownItems]:
    """Give the histories of a log, what identifies it, and how many of its items the bundle has."""
    path, options = log
    interactions, known = match_items(options.open(path, learned=retriever.learned.events), retriever.items)
    histories = LoggedHistories.of(interactions, retriever.items, everyone=everyone)
    min_relevance = retriever.learned.min_relevance(histories.min_relevance)
    note_users_without_likes(np.split(histories.weights, histories.starts[1:-1]), min_relevance, retriever)
    file = log_path(path)
    identity = _table_identity(path, interactions.table) if is_sql_url(path) else file_identity(file, file)
    events = {} if interactions.events is None else {"events": interactions.events.to_json()}
    return histories, {"log": identity, **options.to_json(), **events}, known


def _profiles_identity(path: str, profiles: Profiles) -> dict[str, Any]:
    if is_sql_url(path):
        return _table_identity(path, profiles.attributes.append_column("user_id", profiles.user_ids))
    return file_identity(Path(path), Path(path))


def _table_identity(url: str, table: pa.Table) -> dict[str, Any]:
    """Tell the rows of a database from others, so that a job continues only with the same."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return {"name": source_name(url), "sha256": sha256(sink.getvalue()).hexdigest()}


def _run(
    retriever: Retriever,
    source: Source,
    config: BatchConfig,
    output: OutputOptions,
    known: KnownItems | None = None,
    engine: RayEngine | None = None,
) -> None:
    """Answer every user, and show the report."""
    out = output.out
    if not isinstance(out, Path):
        raise UsageError(
            "a job writes its answers: give --out FOLDER, which can be continued, or --out FILE.parquet, .csv, .jsonl"
        )
    file_format, config = check_out(out), replace(config, titles=True)
    with _answering(len(source)) as advance:
        if file_format == "folder":
            report = run_job(retriever, source, out, config, progress=advance, engine=engine)
            quarantine = out / "_quarantine"
        else:
            quarantine = out.with_name(f"{out.stem}.quarantine{out.suffix}")
            answered = (
                answers(retriever, source, config)
                if engine is None
                else answers_by_actors(retriever, source, config, engine)
            )
            report = write_answers(answered, out, quarantine, schema=config.schema, progress=advance)
    if output.as_json:
        show_json("job", {"written": str(out), **report.to_json(), **known_json(known)})
        return
    show_pairs(str(out), _in_words(report, quarantine))


def _in_words(report: JobReport, quarantine: Path) -> dict[str, str]:
    words = {
        "users": str(report.users),
        "answers": f"{report.answers} in {counted(report.parts, 'part')}, {report.resumed} of them from before",
        "time": f"{report.seconds:.1f} s, {report.users_per_second:.0f} users/s",
    }
    if report.reasons:
        words["without answers"] = f"{counted(report.reasons.total(), 'line')}, see {quarantine}: " + ", ".join(
            f"{count} {reason}" for reason, count in report.reasons.most_common(3)
        )
    if report.unknown:
        words["left out"] = f"{counted(report.unknown, 'item')} not in this bundle"
    return words


@contextmanager
def _answering(total: int) -> Iterator[Progressed]:
    """Show on standard error the users done, the time left and how many users have no answers."""
    with progress("answering", total, "users") as progress_bar:
        without_answers = 0

        def advance(num_rows: int, _users: int, quarantined: int) -> None:
            nonlocal without_answers
            without_answers += quarantined
            progress_bar.advance(num_rows, more=f"{without_answers} without answers" if without_answers else "")

        yield advance
