"""`commonspace events`: the log of live events."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval.cli.display.terminal import note, show_json, show_pairs
from retrieval.cli.options.command import Command, with_groups
from retrieval.cli.options.log import EventsUrl, LogColumns, log_path
from retrieval.cli.options.output import Json
from retrieval.cli.runs.live_log import live_log
from retrieval.interactions.interactions import source_name
from retrieval.interactions.log_schema import ReadOptions

app = typer.Typer(name="events", help="Look after the log of live events.", no_args_is_help=True)

Dump = Annotated[Path, typer.Argument(help="Folder of the dump.")]


def _show(title: str, values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json("events", values)
        return
    flat = {name: ", ".join(f"{one} {n}" for one, n in value.items()) if isinstance(value, dict) else value
            for name, value in values.items()}  # fmt: skip
    show_pairs(title, {name.replace("_", " "): "-" if value is None else value for name, value in flat.items()})


@app.command(cls=Command)
def info(events: EventsUrl, as_json: Json = False) -> None:
    """Say what the log holds."""
    with live_log(events) as log:
        found = asdict(log.info())
    _show(found["database"], found, as_json)


@app.command("import", cls=Command)
@with_groups
def import_log(
    source: Annotated[str, typer.Argument(help="A log that exists already, as of fit; 'sample' for the shipped one.")],
    events: EventsUrl,
    columns: LogColumns,
    kind: Annotated[
        str | None,
        typer.Option("--type", help="The type of all rows, as view; impression for what was shown."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a log that exists already.

    The same rows again count once, so that an interrupted import is simply repeated. Rows of users who were forgotten
    since are left out.
    """
    path: Any = source if "://" in source else log_path(source)
    with live_log(events, create=True) as log:
        types = columns.events or log.types
        options = ReadOptions(source_name(path), columns.columns, columns.min_weight, default_events=types)
        done = log.import_log(path, options=options, kind=kind)
    for reason, count in done.dropped.items():
        note(f"{count} rows left out: {reason}")
    _show(f"{source_name(path)}: imported", asdict(done.appended) | {"dropped": done.dropped}, as_json)


@app.command(cls=Command)
def export(
    out: Annotated[Path, typer.Argument(help="The .parquet, .csv or .jsonl file to write.")],
    events: EventsUrl,
    impressions: Annotated[bool, typer.Option("--impressions", help="Write what was shown.")] = False,
    as_json: Json = False,
) -> None:
    """Write events, or what was shown, as a table.

    Commands that read a log read it, too.
    """
    with live_log(events) as log:
        rows = log.export(out, impressions=impressions)
    _show(f"{out}: written", {"written": str(out), "rows": rows}, as_json)


@app.command(cls=Command)
def dump(folder: Dump, events: EventsUrl, as_json: Json = False) -> None:
    """Write all of the log, of one moment, into a new folder."""
    with live_log(events) as log:
        rows = log.dump(folder)
    _show(f"{folder}: written", {"written": str(folder), "rows": rows}, as_json)


@app.command(cls=Command)
def restore(folder: Dump, events: EventsUrl, as_json: Json = False) -> None:
    """Bring a dump back, whole or not at all.

    Events that are there already count once. Users who were forgotten since stay so.
    """
    with live_log(events, create=True) as log:
        done = log.restore(folder)
    _show(f"{folder}: restored", asdict(done), as_json)


@app.command(cls=Command)
def forget(
    user: Annotated[str, typer.Argument(help="Any name of the user.")], events: EventsUrl, as_json: Json = False
) -> None:
    """Remove a user: all events, sessions and names.

    A dump that is restored later does not bring them back.
    """
    with live_log(events) as log:
        done = log.forget(user)
    _show("forgotten", asdict(done), as_json)


@app.command(cls=Command)
def retain(
    events: EventsUrl,
    days: Annotated[float | None, typer.Option("--days", help="Keep the events of so many days.")] = None,
    max_events: Annotated[int | None, typer.Option("--max-events", min=1, help="Keep so many events.")] = None,
    as_json: Json = False,
) -> None:
    """Remove old events, and users of whom nothing is left."""
    with live_log(events) as log:
        done = log.retain(days=days, events=max_events)
    _show("removed", asdict(done), as_json)
