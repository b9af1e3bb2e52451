"""Asking a service from Python: `Client` and `AsyncClient`, with the verbs of `Retriever`.

>>> from retrieval.serving.client import Client

What it needs is loaded when a name is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.serving.client.client import AsyncClient, Client
    from retrieval.serving.client.errors import (
        AccessError,
        AnswerError,
        ConflictError,
        ExpiredCursorError,
        GoneGenerationError,
        InvalidRequestError,
        NotFoundError,
        OverloadedError,
        ServiceError,
        UnreachableError,
    )

__all__ = [
    "AccessError",
    "AnswerError",
    "AsyncClient",
    "Client",
    "ConflictError",
    "ExpiredCursorError",
    "GoneGenerationError",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadedError",
    "ServiceError",
    "UnreachableError",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a name of this module
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from indexing.errors import require_extra

    for package in ("httpx2", "pydantic"):
        require_extra(package, "client")
    return getattr(importlib.import_module(f"{__name__}.{'client' if name.endswith('Client') else 'errors'}"), name)
