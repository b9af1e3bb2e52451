"""`commonspace recommend` and `rerank` for very many users: a folder of parts, or one file written as it comes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import typer

from indexing.errors import InputError
from indexing.runtime.progress import progress
from indexing.sample import interactions_path
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
from retrieval.batch.answering import answers
from retrieval.batch.in_memory import read_candidates
from retrieval.batch.input_rows import Source
from retrieval.batch.job import Progressed
from retrieval.batch.table_files import check_out
from retrieval.batch.tables import TableFile, file_identity
from retrieval.cli.display.output import counted, known_json
from retrieval.cli.display.terminal import UsageError, show_json, show_pairs
from retrieval.cli.options.log import LogOptions, known, tell_without_taste
from retrieval.interactions.known_items import KnownItems
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.retriever import Retriever

UsersFile = Annotated[
    Path | None, typer.Option("--users", help="Parquet, a file or a folder, with one line a user: user_id, history.")
]
Chunk = Annotated[int, typer.Option("--chunk-size", min=1, help="Users of a large job answered and written at once.")]
Log: TypeAlias = tuple[str, LogOptions]
"""Where a log is, and how it is read."""


def recommend_job(
    retriever: Retriever,
    users: Path | None,
    log: Log | None,
    config: BatchConfig,
    *,
    profiles: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Recommend to the users of a file, or else of a log with what is known of them beside it."""
    if users is not None:
        _run(retriever, ListedUsers(ParquetFiles(users), retriever), config, out=out, as_json=as_json)
    elif log is not None:
        histories, identity, fits = _logged(retriever, log)
        if profiles is None:
            source = LogUsers(histories, identity)
        else:
            beside = {"profiles": file_identity(profiles, profiles)}
            source = LogUsers(histories, {**identity, **beside}, Profiles.open(profiles))
        _run(retriever, source, config, out=out, as_json=as_json, fits=fits)


def rerank_job(
    retriever: Retriever, candidates: Path, log: Log | None, config: BatchConfig, *, out: Path | None, as_json: bool
) -> None:
    """Order candidates from a file, whose users' histories are there too or in a log."""
    a_file = candidates.is_file() and candidates.suffix.lower() in (".csv", ".jsonl", ".ndjson")
    tables = TableFile(candidates, read_candidates(candidates)) if a_file else ParquetFiles(candidates)
    source: Source
    fits: KnownItems | None = None
    if "history" in tables.schema.names:
        if log is not None:
            raise InputError(
                f"{candidates} has histories of its own; leave out --interactions, or the column 'history'"
            )
        source = ListedUsers(tables, retriever, given=True)
    elif log is not None:
        histories, identity, fits = _logged(retriever, log)
        source = FlatCandidates(tables, histories, retriever.items, identity)
    else:
        raise UsageError(
            f"{candidates} has no column 'history'; say with --interactions which log the histories are in"
        )
    _run(retriever, source, config, out=out, as_json=as_json, fits=fits)


def _logged(retriever: Retriever, log: Log) -> tuple[LoggedHistories, Mapping[str, Any], KnownItems]:
    """Give the histories of a log, what tells it from others, and how it and the bundle fit together."""
    path, options = log
    read, fits = known(options.open(path), retriever.items)
    histories = LoggedHistories.of(read, retriever.items)
    tell_without_taste(np.split(histories.weights, histories.starts[1:-1]), histories.least, retriever)
    file = interactions_path() if path == "sample" else Path(path)
    return histories, {"log": file_identity(file, file), **options.to_json()}, fits


def _run(
    retriever: Retriever,
    source: Source,
    config: BatchConfig,
    *,
    out: Path | None,
    as_json: bool,
    fits: KnownItems | None = None,
) -> None:
    """Answer everyone and say what became of it."""
    if out is None:
        raise UsageError(
            "so many answers need a place: --out FOLDER, which can be gone on with, or --out FILE.parquet, .csv, .jsonl"
        )
    form, config = check_out(out), replace(config, titles=True)
    with _progress(len(source)) as advance:
        if form == "folder":
            report, beside = run_job(retriever, source, out, config, progress=advance), out / "_quarantine"
        else:
            beside = out.with_name(f"{out.stem}.quarantine{out.suffix}")
            found = answers(retriever, source, config)
            report = write_answers(found, out, beside, schema=config.schema, progress=advance)
    if as_json:
        show_json({"written": str(out), **report.to_json(), **known_json(fits)})
        return
    show_pairs(str(out), _in_words(report, beside))


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
def _progress(total: int) -> Iterator[Progressed]:
    """Show users done, time left and how many lines were set aside on standard error."""
    with progress("answering", total, "users") as told:
        aside = 0

        def advance(lines: int, _users: int, quarantined: int) -> None:
            nonlocal aside
            aside += quarantined
            told.advance(lines, more=f"{aside} without answers" if aside else "")

        yield advance
