"""Who may do what: read, write and admin tokens, compared in constant time, before anything of a body is read."""

import hmac
from enum import StrEnum
from typing import NamedTuple

from retrieval.serving.config import ADMIN_TOKEN, READ_TOKEN, WRITE_TOKEN, ServiceConfig, is_loopback
from retrieval.serving.engine.request import AccessError


class Access(StrEnum):
    """What a path needs."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    PERSONAL = "personal"  # what is known of a user: to be read with a token, whoever may read
    ADMIN = "admin"  # what changes the bundle, and what reads all of the log


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    message: str
    hint: str


OPEN_PATHS = frozenset({"/", "/live", "/ready", "/favicon.ico"})
OPEN_FOLDERS = ("/page",)  # files of the page, which hold no data
WRITE_FOLDERS = ("/events", "/users")
PERSONAL_FOLDERS = ("/users",)
ADMIN_FOLDERS = ("/admin",)
HEALTH_PATHS = frozenset({"/live", "/ready"})


def access_of(path: str, method: str = "") -> Access:
    """Say what a path needs, whatever the method but for what is known of a user.

    >>> access_of("/live"), access_of("/users-for"), access_of("/users/merge")
    (<Access.OPEN: 'open'>, <Access.READ: 'read'>, <Access.WRITE: 'write'>)
    """
    if _within(path, ADMIN_FOLDERS):
        return Access.ADMIN
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
    scheme, _, given = (authorization or "").partition(" ")
    token = given if scheme.lower() == "bearer" else ""
    if access is Access.ADMIN:
        return _refusal_of_admin(config, token)
    if access is Access.OPEN or (access is Access.READ and config.read_token is None):
        return None
    if access is Access.PERSONAL and config.read_token is None and config.write_token is None:
        return Refusal(403, "what is known of a user is read with a token alone", f"start it with one in {READ_TOKEN}")
    if access is Access.WRITE and config.write_token is None:
        return Refusal(403, "this service is read-only", f"start it with a write token in {WRITE_TOKEN}")
    if not token:
        return _NO_TOKEN
    may_read, may_write = _equal(token, config.read_token), _equal(token, config.write_token)
    if may_write or (may_read and access is not Access.WRITE):
        return None
    if may_read:
        return Refusal(403, "the read token does not allow to write", f"send the write token, that of {WRITE_TOKEN}")
    if _equal(token, config.admin_token):
        return Refusal(403, "the admin token is for `/admin` alone", f"send that of {READ_TOKEN} or {WRITE_TOKEN}")
    return Refusal(401, "the token is not valid", f"send the one of {READ_TOKEN} or {WRITE_TOKEN} of the service")


def users_refusal(config: ServiceConfig, authorization: str | None) -> AccessError | None:
    """Say why a request may not read what is known of a named user, None if it may; see `refusal`."""
    refused = refusal(config, f"{PERSONAL_FOLDERS[0]}/", authorization, "GET")
    return None if refused is None else AccessError(refused.status, f"{refused.message}; {refused.hint}")


_NO_TOKEN = Refusal(401, "this request has no token", "send it in the header `Authorization: Bearer TOKEN`")


def _refusal_of_admin(config: ServiceConfig, token: str) -> Refusal | None:
    if config.admin_token is None:
        return Refusal(403, "this service does not change its bundle", f"start it with an admin token in {ADMIN_TOKEN}")
    if not token:
        return _NO_TOKEN
    if _equal(token, config.admin_token):
        return None
    if _equal(token, config.read_token) or _equal(token, config.write_token):
        return Refusal(403, "this token does not open `/admin`", f"send the admin token, that of {ADMIN_TOKEN}")
    return Refusal(401, "the token is not valid", f"send the one of {ADMIN_TOKEN} of the service")


def is_off(config: ServiceConfig, path: str, method: str) -> bool:
    """Say whether a path refuses everybody, as no token is set that opens it.

    >>> config = ServiceConfig("bundles/shop")
    >>> is_off(config, "/events", "POST"), is_off(config, "/search", "POST")
    (True, False)
    """
    access = access_of(path, method)
    if access is Access.ADMIN:
        return config.admin_token is None
    if access is Access.WRITE:
        return config.write_token is None
    return access is Access.PERSONAL and config.read_token is None and config.write_token is None


def is_elsewhere(config: ServiceConfig, path: str, port: int | None) -> bool:
    """Say whether a path is answered on another port than this one, where `/admin` has a port of its own."""
    if config.admin_port is None:
        return False
    is_admin = access_of(path) is Access.ADMIN
    return not (is_admin or path in HEALTH_PATHS) if port == config.admin_port else is_admin


def foreign_host(config: ServiceConfig, host: str, path: str = "") -> Refusal | None:
    """Say why a request for a host is refused where nobody needs a token to read, None if it may pass.

    A page of another site can have its name resolve to this machine (DNS rebinding), and its visitors' browsers then
    read what is open to this machine. They send the name of that site as the host.

    Args:
        config: With the tokens.
        host: The header of this name, with or without a port.
        path: What is asked for; `/admin` always needs a token, which the page of another site does not have.
    """
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if config.read_token is not None or is_loopback(name) or access_of(path) is Access.ADMIN:
        return None
    hint = f"ask for 127.0.0.1 or localhost, or set a token in {READ_TOKEN} to be reached by another name"
    return Refusal(421, "this service answers to the names of this machine alone, as it has no read token", hint)


def _equal(given: str, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
