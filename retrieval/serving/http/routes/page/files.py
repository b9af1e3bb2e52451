"""The page at `/`: its files, which hold no data, under a policy that lets it talk to this service alone."""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parents[3] / "page"
INDEX, ICON = "index.html", "icon.svg"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}


class PageFile(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str
    etag: str


@cache
def files() -> dict[str, PageFile]:
    """Give the files of the page by their names; only these are ever sent."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TYPES and path.is_file():
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
            found[path.relative_to(FOLDER).as_posix()] = PageFile(content, TYPES[path.suffix], etag)
    return found


@router.head("/")
@router.get("/")
async def index(request: Request) -> Response:
    """Give the page."""
    return _sent(request, INDEX)


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """Give the icon of the page."""
    return _sent(request, ICON)


@router.get("/page/{name:path}")
async def file(request: Request, name: str) -> Response:
    """Give a file of the page."""
    return _sent(request, name)


def _sent(request: Request, name: str) -> Response:
    found = files().get(name)
    if found is None:
        raise HTTPException(404)
    headers = {**HEADERS, "etag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
