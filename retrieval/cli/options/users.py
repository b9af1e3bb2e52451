"""Which users `commonspace recommend` answers: by their histories on the command line, or from a log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from indexing.catalogue.item_ids import other_spelling
from indexing.errors import InputError, examples
from retrieval.batch.in_memory import Users, users_of
from retrieval.cli.display.terminal import UsageError
from retrieval.cli.options.log import tell_without_taste
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.profile_model import Given
from retrieval.retriever.retriever import Retriever

History = Annotated[
    list[str] | None, typer.Option(help="One user's item_ids, oldest first, separated by commas; repeat for more.")
]
Profile = Annotated[
    list[str] | None,
    typer.Option(help="What is known of the user of each --history, or of a new one, like 'age=31, plan=team'."),
]
OneUser = Annotated[
    list[str] | None, typer.Option(help="Only this user of the log, or of the profiles; repeat for several.")
]


class AskedUsers(NamedTuple):
    """Users with what is known of them.

    Attributes:
        users: Their histories.
        weights: Of these, where they are from a log.
        profiles: A line for each, where there are any.
    """

    users: Users
    weights: list[list[float]] | None
    profiles: Given | None


def of_histories(histories: Sequence[str], profiles: Sequence[str]) -> AskedUsers:
    """Read users from the command line: histories, profiles of new users, or one profile for each history.

    Raises:
        InputError: When these do not fit together, or one cannot be read.
    """
    known = [parse_profile(text) for text in profiles]
    listed = [[part.strip() for part in one.split(",") if part.strip()] for one in histories] or [[] for _ in known]
    if known and len(known) != len(listed):
        raise UsageError(f"{len(known)} --profile for {len(listed)} --history; give one for each, or no history at all")
    named = {f"history {number}": ids for number, ids in enumerate(listed, start=1)}
    return AskedUsers(Users(named, {}), None, known or None)


def of_log(log: Interactions, retriever: Retriever, only: Sequence[str] | None, profiles: Path | None) -> AskedUsers:
    """Take the users of a log, or some of them; one who has only a profile is new.

    Raises:
        InputError: When there is none, or one of those who were asked for is not known.
    """
    known = None if profiles is None else Profiles.open(profiles)
    only = _named(only or (), log, known)
    users = users_of(log, retriever.items, only, known.known(only) if known and only else ())
    tell_without_taste(list(users.weights.values()), users.least, retriever)
    return AskedUsers(users, users.weights_of(users.histories), known.of(list(users.histories)) if known else None)


def _named(wanted: Sequence[str], log: Interactions, profiles: Profiles | None) -> list[str]:
    """Write users as the log does, with or without ``.0``.

    Raises:
        InputError: When neither the log nor the profiles have one of them.
    """
    there = dict.fromkeys(log.table["user_id"].unique().to_pylist())
    names: list[str] = []
    for user in wanted:
        other = other_spelling(user)
        names.append(other if other is not None and user not in there and other in there else user)
    new = set() if profiles is None else set(profiles.known(names))
    if missing := [user for user in names if user not in there and user not in new]:
        raise InputError(
            f"{len(missing)} users are not in the log, e.g. {examples(missing)}; it has {len(there)}, as "
            f"{examples(there)}",
            cli="--user chooses among these; the column of the users is named with --user-column",
        )
    return names


def parse_profile(text: str) -> dict[str, Any]:
    """Read ``name=value, name=value``.

    >>> parse_profile("age=31, plan=team")
    {'age': '31', 'plan': 'team'}

    Raises:
        InputError: When it cannot be read.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--profile {text[:80]!r} holds half a character; give text that is Unicode") from error
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if bad := [name for name, equals, _ in pairs if not equals or not name.strip()]:
        raise UsageError(f"cannot read {bad[0].strip()!r} of --profile {text!r}; write it like 'age=31, plan=team'")
    return {name.strip(): value.strip() for name, _, value in pairs}
