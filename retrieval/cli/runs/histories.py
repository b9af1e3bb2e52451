"""Users with their histories, from the command line or from a log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds, other_spelling
from indexing.errors import InputError, examples
from retrieval.batch.in_memory import Users, users_of
from retrieval.cli.display.terminal import UsageError, note, say_no_more
from retrieval.cli.options.users import UserOptions, parse_profile
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import KnownItems, UnknownItemsWarning, known_items
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.profile_model import ProfilesLike
from retrieval.models.user_model import UserModel
from retrieval.retriever.retriever import Retriever


class UserBatch(NamedTuple):
    """Users with their histories, weights and profiles.

    Attributes:
        users: Their histories.
        weights: The weights of these, if they are from a log.
        profiles: A row for each user, if there are any.
        last_times: When each did the last interaction, where a time of the request is given.
    """

    users: Users
    weights: list[list[float]] | None
    profiles: ProfilesLike | None
    last_times: list[int] | None = None


def from_command_line(histories: Sequence[str], profiles: Sequence[str]) -> UserBatch:
    """Read histories, profiles of new users, or one profile for each history.

    Raises:
        InputError: When these do not fit together, or one cannot be read.
    """
    known = [parse_profile(text) for text in profiles]
    listed = [[part.strip() for part in text.split(",") if part.strip()] for text in histories] or [[] for _ in known]
    if known and len(known) != len(listed):
        raise UsageError(f"{len(known)} --profile for {len(listed)} --history; give one for each, or no history at all")
    named = {f"history {number}": ids for number, ids in enumerate(listed, start=1)}
    return UserBatch(Users(named, {}), None, known or None)


def from_log(log: Interactions, retriever: Retriever, options: UserOptions) -> UserBatch:
    """Take the users of a log, or some of them; who has only a profile, or no item of the bundle, is new.

    Raises:
        InputError: When there is none, one of them is not known, or they ask at a time and the log has no times.
    """
    known = None if options.profiles is None else Profiles.open(options.profiles)
    names = _as_in_log(options.user or (), log, known)
    new = known.known(names) if known and names else ()
    users = users_of(log, retriever.items, names, new, everyone=True)
    users = replace(users, min_relevance=retriever.learned.min_relevance(users.min_relevance))
    note_users_without_likes(list(users.weights.values()), users.min_relevance, retriever)
    last = None if options.at is None else users.last_times_of(users.histories)
    return UserBatch(users, users.weights_of(users.histories), known.of(list(users.histories)) if known else None, last)


def _as_in_log(user_ids: Sequence[str], log: Interactions, profiles: Profiles | None) -> list[str]:
    """Write users as the log does, with or without ``.0``.

    Raises:
        InputError: When neither the log nor the profiles have one of them.
    """
    in_log = dict.fromkeys(log.table["user_id"].unique().to_pylist())
    names: list[str] = []
    for user in user_ids:
        other = other_spelling(user)
        names.append(other if other is not None and user not in in_log and other in in_log else user)
    new = set() if profiles is None else set(profiles.known(names))
    if missing := [user for user in names if user not in in_log and user not in new]:
        raise InputError(
            f"{len(missing)} users are not in the log, e.g. {examples(missing)}; it has {len(in_log)}, as "
            f"{examples(in_log)}",
            cli="--user chooses among these; the column of the users is named with --user-column",
        )
    return names


def match_items(log: Interactions, items: ItemIds, part: str = "") -> tuple[Interactions, KnownItems]:
    """Write the item_ids of a log as a bundle does, and say how many of them are not in the bundle.

    Args:
        log: Interactions.
        items: The items of the bundle.
        part: Which part of a log this is, for the note.
    """
    log, known = known_items(log, items)
    if unknown := str(known):
        note(f"{part}{unknown}")
        say_no_more(UnknownItemsWarning)
    return log, known


def note_users_without_likes(
    weights: Sequence[Sequence[float] | Vectors], min_relevance: float | None, retriever: Retriever
) -> None:
    """Say how many users get what was added last, because they liked nothing and no popularity was learned."""
    if retriever.behaviour is not None or retriever.state.popularity is not None or min_relevance is None:
        return
    users = UserModel(min_relevance=min_relevance)
    if count := sum(len(given) > 0 and not users.is_liked(np.asarray(given)).any() for given in weights):
        note(
            f"{count} of {len(weights)} users liked nothing in the log (no weight of {min_relevance:g} and more) and "
            "get what was added last: this bundle has not learned what is popular; fit does"
        )
