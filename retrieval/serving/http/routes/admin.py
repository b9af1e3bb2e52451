"""`/admin`: what changes the bundle, with a token of its own."""

import asyncio
import io
from collections.abc import Callable
from itertools import chain
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, File, Form, Path, Query, Request, UploadFile
from fastapi.responses import Response, StreamingResponse
from pydantic_core import to_json

from indexing.bundle.bundle import Bundle
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.staged import publish_staged
from indexing.errors import BundleError, BundleLockedError, DamagedFileError, InputError
from retrieval.serving.admin.edits import delete_items, edit_items, encoding
from retrieval.serving.admin.generations import check_kept, described_generations
from retrieval.serving.admin.items import LINES, PARQUET, kind_of_upload
from retrieval.serving.admin.jobs import KEPT_JOBS, Job, JobConflictError, Kind, UnknownJobError
from retrieval.serving.admin.learning import LIVE, LOG, UPLOAD
from retrieval.serving.admin.runner import JobRunner
from retrieval.serving.config import MAX_ID_CHARACTERS
from retrieval.serving.engine.admission import OverloadedError
from retrieval.serving.engine.messages import in_words_of_service
from retrieval.serving.engine.request import current_request
from retrieval.serving.engine.service import Service, ServiceDep
from retrieval.serving.http.routes.paths import ITEM_ID
from retrieval.serving.http.unreadable import StrictRoute, check_form
from retrieval.serving.schemas.admin import (
    CompactRequest,
    DeleteRequest,
    FitOptions,
    FitRequest,
    GenerationsAnswer,
    ItemsOptions,
    ItemsRequest,
    JobAnswer,
    JobsAnswer,
    PublishRequest,
    RollbackRequest,
)
from retrieval.serving.schemas.base import Strict
from retrieval.serving.schemas.errors import error_responses, of_form

HERE_ITEMS = 64
"""So many items are put in by the service itself, with its encoder; more by a process of their own."""
HERE_SECONDS = 30.0
"""So long a request waits for a job of the service itself; then it answers that the job runs."""
RUNS: dict[int | str, dict[str, Any]] = {202: {"model": JobAnswer, "description": "The job runs; ask for it."}}
EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/vnd.apache.parquet": {}, "text/csv": {}, "application/jsonl": {}}}
}
MEDIA_TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv", "jsonl": "application/jsonl"}

router = APIRouter(route_class=StrictRoute, prefix="/admin", tags=["admin"], responses=error_responses(404, 409))
NOTHING = CompactRequest()
JobId = Annotated[str, Path(min_length=1, max_length=100)]
ITEMS_OPTIONS = Form(description="The options, as JSON.", max_length=100_000, examples=['{"mode": "upsert"}'])
FIT_OPTIONS = Form(description="The options, as JSON.", max_length=100_000, examples=['{"effort": "fast"}'])


@router.post("/items", response_model=JobAnswer, summary="Add, replace or change items", responses=RUNS)
async def put_items(service: ServiceDep, body: ItemsRequest) -> Response:
    """Rows that are no items are in `rejected_rows` of the report, by their place from 0, and the others are put in."""
    asked = {"mode": body.mode, "items": len(body.items)}
    if body.mode != "update" and len(body.items) > HERE_ITEMS:
        lines = b"\n".join(map(to_json, body.items))
        return await _elsewhere(service, body.mode, asked, upload=(LINES, io.BytesIO(lines)))

    def work() -> dict[str, Any]:
        retriever, limits = service.served.current.retriever, service.config.limits
        encoder = None if body.mode == "update" else retriever.encoder
        return edit_items(body.mode, body.items, retriever.bundle, encoder, encoding(limits, here=True))

    return await _here(service, body.mode, asked, work)


@router.post("/items/upload", response_model=JobAnswer, summary="Add or change the items of a file", responses=RUNS)
async def upload_items(
    service: ServiceDep,
    form: Request,
    items: Annotated[UploadFile, File(description="Parquet, or JSON lines; paths in it are not followed.")],
    request: Annotated[str, ITEMS_OPTIONS] = "{}",
) -> Response:
    """The file is told by its first bytes. It is read by a process of its own."""
    await check_form(form, "items", "request")
    options = of_form(ItemsOptions, request)
    name = kind_of_upload(await items.read(1_024))
    asked = {"mode": options.mode, "file": name}
    return await _elsewhere(service, options.mode, asked, upload=(name, items.file))


