"""Calls that change the bundle of a service; see docs/how-to/admin.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack

from pydantic import BaseModel

from indexing.runtime.arguments import check_list
from retrieval.serving.client.calls import Call, Files, per_call_of, reading
from retrieval.serving.client.json_values import file_bytes
from retrieval.serving.client.options import FitOptions, PerCall
from retrieval.serving.schemas.admin import GenerationsAnswer, JobAnswer, JobsAnswer

SECONDS = 120.0
"""The time of a change where none is given: the service takes up to thirty seconds, and files their time to arrive."""

Mode = Literal["add", "upsert", "update"]
Model = TypeVar("Model", bound=BaseModel)


def put_items(items: Sequence[Mapping[str, Any]], mode: Mode = "add", **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Add items, replace them whole (``"upsert"``), or change their attributes (``"update"``).

    An item has the columns that the bundle was built from. Pictures and sounds are bytes, paths as `pathlib.Path`, or
    PIL images. Many items become a job that is still running when this answers.
    """
    check_list(items, "items")
    return _changing("items", {"mode": mode, "items": items}, options)


def upload_items(file: bytes | Path | str, mode: Mode = "add", **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Add or change the items of a file, Parquet or JSON lines: its bytes, or its path on this machine."""
    files = [("items", ("items", file_bytes(file, "the file of items")))]
    return _changing("items/upload", {"mode": mode}, options, files)


def delete_items(item_ids: Sequence[str], *, missing_ok: bool = False, **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Take items out: all of them, or none where one is not there."""
    check_list(item_ids, "item_ids")
    return _changing("items/delete", {"item_ids": item_ids, "missing_ok": missing_ok}, options)


def delete_item(item_id: str, **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Take an item out.

    Raises:
        NotFoundError: When there is none of this name.
    """
    return _deleting("/admin/items/{item_id}", {"item_id": item_id}, options)


def fit(resume: str | None = None, *, replace: bool = False, **options: Unpack[FitOptions]) -> Call[JobAnswer]:
    """Learn from the log of live events, or continue a fit that did not end by its ``resume``, a job_id.

    It becomes a job; ask for it by its name. The job fails where live events are fewer than the published parts were
    trained on, unless they are to ``replace`` them.

    Raises:
        ConflictError: When another fit, compaction, publication or rollback runs.
    """
    asked = {"resume": resume} if resume is not None else {}
    return _changing("fit", asked | ({"replace": True} if replace else {}), options)


def fit_upload(interactions: bytes | Path | str, **options: Unpack[FitOptions]) -> Call[JobAnswer]:
    """Learn from a log in a Parquet file: its bytes, or its path on this machine."""
    files = [("interactions", ("interactions", file_bytes(interactions, "the log")))]
    return _changing("fit/upload", {}, options, files)


def compact(**options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Fold changes of items into a new generation, as a job."""
    return _changing("compact", None, options)


def publish(generation: str | None = None, **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Make the staged generation current; ``generation`` names it, to be sure."""
    return _changing("publish", {} if generation is None else {"generation": generation}, options)


def rollback(to: str | None = None, **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Make the generation before current again, or the one named by ``to``; changes of items are kept.

    Raises:
        NotFoundError: When the bundle does not keep it.
    """
    return _changing("rollback", {} if to is None else {"to": to}, options)


def generations(**options: Unpack[PerCall]) -> Call[GenerationsAnswer]:
    """List the generations that are kept, and the one that is staged."""
    return _asking("/admin/generations", GenerationsAnswer, options)


def jobs(limit: int = 20, **options: Unpack[PerCall]) -> Call[JobsAnswer]:
    """List the latest jobs."""
    return _asking("/admin/jobs", JobsAnswer, options, params={"limit": limit})


def job(job_id: str, **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Say how far a job is, with its report when it has ended."""
    return _asking("/admin/jobs/{job_id}", JobAnswer, options, names={"job_id": job_id})


def cancel_job(job_id: str, **options: Unpack[PerCall]) -> Call[JobAnswer]:
    """Ask a job to end; it is cancelled soon after."""
    return _deleting("/admin/jobs/{job_id}", {"job_id": job_id}, options)


def export_events(
    file_format: Literal["parquet", "csv", "jsonl"] = "parquet",
    *,
    impressions: bool = False,
    **options: Unpack[PerCall],
) -> Call[bytes]:
    """Give the log of live events, or what was shown, as the bytes of a table that `fit` reads.

    All of it is held in memory; `commonspace events export` writes a large log part by part.
    """
    params = {"format": file_format, "impressions": impressions}
    return Call("GET", "/admin/events/export", bytes, _with_time(options), params=params, access="admin")


def _with_time(options: Mapping[str, Any]) -> PerCall:
    return per_call_of({"timeout": SECONDS, **{name: value for name, value in options.items() if value is not None}})


def _changing(
    path: str, fields: Mapping[str, Any] | None, options: Mapping[str, Any], files: Files | None = None
) -> Call[JobAnswer]:
    more = {name: value for name, value in options.items() if name not in PerCall.__annotations__}
    return Call(
        "POST",
        f"/admin/{path}",
        reading(JobAnswer),
        _with_time(options),
        body=None if fields is None else {**fields, **more},
        files=files,
        access="admin",
        repeatable=False,
        answers=(200, 202),
    )


def _deleting(route: str, names: Mapping[str, str], options: Mapping[str, Any]) -> Call[JobAnswer]:
    return Call(
        "DELETE",
        route,
        reading(JobAnswer),
        _with_time(options),
        names=names,
        access="admin",
        repeatable=False,
        answers=(200, 202),
    )


def _asking(route: str, model: type[Model], options: Mapping[str, Any], **more: Any) -> Call[Model]:  # noqa: ANN401
    return Call("GET", route, reading(model), per_call_of(options), access="admin", **more)
