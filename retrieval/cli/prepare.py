"""`commonspace prepare`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from indexing.runtime.progress import progress
from retrieval.batch.table_files import write_table
from retrieval.cli.display.output import JSON_FILE, OUT_FILE, Json, write_file
from retrieval.cli.display.terminal import UsageError, show_json, show_pairs
from retrieval.cli.options.log import (
    ItemColumn,
    Log,
    LogOptions,
    MinWeight,
    Only,
    RepeatsOption,
    TimeColumn,
    UserColumn,
    WeightColumn,
    named_columns,
)
from retrieval.interactions.cleaning import BotLimits, Caps, PrepareConfig, PushLimits
from retrieval.interactions.cleaning import prepare as prepare_log
from retrieval.interactions.cleaning.pipeline import written_back

Prepared = Annotated[Path, typer.Argument(callback=OUT_FILE, help="The .parquet, .csv or .jsonl file to write.")]
Report = Annotated[
    Path | None, typer.Option(callback=JSON_FILE, help="Write what was left out, and why, to this JSON file.")
]
Events = Annotated[
    str | None,
    typer.Option(
        "--event-weights", help="What each type of event weighs, like 'view=1,purchase=5,return=0'; 0 leaves it out."
    ),
]
Most = Annotated[int | None, typer.Option(min=1, help="Keep at most so many interactions of each, the latest.")]
MostOfItem = Annotated[int | None, typer.Option(min=1, help="Keep at most so many interactions with each item.")]
KCore = Annotated[
    str | None, typer.Option(help="Keep users with so many items and items with so many users: 5 for both, or '5,3'.")
]
Bots = Annotated[bool, typer.Option("--drop-bots/--keep-bots", help="Leave out users who do what no person does.")]
Pushed = Annotated[
    Literal["interactions", "users", "keep"],
    typer.Option(
        "--shilling",
        help="Of those who push an item leave out the 'interactions' with it or the 'users', or 'keep' all.",
    ),
]


def prepare(
    interactions: Log,
    out: Prepared,
    report: Report = None,
    only: Only = None,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    events: Events = None,
    max_per_user: Most = None,
    max_per_item: MostOfItem = None,
    k_core: KCore = None,
    bots: Bots = True,
    pushed: Pushed = "interactions",
    as_json: Json = False,
) -> None:
    """Leave duplicates, bots and pushed items out of a log, and write the rest with a report."""
    if any(path is not None and path.resolve() == Path(interactions).resolve() for path in (out, report)):
        raise UsageError(f"{interactions} is the log itself; write to another file, so that nothing is lost")
    if report is not None and report.resolve() == out.resolve():
        raise UsageError(f"{out} is to hold both the log and the report; give each a file of its own")
    config = PrepareConfig(
        bots=BotLimits() if bots else None,
        pushes=_pushes(pushed),
        caps=Caps(per_user=max_per_user, per_item=max_per_item),
        k_core=_k_core(k_core),
    )
    weights = parse_events(events) if events else None
    columns = named_columns(user_column, item_column, time_column, weight_column)
    log = LogOptions(only, min_weight, columns, repeats, weights).open(interactions, tell=False)
    with progress() as shown:
        prepared, what = prepare_log(log, config, told=lambda rule: shown.begin(f"looking for {rule}"))
    written = {"report": what.to_json(), "config": config.to_json()}
    if report is not None:
        write_file(report, json.dumps(written, ensure_ascii=False, indent=2).encode() + b"\n")
    write_table(written_back(prepared), out)
    if as_json:
        show_json({"written": str(out), **written})
        return
    show_pairs(f"{interactions}: prepared as {out}", what.lines())


def parse_events(text: str) -> dict[str, float]:
    """Read ``type=weight,type=weight``.

    >>> parse_events("view=1,purchase=5")
    {'view': 1.0, 'purchase': 5.0}

    Raises:
        UsageError: When it cannot be read.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, weight = part.rpartition("=")
        try:
            value = float(weight)
        except ValueError:
            equals = ""
        if not equals or not name.strip() or name.strip() in weights:
            raise UsageError(f"cannot read {part!r} in {text!r}; write each type once, like view=1,purchase=5")
        weights[name.strip()] = value
    return weights


def _pushes(wanted: Literal["interactions", "users", "keep"]) -> PushLimits | None:
    return None if wanted == "keep" else PushLimits(drop=wanted)


def _k_core(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise UsageError(
            f"cannot read {text!r} of --k-core; write a number for both, like 5, or items a user and users an item, "
            "like 5,3"
        )
    return numbers[0], numbers[-1]
