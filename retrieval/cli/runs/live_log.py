"""The log of live events, on the command line."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.errors import require_extra
from retrieval.cli.display.terminal import UsageError, note, show_json, show_table
from retrieval.cli.options.log import EVENTS_VARIABLE, LogOptions, unused_rows
from retrieval.interactions.columns import InteractionColumns
from retrieval.interactions.event_types import USUAL_TYPES, EventTypes, LearnedEvents, beside_usual
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.log_schema import ReadOptions

if TYPE_CHECKING:
    from retrieval.serving.events.event_log import EventLog


@contextmanager
def live_log(url: str, *, create: bool = False) -> Iterator["EventLog"]:
    """Open the log at a URL for the length of a block.

    Raises:
        UsageError: When types of events are given in place of a URL.
    """
    require_extra("sqlalchemy", "serve")
    from retrieval.serving.events.event_log import EventLog

    if "=" in url and "://" not in url:
        raise UsageError(f"--events {url!r} is no URL; it names a database, and --event-weights says what types weigh")
    with EventLog.open(url, create=create) as log:
        yield log


def url_for(events: str | None, interactions: str | None) -> str | None:
    """Give the URL of the live log that is read in place of a file; None where a file is read.

    Raises:
        UsageError: When there is neither of them, or both.
    """
    if events is not None and interactions is not None:
        raise UsageError(f"both {interactions!r} and --events name a log; give one")
    url = events if interactions is not None else events or os.environ.get(EVENTS_VARIABLE)
    if url is None and interactions is None:
        raise UsageError("no log is named; give a file, or the URL of the live log with --events")
    return url


def read_live(
    url: str,
    options: LogOptions,
    learned: LearnedEvents | None,
    context: Sequence[str] = (),
    *,
    is_refresh: bool = False,
) -> tuple[Interactions, Impressions | None]:
    """Read the live log as it stands: what users did, and what they were shown.

    Args:
        url: Of the log.
        options: How it is read; types of events weigh as given, else as the bundle learned, else as usual.
        learned: By which types of events the bundle learned.
        context: What held at each event, which the time alone can tell.
        is_refresh: Leave out what was shown, as a refresh trains no head.

    Raises:
        UsageError: For options of the columns of a file.
    """
    if options.rows is not None or options.columns != InteractionColumns():
        raise UsageError("the live log has columns of its own: leave out --rows and the names of columns")
    types = options.events or (None if learned is None else learned.types) or USUAL_TYPES
    with live_log(url) as log:
        shown = log.database.shown
        read = ReadOptions(shown, None, options.min_weight, None, types, options.repeats, None, context)
        interactions, impressions = log.interactions(read), None if is_refresh else log.impressions()
    for part in (interactions, impressions):
        for text in () if part is None else unused_rows(part):
            note(f"{shown}: {text}")
    return interactions, impressions


def live_types(bundle: Path) -> EventTypes:
    """Give the types of events that a service of a bundle takes: those that it learned from, and usual ones."""
    from indexing.bundle.bundle import Bundle
    from retrieval.retriever.learned_parts import learned_events

    learned = learned_events(Bundle.open(bundle))
    return beside_usual(None if learned is None else learned.types)


def show_take_rates(url: str, baseline: str | None, types: EventTypes | None, *, as_json: bool) -> None:
    """Print how much of what each variant showed was taken, by types of events, or by the usual ones."""
    with live_log(url) as log:
        from retrieval.serving.scenarios.take_rates import take_rates

        found = take_rates(log, baseline, types=types)
        shown = log.database.shown
    for kind, count in found.without_weight.items():
        note(
            f"events of the type {kind!r}, which has no weight, are not counted: {count}; give --bundle with the "
            "bundle of the service, which learned it, or --event-weights"
        )
    if as_json:
        show_json("variants", found.to_json())
        return
    differences = {one.variant: one for one in found.differences}
    rows = []
    for rate in found.rates:
        line = [rate.variant, rate.users, rate.shown, rate.taken, _interval(rate.rate, rate.low, rate.high)]
        other = differences.get(rate.variant)
        rows.append([*line, "-" if other is None else _interval(other.difference, other.low, other.high)])
    head = ("variant", "users", "shown", "taken", "take rate", f"above {found.baseline}")
    show_table(f"{shown}: take rates, [{found.level:.0%} interval]", head, rows, whole=head[:1], light=True)
    if found.without_variant:
        note(f"{found.without_variant} impressions name no variant and are left out")


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"
