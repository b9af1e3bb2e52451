"""An attribute whose items are all deleted stays with its type, and a filter on it finds nothing."""

from pathlib import Path

import pyarrow as pa
import pytest

from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError
from retrieval import Retriever, compact
from retrieval.serving.insight.facets import facets_of
from tests.toy import ToyEncoder

ROWS = pa.schema([(name, pa.string()) for name in ("item_id", "title", "tittle", "colour")])


def sized(name: str, size: object) -> Catalogue:
    return Catalogue.from_arrow(pa.table({"item_id": [name], "title": [name], "size": [size]}))


def large(root: Path) -> list[str]:
    found = Retriever.load(root, ToyEncoder()).search_texts(["large"], 3, where=[("size", ">", 1)])
    return [hit.item_id for hit in found[0]]


def test_an_attribute_stays_when_no_item_has_it_any_more(own_toy_bundle: Path) -> None:
    root = own_toy_bundle
    add(root, sized("large", 5), ToyEncoder())
    assert large(root) == ["large"]
    delete(root, ["large"])
    assert large(root) == []
    bundle = compact(root)
    assert large(root) == []
    assert (bundle.batches, bundle.attributes.schema.field("size").type) == ((), pa.int64())
    assert "size" not in [facet["name"] for facet in facets_of(bundle)]
    with pytest.raises(InputError, match="size"):
        add(root, sized("small", "s"), ToyEncoder())
    assert Bundle.open(root).batches == ()
    add(root, sized("huge", 9), ToyEncoder())
    assert large(root) == ["huge"]


def test_a_column_that_only_rejected_rows_have_is_no_attribute(own_toy_bundle: Path) -> None:
    root = own_toy_bundle
    before = Bundle.open(root).attributes.schema.names
    rows = [
        {"item_id": "lost", "tittle": "a lamp"},
        {"item_id": "lamp", "title": "a lamp", "colour": "red"},
        {"item_id": "mug", "title": "a mug", "colour": None},
    ]
    report = upsert(root, Catalogue.from_arrow(pa.Table.from_pylist(rows, schema=ROWS)), ToyEncoder())
    assert (report.added, sum(report.rejected.values())) == (2, 1)
    after = Bundle.open(root)
    assert after.attributes.schema.names == [*before, "colour"]
    assert after.attributes.take(pa.array(after.items.rows(["lamp", "mug"]))).column("colour").to_pylist() == [
        "red",
        None,
    ]
    assert compact(root).attributes.schema.names == [*before, "colour"]
