"""Options that name the log of live events."""

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
