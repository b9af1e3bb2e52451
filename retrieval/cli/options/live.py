"""Options that name the log of live events."""

from pathlib import Path
from typing import Annotated

import typer

VARIABLE = "COMMONSPACE_EVENTS"
"""The variable of the environment that holds a URL with a password, which other users of a machine must not see."""
_option = typer.Option(
    "--events",
    envvar=VARIABLE,
    show_envvar=False,
    metavar="URL",
    help=f"Database of live events, as sqlite:///events.db; in {VARIABLE} where it has a password.",
)

EventsUrl = Annotated[str, _option]
OptionalEventsUrl = Annotated[str | None, _option]
LiveEvents = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="URL",
        help="Read the log of live events as it stands, with what was shown, in place of a file; "
        f"{VARIABLE} where the URL has a password.",
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
