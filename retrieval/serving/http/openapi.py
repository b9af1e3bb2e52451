"""The OpenAPI of the service: as FastAPI makes it, with the nulls of examples, which it leaves out."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from retrieval.serving.schemas.answers import Body


def with_whole_examples(app: FastAPI) -> None:
    """Let an application describe itself with the examples of answers as they are."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = made()["components"]["schemas"]
            for model in answer_models():
                extra = model.model_config.get("json_schema_extra")
                if model.__name__ in schemas and isinstance(extra, dict):
                    schemas[model.__name__] |= extra
        return made()

    app.openapi = openapi  # type: ignore[method-assign]


def answer_models(of: type[Body] = Body) -> Iterator[type[Body]]:
    """Give all models of answers and of their parts."""
    for model in of.__subclasses__():
        yield model
        yield from answer_models(model)
