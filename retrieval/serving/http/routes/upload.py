"""`/search/upload`: pictures and sounds as files of a form."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError

from indexing.errors import InputError
from retrieval.serving.config import MAX_FILES
from retrieval.serving.engine.service import ServiceDep
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.http.routes.search import searched
from retrieval.serving.schemas.answers import Answer
from retrieval.serving.schemas.errors import error_responses
from retrieval.serving.schemas.queries import SearchRequest, UploadOptions

router = APIRouter(tags=["search"], responses=error_responses())


@router.post("/search/upload", response_model=Answer, summary="Find the items that answer uploaded files")
async def upload(
    service: ServiceDep,
    image: Annotated[list[UploadFile], File(description="Pictures.", max_length=MAX_FILES)] = [],  # noqa: B006
    audio: Annotated[list[UploadFile], File(description="Sounds.", max_length=MAX_FILES)] = [],  # noqa: B006
    request: Annotated[str, Form(description="The other fields of a search, as JSON.", max_length=1_000_000)] = "{}",
) -> Response:
    """Files are told by their first bytes; their names are not read. Give pictures or sounds."""
    if bool(image) == bool(audio):
        raise InputError("the form has no files, or both pictures and sounds; give some of one kind")
    try:
        options = UploadOptions.model_validate_json(request)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error
    limits = service.config.limits
    files = [await _bytes(file, limits.image_bytes if image else limits.audio_bytes) for file in image or audio]
    given: dict[str, Any] = {"images" if image else "sounds": files}
    body = SearchRequest(**options.model_dump(exclude_unset=True), **given)
    return await reply(service, "upload", lambda served: searched(service, served, body), cost=body.size)


async def _bytes(file: UploadFile, most: int) -> bytes:
    """Read a file that is not too large.

    Raises:
        InputError: When it is.
    """
    data = await file.read(most + 1)
    if len(data) > most:
        raise InputError(f"a file has more than {most} bytes; give smaller ones")
    return data
