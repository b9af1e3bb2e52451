"""Files of a bundle whose checksums were set right again after they were changed: typed errors, whatever is in them."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save

from indexing.bundle.change_log import Batch, read_batch
from indexing.errors import DamagedFileError
from indexing.filesystem.checked_files import HASH_BYTES, finite_tensors
from indexing.index.search import check_scores
from indexing.index.tuning.build import load_index
from indexing.media.files import Modality
from indexing.store.ledger import _hash_bytes
from indexing.store.store import Embedding, EmbeddingStore, parquet_bytes, shard_name, to_table
from retrieval.ranking.heads import NeuralHead

faiss = pytest.importorskip("faiss")
DIM = 4
VECTOR = np.array([1, 2, 3, 4], np.float16)


def embeddings(*names: str) -> list[Embedding]:
    return [Embedding(name, Modality.TEXT, "0" * 2 * HASH_BYTES, VECTOR) for name in names]


def batch(**changes: object) -> Batch:
    attributes = pa.table({"item_id": ["a", "b"], "title": ["mug", "lamp ☂"]})
    made = Batch(7, "f" * 64, ("a", "old"), to_table(embeddings("a", "b"), DIM), attributes)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_batch_reads_back() -> None:
    again = Batch.from_bytes(batch().to_bytes())
    assert (again.number, again.removed, list(again.item_ids)) == (7, ("a", "old"), ["a", "b"])
    np.testing.assert_array_equal(again.parts(Modality.TEXT, DIM).vectors, [VECTOR, VECTOR])


def test_no_changed_bit_of_a_batch_ends_the_process_or_is_another_error() -> None:
    """Arrow believes the offsets in a stream: unchecked, some of these would read outside of memory."""
    whole, rng = batch().to_bytes(), np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            read = Batch.from_bytes(bytes(data))
        except DamagedFileError:
            continue
        parts = read.parts(Modality.TEXT, read.embeddings.schema.field("vector").type.list_size)
        assert np.isfinite(parts.vectors).all()
    for end in range(0, len(whole), 97):
        with pytest.raises(DamagedFileError, match="a batch of changes cannot be read"):
            Batch.from_bytes(whole[:end])


def other_columns(table: pa.Table) -> pa.Table:
    return table.rename_columns(["x", *table.column_names[1:]])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"embeddings": other_columns(to_table(embeddings("a"), DIM))}, "columns .* of other types than embeddings"),
        ({"embeddings": to_table(embeddings("c"), DIM)}, "vectors of 'c', which it does not put in"),
        ({"embeddings": to_table([replace(embeddings("a")[0], part=-1)], DIM)}, "a part has number -1"),
        ({"embeddings": to_table([replace(embeddings("a")[0], part=2**31 - 1)], DIM)}, "a part has number 2147483647"),
        ({"embeddings": to_table([replace(embeddings("a")[0], vector=VECTOR * np.float16("nan"))], DIM)}, "not finite"),
        ({"attributes": pa.table({"item_id": ["a", "a"]})}, "an item is put in twice"),
        ({"attributes": pa.table({"item_id": [1, 2]})}, "item_ids that are no texts"),
        ({"attributes": pa.table({"item_id": pa.array(["a", None])})}, "item_ids that are no texts"),
        ({"attributes": pa.table({"title": ["a"]})}, "KeyError"),
        ({"number": None}, "it has no number"),
        ({"removed": (None,)}, "something without a name is taken out"),
    ],
)
def test_a_batch_that_does_not_fit_itself_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(DamagedFileError, match=rf"a batch of changes cannot be read \(.*{reason}"):
        Batch.from_bytes(batch(**changes).to_bytes())


def test_a_batch_under_another_number_is_refused(tmp_path: Path) -> None:
    data = batch().to_bytes()
    path = tmp_path / f"{8:012d}-{hashlib.sha256(data).hexdigest()[:32]}.arrow"
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="says that it is batch 7"):
        read_batch(path)


def with_column(name: str, values: list[object]) -> pa.Table:
    table = to_table(embeddings("a"), DIM)
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array(values, table.schema.field(name).type))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (parquet_bytes(with_column("modality", ["smell"])), "there is no modality 'smell'"),
        (parquet_bytes(with_column("status", ["lost"])), "there is no status 'lost'"),
        (parquet_bytes(with_column("item_id", [None])), "embeddings have nulls"),
        (parquet_bytes(with_column("vector", [[1, 2, np.inf, 4]])), "vectors are not finite"),
        (parquet_bytes(to_table([], DIM + 1)), "of other types than embeddings"),
        (parquet_bytes(to_table(embeddings("a"), DIM))[:-9], "cannot be read"),
        (b"PAR1" + bytes(50) + b"PAR1", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_a_shard_with_unusable_values_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / shard_name(0, data)).write_bytes(data)
    with pytest.raises(DamagedFileError, match=reason):
        EmbeddingStore(tmp_path, DIM)


def test_a_hash_of_other_letters_is_no_hash() -> None:
    assert _hash_bytes("0g" * HASH_BYTES) is None
    assert _hash_bytes("  " * HASH_BYTES) is None
    assert _hash_bytes("0f" * HASH_BYTES) == bytes([15] * HASH_BYTES)


def test_tensors_must_be_finite() -> None:
    data = save({"a": np.array([1, np.nan], np.float32), "b.half_lives": np.array([np.inf], np.float32)})
    with pytest.raises(ValueError, match="'a' holds numbers that are not finite"):
        finite_tensors(data, infinite_suffix="half_lives")
    data = save({"a": np.array([2], np.int64), "b.half_lives": np.array([np.inf], np.float32)})
    assert finite_tensors(data, infinite_suffix="half_lives")["b.half_lives"].tolist() == [np.inf]
    with pytest.raises(ValueError, match=r"'b\.half_lives' holds"):
        finite_tensors(data)


VECTORS = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)


def refined_by_fewer() -> object:
    graph, exact = faiss.IndexHNSWFlat(8, 8, faiss.METRIC_INNER_PRODUCT), faiss.IndexFlatIP(8)
    graph.add(VECTORS)
    exact.add(VECTORS)
    index = faiss.IndexRefine(graph, exact)
    index.ntotal = 40
    index.referenced_objects = (graph, exact)
    return index


def by_distance() -> object:
    index = faiss.IndexFlatL2(8)
    index.add(VECTORS)
    return index


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (refined_by_fewer, "faiss-hnsw", "an index of 40 vectors of length 8 keeps 50 of length 8"),
        (by_distance, "faiss-flat", "another metric than inner product"),
        (by_distance, "faiss-ivf", "another kind"),
        (lambda: faiss.IndexLSH(8, 16), "faiss-flat", "another metric"),
    ],
)
def test_an_index_that_does_not_fit_itself_is_refused(tmp_path: Path, make: object, kind: str, reason: str) -> None:
    faiss.write_index(make(), str(tmp_path / "index"))  # type: ignore[operator]
    with pytest.raises(DamagedFileError, match=reason):
        load_index(tmp_path / "index", kind)


def test_rows_beyond_the_index_are_refused() -> None:
    from indexing.index.backends.faiss_base import check_row_range

    assert check_row_range(np.array([[-1, 3]]), 4).tolist() == [[-1, 3]]
    with pytest.raises(DamagedFileError, match="the index gives row 4 of 4"):
        check_row_range(np.array([[0, 4]]), 4)
    with pytest.raises(DamagedFileError, match="the index gives row"):
        check_row_range(np.array([[0, -2]]), 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_without_a_score_is_refused(value: float) -> None:
    rows = np.array([[0, 1], [2, -1]])
    check_scores(np.array([[1, 0], [1, -np.inf]], np.float32), rows)
    with pytest.raises(DamagedFileError, match="scores of query 1 are not finite"):
        check_scores(np.array([[1, 0], [value, -np.inf]], np.float32), rows)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale": np.zeros(3, np.float32)}, "deviation of the head is not above 0"),
        ({"scale": -np.ones(3, np.float32)}, "deviation of the head is not above 0"),
        ({"b1": np.ones(5, np.float32)}, "b1 of the head has shape"),
    ],
)
def test_a_network_that_cannot_score_is_refused(change: dict[str, Any], reason: str) -> None:
    three, two = np.ones(3, np.float32), np.ones(2, np.float32)
    sound = NeuralHead(three, three, three, np.ones((3, 2), np.float32), two, two).tensors()
    assert NeuralHead.read(sound).width == 3
    with pytest.raises(ValueError, match=reason):
        NeuralHead.read(sound | change)
