"""A build, compaction or repair of a bundle in shards that fails or loses power anywhere leaves the old or the new."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.index import IndexConfig
from indexing.store.encode import EncodeConfig
from retrieval.retriever.learned_parts import compact, repair
from retrieval.retriever.retriever import Retriever
from tests.faults import FaultyDisk
from tests.power import Mode
from tests.toy import ToyEncoder

COUNT, EVERY = 100, 7
# Three shards of at most 40 rows, once so few are allowed.
CONFIG = IndexConfig(kind="sharded", max_memory=3600, sample=20)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.index.backends.build_sharded.MIN_ROWS", 12)
    monkeypatch.setattr("indexing.index.backends.build_sharded.SAMPLE_SHARE", 1)


def builds(root: Path, count: int = 80) -> None:
    path = root.parent / "items.parquet"
    titles = [f"word{row} word{row % 7}" for row in range(count)]
    pq.write_table(pa.table({"item_id": [f"i{row}" for row in range(count)], "title": titles}), path)
    encode = EncodeConfig(64, workers=0)
    build_bundle(Catalogue.from_parquet(path), ToyEncoder(), root, index=CONFIG, encode=encode)


def compacts(root: Path) -> None:
    compact(root)


def repairs(root: Path) -> None:
    repair(root)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("old") / "bundle"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("indexing.index.backends.build_sharded.MIN_ROWS", 12)
        monkeypatch.setattr("indexing.index.backends.build_sharded.SAMPLE_SHARE", 1)
        builds(root, COUNT)
    delete(root, [f"i{row}" for row in range(42)])
    return root


def state(root: Path) -> tuple[int, int, int]:
    """Shards of the generation in force, its rows, and how many items live, once all has been checked."""
    assert not [problem for problem in verify(root) if problem.serving]
    retriever = Retriever.load(root, ToyEncoder())
    (line,) = retriever.search_texts(["word3"], 200)
    living = {item_id for item_id, is_live in zip(retriever.items, retriever.bundle.is_live, strict=True) if is_live}
    assert {hit.item_id for hit in line} == living
    names = [record.name for record in retriever.bundle.manifest.files if record.name.startswith("index.bin.")]
    return len(names), len(retriever.bundle.index), len(living)


@pytest.mark.parametrize("mode", ["error", "stop", "power"])
@pytest.mark.parametrize(
    ("change", "after"), [(builds, (2, 80, 80)), (compacts, (2, 58, 58))], ids=["build", "compact"]
)
def test_old_or_new(
    change: Callable[[Path], None], after: tuple[int, int, int], mode: Mode, old: Path, tmp_path: Path
) -> None:
    before = (3, COUNT, COUNT - 42)
    fail_at, failed, seen = 0, True, set()
    while failed:
        fail_at += EVERY
        shutil.copytree(old, root := tmp_path / f"{fail_at}" / "bundle")
        done = False
        with FaultyDisk(root.parent, fail_at, mode) as disk, suppress(OSError):
            change(root)
            done = True
        failed = disk.failed
        found = state(root)
        assert found == after or (found == before and not done)
        seen.add(found)
        if fail_at % 21 == 0:  # what was left behind is in nobody's way
            change(root)
            assert state(root) == after
        shutil.rmtree(root.parent)
    assert seen == {before, after}


@pytest.mark.parametrize("mode", ["stop", "power"])
def test_a_repair_that_is_cut_off_is_done_by_the_next(mode: Mode, old: Path, tmp_path: Path) -> None:
    fail_at, failed = 0, True
    while failed:
        fail_at += 2 * EVERY - 1
        shutil.copytree(old, root := tmp_path / f"{fail_at}" / "bundle")
        (Bundle.open(root).folder / "index.bin.0001").write_bytes(b"damage")
        with FaultyDisk(root.parent, fail_at, mode) as disk, suppress(OSError):
            repair(root)
        failed = disk.failed
        repair(root)
        assert state(root) == (3, COUNT, COUNT - 42)
        compact(root)
        assert state(root) == (2, COUNT - 42, COUNT - 42)
        assert not [path for path in root.iterdir() if path.name.startswith(("unfinished", "compacting", "work"))]