@router.post("/items/delete", response_model=JobAnswer, summary="Take items out", responses=RUNS)
async def take_items_out(service: ServiceDep, body: DeleteRequest) -> Response:
    """They are found no more when this answers."""
    return await _deleted(service, body.item_ids, missing_ok=body.missing_ok)


@router.delete(f"/items/{ITEM_ID}", response_model=JobAnswer, summary="Take an item out", responses=RUNS)
async def take_item_out(
    service: ServiceDep, item_id: Annotated[str, Path(min_length=1, max_length=MAX_ID_CHARACTERS, examples=["mug-9"])]
) -> Response:
    """It is found no more when this answers."""
    return await _deleted(service, [item_id], missing_ok=False)


@router.post("/fit", response_model=JobAnswer, status_code=202, summary="Learn from live events")
async def fit(service: ServiceDep, body: FitRequest) -> Response:
    """Learn from the log as it stands now. The job says how far it is, and has the report in the end."""
    if body.resume is not None:
        asked = await asyncio.to_thread(_runner(service).resumed_fit, body.resume)
        return await _elsewhere(service, "fit", asked | {"resumes": body.resume}, resumed=body.resume)
    log = service.log
    up_to = await service.admission.run("events", log.last_sequence)
    return await _elsewhere(service, "fit", _given(body) | {"log": LIVE, "up_to": up_to})


@router.post("/fit/upload", response_model=JobAnswer, status_code=202, summary="Learn from an uploaded log")
async def fit_upload(
    service: ServiceDep,
    form: Request,
    interactions: Annotated[UploadFile, File(description="Parquet: who, which item, when, and a weight or type.")],
    request: Annotated[str, FIT_OPTIONS] = "{}",
) -> Response:
    """Learn as `/admin/fit` does, from a file."""
    await check_form(form, "interactions", "request")
    options = of_form(FitOptions, request)
    if kind_of_upload(await interactions.read(1_024)) != PARQUET:
        raise InputError("the log is no Parquet file; give one")
    return await _elsewhere(service, "fit", _given(options) | {"log": UPLOAD}, upload=(LOG, interactions.file))


@router.post("/compact", response_model=JobAnswer, status_code=202, summary="Fold changes into a new generation")
async def compact(service: ServiceDep, body: CompactRequest = NOTHING) -> Response:
    """Searching and adding continue meanwhile."""
    return await _elsewhere(service, "compact", _given(body))


@router.post("/publish", response_model=JobAnswer, summary="Publish the staged generation", responses=RUNS)
async def publish(service: ServiceDep, body: PublishRequest) -> Response:
    """The one that a fit with `publish` false made, while what it was made on, or a compaction of that, is current."""
    root = _runner(service).root
    return await _here(
        service, "publish", _given(body), lambda: _made_current(lambda: publish_staged(root, body.generation))
    )


@router.post("/rollback", response_model=JobAnswer, summary="Make another generation current", responses=RUNS)
async def roll_back(service: ServiceDep, body: RollbackRequest) -> Response:
    """Undo builds, fits and compactions; every change of items since is kept."""
    root = _runner(service).root
    if body.to is not None:
        await asyncio.to_thread(check_kept, root, body.to)
    return await _here(service, "rollback", _given(body), lambda: _made_current(lambda: rollback(root, body.to)))


@router.get("/generations", response_model=GenerationsAnswer, summary="List generations")
async def generations(service: ServiceDep) -> Response:
    """Those that are kept, and the one that is staged."""
    found = await asyncio.to_thread(described_generations, _runner(service).root)
    return _answer(service, {"generations": found})


@router.get("/jobs", response_model=JobsAnswer, summary="List jobs")
async def jobs(service: ServiceDep, limit: Annotated[int, Query(ge=1, le=KEPT_JOBS)] = 20) -> Response:
    """The latest first, those of every process of the service."""
    found = await asyncio.to_thread(_runner(service).jobs.listed, limit)
    return _answer(service, {"jobs": [vars(job) for job in found]})


