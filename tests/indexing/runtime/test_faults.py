"""The faulty disk notices what a wrong order of operations would lose, and lets the right one pass."""

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from indexing.filesystem import fsops
from tests.faults import FaultyDisk
from tests.power import LOSSES, Mode

ENDINGS: tuple[Mode, ...] = ("error", "stop", *LOSSES)
OLD, NEW = b"the old content", b"new content, which is longer than the old"
Write = Callable[[Path, bytes], None]


def without_flushing(path: Path, data: bytes) -> None:
    descriptor = fsops.disk.create(path.with_suffix(".tmp"))
    fsops.disk.write(descriptor, data)
    fsops.disk.close(descriptor)
    fsops.disk.replace(path.with_suffix(".tmp"), path)
    fsops.disk.fsync_folder(path.parent)


def without_flushing_the_folder(path: Path, data: bytes) -> None:
    descriptor = fsops.disk.create(path.with_suffix(".tmp"))
    fsops.disk.write(descriptor, data)
    fsops.disk.fsync(descriptor)
    fsops.disk.close(descriptor)
    fsops.disk.replace(path.with_suffix(".tmp"), path)


def in_place(path: Path, data: bytes) -> None:
    descriptor = fsops.disk.create(path)
    fsops.disk.write(descriptor, data)
    fsops.disk.fsync(descriptor)
    fsops.disk.close(descriptor)
    fsops.disk.fsync_folder(path.parent)


def streamed(path: Path, data: bytes) -> None:
    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        for start in range(0, len(data), 7):
            write(data[start : start + 7])

    fsops.write_stream(path, produce)


def broken(write: Write, folder: Path, mode: Mode) -> set[str]:
    """What goes wrong when a write over an old file ends at each of its operations, and after all of them."""
    wrong, fail_at, failed = set(), 0, True
    while failed:
        fail_at += 1
        (root := folder / f"{mode}-{fail_at}").mkdir()
        (root / "file").write_bytes(OLD)
        with FaultyDisk(root, fail_at, mode) as disk, suppress(OSError):
            write(root / "file", NEW)
        failed = disk.failed
        found = (root / "file").read_bytes()
        if found not in (OLD, NEW):
            wrong.add("torn")
        elif not failed and found != NEW:
            wrong.add("lost")
        if mode == "error" and [path.name for path in root.iterdir()] != ["file"]:
            wrong.add("litter")
    assert fail_at > 4
    return wrong


@pytest.mark.parametrize("mode", ENDINGS)
@pytest.mark.parametrize("write", [fsops.write_bytes, streamed])
def test_a_file_is_written_whole_whenever_it_ends(write: Write, mode: Mode, tmp_path: Path) -> None:
    assert broken(write, tmp_path, mode) == set()


def test_a_file_that_is_not_flushed_is_caught(tmp_path: Path) -> None:
    assert broken(without_flushing, tmp_path, "names") == {"torn"}
    assert broken(without_flushing, tmp_path, "torn") == {"torn"}
    assert "torn" in broken(without_flushing, tmp_path, "power")


def test_a_folder_that_is_not_flushed_is_caught(tmp_path: Path) -> None:
    assert broken(without_flushing_the_folder, tmp_path, "power") == {"lost"}
    assert broken(without_flushing_the_folder, tmp_path, "names") == set()


def test_writing_in_place_is_caught_even_by_a_kill(tmp_path: Path) -> None:
    assert "torn" in broken(in_place, tmp_path, "stop")
    assert "torn" in broken(in_place, tmp_path, "error")


@pytest.mark.parametrize("mode", ENDINGS)
def test_what_append_acknowledged_is_never_lost(mode: Mode, tmp_path: Path) -> None:
    pieces = [bytes([65 + n]) * (n + 2) for n in range(4)]
    fail_at, failed = 0, True
    while failed:
        fail_at += 1
        (root := tmp_path / f"{fail_at}").mkdir()
        acknowledged = b""
        with FaultyDisk(root, fail_at, mode) as disk, suppress(OSError):
            fsops.make_folder(root / "log")
            for piece in pieces:
                fsops.append(root / "log" / "file", piece)
                acknowledged += piece
        failed = disk.failed
        log = root / "log" / "file"
        found = log.read_bytes() if log.exists() else b""
        assert found.startswith(acknowledged)
        assert b"".join(pieces).startswith(found)
        if mode == "error":
            assert found == acknowledged  # a failed append is cut away again
    assert found == b"".join(pieces)
    assert fail_at > 12


@pytest.mark.parametrize("mode", LOSSES)
def test_folders_that_were_made_renamed_and_linked_are_durable(mode: Mode, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(OLD)
    with FaultyDisk(tmp_path, mode=mode):
        fsops.make_folder(tmp_path / "a" / "b" / "c")
        fsops.write_bytes(tmp_path / "a" / "b" / "c" / "file", NEW)
        fsops.link_or_copy(tmp_path / "old", tmp_path / "a" / "linked")
        fsops.make_folder(tmp_path / "elsewhere")
        fsops.rename_folder(tmp_path / "a" / "b", tmp_path / "elsewhere" / "b")
        fsops.truncate(tmp_path / "old", 3)
    assert (tmp_path / "elsewhere" / "b" / "c" / "file").read_bytes() == NEW
    assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "linked").read_bytes() == (tmp_path / "old").read_bytes() == OLD[:3]
    assert (tmp_path / "a" / "linked").samefile(tmp_path / "old")


def test_unflushed_names_and_removals_come_back(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(OLD)
    with FaultyDisk(tmp_path, mode="power"):
        fsops.disk.mkdir(tmp_path / "folder")
        fsops.disk.unlink(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    with FaultyDisk(tmp_path, mode="names"):
        fsops.disk.mkdir(tmp_path / "folder")
        fsops.disk.unlink(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def killed_at_its_third_operation(folder: Path) -> None:
    with FaultyDisk(folder, 3, "kill"):
        fsops.write_bytes(folder / "file", NEW)


def test_a_kill_is_a_kill(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    process = multiprocessing.get_context("spawn").Process(target=killed_at_its_third_operation, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert (tmp_path / "file").read_bytes() == OLD
    assert (tmp_path / "file.tmp").read_bytes() == NEW
