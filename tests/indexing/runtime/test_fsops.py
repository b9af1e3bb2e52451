"""Files appear whole or not at all, and only one process writes."""

import hashlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from indexing.errors import BundleLockedError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock


def test_a_stream_is_hashed_while_it_is_written(tmp_path: Path) -> None:
    pieces: list[bytes | memoryview] = [b"one", b"", b"two", memoryview(b"three")]

    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        for piece in pieces:
            write(piece)

    digest = fsops.write_stream(tmp_path / "file", produce)
    assert (tmp_path / "file").read_bytes() == b"onetwothree"
    assert digest == hashlib.sha256(b"onetwothree").hexdigest() == fsops.sha256(tmp_path / "file")


def test_append_and_truncate(tmp_path: Path) -> None:
    fsops.append(tmp_path / "log", b"one")
    fsops.append(tmp_path / "log", b"two")
    assert (tmp_path / "log").read_bytes() == b"onetwo"
    fsops.truncate(tmp_path / "log", 4)
    fsops.append(tmp_path / "log", b"!")
    assert (tmp_path / "log").read_bytes() == b"onet!"
    with pytest.raises(FileNotFoundError):
        fsops.truncate(tmp_path / "none", 0)


def test_remove_takes_files_folders_and_what_is_not_there(tmp_path: Path) -> None:
    fsops.make_folder(tmp_path / "a" / "b")
    fsops.write_bytes(tmp_path / "a" / "b" / "file", b"x")
    fsops.write_bytes(tmp_path / "file", b"x")
    for path in (tmp_path / "a", tmp_path / "file", tmp_path / "none"):
        fsops.remove(path)
    assert list(tmp_path.iterdir()) == []


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
        with write_lock(folder):
            answers.put("wrote")
    except BundleLockedError as error:
        answers.put(str(error))


def test_a_second_writer_is_refused_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    with write_lock(tmp_path):
        process = spawn.Process(target=try_to_write, args=(tmp_path, answers))
        process.start()
        assert "another process is writing to" in answers.get(timeout=60)
        process.join()
    process = spawn.Process(target=try_to_write, args=(tmp_path, answers))
    process.start()
    assert answers.get(timeout=60) == "wrote"
    process.join()
