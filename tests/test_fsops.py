"""Files appear whole or not at all, and only one process writes."""

import multiprocessing
import os
from pathlib import Path

import pytest

from indexing import fsops
from indexing.errors import BundleLockedError


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    fsops.write_bytes(target, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fsops.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_link_or_copy_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(b"content")
    fsops.link_or_copy(tmp_path / "source", tmp_path / "linked")
    assert (tmp_path / "linked").stat().st_ino == (tmp_path / "source").stat().st_ino

    def refuse(*_paths: Path) -> None:
        raise OSError("links are not supported here")

    monkeypatch.setattr(os, "link", refuse)
    fsops.link_or_copy(tmp_path / "source", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"content"


def try_to_write(folder: Path, answers: "multiprocessing.Queue[str]") -> None:
    try:
        with fsops.writing(folder):
            answers.put("wrote")
    except BundleLockedError as error:
        answers.put(str(error))


def test_a_second_writer_is_refused_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    with fsops.writing(tmp_path):
        process = spawn.Process(target=try_to_write, args=(tmp_path, answers))
        process.start()
        assert "another process is writing to" in answers.get(timeout=60)
        process.join()
    process = spawn.Process(target=try_to_write, args=(tmp_path, answers))
    process.start()
    assert answers.get(timeout=60) == "wrote"
    process.join()
