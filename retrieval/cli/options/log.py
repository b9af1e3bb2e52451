"""How a log of interactions is named on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from indexing.arrays.types import Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.sample import interactions_path
from retrieval.cli.display.terminal import UsageError, say
from retrieval.interactions.columns import InteractionColumns, Repeats
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import KnownItems, known_items
from retrieval.models.user_model import UserModel
from retrieval.retriever.retriever import Retriever

_EXPECTED = ("time in milliseconds", "time in microseconds", "time in nanoseconds", "added to a later one")

Only = Annotated[
    str | None, typer.Option("--rows", help="Read only rows with these values of a column, like 'split=train,valid'.")
]
MinWeight = Annotated[float | None, typer.Option(help="Read only rows of at least this weight, as in rating >= 4.")]
ProfilesFile = Annotated[
    Path | None,
    typer.Option("--profiles", help="A .parquet or .csv file with user_id and what is known of users beside the log."),
]
Log = Annotated[
    str, typer.Argument(help="A .parquet, .csv, .tsv or .inter file of users, items and times; or 'sample'.")
]


UserColumn = Annotated[
    str | None, typer.Option("--user-column", help="Column of the users; user_id, userId, user, … by itself.")
]
ItemColumn = Annotated[
    str | None,
    typer.Option("--item-column", help="Column of the items; item_id, movieId, asin, track_id, … by itself."),
]
TimeColumn = Annotated[
    str | None, typer.Option("--time-column", help="Column of the times; timestamp, datetime, ts, date, … by itself.")
]
WeightColumn = Annotated[
    str | None, typer.Option("--weight-column", help="Column of the weights; weight, rating, stars, … by itself.")
]
RepeatsOption = Annotated[
    Literal["last", "sum", "max"] | None,
    typer.Option(
        "--repeats",
        help="Where a user has several weights for one item count the last, their sum or the largest. By default the "
        "last where the weights are ratings, by the name of their column, and else the largest.",
    ),
]


@dataclass(frozen=True)
class LogOptions:
    """How a log is read.

    Attributes:
        only: ``column=value,value``, the rows that are read.
        min_weight: Of the interactions that are kept.
        columns: Which columns hold what.
        repeats: What counts where a user has several weights for one item.
        events: What each type of event weighs.
    """

    only: str | None = None
    min_weight: float | None = None
    columns: InteractionColumns = field(default_factory=InteractionColumns)
    repeats: Repeats | None = None
    events: Mapping[str, float] | None = None

    def open(self, source: str, *, tell: bool = True) -> Interactions:
        """Open a log, or the shipped sample with its simulated users, and tell what could not be used of it."""
        path = interactions_path() if source == "sample" else Path(source)
        log = Interactions.open(
            path,
            columns=self.columns,
            min_weight=self.min_weight,
            only=parse_only(self.only) if self.only else None,
            events=self.events,
            repeats=self.repeats,
        )
        if tell:
            for line in left_out(log):
                note(f"{source}: {line}")
        return log

    def to_json(self) -> dict[str, Any]:
        """Give what the answers to a log depend on."""
        return {
            "only": self.only,
            "min_weight": self.min_weight,
            "columns": asdict(self.columns),
            "repeats": self.repeats,
        }


def named_columns(
    user: str | None = None, item: str | None = None, time: str | None = None, weight: str | None = None
) -> InteractionColumns:
    """Give the columns that options name; the others are found by their common names."""
    usual = InteractionColumns()
    return InteractionColumns(
        user or usual.user_id, item or usual.item_id, time or usual.timestamp, weight or usual.weight
    )


def left_out(log: Interactions) -> list[str]:
    """Say what of a log could not be used, or was repaired: a line for each reason."""
    told = []
    for reason, count in log.dropped.items():
        example = f"; {log.examples[reason]}" if reason in log.examples else ""
        told.append(f"{count} rows left out: {reason}{example}")
    repaired = {reason: count for reason, count in log.repaired.items() if reason not in _EXPECTED}
    return told + [f"{count} rows: {reason}" for reason, count in repaired.items()]


def known(log: Interactions, items: ItemIds, which: str = "") -> tuple[Interactions, KnownItems]:
    """Write the item_ids of a log as a bundle does, and tell how many of it, or of which part, are not in it."""
    log, found = known_items(log, items)
    if told := str(found):
        note(f"{which}{told}")
    return log, found


def tell_without_taste(weights: Sequence[Sequence[float] | Vectors], least: float | None, retriever: Retriever) -> None:
    """Tell how many users get no answers, for they liked nothing and what is popular was not learned."""
    if retriever.behaviour is not None or least is None:
        return
    users = UserModel(least=least)
    if count := sum(len(one) > 0 and not users.is_liked(np.asarray(one)).any() for one in weights):
        note(
            f"{count} of {len(weights)} users liked nothing in the log (no weight of {least:g} and more) and get "
            "no answers: this bundle has not learned what is popular; fit does"
        )


def note(text: str) -> None:
    """Say something about the input to whoever reads standard error."""
    say(f"note: {text}", err=True)


def parse_only(text: str) -> tuple[str, tuple[str, ...]]:
    """Read ``column=value,value``.

    >>> parse_only("split=train,valid")
    ('split', ('train', 'valid'))

    Raises:
        UsageError: When it cannot be read.
    """
    column, equals, values = text.partition("=")
    wanted = tuple(value.strip() for value in values.split(",") if value.strip())
    if not equals or not column.strip() or not wanted:
        raise UsageError(f"cannot read {text!r}; write it like split=train,valid")
    return column.strip(), wanted
