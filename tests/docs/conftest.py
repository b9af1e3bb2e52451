"""A part of the shipped sample, so that pages which work on it run in seconds."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import indexing.sample
from indexing.runtime.threads import cores
from indexing.sample import interactions_path, items_path

NAMED = ["mug", "croissant", "elephant", "orange-slice"]  # by the pages
ITEMS = 150


@pytest.fixture(scope="module", autouse=True)
def many_decoders() -> Iterator[None]:
    """Many pictures are decoded by a process a core, as for a user."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("indexing.store.encode.cores", cores)
        yield


@pytest.fixture(scope="session")
def smaller_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package whose sample has fewer drawings, and what users did with these."""
    items, log = pq.read_table(items_path()), pq.read_table(interactions_path())
    touched = pc.value_counts(log["item_id"])
    order = pc.sort_indices(touched.field("counts"), sort_keys=[("", "descending")])
    kept = pa.concat_arrays(
        [pa.array(NAMED, pa.string()), touched.field("values").take(order)[:ITEMS].cast(pa.string())]
    )
    package = tmp_path_factory.mktemp("package")
    folder = package / "data" / "sample"
    folder.mkdir(parents=True)
    pq.write_table(items.filter(pc.is_in(items["item_id"], kept)), folder / "items.parquet")
    pq.write_table(log.filter(pc.is_in(log["item_id"], kept)), folder / "interactions.parquet")
    return package


@pytest.fixture
def smaller_sample(smaller_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The items of a smaller sample that stands for the shipped one; the test works in its own folder."""
    monkeypatch.setattr(indexing.sample, "files", lambda package: smaller_package)
    monkeypatch.chdir(tmp_path)
    return items_path()
