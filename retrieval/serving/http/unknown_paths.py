"""Requests that no route takes: which path or which method may be meant."""

from fastapi import Request

from indexing.errors import nearest
from retrieval.serving.http.security import Access, access_of, is_elsewhere

ALL_PATHS = "see /openapi.json for all paths"
_MAX_SEGMENTS = 8
_ALIKE = 0.75  # of 1; `/mcp`, which may be off, is not `/map`


def which_path(request: Request) -> str:
    """Say which route may be meant by a path that has none, or where all of them are."""
    if "route" in request.scope:  # which has nothing there, as a file of the page
        return ""
    given, paths = _segments(request), _paths(request)
    near = nearest("/".join(given), paths, _ALIKE) if len(given) <= _MAX_SEGMENTS else None
    return ALL_PATHS if near is None else f"did you mean {_named(request, paths[near])}?"


def which_method(request: Request) -> str:
    """Say which methods the path of a request has."""
    path = _paths(request).get("/".join(_segments(request)))
    return ALL_PATHS if path is None else f"send {_named(request, path)}"


def _paths(request: Request) -> dict[str, str]:
    """Give the paths that this port answers, those of `/admin` where it is on, by what they would be for this request.

    There a segment of the request stands in the place of each placeholder, where it has as many.
    """
    config, given = request.app.state.service.config, _segments(request)
    port = (request.scope.get("server") or (None, None))[1]
    paths = {}
    for path in request.app.openapi()["paths"]:
        is_off = config.admin_token is None and access_of(path) is Access.ADMIN
        if is_off or is_elsewhere(config, path, port):
            continue
        expected = path.strip("/").split("/")
        if len(expected) == len(given):
            expected = [one if other.startswith("{") else other for one, other in zip(given, expected, strict=True)]
        paths["/".join(expected)] = path
    return paths


def _named(request: Request, path: str) -> str:
    """Name a path with its methods."""
    methods = sorted(request.app.openapi()["paths"][path])
    return " or ".join(f"{method.upper()} {path}" for method in methods)


def _segments(request: Request) -> list[str]:
    path: str = request.scope["path"]
    return path.strip("/").split("/")
