"""Inverted lists that are built on a GPU, which a stub of FAISS plays: what is asked of it, and what is built."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import DeviceError, InputError
from indexing.index import IndexConfig, build_index
from indexing.index.backends.build_sharded import build_sharded
from indexing.index.backends.gpu_lists import ListFiller
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import shard_path
from tests.toy import ToyEncoder

DIM, COUNT = 16, 12_000


class Gpu:
    """A stub of FAISS's part for GPUs: a copy on the processor, and the calls in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Any] = []
        self.copies: list[Any] = []
        monkeypatch.setattr(faiss, "StandardGpuResources", self._resources, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu", self._to_gpu, raising=False)
        monkeypatch.setattr(faiss, "index_gpu_to_cpu", self._to_cpu, raising=False)
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)

    def _resources(self) -> str:
        self.calls.append("resources")
        return "resources"

    def _to_gpu(self, resources: str, number: int, index: Any) -> Any:  # noqa: ANN401
        assert resources == "resources"
        self.calls.append(("to gpu", number, type(index).__name__, index.ntotal))
        self.copies.append(faiss.clone_index(index))
        return self.copies[-1]

    def _to_cpu(self, index: Any) -> Any:  # noqa: ANN401
        assert any(index is copy for copy in self.copies)
        self.calls.append(("to cpu", index.ntotal))
        return faiss.clone_index(index)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)


def same_answers(one: Any, other: Any, vectors: Vectors) -> None:  # noqa: ANN401
    for found, expected in zip(one.search(3 * vectors[:50], 10), other.search(3 * vectors[:50], 10), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("codec", "refine"), [("pq4", "fp16"), ("sq8", None)])
def test_the_index_is_the_one_of_the_processor(gpu: Gpu, vectors: Vectors, codec: Any, refine: Any) -> None:  # noqa: ANN401
    there = IvfIndex.build(vectors, codec=codec, refine=refine, device="cuda:1")
    here = IvfIndex.build(vectors, codec=codec, refine=refine)
    lists = here.lists
    assert gpu.calls == ["resources", ("to gpu", 1, "IndexFlatIP", 0), ("to cpu", lists)]
    same_answers(there, here, vectors)
    assert there.to_bytes() == here.to_bytes()
    gpu.copies.clear()  # what was on the GPU is freed: nothing of it is searched
    same_answers(there, here, vectors)


@pytest.mark.parametrize("on_disk", [False, True])
def test_shards_are_filled_on_it(gpu: Gpu, vectors: Vectors, tmp_path: Path, on_disk: bool) -> None:
    def blocks() -> list[Vectors]:
        return [vectors[:5_000], vectors[5_000:]]

    memory = 520_000
    there = build_sharded(blocks, tmp_path / "there", max_memory=memory, on_disk=on_disk, device="cuda")
    here = build_sharded(blocks, tmp_path / "here", max_memory=memory, on_disk=on_disk)
    shards, lists = len(here.shards), IvfIndex.load(shard_path(tmp_path / "here", 0)).lists
    assert shards > 1
    trained = ["resources", ("to gpu", 0, "IndexFlatIP", 0), ("to cpu", lists)]
    assert gpu.calls == trained + shards * ["resources", ("to gpu", 0, "IndexFlatIP", lists)]
    gpu.copies.clear()
    same_answers(there, here, vectors)


def test_centres_come_back_when_training_fails(gpu: Gpu) -> None:
    coarse = faiss.IndexFlatIP(DIM)
    codes = faiss.IndexIVFPQFastScan(coarse, DIM, 64, DIM // 2, 4, faiss.METRIC_INNER_PRODUCT)
    with pytest.raises(RuntimeError, match="Number of training points"):
        ListFiller(codes, "cuda").train(np.ones((10, DIM), np.float32))
    assert gpu.calls[-1] != ("to cpu", 64)
    gpu.copies.clear()
    assert codes.quantizer.ntotal == 0


def test_an_index_is_built_on_it(gpu: Gpu, vectors: Vectors) -> None:
    config, queries = IndexConfig(kind="ivf", min_recall=0.5), {"item": vectors[:20]}
    index, report = build_index(vectors, config, queries, device="cuda")
    assert gpu.calls[:2] == ["resources", ("to gpu", 0, "IndexFlatIP", 0)]
    assert report.target_met
    other, of_processor = build_index(vectors, config, queries)
    assert report.recall == of_processor.recall
    same_answers(index, other, vectors)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "lancedb"])
def test_kinds_without_lists_refuse_a_gpu(kind: Any, vectors: Vectors, gpu: Gpu) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=f"device 'cuda' is for kinds auto, best, ivf, sharded, not '{kind}'"):
        build_index(vectors[:100], IndexConfig(kind=kind), {"item": vectors[:5]}, device="cuda")
    assert gpu.calls == []


def test_other_devices_are_refused(vectors: Vectors) -> None:
    with pytest.raises(InputError, match="device is 'gpu'; give 'cpu', 'cuda' or 'cuda:1'"):
        build_index(vectors[:100], IndexConfig(), {"item": vectors[:5]}, device="gpu")


BUILDS: list[Callable[[Vectors, Path], object]] = [
    lambda vectors, _: IvfIndex.build(vectors, device="cuda:2"),
    lambda vectors, path: build_sharded(lambda: [vectors], path, device="cuda:2"),
    lambda vectors, _: build_index(vectors[:100], IndexConfig(), {"item": vectors[:5]}, device="cuda:2"),
]


@pytest.mark.parametrize("build", BUILDS, ids=["lists", "shards", "auto"])
def test_a_gpu_that_faiss_does_not_see_is_an_error(build: Any, vectors: Vectors, tmp_path: Path, gpu: Gpu) -> None:  # noqa: ANN401
    with pytest.raises(DeviceError, match="device='cuda:2' was asked for, but FAISS sees 2 GPUs; give device='cpu'"):
        build(vectors, tmp_path / "index")
    assert gpu.calls == []


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="this FAISS is built for GPUs")
def test_a_faiss_without_gpus_is_named_before_anything_is_encoded(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,text\nmug,a red mug\n")
    items = Catalogue.open(tmp_path / "items.csv")
    with pytest.raises(
        DeviceError, match=r"this FAISS is built for processors alone: install faiss-gpu-cuvs"
    ) as caught:
        build_bundle(items, ToyEncoder(), tmp_path / "b", index_device="cuda")
    assert "give --index-device cpu" in caught.value.for_terminal
    assert not (tmp_path / "b").exists()


def test_a_bundle_is_built_on_it(gpu: Gpu, tmp_path: Path) -> None:
    words = [f"{colour} {number}" for number in range(700) for colour in ("red", "blue", "green")]
    pq.write_table(pa.table({"item_id": words, "text": words}), tmp_path / "items.parquet")
    items, config = Catalogue.from_parquet(tmp_path / "items.parquet"), IndexConfig(kind="ivf", min_recall=0.5)
    bundle = build_bundle(items, ToyEncoder(), tmp_path / "b", index=config, index_device="cuda:1")
    assert gpu.calls[:2] == ["resources", ("to gpu", 1, "IndexFlatIP", 0)]
    assert bundle.index.kind == "faiss-ivf"
    assert bundle.manifest.index_config() == config
