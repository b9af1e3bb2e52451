"""After a search a forked process says at once what it cannot do; one that is spawned, or forked before, can."""

import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing, sys
import numpy as np
import faiss
faiss.omp_set_num_threads(2)
from indexing import load_encoder
from indexing.errors import ForkedProcessError
from indexing.index.backends.faiss import FaissIndex

what, when = sys.argv[1:]

def built():
    return FaissIndex.hnsw(np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32))

def search(_):
    try:
        if what == "index":
            return len((index or built()).search(np.ones((64, 16), np.float32), np.int64(3))[1])
        if what == "load":
            return len(load_encoder("pocket").encode_texts(["a mug"]))
        return len(encoder.encode_texts(["a mug"]))
    except ForkedProcessError as error:
        return str(error)

if what != "index":
    import torch
    torch.set_num_threads(2)
    encoder = load_encoder("pocket") if when == "after" or what == "encode" else None
index = built() if what == "index" and when == "after" else None
if what != "index" and when == "after":
    encoder.encode_texts(["a mug"] * 9)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(search, range(2)).get(60))
"""


def forked(what: str, when: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, what, when],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="forks by default are those of Linux")
@pytest.mark.parametrize("what", ["index", "encode", "load"])
def test_a_process_that_is_forked_after_computing_is_refused_at_once(what: str) -> None:
    assert "start it by spawn or forkserver" in forked(what, "after")


@pytest.mark.skipif(sys.platform != "linux", reason="forks by default are those of Linux")
def test_a_process_that_is_forked_before_computing_computes() -> None:
    assert forked("index", "before").strip() == "[64, 64]"
