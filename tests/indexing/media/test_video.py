"""Films: the right frames at the right times, and no file, however odd, does more than be refused."""

import io
import struct
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from indexing.errors import InputError, MissingExtraError
from indexing.media.video import UnusableVideo, VideoLimits, frames_of

av = pytest.importorskip("av")
COLOURS = [(220, 30, 30), (30, 200, 40), (40, 50, 220), (240, 230, 60)]  # one a second
RATE = 10
CODECS = {"mp4": "libx264", "mov": "mpeg4", "webm": "libvpx", "matroska": "mpeg4", "avi": "mpeg4", "gif": "gif"}


def film(form: str = "mp4", colours: list[tuple[int, int, int]] = COLOURS, size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(CODECS[form], rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if form == "gif" else "yuv420p"
        for number in range(len(colours) * RATE):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, colours[number // RATE]))
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


FILMS = {form: film(form) for form in CODECS}


def colour(image: Image.Image) -> np.ndarray[Any, Any]:
    mean: np.ndarray[Any, Any] = np.asarray(image, np.float64).mean(axis=(0, 1))
    return mean


@pytest.mark.parametrize("form", FILMS)
@pytest.mark.parametrize("count", [1, 3, 4, 8])
def test_frames_are_those_of_the_middles_of_equal_parts(form: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(FILMS[form])
    frames = frames_of(path, count)
    assert len(frames) == count
    for part, (seconds, image) in enumerate(frames):
        moment = 4 * (part + 0.5) / count
        assert moment - 1 / RATE - 0.05 <= seconds <= moment + 0.05
        assert (image.mode, image.size) == ("RGB", (64, 48))
        if 0.1 < moment % 1 < 0.95:  # not where one colour gives way to the next
            np.testing.assert_allclose(colour(image), COLOURS[int(moment)], atol=40)
    in_memory = frames_of(FILMS[form], count)
    assert [seconds for seconds, _ in in_memory] == [seconds for seconds, _ in frames]


def test_a_film_of_few_frames_gives_each_once() -> None:
    with io.BytesIO() as file:
        two = [Image.new("RGB", (20, 20), name) for name in ("red", "blue")]
        two[0].save(file, "GIF", save_all=True, append_images=two[1:], duration=500)
        frames = frames_of(file.getvalue(), 8)
    assert [seconds for seconds, _ in frames] == [0, 0.5]
    assert [colour(image).argmax() for _, image in frames] == [0, 2]


def test_a_last_frame_may_be_held() -> None:
    with io.BytesIO() as file:
        two = [Image.new("RGB", (20, 20), name) for name in ("red", "blue")]
        two[0].save(file, "GIF", save_all=True, append_images=two[1:], duration=[200, 9_000])
        assert [seconds for seconds, _ in frames_of(file.getvalue(), 4)] == [0.2]
        assert [seconds for seconds, _ in frames_of(file.getvalue(), 100)] == [0, 0.2]


def test_a_film_that_is_turned_in_its_header_is_turned() -> None:
    wide = film("mp4", [(0, 0, 0)], (64, 32))
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    place = wide.index(upright, wide.index(b"tkhd"))
    turned = wide[:place] + clockwise + wide[place + len(upright) :]
    assert frames_of(wide, 1)[0][1].size == (64, 32)
    assert frames_of(turned, 1)[0][1].size == (32, 64)


def test_where_complete_frames_are_rare_an_earlier_one_is_cheaper() -> None:
    exact, cheap = (frames_of(FILMS["mp4"], 4, VideoLimits(decoded_pixels=pixels)) for pixels in (10**9, 1))
    assert [seconds for seconds, _ in exact] == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.06)
    assert 1 <= len(cheap) <= 4
    assert not {seconds for seconds, _ in cheap} & {seconds for seconds, _ in exact}
    assert cheap[0][0] == 0
    assert cheap[-1][0] < 3.5


def noisy(form: str) -> bytes:
    """A film whose bytes are spread evenly over its time."""
    noise = np.random.default_rng(0)
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(CODECS[form], rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(4 * RATE):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def only_sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate, frame.pts = 8_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def claiming_days() -> bytes:
    """A Matroska film that says that it lasts 11 days."""
    data = FILMS["matroska"]
    start = data.index(b"\x44\x89\x88") + 3
    return data[:start] + struct.pack(">d", 1e9) + data[start + 8 :]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
BAD = {
    "empty": (b"", "film file is empty"),
    "text": (b"once upon a time there was a film", "none of mp4, mov, webm, mkv, avi, gif"),
    "playlist": (PLAYLIST, "none of mp4"),
    "ffconcat": (b"ffconcat version 1.0\nfile /etc/passwd\n", "none of mp4"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "none of mp4"),
    "start of mp4 alone": (FILMS["mp4"][:40], "film is broken: Invalid data"),
    "mp4 cut short": (FILMS["mp4"][: len(FILMS["mp4"]) // 2], "film is broken: Invalid data"),
    "webm cut short": (FILMS["webm"][:200], "film is broken|no pictures|is not within|cut short"),
    "matroska cut in half": (half(noisy("matroska")), r"cut short: it ends at \d\.\d of 4\.0 s"),
    "webm cut in half": (half(noisy("webm")), r"cut short: it ends at \d\.\d of 4\.0 s"),
    "garbage with a start": (b"\x1a\x45\xdf\xa3" + bytes(range(256)) * 40, "film is broken|no pictures"),
    "zeros with a start": (b"RIFF\0\0\0\0AVI " + bytes(5_000), "film is broken|no pictures"),
    "sound alone": (only_sound(), "film has no pictures"),
    "days long": (claiming_days(), r"film of \d+\.\d s is not within 0 and 3600"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_films_are_refused_with_a_reason(case: str) -> None:
    data, reason = BAD[case]
    with pytest.raises(UnusableVideo, match=reason):
        frames_of(data)


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(FILMS["mp4"])
    for limits, reason in (
        (VideoLimits(file_bytes=100), "bytes is over the limit of 100"),
        (VideoLimits(pixels=3_000), "film of 3072 pixels a frame is not within 1 and 3000"),
        (VideoLimits(seconds=3), r"film of 4\.0 s is not within 0 and 3 s"),
    ):
        for source in (path, path.read_bytes()):
            with pytest.raises(UnusableVideo, match=reason):
                frames_of(source, limits=limits)
    with pytest.raises(UnusableVideo, match="film file is missing: "):
        frames_of(tmp_path / "none.mp4")
    with pytest.raises(UnusableVideo, match="cannot be read: it is a folder; give a regular file"):
        frames_of(tmp_path)
    with pytest.raises(InputError, match="to give 0 frames: ask for at least 1"):
        frames_of(path, 0)


@settings(max_examples=120)
@given(
    form=st.sampled_from(sorted(FILMS)),
    cut=st.floats(0.01, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=8),
)
def test_damaged_bytes_give_frames_or_a_verdict(form: str, cut: float, flips: list[tuple[float, int]]) -> None:
    damaged = bytearray(FILMS[form][: max(1, int(len(FILMS[form]) * cut))])
    for place, mask in flips:
        damaged[int(place * len(damaged))] ^= mask
    started = time.process_time()
    try:
        frames = frames_of(bytes(damaged), 3, VideoLimits(pixels=1_000_000))
    except UnusableVideo:
        frames = []
    assert len(frames) <= 3
    assert time.process_time() - started < 5  # of this process, however busy the machine is


def test_without_the_extra_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r'av cannot be imported: pip install "\.\[video\]"'):
        frames_of(FILMS["mp4"])
