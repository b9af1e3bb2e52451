"""Who may do what: read and write tokens, compared in constant time, before anything of a body is read."""

import hmac
from enum import StrEnum
from typing import NamedTuple

from retrieval.serving.config import READ_TOKEN, WRITE_TOKEN, ServiceConfig


class Access(StrEnum):
    """What a path needs."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    PERSONAL = "personal"  # what is known of a user: to be read with a token, whoever may read


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    message: str
    hint: str


OPEN_PATHS = frozenset({"/", "/live", "/ready", "/favicon.ico"})
OPEN_FOLDERS = ("/page",)  # files of the page, which hold no data
WRITE_FOLDERS = ("/events", "/users", "/admin")
PERSONAL_FOLDERS = ("/users",)


def access_of(path: str, method: str = "") -> Access:
    """Say what a path needs, whatever the method but for what is known of a user.

    >>> access_of("/live"), access_of("/users-for"), access_of("/users/merge")
    (<Access.OPEN: 'open'>, <Access.READ: 'read'>, <Access.WRITE: 'write'>)
    """
    if path in OPEN_PATHS or _within(path, OPEN_FOLDERS):
        return Access.OPEN
    if method in ("GET", "HEAD") and _within(path, PERSONAL_FOLDERS):
        return Access.PERSONAL
    return Access.WRITE if _within(path, WRITE_FOLDERS) else Access.READ


def refusal(config: ServiceConfig, path: str, authorization: str | None, method: str = "") -> Refusal | None:
    """Say why a request is refused, None if it may pass.

    Args:
        config: With the tokens. Without a read token anyone may read; without a write token nobody may write.
        path: The path that is asked for.
        method: What is to be done with it.
        authorization: The header of this name.
    """
    access = access_of(path, method)
    if access is Access.OPEN or (access is Access.READ and config.read_token is None):
        return None
    if access is Access.PERSONAL and config.read_token is None and config.write_token is None:
        return Refusal(403, "what is known of a user is read with a token alone", f"start it with one in {READ_TOKEN}")
    if access is Access.WRITE and config.write_token is None:
        return Refusal(403, "this service is read-only", f"start it with a write token in {WRITE_TOKEN}")
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        return Refusal(401, "this request has no token", "send it in the header `Authorization: Bearer TOKEN`")
    may_read, may_write = _equal(given, config.read_token), _equal(given, config.write_token)
    if may_write or (may_read and access is not Access.WRITE):
        return None
    if may_read:
        return Refusal(403, "the read token does not allow to write", f"send the write token, that of {WRITE_TOKEN}")
    return Refusal(401, "the token is not valid", f"send the one of {READ_TOKEN} or {WRITE_TOKEN} of the service")


def _equal(given: str, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
