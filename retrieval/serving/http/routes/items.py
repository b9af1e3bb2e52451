"""`/items`: one, and all by pages."""

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from indexing.errors import CommonspaceError, InputError, UnknownItemError
from retrieval.postprocess.titles import titles_at
from retrieval.serving.config import MAX_ID_CHARACTERS, MAX_PAGE, MAX_TEXT_BYTES
from retrieval.serving.engine.answering import attributes_at, check_size
from retrieval.serving.engine.request import current_request
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import ServiceDep
from retrieval.serving.http.routes.paths import ITEM_ID
from retrieval.serving.http.routes.reply import reply
from retrieval.serving.http.unreadable import StrictRoute
from retrieval.serving.schemas.answers import ItemAnswer, ItemsAnswer
from retrieval.serving.schemas.errors import error_responses

router = APIRouter(route_class=StrictRoute, tags=["items"], responses=error_responses())

Attributes = Annotated[
    list[Annotated[str, Query(max_length=MAX_ID_CHARACTERS)]],
    Query(description="Attributes to give, 'all' for all.", max_length=100, examples=[["category", "price"]]),
]
Vectors = Annotated[bool, Query(description="Give the content vector of each item.")]
ALL, NONE = ["all"], list[str]()  # FastAPI gives a copy to each request


class ExpiredCursorError(CommonspaceError):
    """A cursor of a generation that is served no longer."""


@router.get("/items", response_model=ItemsAnswer, summary="List items", responses=error_responses(410))
async def items(
    service: ServiceDep,
    asked: Request,
    cursor: Annotated[str, Query(max_length=200, description="That of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    where: Annotated[
        list[str], Query(max_length=100, description="Filters, as 'price < 20'.", examples=[["price < 20"]])
    ] = NONE,
    ids: Annotated[
        list[Annotated[str, Query(max_length=MAX_ID_CHARACTERS)]],
        Query(
            description="These items alone, in this order: `ids=mug&ids=cup`.",
            max_length=MAX_PAGE,
            examples=[["mug", "cup"], ["mug", "nope"]],
        ),
    ] = NONE,
    attributes: Attributes = ALL,
    vectors: Vectors = False,
) -> Response:
    """Items are in the order in which the bundle has them; a page may end with the last item.

    With `ids` there are no pages, and so no `limit`: those that the bundle lacks are in `unknown`.
    """
    beside = "a cursor" if cursor else "where" if where else "a limit" if "limit" in asked.query_params else None
    if ids and beside is not None:
        raise InputError(f"ids and {beside} are given; name items, or list them by pages")

    def work(served: Served) -> dict[str, Any]:
        check_size(served.retriever, 1, len(ids) or limit, vectors=vectors)
        if ids:
            return _named(served, ids, attributes, vectors=vectors)
        start = _start(served, cursor)
        mask = served.retriever.state.allowed_rows(where)
        count = len(served.retriever.items)
        rows = np.arange(start, count) if mask is None else start + np.flatnonzero(mask[start:])
        page = rows[:limit]
        following = _cursor(served, int(page[-1]) + 1) if len(rows) > limit else None
        return {"items": _described(served, page, attributes, vectors=vectors), "next_cursor": following}

    return await reply(service, "search", work)


def _named(served: Served, ids: list[str], attributes: list[str], *, vectors: bool) -> dict[str, Any]:
    """Describe items that are named, and name those that are not there."""
    known = served.retriever.items
    rows = known.rows([one for one in ids if one in known])
    unknown = {"unknown": missing} if (missing := [one for one in ids if one not in known]) else {}
    if lists := [one for one in missing if "," in one]:
        several = "&".join(f"ids={part}" for part in lists[0][:100].split(","))
        current_request().note(
            f"no item is named {lists[0][:100]!r}; if these are several items, repeat ids: ?{several}"
        )
    return {"items": _described(served, rows, attributes, vectors=vectors), "next_cursor": None, **unknown}


@router.get(f"/items/{ITEM_ID}", response_model=ItemAnswer, summary="Give an item", responses=error_responses(404))
async def item(
    service: ServiceDep,
    item_id: Annotated[str, Path(examples=["mug"])],
    attributes: Attributes = ALL,
    vectors: Vectors = False,
) -> Response:
    """Its attributes and, if asked for, its content vector."""

    def work(served: Served) -> dict[str, Any]:
        if len(item_id.encode("utf-8", "replace")) > MAX_TEXT_BYTES or item_id not in served.retriever.items:
            raise UnknownItemError(
                f"no item {item_id[:100]!r} is in this bundle{served.retriever.items.suggestion(item_id)}"
            )
        rows = served.retriever.items.rows([item_id])
        return {"item": _described(served, rows, attributes, vectors=vectors)[0]}

    return await reply(service, "search", work)


def _described(
    served: Served, rows: np.ndarray[Any, Any], attributes: list[str], *, vectors: bool
) -> list[dict[str, Any]]:
    retriever = served.retriever
    wanted = attributes_at(retriever, rows, "all" if "all" in attributes else attributes)
    found = [
        {"item_id": retriever.items[row], "title": title, "attributes": values}
        for row, title, values in zip(rows.tolist(), titles_at(retriever.bundle, rows), wanted, strict=True)
    ]
    if not vectors:
        return found
    numbers = retriever.vectors[rows].tolist()
    return [item | {"vector": vector} for item, vector in zip(found, numbers, strict=True)]


def _cursor(served: Served, row: int) -> str:
    return base64.urlsafe_b64encode(f"{served.generation}:{row}".encode()).decode()


def _start(served: Served, cursor: str) -> int:
    if not cursor:
        return 0
    try:
        generation, _, row = base64.urlsafe_b64decode(cursor.encode()).decode().rpartition(":")
        start = int(row)
    except (binascii.Error, UnicodeError, ValueError):
        generation, start = "", -1
    if generation != served.generation or not 0 <= start <= len(served.retriever.items):
        raise ExpiredCursorError("the cursor is of an earlier generation, or of another service; begin without one")
    return start
