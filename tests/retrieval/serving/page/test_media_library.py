"""Pictures and sounds of the catalogue: kept within bounds, and told by their first bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.errors import UnknownItemError
from retrieval.serving import Limits
from retrieval.serving.insight import media
from retrieval.serving.insight.media import MediaLibrary
from tests.toy import toy_file

MP3_STARTS = [b"ID3", *(bytes([0xFF, second]) for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2))]
SOUNDS = {
    "wav": (b"RIFF....WAVE", "audio/wav"),
    "flac": (b"fLaC", "audio/flac"),
    "ogg": (b"OggS", "audio/ogg"),
    **{f"mp3-{place}": (start, "audio/mpeg") for place, start in enumerate(MP3_STARTS)},
}
NO_SOUNDS = {"film": b"RIFF....AVI ", "page": b"<html>"}


def test_a_sound_has_the_type_of_its_first_bytes(tmp_path: Path) -> None:
    files = {name: start + bytes(9) for name, (start, _) in SOUNDS.items()} | NO_SOUNDS
    table = pa.table({"item_id": list(files), "title": list(files), "audio": list(files.values())})
    pq.write_table(table, tmp_path / "items.parquet")
    library = MediaLibrary(tmp_path / "items.parquet", Limits())
    for name, (_, kind) in SOUNDS.items():
        assert library.sound(name) == (files[name], kind)
    for name in NO_SOUNDS:
        with pytest.raises(UnknownItemError, match="of no type that browsers play"):
            library.sound(name)


def test_a_picture_that_two_threads_make_at_once_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, made = MediaLibrary(toy_file(tmp_path), Limits()), list[str]()

    def picture(item: str, between: str | None = None) -> None:
        def thumbnail(*_: object) -> bytes:
            if between is not None:
                picture(between)
            made.append(item)
            return item.encode().ljust(100)

        with monkeypatch.context() as patched:
            patched.setattr(media, "thumbnail", thumbnail)
            assert library.picture(item, 160).strip() == item.encode()

    monkeypatch.setattr(media, "CACHED_BYTES", 250)  # two pictures
    picture("red-mug", between="red-mug")  # while one thread makes it, another does
    picture("blue-mug")
    picture("red-mug")
    assert made == ["red-mug", "red-mug", "blue-mug"]
    picture("green-mug")  # blue-mug has not been asked for as long
    picture("red-mug")
    assert made[3:] == ["green-mug"]
