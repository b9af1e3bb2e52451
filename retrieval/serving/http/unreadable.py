"""Requests that cannot be read: bodies that are no JSON or of another type, unknown fields and parameters."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, params
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute

from indexing.errors import InputError
from retrieval.serving.engine.messages import split_hint
from retrieval.serving.schemas.errors import FormError, error_response
from retrieval.serving.schemas.problems import problems_in_words

SCHEMA = "see /openapi.json for what is expected"
JSON = "application/json"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_NO_FORM = "the content-type is {!r}, and files come in a form; send them as multipart/form-data, as curl does by -F"


class StrictRoute(APIRoute):
    """A route that refuses parameters after the question mark that it does not have; FastAPI would pass over them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give what answers a request."""
        handle = super().get_route_handler()
        names = [one.alias for one in self.dependant.query_params]

        async def strict(request: Request) -> Response:
            if request.scope["query_string"]:
                unknown = [name for name in request.query_params if name not in names]
                if unknown:
                    raise RequestValidationError(
                        [{"type": "extra_forbidden", "loc": ("query", name), "names": names} for name in unknown]
                    )
            return await handle(request)

        return strict


async def check_form(request: Request, *names: str) -> None:
    """Check that a request is a form without parts that its route does not have.

    Raises:
        InputError: When it is none, or has others.
    """
    if (kind := content_type(request)) not in FORMS:
        raise InputError(_NO_FORM.format(kind))
    if unknown := [name for name in await request.form() if name not in names]:
        raise FormError([{"type": "extra_forbidden", "loc": ("body", name), "names": names} for name in unknown])


async def unreadable(request: Request, error: Exception) -> Response:
    """Answer a request that cannot be read."""
    if not isinstance(error, RequestValidationError):
        raise error
    problems: list[Any] = list(error.errors())
    if any(one["type"] == "json_invalid" and isinstance(one["loc"][-1], int) for one in problems):
        return _no_json(str(error.body), problems[0])
    field = getattr(request.scope.get("route"), "body_field", None)
    info, kind = None if field is None else field.field_info, content_type(request)
    if isinstance(error.body, bytes):
        said = f"the content-type is {kind!r}, so that the body is not read as JSON"
        return error_response(422, "ValidationError", said, f"send the header content-type: {JSON}")
    if isinstance(info, params.Form) and kind not in FORMS:
        return error_response(422, "ValidationError", *split_hint(_NO_FORM.format(kind)))
    expected = error.model if isinstance(error, FormError) else None if info is None else info.annotation
    return error_response(422, "ValidationError", problems_in_words(problems, expected), SCHEMA)


def content_type(request: Request) -> str:
    """Give the type of a body without its parameters; empty where the request does not say."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()[:100]


def _no_json(body: str, problem: Any) -> Response:  # noqa: ANN401
    """Answer a body that is no JSON, with the place where it ends to be."""
    place = json.JSONDecodeError(problem["ctx"]["error"], body, problem["loc"][-1])
    said = f"{place.msg[:1].lower()}{place.msg[1:]} at line {place.lineno}, column {place.colno}"
    quoted = "'" in body or '"' in body
    hint = (
        "send one JSON object, in UTF-8" if quoted else "the shell may have taken its quotes: put it into single ones"
    )
    return error_response(400, "BodyError", f"the body is no JSON: {said}", hint)
