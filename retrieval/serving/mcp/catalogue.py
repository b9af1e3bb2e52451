"""What the catalogue is, for assistants, which cannot filter by attributes that they do not know."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from indexing.bundle.word_files import word_settings
from indexing.catalogue.arrow_values import python_values
from retrieval.filters import field
from retrieval.serving.engine.served_bundle import Served
from retrieval.serving.engine.service import Service
from retrieval.serving.http.routes.health import described
from retrieval.serving.insight.facets import ITEM_ID, facets_of
from retrieval.serving.insight.state_cache import per_state

NUM_EXAMPLES = 20  # values of an attribute whose values make groups
NUM_TEXTS = 3  # of others
MAX_CHARACTERS = 80  # of a text that is an example


def catalogue_of(service: Service, served: Served) -> dict[str, Any]:
    """Describe the items, their attributes with values, and what may be asked."""
    retriever = served.retriever
    info = described(service, served)
    modes = ["vector"] if word_settings(retriever.bundle) is None else ["vector", "words", "hybrid"]
    return {
        "items": info["items"],
        "modalities": list(info["encoder"]["modalities"]),
        "modes": modes,
        "learned": info["learned"],
        "users": info["events"],
        "attributes": per_state(retriever, "attributes for assistants", lambda: _attributes(served)),
    }


def _attributes(served: Served) -> list[dict[str, Any]]:
    bundle = served.retriever.bundle
    facets = {facet["name"]: facet for facet in facets_of(bundle)}
    table = bundle.attributes
    return [
        {"name": name, "type": str(table.schema.field(name).type)}
        | (_grouped(facets[name]) if name in facets else _others(name, table.column(name)))
        for name in table.column_names
        if name != ITEM_ID
    ]


def _grouped(facet: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an attribute that makes groups of items, or has numbers."""
    name = facet["name"]
    if facet["kind"] == "numbers":
        low, high = (int(facet[end]) if facet["whole"] else facet[end] for end in ("min", "max"))
        between = field(name).between(low, high)
        return {"examples": [low, high], "min": low, "max": high, "filters": [str(field(name) <= high), str(between)]}
    values = [one["value"] for one in facet["values"][:NUM_EXAMPLES]]
    is_in = [] if facet["several"] or len(values) < 2 else [str(field(name).is_in(values[:2]))]
    one_of = field(name).contains(values[0]) if facet["several"] else field(name) == values[0]
    return {"examples": values, "distinct": facet["distinct"], "filters": [str(one_of), *is_in]}


def _others(name: str, column: pa.ChunkedArray) -> dict[str, Any]:
    """Describe an attribute whose values differ for most items, as titles do."""
    shown = list(map(_example, python_values(column.drop_null().slice(0, NUM_TEXTS))))
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    words = str(shown[0]).split() if is_text and shown else []
    condition = field(name).contains(words[0]) if words else field(name).is_present()
    return {"examples": shown, "filters": [str(condition)]}


def _example(value: Any) -> bool | float | str:  # noqa: ANN401 - a value of any column
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
