"""`/search`, also with files of a form, and `/similar`."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import Response

from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.serving.config import MAX_FILES
from retrieval.serving.engine.admission import Kind
from retrieval.serving.engine.answering import Answers, check_size
from retrieval.serving.engine.cross_encoding import cross_encoded
from retrieval.serving.engine.request import stage
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.http.routes.queries import queries_of
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.http.routes.steps import (
    after_steps,
    check_collapse,
    depth,
    filters,
    in_body,
    reasons_of_search,
    shown_once,
)
from retrieval.serving.http.unreadable import StrictRoute, check_form
from retrieval.serving.schemas.answers import Answer
from retrieval.serving.schemas.errors import error_responses, of_form
from retrieval.serving.schemas.queries import SearchRequest, SimilarRequest, UploadOptions

router = APIRouter(route_class=StrictRoute, tags=["search"], responses=error_responses(410))


@router.post("/search", response_model=Answer, summary="Find the items that answer texts, pictures, sounds or queries")
async def search(service: ServiceDep, body: SearchRequest) -> Response:
    """See `Retriever.search`; texts are never read as paths or URLs."""
    kind: Kind = "upload" if has_files(body) else "search"
    return await reply(
        service, kind, lambda served: searched(service, served, body), cost=body.size, version=body.version
    )


@router.post("/search/upload", response_model=Answer, summary="Find the items that answer uploaded files")
async def upload(
    service: ServiceDep,
    form: Request,
    image: Annotated[list[UploadFile], File(description="Pictures.", max_length=MAX_FILES)] = [],  # noqa: B006
    audio: Annotated[list[UploadFile], File(description="Sounds.", max_length=MAX_FILES)] = [],  # noqa: B006
    request: Annotated[
        str,
        Form(
            description="The other fields of a search, as JSON.",
            max_length=1_000_000,
            examples=['{"k": 5, "where": ["category = food"]}'],
        ),
    ] = "{}",
) -> Response:
    """Files are told by their first bytes; their names are not read. Give pictures or sounds."""
    await check_form(form, "image", "audio", "request")
    if bool(image) == bool(audio):
        raise InputError("the form has no files, or both pictures and sounds; give some of one kind")
    options = of_form(UploadOptions, request)
    limits = service.config.limits
    files = [await _bytes(file, limits.image_bytes if image else limits.audio_bytes) for file in image or audio]
    given: dict[str, Any] = {"images" if image else "sounds": files}
    body = SearchRequest(**options.model_dump(exclude_unset=True), **given)
    return await reply(
        service, "upload", lambda served: searched(service, served, body), cost=body.size, version=body.version
    )


@router.post("/similar", response_model=Answer, summary="Find the items nearest to items")
async def similar(service: ServiceDep, body: SimilarRequest) -> Response:
    """See `Retriever.similar_items`."""
    cost = len(body.item_ids)
    return await reply(service, "search", lambda served: similar_to(served, body), cost=cost, version=body.version)


def has_files(body: SearchRequest) -> bool:
    """Say whether a request has pictures or sounds, which are fetched and decoded first."""
    return bool(
        body.images
        or body.image_urls
        or body.sounds
        or any(part.image or part.image_url or part.audio for part in body.parts)
    )


def searched(service: Service, served: Served, body: SearchRequest) -> dict[str, Any]:
    """Search as a request says."""
    retriever = served.retriever
    wanted = depth(body, reranked=body.rerank or body.cross_encoder)
    check_size(retriever, body.size, body.k, vectors=body.vectors, candidates=body.size * wanted)
    check_collapse(body, body.size, wanted)
    with stage("encode"):
        queries = queries_of(service, retriever, body)
    with stage("search"):
        found = retriever.search(queries, wanted, mode=body.mode, where=filters(body), **shown_once(body))
    before: tuple[Candidates, ...] = ()
    if body.cross_encoder and body.texts is not None:
        with stage("cross_encoder"):
            before, found = (found,), cross_encoded(service.cross_encoder, retriever, body.texts, found)
    hits, earlier = after_steps(retriever, found, body, *before, reranked=body.rerank)
    confidence = retriever.verdicts(hits, kind=_kind(body)) if body.verdict else None
    why = reasons_of_search(retriever, queries, hits) if body.explain else None
    return in_body(retriever, Answers(hits, earlier, why, confidence), body)


def similar_to(served: Served, body: SimilarRequest) -> dict[str, Any]:
    """Find what is near to items, as a request says."""
    retriever = served.retriever
    count, wanted = len(body.item_ids), depth(body)
    check_size(retriever, count, body.k, vectors=body.vectors, candidates=count * wanted)
    check_collapse(body, count, wanted)
    with stage("search"):
        found = retriever.similar_items(body.item_ids, wanted, body.by, where=filters(body), **shown_once(body))
    hits, earlier = after_steps(retriever, found.named(body.item_ids), body)
    return in_body(retriever, Answers(hits, earlier), body)


def _kind(body: SearchRequest) -> str:
    return "image" if body.images or body.image_urls else "audio" if body.sounds else "text"


async def _bytes(file: UploadFile, most: int) -> bytes:
    """Read a file that is not too large.

    Raises:
        InputError: When it is.
    """
    data = await file.read(most + 1)
    if len(data) > most:
        raise InputError(f"a file has more than {most} bytes; give smaller ones")
    return data
