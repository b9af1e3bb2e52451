"""`commonspace prepare`."""

import json
from pathlib import Path
from typing import Literal

from indexing.runtime.progress import progress
from retrieval.batch.table_files import write_table
from retrieval.cli.display.output import write_file
from retrieval.cli.display.terminal import UsageError, show_json, show_pairs
from retrieval.cli.options.learning import CleaningOptions
from retrieval.cli.options.log import Log, LogOptions
from retrieval.cli.options.output import Json, OutTable, Report
from retrieval.interactions.cleaning import BotLimits, Caps, PrepareConfig, PushLimits
from retrieval.interactions.cleaning import prepare as prepare_log
from retrieval.interactions.cleaning.pipeline import written_back
from retrieval.interactions.interactions import source_name


def prepare(
    interactions: Log,
    out: OutTable,
    log: LogOptions,
    cleaning: CleaningOptions,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Clean a log of interactions: drop duplicates, bots, shilling.

    The rest is written, with a report of what was left out.
    """
    if any(path is not None and path.resolve() == Path(interactions).resolve() for path in (out, report)):
        raise UsageError(f"{interactions} is the log itself; write to another file, so that nothing is lost")
    if report is not None and report.resolve() == out.resolve():
        raise UsageError(f"{out} is to hold both the log and the report; give each a file of its own")
    config = PrepareConfig(
        bots=BotLimits() if cleaning.drop_bots else None,
        pushes=_shilling(cleaning.shilling),
        caps=Caps(per_user=cleaning.max_per_user, per_item=cleaning.max_per_item),
        k_core=_k_core(cleaning.k_core),
    )
    log_interactions = log.open(interactions, notes=False)
    with progress() as progress_bar:
        prepared, summary = prepare_log(
            log_interactions, config, on_rule=lambda rule: progress_bar.begin(f"looking for {rule}")
        )
    summary_json = {"report": summary.to_json(), "config": config.to_json()}
    if report is not None:
        write_file(report, json.dumps(summary_json, ensure_ascii=False, indent=2).encode() + b"\n")
    write_table(written_back(prepared), out)
    if as_json:
        show_json("preparation", {"written": str(out), **summary_json})
        return
    show_pairs(f"{source_name(interactions)}: prepared as {out}", summary.summary())


def _shilling(drop: Literal["interactions", "users", "keep"]) -> PushLimits | None:
    return None if drop == "keep" else PushLimits(drop=drop)


def _k_core(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise UsageError(
            f"cannot read {text!r} of --k-core; write a number for both, like 5, or items per user and users per "
            "item, like 5,3"
        )
    return numbers[0], numbers[-1]
