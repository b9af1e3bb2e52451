"""Asking a service from Python: `Client` and `AsyncClient`, with the verbs of `Retriever`.

>>> from retrieval.serving.client import Client
"""

from typing import TYPE_CHECKING, Any

from retrieval.serving.client.errors import (
    AccessError,
    AnswerError,
    ConflictError,
    ExpiredCursorError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ServiceError,
    UnreachableError,
)

if TYPE_CHECKING:
    from retrieval.serving.client.client import AsyncClient, Client

__all__ = [
    "AccessError",
    "AnswerError",
    "AsyncClient",
    "Client",
    "ConflictError",
    "ExpiredCursorError",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadedError",
    "ServiceError",
    "UnreachableError",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a name of this module
    if name not in ("AsyncClient", "Client"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from indexing.errors import require_extra

    for package in ("httpx2", "pydantic"):
        require_extra(package, "client")
    from retrieval.serving.client import client

    return getattr(client, name)
