"""Thousands of damaged bundles: each is refused with an error of ours, none opens."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Rows
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.current import COPY
from indexing.bundle.edits.edit import delete, upsert
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import BundleError
from indexing.index import IndexConfig
from tests.toy import ToyEncoder, dearer_file, toy_file

FLIPS, TRUNCATIONS, SWAPS = 1000, 500, 500


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corruption")
    catalogue = Catalogue.from_parquet(toy_file(folder))
    build_bundle(catalogue, ToyEncoder(), folder / "bundle", index=IndexConfig(kind="hnsw", m=4))
    dearer = Catalogue.from_parquet(dearer_file(folder))
    upsert(folder / "bundle", dearer, ToyEncoder())
    delete(folder / "bundle", ["red-mug"])
    other = folder / "other"
    build_bundle(catalogue, ToyEncoder(salt="other"), other)
    upsert(other, dearer, ToyEncoder(salt="other"))
    return folder / "bundle"


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    """All but the copy of CURRENT, which only `repair` reads."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and path.stat().st_size and path.name != COPY]


@pytest.fixture(autouse=True)
def unchanged(root: Path, files: list[Path]) -> Iterator[None]:
    whole = {path: path.read_bytes() for path in files}
    yield
    assert {path: path.read_bytes() for path in files} == whole
    assert len(Bundle.open(root).items) == 40


def refused(root: Path) -> bool:
    try:
        Bundle.open(root)
    except BundleError:
        return True
    return False


def places(sizes: list[int], count: int, seed: int) -> Iterator[tuple[int, int]]:
    """So many files in turn, each with a place inside."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        file = number % len(sizes)
        yield file, int(rng.integers(0, sizes[file]))


def test_flipped_bits_are_refused(root: Path, files: list[Path]) -> None:
    bits: Rows = np.random.default_rng(1).integers(0, 8, FLIPS)
    for (file, place), bit in zip(places([path.stat().st_size for path in files], FLIPS, 2), bits, strict=True):
        whole = files[file].read_bytes()
        files[file].write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(bit)]) + whole[place + 1 :])
        accepted = not refused(root)
        files[file].write_bytes(whole)
        assert not accepted, (files[file], place, bit)


def test_truncated_files_are_refused(root: Path, files: list[Path]) -> None:
    for file, place in places([path.stat().st_size for path in files], TRUNCATIONS, 3):
        whole = files[file].read_bytes()
        files[file].write_bytes(whole[:place])
        accepted = not refused(root)
        files[file].write_bytes(whole)
        assert not accepted, (files[file], place)


def test_swapped_files_are_refused(root: Path, files: list[Path]) -> None:
    foreign = [path for path in sorted((root.parent / "other").rglob("*")) if path.is_file() and path.stat().st_size]
    rng = np.random.default_rng(4)
    for number in range(SWAPS):
        file = files[number % len(files)]
        others = [path for path in (*files, *foreign) if path.read_bytes() != file.read_bytes()]
        other = others[int(rng.integers(0, len(others)))]
        whole = file.read_bytes()
        shutil.copyfile(other, file)
        accepted = not refused(root)
        file.write_bytes(whole)
        assert not accepted, (file, other)
