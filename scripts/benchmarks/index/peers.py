"""Other people's indexes behind one small interface: build, set the effort, search."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import faiss
import numpy as np

from indexing.arrays import Rows, Vectors

K, M = 10, 16
QUERIES_AT_ONCE = 64  # more in one call of LanceDB are no faster
AUTOFAISS = Path(__file__).parent / "autofaiss_alone.py"
Search = Callable[[Vectors], Rows]


class Built(NamedTuple):
    """An index: how to set its effort, how to search, its bytes, the time to build it, and further information."""

    set_effort: Callable[[int], None]
    search: Search
    size: int
    seconds: float
    note: str = ""


def faiss_hnsw(items: Vectors, threads: int) -> Built:  # noqa: ARG001 - the threads are FAISS's own setting
    """FAISS's graph with the settings that it comes with."""
    started = perf_counter()
    index = faiss.IndexHNSWFlat(items.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.add(items)
    return _of_faiss(index, perf_counter() - started, f"HNSW{M}")


def hnswlib(items: Vectors, threads: int) -> Built:
    """The graph of hnswlib."""
    import hnswlib as library

    started = perf_counter()
    index = library.Index("ip", items.shape[1])
    index.init_index(len(items), ef_construction=200, M=M, random_seed=0)
    index.set_num_threads(threads)
    index.add_items(items)
    seconds = perf_counter() - started

    def search(queries: Vectors) -> Rows:
        return np.asarray(index.knn_query(queries, K)[0], np.int64)

    return Built(index.set_ef, search, index.index_file_size(), seconds)


def usearch(items: Vectors, threads: int) -> Built:
    """The graph of usearch, over half-precision numbers."""
    from usearch.index import Index

    started = perf_counter()
    index = Index(ndim=items.shape[1], metric="ip", dtype="bf16", connectivity=M)
    index.add(np.arange(len(items)), items, threads=threads)
    seconds = perf_counter() - started

    def set_effort(effort: int) -> None:
        index.expansion_search = effort

    def search(queries: Vectors) -> Rows:
        return np.asarray(index.search(queries, K, threads=threads).keys, np.int64)

    return Built(set_effort, search, index.serialized_length, seconds)


def lancedb(items: Vectors, threads: int, codes: str) -> Built:
    """A table of LanceDB with the settings that it comes with: so many of the best codes are scored on the vectors."""
    os.environ.setdefault("LANCE_CPU_THREADS", str(threads))  # read once, by the first that uses it
    import lancedb as library
    import pyarrow as pa

    configs = {"IvfPq": {}, "IvfRq": {}, "HnswSq": {"m": M}}
    folder = tempfile.TemporaryDirectory()
    started = perf_counter()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(items.ravel()), items.shape[1])
    rows = pa.table({"row": np.arange(len(items)), "vector": vectors})
    table = library.connect(folder.name).create_table("items", rows)
    table.create_index("vector", config=getattr(library.index, codes)(distance_type="dot", **configs[codes]))
    seconds = perf_counter() - started
    size = sum(file.stat().st_size for file in Path(folder.name).rglob("*") if file.is_file())
    state = {"refine": 1}

    def set_effort(effort: int) -> None:
        state["refine"] = max(1, -(-effort // K))

    def search(queries: Vectors) -> Rows:
        found = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            question = table.search(queries[start : start + QUERIES_AT_ONCE]).distance_type("dot").limit(K)
            question = question.refine_factor(state["refine"])
            if codes == "HnswSq":
                question = question.ef(K * state["refine"])
            found.append(question.select(["row", "_distance"]).to_arrow().column("row").to_numpy().reshape(-1, K))
        _ = folder.name  # the folder is removed with the last that searches it
        return np.concatenate(found)

    return Built(set_effort, search, size, seconds)


def autofaiss(python: Path, items: Vectors, threads: int) -> Built:
    """What autofaiss builds in an environment of its own: it needs NumPy 1, this project NumPy 2."""
    with tempfile.TemporaryDirectory() as folder:
        vectors, file = Path(folder, "items.npy"), Path(folder, "knn.index")
        np.save(vectors, items)
        started = perf_counter()
        command = [str(python), str(AUTOFAISS), str(vectors), str(file), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"autofaiss failed: {done.stderr[-500:]}")
        index = faiss.read_index(str(file))
    return _of_faiss(index, seconds, done.stdout.strip().splitlines()[-1])


def _of_faiss(index: Any, seconds: float, note: str) -> Built:  # noqa: ANN401 - FAISS ships no types
    space = faiss.ParameterSpace()
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    name = "efSearch" if isinstance(inner, faiss.IndexHNSW) else "nprobe"

    def set_effort(effort: int) -> None:
        space.set_index_parameter(index, name, effort)

    size = len(faiss.serialize_index(index))
    return Built(set_effort, lambda queries: index.search(queries, K)[1], size, seconds, note)


def peers(python: Path | None) -> dict[str, Callable[[Vectors, int], Built]]:
    """Give those that can be built; autofaiss when the interpreter of its environment is named."""
    found: dict[str, Callable[[Vectors, int], Built]] = {
        "FAISS HNSW": faiss_hnsw,
        "hnswlib": hnswlib,
        "usearch": usearch,
        **{f"LanceDB {codes}": partial(lancedb, codes=codes) for codes in ("IvfPq", "IvfRq", "HnswSq")},
    }
    if python is None:
        print("autofaiss is left out: name the interpreter of its environment with --autofaiss", file=sys.stderr)
    else:
        found["autofaiss"] = lambda items, threads: autofaiss(python, items, threads)
    return found
