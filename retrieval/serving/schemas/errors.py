"""Errors as bodies, the same for all that goes wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from pydantic_core import to_json

from retrieval.serving.engine.request import current_request
from retrieval.serving.schemas.answers import ErrorBody
from retrieval.serving.schemas.base import Strict


def error_response(
    status: int, kind: str, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Give an error as a response."""
    error = {"type": kind, "message": message, "hint": hint, "request_id": current_request().request_id}
    return Response(to_json({"error": error}), status, dict(headers or {}), "application/json")


Options = TypeVar("Options", bound=Strict)


class FormError(RequestValidationError):
    """A form with a part that cannot be used.

    Attributes:
        model: What the part should be; None where it should not be there.
    """

    def __init__(self, problems: Sequence[Any], model: type[Strict] | None = None) -> None:
        super().__init__(problems)
        self.model = model


def of_form(model: type[Options], text: str) -> Options:
    """Read the JSON of the part ``request`` of a form.

    Raises:
        FormError: When it is none.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise FormError([{**one, "loc": ("body", "request", *one["loc"])} for one in error.errors()], model) from error


_TEXTS = {
    401: "No token, or one that is not valid.",
    403: "The token does not allow this, or the service is read-only.",
    404: "There is no such item, job or generation.",
    408: "The body did not arrive in time.",
    409: "Another job is running, or the state of the bundle is another.",
    410: "The cursor is of an earlier generation, or there is no such generation.",
    413: "The body is too large.",
    422: "The request cannot be used.",
    429: "Too many requests wait; ask again after the seconds of Retry-After.",
    503: "The service cannot answer in time, or is stopping; ask again after the seconds of Retry-After.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for OpenAPI: those named, and those of every route."""
    wanted = sorted({400, 401, 403, 408, 413, 422, 429, 500, 501, 503, *statuses})
    return {status: {"model": ErrorBody, "description": _TEXTS.get(status, "Error.")} for status in wanted}
