"""Which columns of a source of changes are those that a bundle was built from."""

from collections.abc import Collection
from dataclasses import replace

from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns, as_tuple


def columns_as_built(named: NamedColumns, present: Collection[str], bundle: Bundle) -> NamedColumns:
    """Name the columns that the bundle was built from, if they are present in a source and no others were named."""
    built = bundle.manifest.columns
    texts, images = ([n for n in as_tuple(built.get(kind)) if n in present] for kind in ("text", "image"))
    if named.text is None and texts:
        named = replace(named, text=tuple(texts))
    if named.image is None and images:
        named = replace(named, image=tuple(images))
    for kind in ("audio", "video"):
        if getattr(named, kind) is None and built.get(kind) in present:
            named = replace(named, **{kind: built[kind]})
    return named


def other_columns(catalogue: Catalogue, bundle: Bundle) -> str:
    """Say which columns a source has that the bundle was built without, and the other way round."""
    built, present = as_tuple(bundle.manifest.columns.get("text")), catalogue.reader.schema.names
    differences = []
    if catalogue.columns.text and (lost := [name for name in built if name not in present]):
        differences.append(
            f"texts of the bundle are those of {', '.join(built)}; here there is no {' and no '.join(lost)}"
        )
        differences.append(f"texts are read from {', '.join(catalogue.columns.text)}")
    if new := [name for name in catalogue.attributes.column_names if name not in bundle.attributes.column_names]:
        differences.append(f"new attributes: {', '.join(new)}")
    return "; ".join(differences)
