"""Pipes, devices and files beyond any limit, wherever a user may name one: refused before anything is read."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import CommonspaceError
from indexing.exchange.array_files import read_array, read_parquet
from indexing.media.audio import AudioLimits, UnusableAudio, read_sound
from indexing.media.decode import Task, Unusable
from indexing.media.files import Kind, no_file
from indexing.media.images import ImageLimits, UnusableImage, read_picture
from indexing.media.pool import DecodePool
from indexing.media.video import UnusableVideo, frames_of
from retrieval.batch import ParquetFiles
from retrieval.batch.in_memory import read_candidates
from retrieval.cli.runs.evaluation_queries import answer_texts
from retrieval.evaluation.results_file import load
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.postprocess.rules.from_json import Rules
from retrieval.retriever.queries.media import open_pictures

PIPE = "cannot be read: it is a pipe; give a regular file"
TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "catalogue csv": (Catalogue.open, "csv"),
    "catalogue jsonl": (Catalogue.open, "jsonl"),
    "catalogue parquet": (Catalogue.open, "parquet"),
    "log csv": (Interactions.open, "csv"),
    "log inter": (Interactions.open, "inter"),
    "log parquet": (Interactions.open, "parquet"),
    "profiles csv": (Profiles.open, "csv"),
    "profiles parquet": (Profiles.open, "parquet"),
    "candidates csv": (read_candidates, "csv"),
    "candidates jsonl": (read_candidates, "jsonl"),
    "candidates parquet": (read_candidates, "parquet"),
    "users": (ParquetFiles, "parquet"),
    "rules": (Rules.from_json, "json"),
    "saved evaluation": (load, "json"),
    "array": (read_array, "npy"),
    "metadata": (read_parquet, "parquet"),
    "queries": (lambda path: answer_texts(None, path, 5), "parquet"),  # type: ignore[arg-type]
}


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    """End a test that waits for what never comes."""

    def end(*_: object) -> None:
        raise TimeoutError("still waiting after a minute")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes into: whoever opens it waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("what", TABLES)
def test_a_pipe_is_refused_wherever_a_table_is_named(what: str, tmp_path: Path) -> None:
    read, suffix = TABLES[what]
    os.mkfifo(path := tmp_path / f"pipe.{suffix}")
    with pytest.raises(CommonspaceError, match=rf"pipe\.{suffix} {PIPE}"):
        read(path)


def test_a_pipe_in_a_folder_of_tables_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "part-0.parquet")
    for read in (ParquetFiles, Catalogue.from_parquet):
        with pytest.raises(CommonspaceError, match=rf"part-0\.parquet {PIPE}"):
            read(tmp_path)


def test_what_a_medium_is_read_from_must_be_a_file_of_its_size(pipe: Path, tmp_path: Path) -> None:
    readers = (
        (lambda path: read_picture(path, ImageLimits()), UnusableImage),
        (lambda path: read_sound(path, AudioLimits()), UnusableAudio),
        (frames_of, UnusableVideo),
    )
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 10**11)  # sparse: it takes no room on the disk
    for read, unusable in readers:
        for path, message in (
            (pipe, "cannot be read: it is a pipe; give a regular file: .*pipe$"),
            (Path("/dev/zero"), "cannot be read: it is a device; give a regular file: /dev/zero"),
            (tmp_path, "cannot be read: it is a folder; give a regular file: "),
            (tmp_path / "huge", "file of 100000000000 bytes is over the limit of "),
            (Path("a\0b"), "cannot be read: embedded null byte"),
        ):
            with pytest.raises(unusable, match=message):
                read(path)


def test_a_query_picture_that_is_a_pipe_or_a_device_is_named(pipe: Path) -> None:
    encoder = load_encoder("pocket")
    for given in (pipe, str(pipe), "/dev/zero"):
        kind = "device" if given == "/dev/zero" else "pipe"
        with pytest.raises(CommonspaceError, match=f"^query picture 0: image .*is a {kind}; give a regular .*{given}$"):
            open_pictures([given], encoder)
    with pytest.raises(CommonspaceError, match=r"query picture 0: .*embedded null byte"):
        open_pictures([Path("a\0b")], encoder)


def test_the_pool_reads_nothing_but_files_within_the_limit(pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "five").write_bytes(b"12345")
    reasons = {
        pipe: "image file cannot be read: it is a pipe; give a regular file",
        tmp_path / "five": "image file of 5 bytes is over the limit of 4",
        tmp_path / "gone": "image file is missing",
    }
    with DecodePool(Task(pictures=ImageLimits(file_bytes=4)), 0) as pool:
        for path, reason in reasons.items():
            assert pool.submit(Kind.IMAGE, path).result() == Unusable(reason)


def test_a_limit_is_reported_with_the_size(tmp_path: Path) -> None:
    (tmp_path / "five").write_bytes(b"12345")
    assert no_file(tmp_path / "five", 4) == f"{tmp_path / 'five'} of 5 bytes is over the limit of 4"
    assert no_file(tmp_path / "five", 5) is None
    assert no_file(tmp_path) is None
