"""The bundle of products that benchmarks of search ask: title and picture are embedded, and the words are the title."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from retrieval import Retriever


def read(items: Path, count: int | None = None) -> pa.Table:
    """Read products from a Parquet file: the first so many, all when None."""
    return pq.read_table(items).slice(0, count)


def retriever_of(products: pa.Table, bundle: Path) -> Retriever:
    """Open the bundle of products; the pocket encoder builds it where it is not there, or not of these products."""
    columns = NamedColumns(text=("title",), words=("title",))
    if (bundle / "CURRENT").exists():
        retriever = Retriever.open(bundle)
        if set(retriever.items) <= set(products["item_id"].to_pylist()):
            return retriever
    build_bundle(Catalogue.from_arrow(products, columns=columns), "pocket", bundle, progress=True)
    return Retriever.open(bundle)