@router.get("/jobs/{job_id}", response_model=JobAnswer, summary="How far a job is")
async def job(service: ServiceDep, job_id: JobId) -> Response:
    """With the report when it has ended."""
    return _of_job(service, await asyncio.to_thread(_runner(service).jobs.get, job_id), 200)


@router.delete("/jobs/{job_id}", response_model=JobAnswer, status_code=202, summary="End a job")
async def cancel(service: ServiceDep, job_id: JobId) -> Response:
    """Ask a job to end; it is 'cancelled' soon after, and the bundle is as it was, or has what was done already."""
    return _of_job(service, await asyncio.to_thread(_runner(service).jobs.ask_to_cancel, job_id), 202)


@router.get("/events/export", summary="Export live events", response_class=StreamingResponse, responses=EXPORTS)
async def export_events(
    service: ServiceDep,
    form: Annotated[Literal["parquet", "csv", "jsonl"], Query(alias="format")] = "parquet",
    impressions: Annotated[bool, Query(description="What was shown, rather than what users did.")] = False,
) -> Response:
    """The log of one moment as a table that `fit` reads; merged users have the name that they were merged into."""
    log = service.log
    chunks = log.exported(form, impressions=impressions)
    first = await asyncio.to_thread(next, chunks)  # an error is told before the answer begins
    headers = {"content-disposition": f'attachment; filename="{"impressions" if impressions else "events"}.{form}"'}
    return StreamingResponse(chain((first,), chunks), headers=headers, media_type=MEDIA_TYPES[form])


async def _here(service: Service, kind: Kind, asked: dict[str, Any], work: Callable[[], dict[str, Any]]) -> Response:
    """Do a short job in a thread; answer that it runs where it takes too long."""
    request, runner, begun = current_request(), _runner(service), list[Job]()
    request.deadline = request.started + HERE_SECONDS
    try:
        job = await service.admission.run("admin", lambda: runner.run_here(kind, asked, work, begun.append))
    except OverloadedError as refused:
        if refused.reason != "deadline" or not begun:
            raise
        job = await asyncio.to_thread(runner.jobs.get, begun[0].job_id)
    return _of_job(service, job, 202 if job.state == "running" else 200)


async def _elsewhere(
    service: Service,
    kind: Kind,
    asked: dict[str, Any],
    *,
    upload: tuple[str, BinaryIO] | None = None,
    resumed: str | None = None,
) -> Response:
    """Begin a long job in a process of its own, and answer that it runs."""
    request, runner = current_request(), _runner(service)
    request.deadline = request.started + service.config.limits.admin_seconds
    job = await service.admission.run("admin", lambda: runner.start(kind, asked, upload, resumed))
    return _of_job(service, job, 202)


async def _deleted(service: Service, item_ids: list[str], *, missing_ok: bool) -> Response:
    def work() -> dict[str, Any]:
        return delete_items(service.served.current.retriever.bundle, item_ids, missing_ok=missing_ok)

    return await _here(service, "delete", {"items": len(item_ids), "missing_ok": missing_ok}, work)


def _made_current(change: Callable[[], Bundle]) -> dict[str, Any]:
    """Make another generation current.

    Raises:
        JobConflictError: When the bundle has none, or it cannot become current now.
    """
    try:
        bundle = change()
    except (BundleLockedError, DamagedFileError):
        raise
    except BundleError as error:
        raise JobConflictError(in_words_of_service(error)) from error
    return {"generation": bundle.manifest.generation, "items": int(bundle.is_live.sum())}


def _given(body: Strict) -> dict[str, Any]:
    """Give what a request says itself."""
    return body.model_dump(exclude_unset=True, exclude_none=True)


def _runner(service: Service) -> JobRunner:
    if service.jobs is None:
        raise UnknownJobError("this service has no jobs; start it with an admin token")
    return service.jobs


def _of_job(service: Service, job: Job, status: int) -> Response:
    return _answer(service, {"job": vars(job)}, status)


def _answer(service: Service, body: dict[str, Any], status: int = 200) -> Response:
    """Give an answer; errors and reports of jobs may name files of the bundle."""
    names = {"request_id": current_request().request_id}
    text = service.without_places(to_json(names | body, inf_nan_mode="null").decode())
    return Response(text, status, media_type="application/json")
