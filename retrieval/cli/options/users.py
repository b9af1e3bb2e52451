"""Options that say which users are answered: by histories on the command line, from a log, or from a file of users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval.batch import BatchConfig
from retrieval.cli.display.terminal import UsageError
from retrieval.cli.options.log import LogOption, ProfilesFile

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
UsersFile = Annotated[
    Path | None,
    typer.Option(
        "--users", rich_help_panel=USERS, help="Parquet, a file or a folder, with a user_id and a history in each row."
    ),
]
ChunkSize = Annotated[
    int,
    typer.Option("--chunk-size", min=1, rich_help_panel=USERS, help="Users of a large job that are answered at once."),
]


@dataclass(frozen=True)
class UserOptions:
    """Which users are answered.

    Attributes:
        history: Histories on the command line.
        profile: Profiles of their users.
        interactions: A log; all of its users, or `user`.
        user: Some users of the log.
        profiles: A file of profiles of the users.
        users: A file with one user per row.
        chunk_size: Number of users that are answered at once.
    """

    history: Histories = None
    profile: UserProfiles = None
    interactions: LogOption = None
    user: UserIds = None
    profiles: ProfilesFile = None
    users: UsersFile = None
    chunk_size: ChunkSize = BatchConfig.chunk

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            UsageError: When they do not.
        """
        if sum(map(bool, (self.history or self.profile, self.interactions, self.users))) != 1:
            raise UsageError("give one of --history ID,ID,…, --interactions FILE and --users FILE")
        if self.profiles and not self.interactions:
            raise UsageError("--profiles goes with --interactions; --users has columns of its own, --history --profile")


def parse_profile(text: str) -> dict[str, Any]:
    """Read ``name=value, name=value``.

    >>> parse_profile("age=31, plan=team")
    {'age': '31', 'plan': 'team'}

    Raises:
        UsageError: When it cannot be read.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--profile {text[:80]!r} holds half a character; give text that is Unicode") from error
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if malformed := [name for name, equals, _ in pairs if not equals or not name.strip()]:
        raise UsageError(
            f"cannot read {malformed[0].strip()!r} of --profile {text!r}; write it like 'age=31, plan=team'"
        )
    return {name.strip(): value.strip() for name, _, value in pairs}
