"""Options that name a log of interactions or of live events, and say how it is read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from indexing.catalogue.readers.sql import is_sql_url
from indexing.sample import interactions_path
from retrieval.cli.display.terminal import UsageError, note
from retrieval.cli.options.items import SAMPLE
from retrieval.interactions.columns import InteractionColumns, Repeats
from retrieval.interactions.event_types import USUAL, EventTypes, LearnedEvents
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions, source_name

LOG = "Log"
# Repairs that are not noted.
_NOT_NOTED = ("time in milliseconds", "time in microseconds", "time in nanoseconds", "added to a later one")
_LOG_HELP = "A .parquet, .csv, .tsv or .inter file of users, items and times, a URL of a database, or 'sample'."

Log = Annotated[str, typer.Argument(help=_LOG_HELP)]
OptionalLog = Annotated[str | None, typer.Argument(help=_LOG_HELP)]
LogOption = Annotated[
    str | None, typer.Option("--interactions", rich_help_panel=LOG, help=f"Log of interactions: {_LOG_HELP}")
]
RequiredLog = Annotated[
    str, typer.Option("--interactions", rich_help_panel=LOG, help=f"Log of interactions: {_LOG_HELP}")
]
ProfilesFile = Annotated[
    str | None,
    typer.Option(
        "--profiles",
        rich_help_panel=LOG,
        help="A .parquet or .csv file, or a URL of a database, with a user_id and attributes of each user.",
    ),
]
ContextColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--context-columns",
        rich_help_panel=LOG,
        help="Context columns of the log, like 'device,utc_hour', which the reranker reads if that helps. Times give "
        "utc_hour and utc_weekday.",
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        "--rows", rich_help_panel=LOG, help="Read only rows with these values of a column, like 'split=train,valid'."
    ),
]
MinWeight = Annotated[
    float | None,
    typer.Option("--min-weight", rich_help_panel=LOG, help="Read only rows of at least this weight, like rating >= 4."),
]
UserColumn = Annotated[
    str | None,
    typer.Option(
        "--user-column", rich_help_panel=LOG, help="Column of the users; by default user_id, userId, user and the like."
    ),
]
ItemColumn = Annotated[
    str | None,
    typer.Option(
        "--item-column",
        rich_help_panel=LOG,
        help="Column of the items; by default item_id, movieId, asin and the like.",
    ),
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        "--time-column", rich_help_panel=LOG, help="Column of the times; by default timestamp, datetime and the like."
    ),
]
WeightColumn = Annotated[
    str | None,
    typer.Option(
        "--weight-column", rich_help_panel=LOG, help="Column of the weights; by default weight, rating and the like."
    ),
]
RepeatsOption = Annotated[
    Repeats | None,
    typer.Option(
        "--repeats",
        rich_help_panel=LOG,
        help="Which weight counts when a user has several for one item: the last, their sum or the largest. By default "
        "the last of ratings, which are known by the name of their column, and else the largest.",
    ),
]


EventWeights = Annotated[
    str | None,
    typer.Option(
        "--event-weights",
        rich_help_panel=LOG,
        help="Weight of each type of event, like 'view=.1,buy=3,hide=-2'; 0 leaves it out, below 0 is a dislike; "
        "'usual' for common names.",
    ),
]
EventTypesFile = Annotated[
    Path | None,
    typer.Option(
        "--event-types",
        rich_help_panel=LOG,
        help='JSON file of the types of events: {"buy": {"weight": 3, "half_life_days": 90}, "hide": -2}.',
    ),
]


def types_given(given: str | Path | None) -> EventTypes | None:
    """Read types of events of the command line, from text or a JSON file; None where nothing is given."""
    if isinstance(given, str) and given != USUAL and "=" not in given:
        raise UsageError(f"cannot read {given!r} of --event-weights; write it like view=.1,buy=3,hide=-2, or usual")
    return None if given is None else EventTypes.open(given)


EVENTS_VARIABLE = "COMMONSPACE_EVENTS"
"""The variable of the environment that holds a URL with a password, which other users of a machine must not see."""
_EVENTS = typer.Option(
    "--events",
    envvar=EVENTS_VARIABLE,
    show_envvar=False,
    metavar="URL",
    help=f"Database of live events, as sqlite:///events.db; in {EVENTS_VARIABLE} where it has a password.",
)

EventsUrl = Annotated[str, _EVENTS]
OptionalEventsUrl = Annotated[str | None, _EVENTS]
LiveEvents = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="URL",
        help="Read the log of live events as it stands, with what was shown, in place of a file; "
        f"{EVENTS_VARIABLE} where the URL has a password.",
    ),
]
ComparedEvents = Annotated[
    str | None,
    typer.Option("--events", metavar="URL", help="Compare the variants that are in this log of live events."),
]
TypesBundle = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="The bundle of the service, which knows types of events from the log that it learned from.",
        show_default=False,
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", help="The variant that others are compared with; that of most impressions by default."),
]
ScenariosFile = Annotated[
    Path | None,
    typer.Option("--scenarios", metavar="FILE", help="JSON file of named configurations, and their shares of users."),
]


@dataclass(frozen=True)
class LogColumns:
    """Which columns of a log hold what, and which weights count."""

    min_weight: MinWeight = None
    user_column: UserColumn = None
    item_column: ItemColumn = None
    time_column: TimeColumn = None
    weight_column: WeightColumn = None
    repeats: RepeatsOption = None
    event_weights: EventWeights = None
    event_types: EventTypesFile = None

    @property
    def events(self) -> EventTypes | None:
        """What the types of events mean; None where nothing was said of them."""
        if self.event_weights is not None and self.event_types is not None:
            raise UsageError("give either --event-weights or --event-types")
        return types_given(self.event_types if self.event_weights is None else self.event_weights)

    @property
    def columns(self) -> InteractionColumns:
        """The columns that were named; the others are found by their common names."""
        default = InteractionColumns()
        return InteractionColumns(
            self.user_column or default.user_id,
            self.item_column or default.item_id,
            self.time_column or default.timestamp,
            self.weight_column or default.weight,
        )

    def read(
        self,
        source: str,
        *,
        rows: str | None = None,
        apply_min_weight: bool = True,
        notes: bool = True,
        learned: LearnedEvents | None = None,
        context: Sequence[str] = (),
    ) -> Interactions:
        """Read a log, or the shipped sample with its simulated users.

        Args:
            source: The file, or 'sample'.
            rows: ``column=value,value``, the rows that are read; all when None.
            apply_min_weight: Read only rows of at least `min_weight`.
            notes: Note on standard error what could not be used.
            learned: By which types of events the log is read where none are given: those that a bundle learned with.
            context: Columns of what held at each interaction.
        """
        events = self.events
        log = Interactions.open(
            source if is_sql_url(source) else log_path(source),
            columns=self.columns,
            min_weight=self.min_weight if apply_min_weight else None,
            only=parse_rows(rows) if rows else None,
            events=events,
            default_events=None if learned is None else learned.types,
            repeats=self.repeats,
            context=context,
        )
        if learned is not None:
            learned.compare(log.events, unread=log.unread_events, given=events is not None)
        if notes:
            for text in unused_rows(log):
                note(f"{source_name(source)}: {text}")
        return log


@dataclass(frozen=True)
class LogOptions(LogColumns):
    """How a log is read: which rows of it, and which columns hold what."""

    rows: Rows = None

    def open(
        self, source: str, *, notes: bool = True, learned: LearnedEvents | None = None, context: Sequence[str] = ()
    ) -> Interactions:
        """Read the rows that were asked for; see `LogColumns.read`."""
        return self.read(source, rows=self.rows, notes=notes, learned=learned, context=context)

    def to_json(self) -> dict[str, Any]:
        """Return the options that answers to a log depend on, under their names in job files."""
        return {
            "only": self.rows,
            "min_weight": self.min_weight,
            "columns": asdict(self.columns),
            "repeats": self.repeats,
            **({} if (events := self.events) is None else {"events": events.to_json()}),
        }


def log_path(source: str) -> Path:
    """Return the path of a log, or of the shipped sample if it is 'sample'."""
    return interactions_path() if source == SAMPLE else Path(source)


def open_impressions(source: str) -> Impressions:
    """Read impressions, and note on standard error which rows could not be used."""
    impressions = Impressions.open(source)
    for text in unused_rows(impressions):
        note(f"{source_name(source)}: {text}")
    return impressions


def unused_rows(log: Interactions | Impressions) -> list[str]:
    """Return how many rows of a log were left out or repaired, one text per reason, and which events are not read."""
    lines = []
    if isinstance(log, Interactions) and log.unread_events:
        lines.append(
            f"the column {log.unread_events!r} is not read, so that all events weigh alike; give --event-weights or "
            "--event-types"
        )
    for reason, count in log.dropped.items():
        example = f"; {log.examples[reason]}" if reason in log.examples else ""
        lines.append(f"{count} rows left out: {reason}{example}")
    repaired = {reason: count for reason, count in log.repaired.items() if reason not in _NOT_NOTED}
    return lines + [f"{count} rows: {reason}" for reason, count in repaired.items()]


def names_in(text: str | None) -> tuple[str, ...]:
    """Read names that are separated by commas.

    >>> names_in("device, utc_hour"), names_in(None)
    (('device', 'utc_hour'), ())
    """
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def parse_rows(text: str) -> tuple[str, tuple[str, ...]]:
    """Read ``column=value,value``.

    >>> parse_rows("split=train,valid")
    ('split', ('train', 'valid'))

    Raises:
        UsageError: When it cannot be read.
    """
    column, equals, listed = text.partition("=")
    values = tuple(value.strip() for value in listed.split(",") if value.strip())
    if not equals or not column.strip() or not values:
        raise UsageError(f"cannot read {text!r}; write it like split=train,valid")
    return column.strip(), values
