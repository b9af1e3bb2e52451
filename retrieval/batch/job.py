"""A job: answer every user of a source into a folder, and go on after whatever stopped it."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import pyarrow as pa

from indexing.filesystem import fsops
from indexing.filesystem.locks import writing
from retrieval.batch.answering import QUARANTINED as QUARANTINED_SCHEMA
from retrieval.batch.answering import SCHEMA, Answers, BatchConfig, Step, answers, steps_of
from retrieval.batch.input_rows import Source
from retrieval.batch.output_folder import LOCK, JobFolder, Part
from retrieval.batch.table_files import form_of, table_writer, write_table
from retrieval.retriever.retriever import Retriever

Progressed: TypeAlias = Callable[[int, int, int], None]
"""Is told of lines, users and quarantined lines that are done since it was told last."""


@dataclass
class JobReport:
    """What a job did.

    Attributes:
        users: Users answered, in all runs.
        answers: Hits they got.
        reasons: How many lines could not be answered, by reason.
        unknown: Items of histories and candidates that the bundle does not have.
        parts: Files of answers; one when there is but one file.
        resumed: Of these, the parts that an earlier run had finished.
        seconds: This run took.
        users_per_second: Of this run.
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
        """Note how long this run took for how many users."""
        self.seconds, self.users_per_second = round(seconds, 3), round(users / max(seconds, 1e-9), 1)
        return self

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values, and how many lines were quarantined."""
        return {**vars(self), "reasons": dict(self.reasons), "quarantined": self.reasons.total()}


def run_job(
    retriever: Retriever,
    source: Source,
    out: Path | str,
    config: BatchConfig | None = None,
    *,
    steps: Sequence[Step] | None = None,
    progress: Progressed | None = None,
) -> JobReport:
    """Answer every user of a source into a folder, or go on where an earlier run of the same job was stopped.

    What is finished is compared with its checksums and kept. The folder then is what one uninterrupted run would have
    written, for each chunk is answered by itself.

    Args:
        retriever: Of the bundle.
        source: The users.
        out: The folder; see `retrieval.batch.output_folder`.
        config: How.
        steps: What candidates go through, instead of `steps_of`; they are told apart by their names alone.
        progress: Called when a part is done or found to be done.

    Raises:
        InputError: When the folder holds a job of another input, other settings or another state of the bundle.
        BundleLockedError: When another process works on it.
    """
    out, config, report = Path(out), config or BatchConfig(), JobReport()
    through = steps_of(retriever, config) if steps is None else steps
    with writing(out, name=LOCK):
        folder = JobFolder(out, _description(retriever, source, config, through))
        started, told = perf_counter(), progress or (lambda _lines, _users, _quarantined: None)
        for part in folder.parts:
            _counted(report, part, told)
        report.resumed, before = report.parts, report.users
        for one in answers(retriever, source, config, steps=through, start=folder.lines):
            _counted(report, folder.add(one), told)
        report.timed(perf_counter() - started, report.users - before)
        folder.finish(report.to_json())
    return report


def write_answers(
    found: Iterable[Answers],
    out: Path,
    quarantined: Path,
    *,
    schema: pa.Schema = SCHEMA,
    progress: Progressed | None = None,
) -> JobReport:
    """Write answers into one file, a chunk at a time, and the lines without answers, if any, into another.

    Both are of the kind that their names say, see `retrieval.batch.table_files`. Stopped, it leaves what was there.
    """
    report, started, bad = JobReport(), perf_counter(), [QUARANTINED_SCHEMA.empty_table()]
    told = progress or (lambda _lines, _users, _quarantined: None)

    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        with table_writer(write, schema, form_of(out)) as writer:
            for one in found:
                table, chunk = one.to_arrow(), one.chunk
                writer.write_table(table)
                reasons = Counter(line.reason for line in chunk.quarantined)
                report.count(len(chunk.users), len(table), reasons.items(), chunk.unknown)
                bad.append(one.quarantined())
                told(chunk.lines, len(chunk.users), len(chunk.quarantined))

    fsops.make_folder(out.parent)
    fsops.write_stream(out, produce)
    report.parts = 1
    if report.reasons:
        write_table(pa.concat_tables(bad), quarantined)
    return report.timed(perf_counter() - started, report.users)


def _counted(report: JobReport, part: Part, told: Progressed) -> None:
    report.count(part.users, part.answers, part.quarantined.items(), part.unknown)
    told(part.lines, part.users, sum(part.quarantined.values()))


def _description(retriever: Retriever, source: Source, config: BatchConfig, steps: Sequence[Step]) -> dict[str, Any]:
    """Say what the answers depend on."""
    state = retriever.bundle.state
    named = [getattr(step, "__qualname__", type(step).__qualname__) for step in steps]
    return {
        "input": {"kind": type(source).__name__, **source.identity()},
        "settings": config.to_json() | {"steps": named},
        "bundle": {"generation": state.generation, "changes": state.last},
    }
