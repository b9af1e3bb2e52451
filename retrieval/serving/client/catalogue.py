"""Calls about the service and its items."""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from indexing.errors import InputError
from indexing.runtime.arguments import check_names
from retrieval.filters import Where
from retrieval.serving.client.calls import Call, per_call_of, posting, reading
from retrieval.serving.client.json_values import AnyQuery, filter_texts, queries_field
from retrieval.serving.client.options import PerCall
from retrieval.serving.schemas.answers import Info, Item, ItemAnswer, ItemsAnswer, Live, Ready
from retrieval.serving.schemas.insight import (
    FacetsAnswer,
    KeptGenerationsAnswer,
    MapAnswer,
    MediaAnswer,
    PlacesAnswer,
    StatusAnswer,
    TasteAnswer,
)

Attributes = Literal["all"] | Sequence[str]


def item(
    item_id: str, *, attributes: Attributes = "all", vectors: bool = False, **options: Unpack[PerCall]
) -> Call[Item]:
    """Give an item with its attributes and, if asked for, its content vector.

    Raises:
        NotFoundError: When there is none of this name.
    """
    read = reading(ItemAnswer)
    return Call(
        "GET",
        "/items/{item_id}",
        lambda content: read(content).item,
        per_call_of(options),
        names={"item_id": item_id},
        params={"attributes": _names(attributes), "vectors": vectors},
    )


def items_page(
    cursor: str = "",
    limit: int = 100,
    *,
    where: Where = (),
    attributes: Attributes = "all",
    vectors: bool = False,
    **options: Unpack[PerCall],
) -> Call[ItemsAnswer]:
    """Give a page of items, in the order in which the bundle has them; see `items`, which gives all."""
    params = {
        "cursor": cursor,
        "limit": limit,
        "where": filter_texts(where),
        "attributes": _names(attributes),
        "vectors": vectors,
    }
    return Call("GET", "/items", reading(ItemsAnswer), per_call_of(options), params=params)


def items_of(
    item_ids: Sequence[str],
    *,
    attributes: Attributes = "all",
    vectors: bool = False,
    **options: Unpack[PerCall],
) -> Call[ItemsAnswer]:
    """Give items that are named, in their order; those that the bundle lacks are in ``unknown`` of the answer."""
    if not (names := check_names(item_ids, "item_ids")):
        raise InputError("item_ids is empty; name at least one item")
    params = {"ids": names, "attributes": _names(attributes), "vectors": vectors}
    return Call("GET", "/items", reading(ItemsAnswer), per_call_of(options), params=params)


def info(**options: Unpack[PerCall]) -> Call[Info]:
    """Say what is served: the encoder, the index, what was learned, the attributes and the limits."""
    return Call("GET", "/info", reading(Info), per_call_of(options))


def live(**options: Unpack[PerCall]) -> Call[Live]:
    """Ask whether the process answers."""
    return Call("GET", "/live", reading(Live), per_call_of(options))


def ready(**options: Unpack[PerCall]) -> Call[Ready]:
    """Ask whether queries are answered, and what is wrong with the bundle; also while the service stops."""
    return Call("GET", "/ready", reading(Ready), per_call_of(options), answers=(200, 503))


def metrics(**options: Unpack[PerCall]) -> Call[str]:
    """Give the metrics for Prometheus, see docs/reference/metrics.md."""
    return Call("GET", "/metrics", bytes.decode, per_call_of(options))


def status(**options: Unpack[PerCall]) -> Call[StatusAnswer]:
    """Say how well the service does: recall, what was learned and until when, the age of the last live event."""
    return Call("GET", "/status", reading(StatusAnswer), per_call_of(options))


def kept_generations(**options: Unpack[PerCall]) -> Call[KeptGenerationsAnswer]:
    """List the generations that other verbs may name: when each was made, what it learned, and which one is served."""
    return Call("GET", "/generations", reading(KeptGenerationsAnswer), per_call_of(options))


def facets(**options: Unpack[PerCall]) -> Call[FacetsAnswer]:
    """Give the attributes that make filters, with their values or ranges."""
    return Call("GET", "/facets", reading(FacetsAnswer), per_call_of(options))


def tastes(
    history: Sequence[str], k: int = 8, *, weights: Sequence[float] | None = None, **options: Unpack[PerCall]
) -> Call[TasteAnswer]:
    """Give the values of attributes whose items lie in the direction of a history.

    Items that the bundle lacks are left out with their weights, and counted in ``notes``.
    """
    return posting("/tastes", TasteAnswer, {"history": history, "k": k, "weights": weights}, options)


def space_map(colour: str | None = None, **options: Unpack[PerCall]) -> Call[MapAnswer]:
    """Give the space of items in two dimensions, coloured by an attribute."""
    params = {} if colour is None else {"colour": colour}
    return Call("GET", "/map", reading(MapAnswer), per_call_of(options), params=params)


def map_places(
    queries: Sequence[AnyQuery], *, modality: bool = False, **options: Unpack[PerCall]
) -> Call[PlacesAnswer]:
    """Say where queries lie on the map of all items, or on that by modality."""
    body: dict[str, Any] = queries_field(queries)
    params = {"modality": modality}
    return Call("POST", "/map/places", reading(PlacesAnswer), per_call_of(options), params=params, body=body)


def media(item_ids: Sequence[str], **options: Unpack[PerCall]) -> Call[MediaAnswer]:
    """Say which items have a picture or a sound that the service gives."""
    return posting("/media", MediaAnswer, {"item_ids": item_ids}, options)


def medium(
    item_id: str, kind: Literal["image", "audio"] = "image", *, size: int = 320, **options: Unpack[PerCall]
) -> Call[bytes]:
    """Give the picture of an item as a JPEG, ``size`` pixels wide or high (160, 320 or 640), or its sound as a file."""
    return Call(
        "GET",
        "/media/{item_id}",
        bytes,
        per_call_of(options),
        names={"item_id": item_id},
        params={"kind": kind, "size": size},
    )


def _names(attributes: Attributes) -> list[str]:
    return ["all"] if attributes == "all" else list(attributes)
