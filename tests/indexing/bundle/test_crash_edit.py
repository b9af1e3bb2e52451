"""A change, compaction or rollback that fails, is killed or loses power anywhere leaves the old state or the new.

What a call has acknowledged by returning is there afterwards, whatever happens next.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.store.encode import EncodeConfig
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from tests.faults import FaultyDisk
from tests.power import Mode
from tests.toy import ToyEncoder, toy_table

MODES: tuple[Mode, ...] = ("error", "stop", "power", "some")
ENCODE = EncodeConfig(4, workers=0)


def catalogue(folder: Path, *titles: str) -> Catalogue:
    path = folder / f"{'-'.join(titles)}.parquet"
    pq.write_table(pa.table({"item_id": [title.replace(" ", "-") for title in titles], "title": list(titles)}), path)
    return Catalogue.from_parquet(path)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generations, and changes that the present one does not contain."""
    folder = tmp_path_factory.mktemp("old")
    pq.write_table(toy_table().slice(0, 5).drop_columns(["tags"]), folder / "items.parquet")
    root = folder / "bundle"
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), ToyEncoder(), root, encode=ENCODE)
    add(root, catalogue(folder, "red kite"), ToyEncoder(), encode=ENCODE)
    compact(root)
    add(root, catalogue(folder, "blue kite", "green kite"), ToyEncoder(), encode=ENCODE)
    delete(root, ["red-mug"])
    return root


def adds(root: Path, sources: Path) -> None:
    add(root, catalogue(sources, "white kite", "white hat"), ToyEncoder(), encode=ENCODE)


def upserts(root: Path, sources: Path) -> None:
    upsert(root, catalogue(sources, "red hat", "blue kite"), ToyEncoder(), encode=ENCODE)


def deletes(root: Path, sources: Path) -> None:
    delete(root, ["blue-kite", "white-mug"])


def compacts(root: Path, sources: Path) -> None:
    compact(root)


def rolls_back(root: Path, sources: Path) -> None:
    rollback(root)


def answers(root: Path) -> tuple[int, list[tuple[str, ...]]]:
    """How many batches the generation in force lacks, and every answer, once all has been checked."""
    assert not [problem for problem in verify(root) if problem.serving]
    retriever = Retriever.load(root, ToyEncoder())
    found = retriever.search_texts(["kite", "red mug", "blue", "white hat"], 50)
    lines = [tuple(hit.item_id for hit in line) for line in found]
    living = {item_id for item_id, is_live in zip(retriever.items, retriever.bundle.is_live, strict=True) if is_live}
    assert all(set(line) == living for line in lines)
    return len(retriever.bundle.batches), lines


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("change", [adds, upserts, deletes, compacts, rolls_back])
def test_a_failure_at_any_operation_leaves_old_or_new(
    change: Callable[[Path, Path], None], mode: Mode, old: Path, tmp_path: Path
) -> None:
    shutil.copytree(old, whole := tmp_path / "whole")
    before = answers(whole)
    change(whole, tmp_path)
    after = answers(whole)
    assert before != after
    assert (before[1] == after[1]) == (change in (compacts, rolls_back))
    fail_at, failed, seen = 0, True, []
    while failed:
        fail_at += 1
        shutil.copytree(old, root := tmp_path / f"{fail_at}" / "bundle")
        acknowledged = False
        with FaultyDisk(root.parent, fail_at, mode) as disk, suppress(OSError):
            change(root, tmp_path)
            acknowledged = True
        failed = disk.failed
        found = answers(root)
        assert found in (before, after)
        assert found == after or not acknowledged
        seen.append(found == after)
        if fail_at % 7 == 0:  # what was left behind is in nobody's way
            upserts(root, tmp_path)
            compact(root)
            assert "red-hat" in Bundle.open(root).items
            assert not [path for path in root.iterdir() if path.name.startswith(("unfinished", "compacting", "work"))]
        shutil.rmtree(root.parent)
    assert seen[-1]
    if mode != "error":
        assert seen == sorted(seen)


KILLS = int(os.environ.get("COMMONSPACE_KILLS", "12"))

WRITER = """
import sys
from itertools import count
from pathlib import Path
from indexing.bundle.edits.edit import add, delete
from retrieval.retriever.learned_parts import compact
from tests.indexing.bundle.test_crash_edit import ENCODE, catalogue
from tests.toy import ToyEncoder

root, sources, start = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for number in count(start):
    print("+", number, flush=True)
    add(root, catalogue(sources, f"kite {number}"), ToyEncoder(), encode=ENCODE)
    print("=", number, flush=True)
    if number % 3 == 2:
        print("-", number - 1, flush=True)
        delete(root, [f"kite-{number - 1}"])
        print("=", number - 1, flush=True)
    if number % 4 == 3:
        compact(root)
"""


def test_killed_at_random_moments_nothing_acknowledged_is_lost(old: Path, tmp_path: Path) -> None:
    shutil.copytree(old, root := tmp_path / "bundle")
    first = set(Bundle.open(root).items.known(Bundle.open(root).items))
    expected, start = set(first), 0
    moments = np.random.default_rng(0)
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), str(tmp_path), str(start)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        # After so many steps, however long they take, and a moment more.
        lines = [writer.stdout.readline() for _ in range(moments.integers(2, 9))]
        time.sleep(moments.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        unsure, number = "", start
        for line in (line for line in lines if line.strip() and line.endswith("\n")):  # a kill can cut the last
            sign, number = line[0], int(line[2:])
            item = f"kite-{number}"
            if sign == "=":
                expected ^= {unsure}
                unsure = ""
            else:
                unsure, start = item, max(start, number + 1)
        assert not [problem for problem in verify(root) if problem.serving]
        bundle = Bundle.open(root)
        living = {item_id for item_id, is_live in zip(bundle.items, bundle.is_live, strict=True) if is_live}
        assert living in (expected, expected ^ {unsure} if unsure else expected)
        expected = living
    assert len(expected) > len(first) + KILLS / 2
