"""Who may do what: read and write tokens, compared in constant time, before anything of a body is read."""

import hmac
from enum import StrEnum
from typing import NamedTuple

from retrieval.serving.config import READ_TOKEN, WRITE_TOKEN, ServiceConfig, is_loopback


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


def foreign_host(config: ServiceConfig, host: str) -> Refusal | None:
    """Say why a request for a host is refused where nobody needs a token to read, None if it may pass.

    A page of another site can have its name resolve to this machine (DNS rebinding), and its visitors' browsers then
    read what is open to this machine. They send the name of that site as the host.

    Args:
        config: With the tokens.
        host: The header of this name, with or without a port.
    """
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if config.read_token is not None or is_loopback(name):
        return None
    hint = f"ask for 127.0.0.1 or localhost, or set a token in {READ_TOKEN} to be reached by another name"
    return Refusal(421, "this service answers to the names of this machine alone, as it has no read token", hint)


def _equal(given: str, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
