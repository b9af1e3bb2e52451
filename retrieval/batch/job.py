"""A batch job: recommend to every user of a source, written to a folder, and resumed after an interruption."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import pyarrow as pa

from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.runtime.ray_engine import RayEngine
from retrieval.batch.answering import SCHEMA, BatchConfig, Step, answers, answers_by_actors, check_source, steps_of
from retrieval.batch.input_rows import QUARANTINED, Source
from retrieval.batch.output_folder import LOCK, ChunkAnswers, JobFolder, OutputPart
from retrieval.batch.table_files import form_of, table_writer, write_table
from retrieval.retriever.retriever import Retriever

Progressed: TypeAlias = Callable[[int, int, int], None]
"""Called with the numbers of rows, users and quarantined rows that are done since the last call."""
Produce: TypeAlias = Callable[[int], Iterable[ChunkAnswers]]
"""Gives the answers from a row of the input on."""


@dataclass
class JobReport:
    """The report of a job.

    Attributes:
        users: Users answered, in all runs.
        answers: Their hits.
        reasons: The number of quarantined rows, by reason.
        unknown: Items of histories and candidates that are not in the bundle.
        parts: Files of answers; 1 for a single file.
        resumed: Parts that an earlier run had finished.
        seconds: Duration of this run.
        users_per_second: Speed of this run.
    """

    users: int = 0
    answers: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    parts: int = 0
    resumed: int = 0
    seconds: float = 0.0
    users_per_second: float = 0.0

    def count(self, users: int, answers: int, quarantined: Iterable[tuple[str, int]], unknown: int) -> None:
        """Add a part."""
        self.users += users
        self.answers += answers
        for reason, number in quarantined:
            self.reasons[reason] += number
        self.unknown += unknown
        self.parts += 1

    def timed(self, seconds: float, users: int) -> "JobReport":
        """Set the duration and the speed of this run."""
        self.seconds, self.users_per_second = round(seconds, 3), round(users / max(seconds, 1e-9), 1)
        return self

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values, with the number of quarantined rows."""
        return {**vars(self), "reasons": dict(self.reasons), "quarantined": self.reasons.total()}


def run_job(
    retriever: Retriever,
    source: Source,
    out: Path | str,
    config: BatchConfig | None = None,
    *,
    steps: Sequence[Step] | None = None,
    progress: Progressed | None = None,
    engine: RayEngine | None = None,
) -> JobReport:
    """Recommend to every user of a source, into a folder, or resume an earlier run of the same job.

    Finished parts are verified by their checksums and kept. The folder is then that of an uninterrupted run, as each
    chunk is answered independently.

    Args:
        retriever: The retriever of the bundle.
        source: The users.
        out: The folder; see `retrieval.batch.output_folder`.
        config: The settings.
        steps: Functions applied to the candidates, instead of `steps_of`; a resumed job compares only their names.
        progress: Called when a part is done or found to be done.
        engine: Actors of Ray that answer, instead of this process; either continues what the other began.

    Raises:
        InputError: When the folder holds a job of another input, other settings or another state of the bundle, or the
            source does not fit the bundle or the settings; see `answers`. For steps that actors were to apply.
        EngineError: When actors cannot answer; see `answered_by_actors`.
        BundleLockedError: When another process works on it.
    """
    config = config or BatchConfig()
    if steps is not None and engine is not None:
        raise InputError("steps are functions of this process, which actors do not have: leave out steps, or engine")
    check_source(retriever, source, config)
    all_steps = steps_of(retriever, config) if steps is None else steps
    description = _description(retriever, source, config, all_steps)

    def produce(start: int) -> Iterable[ChunkAnswers]:
        if engine is not None:
            return answers_by_actors(retriever, source, config, engine, start=start)
        return answers(retriever, source, config, steps=all_steps, start=start)

    return run_parts(Path(out), description, produce, progress)


def run_parts(
    out: Path, description: Mapping[str, Any], produce: Produce, progress: Progressed | None = None
) -> JobReport:
    """Write answers to a folder, or resume where an earlier run of the same job was stopped; see `run_job`.

    Args:
        out: The folder.
        description: Plain JSON values that identify the job.
        produce: Gives the answers, the same from a row on whenever it is called.
        progress: Called when a part is done or found to be done.
    """
    report = JobReport()
    with write_lock(out, name=LOCK):
        folder = JobFolder(out, description)
        started, report_progress = perf_counter(), progress or (lambda _lines, _users, _quarantined: None)
        for part in folder.parts:
            _add_part(report, part, report_progress)
        report.resumed, users_before = report.parts, report.users
        for result in produce(folder.lines):
            _add_part(report, folder.add(result), report_progress)
        report.timed(perf_counter() - started, report.users - users_before)
        folder.finish(report.to_json())
    return report


def write_answers(
    results: Iterable[ChunkAnswers],
    out: Path,
    quarantined: Path,
    *,
    schema: pa.Schema = SCHEMA,
    progress: Progressed | None = None,
) -> JobReport:
    """Write answers to one file, a chunk at a time, and quarantined rows, if any, to another.

    The formats are those of the suffixes, see `retrieval.batch.table_files`. An interrupted call leaves existing files.
    Where no row was quarantined, an earlier file of such rows is removed.
    """
    report, started, quarantined_tables = JobReport(), perf_counter(), [QUARANTINED.empty_table()]
    report_progress = progress or (lambda _lines, _users, _quarantined: None)

    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        with table_writer(write, schema, form_of(out)) as writer:
            for result in results:
                table, chunk = result.to_arrow(), result.chunk
                writer.write_table(table)
                reasons = Counter(line.reason for line in chunk.quarantined)
                report.count(len(chunk.users), len(table), reasons.items(), chunk.unknown)
                quarantined_tables.append(result.quarantined())
                report_progress(chunk.lines, len(chunk.users), len(chunk.quarantined))

    fsops.make_folder(out.parent)
    fsops.write_stream(out, produce)
    report.parts = 1
    if report.reasons:
        write_table(pa.concat_tables(quarantined_tables), quarantined)
    else:
        fsops.remove(quarantined)
    return report.timed(perf_counter() - started, report.users)


def _add_part(report: JobReport, part: OutputPart, report_progress: Progressed) -> None:
    report.count(part.users, part.answers, part.quarantined.items(), part.unknown)
    report_progress(part.lines, part.users, sum(part.quarantined.values()))


def _description(retriever: Retriever, source: Source, config: BatchConfig, steps: Sequence[Step]) -> dict[str, Any]:
    """Describe what the answers depend on."""
    step_names = [getattr(step, "__qualname__", type(step).__qualname__) for step in steps]
    return {
        "input": {"kind": type(source).__name__, **source.identity()},
        "settings": config.to_json() | {"steps": step_names},
        "bundle": state_of(retriever),
    }


def state_of(retriever: Retriever) -> dict[str, Any]:
    """Say which state of its bundle a retriever answers from."""
    state = retriever.bundle.state
    return {"generation": state.generation, "changes": state.last}
