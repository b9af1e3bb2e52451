"""Errors as bodies, the same for all that goes wrong."""

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from pydantic_core import to_json

from retrieval.serving.engine.request import current_request
from retrieval.serving.schemas.answers import ErrorBody
from retrieval.serving.schemas.base import Strict

NUM_PROBLEMS = 3  # of a body, that a message names


def error_response(
    status: int, kind: str, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Give an error as a response."""
    error = {"type": kind, "message": message, "hint": hint, "request_id": current_request().request_id}
    return Response(to_json({"error": error}), status, dict(headers or {}), "application/json")


def problems_in_words(problems: list[Any]) -> str:
    """Say what is wrong with a body, without the values that it has."""
    said = []
    for problem in problems[:NUM_PROBLEMS]:
        place = ".".join(map(str, problem.get("loc", ())[1:]))
        message = str(problem.get("msg", "")).removeprefix("Value error, ")
        said.append(f"{place}: {message}" if place else message)
    more = len(problems) - NUM_PROBLEMS
    return "; ".join(said) + (f"; and {more} more" if more > 0 else "")


Options = TypeVar("Options", bound=Strict)


def of_form(model: type[Options], text: str) -> Options:
    """Read the JSON of a field of a form as a body.

    Raises:
        RequestValidationError: When it is none.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


_TEXTS = {
    401: "No token, or one that is not valid.",
    403: "The token does not allow this, or the service is read-only.",
    404: "There is no such item, job or generation.",
    408: "The body did not arrive in time.",
    409: "Another job is running, or the state of the bundle is another.",
    410: "The cursor is of an earlier generation, or the generation is not kept.",
    413: "The body is too large.",
    422: "The request cannot be used.",
    429: "Too many requests wait; ask again after the seconds of Retry-After.",
    503: "The service cannot answer in time, or is stopping; ask again after the seconds of Retry-After.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for OpenAPI: those named, and those of every route."""
    wanted = sorted({400, 401, 403, 408, 413, 422, 429, 500, 501, 503, *statuses})
    return {status: {"model": ErrorBody, "description": _TEXTS.get(status, "Error.")} for status in wanted}
