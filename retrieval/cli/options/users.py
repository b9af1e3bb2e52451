"""Options that say which users are answered: by histories on the command line, from a log, or from a file of users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from indexing.errors import InputError
from retrieval.batch import BatchConfig
from retrieval.cli.display.terminal import UsageError
from retrieval.cli.options.engine import EngineOptions
from retrieval.cli.options.log import LogOption, ProfilesFile
from retrieval.interactions.parse_values import request_seconds

USERS = "Users"

Histories = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        rich_help_panel=USERS,
        help="Item ids of one user, oldest first, separated by commas; repeat for several users.",
    ),
]
UserProfiles = Annotated[
    list[str] | None,
    typer.Option(
        "--profile",
        rich_help_panel=USERS,
        help="Attributes of the user of each --history, or of a new user, like 'age=31, plan=team'.",
    ),
]
UserIds = Annotated[
    list[str] | None,
    typer.Option(
        "--user", rich_help_panel=USERS, help="Only this user of the log or of the profiles; repeat for several."
    ),
]
RequestContext = Annotated[
    str | None,
    typer.Option(
        "--context",
        rich_help_panel=USERS,
        help="Context of all requests, like 'device=phone, utc_hour=20', by columns that fit read. A file of "
        "--users may have such columns of its own.",
    ),
]
UsersFile = Annotated[
    Path | None,
    typer.Option(
        "--users", rich_help_panel=USERS, help="Parquet, a file or a folder, with a user_id and a history in each row."
    ),
]


def _seconds(text: str) -> int:
    """Read the value of `--at`.

    >>> _seconds("2024-06-01T12:00:00"), _seconds("1700000000")
    (1717243200, 1700000000)
    """
    try:
        return int(request_seconds([text], "--at")[0])
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


At = Annotated[
    int | None,
    typer.Option(
        "--at",
        parser=_seconds,
        metavar="TIME",
        rich_help_panel=USERS,
        help="Time of the requests: a date, a time, seconds or milliseconds since 1970, or now. Users then return "
        "after the days since their last interaction in the log; without --at they are within the visit of their last "
        "interaction.",
    ),
]
ChunkSize = Annotated[
    int,
    typer.Option("--chunk-size", min=1, rich_help_panel=USERS, help="Users of a large job that are answered at once."),
]


@dataclass(frozen=True)
class RequestOptions(EngineOptions):
    """When users ask, how many are answered at once, and by what.

    Attributes:
        chunk_size: Number of users that are answered at once.
        at: When they ask, in seconds since 1970.
    """

    chunk_size: ChunkSize = BatchConfig.chunk
    at: At = None


@dataclass(frozen=True)
class UserOptions(RequestOptions):
    """Which users are answered.

    Attributes:
        history: Histories on the command line.
        profile: Profiles of their users.
        interactions: A log; all of its users, or `user`.
        user: Some users of the log.
        profiles: A file of profiles of the users.
        users: A file with one user per row.
        context: What holds for all users.
    """

    history: Histories = None
    profile: UserProfiles = None
    interactions: LogOption = None
    user: UserIds = None
    profiles: ProfilesFile = None
    users: UsersFile = None
    context: RequestContext = None

    @property
    def context_values(self) -> dict[str, str]:
        """What holds for all users, by the columns of the context."""
        return {} if self.context is None else parse_pairs(self.context, "--context", "device=phone, utc_hour=20")

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            UsageError: When they do not.
        """
        if sum(map(bool, (self.history or self.profile, self.interactions, self.users))) != 1:
            raise UsageError("give one of --history ID,ID,…, --interactions FILE and --users FILE")
        if self.profiles and not self.interactions:
            raise UsageError("--profiles goes with --interactions; --users has columns of its own, --history --profile")
        if self.at is not None and self.history:
            raise UsageError(
                "--at needs the time of each user's last interaction, which --history does not say: give "
                "--interactions FILE, or --users FILE with a column last_time"
            )


def parse_profile(text: str) -> dict[str, str]:
    """Read the profile of a user; see `parse_pairs`."""
    return parse_pairs(text, "--profile", "age=31, plan=team")


def parse_pairs(text: str, option: str, example: str) -> dict[str, str]:
    """Read ``name=value, name=value`` of an option.

    >>> parse_pairs("age=31, plan=team", "--profile", "age=31")
    {'age': '31', 'plan': 'team'}

    Raises:
        UsageError: When it cannot be read.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{option} {text[:80]!r} holds half a character; give text that is Unicode") from error
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if malformed := [name for name, equals, _ in pairs if not equals or not name.strip()]:
        raise UsageError(f"cannot read {malformed[0].strip()!r} of {option} {text!r}; write it like {example!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}
