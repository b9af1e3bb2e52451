"""Users who were forgotten: salted hashes of their names, by which what a copy brings back is left out again."""

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from retrieval.serving.events.tables import FORGOTTEN, META, add_new, matching

_SECOND = 1_000_000  # microseconds


def digest(user_id: str, salt: str) -> str:
    """Give the salted hash of a name."""
    return hashlib.sha256(f"{salt}:{user_id}".encode()).hexdigest()


def remember_forgotten(connection: sa.Connection, user_ids: Collection[str], moment: int) -> None:
    """Note that users were forgotten at a moment in microseconds; a later one takes the place of an earlier one."""
    salt = connection.execute(sa.select(META.c.value).where(META.c.name == "salt")).scalar_one()
    rows: list[dict[str, object]] = [
        {"digest": digest(user, salt), "salt": salt, "forgotten": moment} for user in sorted(user_ids)
    ]
    add_new(connection, FORGOTTEN, rows)
    for row in rows:
        later = FORGOTTEN.c.digest == row["digest"], FORGOTTEN.c.forgotten < moment
        connection.execute(FORGOTTEN.update().where(*later).values(forgotten=moment))


def forgotten_since(connection: sa.Connection, user_ids: Sequence[str]) -> dict[str, int]:
    """Give for each of these users who was forgotten the moment of it, in microseconds."""
    salts = connection.execute(sa.select(FORGOTTEN.c.salt).distinct()).scalars().all()
    since: dict[str, int] = {}
    for salt in salts:  # one, and one more for each other log that was restored here
        names = {digest(user, salt): user for user in user_ids}
        found = matching(
            connection, sa.select(FORGOTTEN.c.digest, FORGOTTEN.c.forgotten), FORGOTTEN.c.digest, list(names)
        )
        for key, moment in found:
            user = names[str(key)]
            since[user] = max(since.get(user, 0), int(str(moment)))
    return since


def dropped_rows(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> set[int]:
    """Give the `id` of each row that is of before its user was forgotten.

    A row is of the time when it happened, and of when it was received, where that is said to be earlier.
    """
    if connection.execute(sa.select(FORGOTTEN.c.digest).limit(1)).first() is None:
        return set()
    since = forgotten_since(connection, list(dict.fromkeys(row["user_id"] for row in rows)))
    return {
        id(row)
        for row in rows
        if row["user_id"] in since
        and min(row["received"], row["time"] * _SECOND + _SECOND - 1) <= since[row["user_id"]]
    }
