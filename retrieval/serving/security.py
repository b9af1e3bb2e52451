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


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    message: str
    hint: str


OPEN_PATHS = frozenset({"/", "/live", "/ready", "/favicon.ico"})
OPEN_FOLDERS = ("/page",)  # files of the page, which hold no data
WRITE_FOLDERS = ("/events", "/users", "/admin")


def access_of(path: str) -> Access:
    """Say what a path needs, whatever the method.

    >>> access_of("/live"), access_of("/users-for"), access_of("/users/merge")
    (<Access.OPEN: 'open'>, <Access.READ: 'read'>, <Access.WRITE: 'write'>)
    """
    if path in OPEN_PATHS or _within(path, OPEN_FOLDERS):
        return Access.OPEN
    return Access.WRITE if _within(path, WRITE_FOLDERS) else Access.READ


def refusal(config: ServiceConfig, path: str, authorization: str | None) -> Refusal | None:
    """Say why a request is refused, None if it may pass.

    Args:
        config: With the tokens. Without a read token anyone may read; without a write token nobody may write.
        path: The path that is asked for.
        authorization: The header of this name.
    """
    access = access_of(path)
    if access is Access.OPEN or (access is Access.READ and config.read_token is None):
        return None
    if access is Access.WRITE and config.write_token is None:
        return Refusal(403, "this service is read-only", f"start it with a write token in {WRITE_TOKEN}")
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        return Refusal(401, "this request has no token", "send it in the header `Authorization: Bearer TOKEN`")
    may_read, may_write = _equal(given, config.read_token), _equal(given, config.write_token)
    if may_write or (may_read and access is Access.READ):
        return None
    if may_read:
        return Refusal(403, "the read token does not allow to write", f"send the write token, that of {WRITE_TOKEN}")
    return Refusal(401, "the token is not valid", f"send the one of {READ_TOKEN} or {WRITE_TOKEN} of the service")


def _equal(given: str, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
