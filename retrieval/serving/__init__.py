"""The service: the verbs of a `Retriever` over HTTP, for one bundle.

FastAPI is loaded when `create_app` is first asked for.
"""

from typing import TYPE_CHECKING, Any

from retrieval.serving.config import Limits, ServiceConfig

if TYPE_CHECKING:
    from retrieval.serving.app import create_app

__all__ = ["Limits", "ServiceConfig", "create_app"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a name of this module
    if name != "create_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from indexing.errors import require_extra

    require_extra("fastapi", "serve")
    from retrieval.serving.app import create_app

    return create_app
