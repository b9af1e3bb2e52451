"""FAISS files are written through fsops, hashed on the way, and opened without being loaded."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import faiss
import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.errors import DamagedFileError
from indexing.filesystem import fsops
from indexing.index import FlatIndex, VectorIndex, load_index
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.faiss_base import faiss_bytes, read_faiss, write_faiss
from indexing.index.backends.ivf import IvfIndex
from tests.faults import FaultyDisk
from tests.indexing.index.test_ivf import clustered


def saved(kind: str, path: Path, count: int = 4000, dim: int = 64) -> VectorIndex:
    vectors = clustered(count, 1, dim)
    make: dict[str, Callable[[Vectors], VectorIndex]] = {
        "flat": FlatIndex,
        "faiss-flat": FaissIndex.flat,
        "faiss-hnsw": FaissIndex.hnsw,
        "faiss-ivf": IvfIndex.build,
    }
    index = make[kind](vectors)
    assert index.save(path) == fsops.sha256(path)
    return index


KINDS = ["flat", "faiss-flat", "faiss-hnsw", "faiss-ivf"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mapped_index_answers_the_same_also_when_its_file_is_replaced_and_removed(kind: str, tmp_path: Path) -> None:
    built = saved(kind, tmp_path / "index.bin")
    opened = load_index(tmp_path / "index.bin", kind)
    assert str(tmp_path / "index.bin") in Path("/proc/self/maps").read_text()
    saved(kind, tmp_path / "index.bin", count=3000)
    (tmp_path / "index.bin").unlink()
    queries = clustered(30, 2, 64)
    allow = np.arange(4000) % 3 > 0
    for mask in None, allow:
        for ours, theirs in zip(opened.search(queries, 10, mask), built.search(queries, 10, mask), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    del opened
    assert str(tmp_path / "index.bin") not in Path("/proc/self/maps").read_text()  # nothing is left behind


OPENING = """
import re, sys
from pathlib import Path
from indexing.index.backends.faiss_base import read_faiss

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before = anonymous()
index = read_faiss(Path(sys.argv[1]), mapped=sys.argv[2] == "mapped")
print(anonymous() - before)
"""


def test_opening_takes_no_memory(tmp_path: Path) -> None:
    """In processes of their own: here, what is allocated may be what was freed before."""
    size = 40_000 * 256 * 4
    vectors = np.random.default_rng(0).normal(size=(40_000, 256)).astype(np.float32)
    FaissIndex.flat(vectors).save(tmp_path / "index.bin")

    def taken(how: str) -> int:
        command = [sys.executable, "-c", OPENING, str(tmp_path / "index.bin"), how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert taken("mapped") < size / 10
    assert taken("read") > size / 2
    mapped = FaissIndex.load(tmp_path / "index.bin")
    np.testing.assert_array_equal(mapped.vectors[:50], vectors[:50])


def test_the_file_is_what_faiss_itself_writes(tmp_path: Path) -> None:
    index = faiss.IndexFlatIP(8)
    index.add(clustered(100, 1, 8))
    digest = write_faiss(index, tmp_path / "ours")
    faiss.write_index(index, str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes() == faiss_bytes(index)
    assert digest == fsops.sha256(tmp_path / "theirs")


def test_a_full_disk_is_an_error_and_leaves_the_old_index(tmp_path: Path) -> None:
    saved("faiss-hnsw", tmp_path / "index.bin")
    before = (tmp_path / "index.bin").read_bytes()
    larger = FaissIndex.flat(clustered(9000, 3, 64))
    after = larger.to_bytes()
    fail_at, failed, found = 0, True, [before]
    while failed:
        fail_at += 1
        with FaultyDisk(tmp_path, fail_at) as disk, suppress(OSError):
            larger.save(tmp_path / "index.bin")
        failed = disk.failed
        assert os.listdir(tmp_path) == ["index.bin"]
        found.append((tmp_path / "index.bin").read_bytes())
    assert len(found) > 6
    # The last to fail is the flushing of the folder, when the new file is there; then nothing fails.
    assert found == [before] * (len(found) - 2) + [after] * 2


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_is_cut_short_is_refused(kind: str, mapped: bool, tmp_path: Path) -> None:
    saved(kind, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "cut").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DamagedFileError, match="cut is not a FAISS index"):
            read_faiss(tmp_path / "cut", mapped=mapped)
    with pytest.raises(DamagedFileError, match="is not a FAISS index"):
        read_faiss(tmp_path / "nothing", mapped=mapped)


def test_flat_files_that_are_damaged_are_refused(tmp_path: Path) -> None:
    saved("flat", tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-4])
    with pytest.raises(DamagedFileError, match="cut cannot be read as vectors"):
        FlatIndex.load(tmp_path / "cut")
    (tmp_path / "other").write_bytes(whole.replace(b'"vectors"', b'"matrix0"'))
    with pytest.raises(DamagedFileError, match="other"):
        FlatIndex.load(tmp_path / "other")
