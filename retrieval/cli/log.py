"""How a log of interactions is named on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from indexing.sample import interactions_path
from retrieval.cli.terminal import UsageError
from retrieval.interactions import Interactions

Only = Annotated[
    str | None, typer.Option(help="Read only rows with these values of a column, like 'split=train,valid'.")
]
MinWeight = Annotated[float | None, typer.Option(help="Read only rows of at least this weight, as in rating >= 4.")]
ProfilesFile = Annotated[
    Path | None,
    typer.Option("--profiles", help="A .parquet or .csv file with user_id and what is known of users beside the log."),
]
Log = Annotated[str, typer.Argument(help="A .parquet or .csv file with user_id, item_id, timestamp; or 'sample'.")]


def open_log(
    source: str,
    *,
    only: str | None = None,
    min_weight: float | None = None,
    events: Mapping[str, float] | None = None,
) -> Interactions:
    """Open a log, or the shipped sample with its simulated users."""
    path = interactions_path() if source == "sample" else Path(source)
    return Interactions.open(path, min_weight=min_weight, only=parse_only(only) if only else None, events=events)


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
