"""Sounds: what is decoded is right, and no file, however odd, does more than be refused."""

import contextlib
import io
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import MissingExtraError
from indexing.media.audio import AudioLimits, UnusableAudio, decode_sound, read_sound

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
LIMITS = AudioLimits()
RATE = 16_000


def tone(seconds: float = 1.0, rate: int = RATE, hertz: float = 440.0) -> np.ndarray[Any, Any]:
    wave: np.ndarray[Any, Any] = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    return wave


def encoded(wave: np.ndarray[Any, Any], rate: int = RATE, **how: Any) -> bytes:  # noqa: ANN401
    file = io.BytesIO()
    soundfile.write(file, wave, rate, **({"format": "WAV"} | how))
    return file.getvalue()


def claiming(rate: int = RATE, channels: int = 1, data_bytes: int = 64, bits: int = 16) -> bytes:
    """A WAV of 32 samples whose header claims anything."""
    align = channels * bits // 8
    head = struct.pack("<HHIIHH", 1, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", data_bytes) + bytes(64)
    return b"RIFF" + struct.pack("<I", 36 + data_bytes & 0xFFFFFFFF) + body


@pytest.mark.parametrize(
    "how",
    [
        {"format": "WAV"},
        {"format": "WAV", "subtype": "FLOAT"},
        {"format": "WAV", "subtype": "PCM_U8"},
        {"format": "WAVEX", "subtype": "PCM_24"},
        {"format": "FLAC"},
        {"format": "OGG"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "MP3"},
    ],
)
def test_a_tone_stays_a_tone(how: dict[str, Any]) -> None:
    sound = decode_sound(encoded(tone(), **how), 48_000, LIMITS)
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert len(sound) == pytest.approx(48_000, abs=4_000)  # MP3 pads
    spectrum = np.abs(np.fft.rfft(sound[4_000:40_000]))
    assert np.fft.rfftfreq(36_000, 1 / 48_000)[spectrum.argmax()] == pytest.approx(440, abs=2)
    assert np.abs(sound[4_000:40_000]).max() == pytest.approx(0.5, abs=0.05)  # Opus rings at its end


def test_channels_are_averaged_and_the_own_rate_is_exact() -> None:
    stereo = np.stack([tone(), np.zeros(RATE)], axis=1)
    mono = decode_sound(encoded(stereo, subtype="FLOAT"), RATE, LIMITS)
    np.testing.assert_allclose(mono, tone() / 2, atol=1e-6)


def test_only_the_beginning_of_a_long_sound_is_decoded() -> None:
    wave = np.concatenate([tone(2), np.zeros(8 * RATE)])
    sound = decode_sound(encoded(wave), RATE, AudioLimits(seconds=2))
    assert len(sound) == 2 * RATE
    np.testing.assert_allclose(sound, tone(2), atol=1e-3)
    assert len(decode_sound(encoded(np.zeros(61 * 8_000), 8_000, format="FLAC"), 8_000, LIMITS)) == 60 * 8_000


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_F000], ids=["ffmpeg", "sox"])
def test_a_wav_from_a_pipe_claims_no_length(size: int) -> None:
    data = bytearray(encoded(tone()))
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = size.to_bytes(4, "little")
    np.testing.assert_allclose(decode_sound(bytes(data), RATE, LIMITS), tone(), atol=1e-4)  # 16 bits


def test_a_long_wav_may_be_cut_behind_what_is_heard() -> None:
    data = encoded(tone(4))
    assert len(decode_sound(data[: len(data) // 2 + 100], RATE, AudioLimits(seconds=2))) == 2 * RATE


def test_silence_is_a_sound() -> None:
    assert not decode_sound(encoded(np.zeros(RATE)), 48_000, LIMITS).any()


def test_loud_floats_are_clipped() -> None:
    sound = decode_sound(encoded(np.full((500, 8), 3e38), subtype="FLOAT"), RATE, LIMITS)
    np.testing.assert_array_equal(sound, np.ones(500, np.float32))


NAN, SOME_NAN, INFINITE = np.full(500, np.nan), np.where(np.arange(500) == 7, np.nan, 0.1), np.full(500, np.inf)
BAD = {
    "text": (b"RIFF is a word, and this is a text" * 9, "sound is broken"),
    "text as wav": (b"once upon a time" * 9, "none of WAV, WAVEX, FLAC, OGG, MP3"),
    "another format": (encoded(tone(), format="AIFF"), "none of WAV"),
    "rate 0": (claiming(rate=0), "sound is broken|0 Hz is not between"),
    "rate 1": (claiming(rate=1), "1 Hz is not between 1000 and 192000"),
    "huge rate": (claiming(rate=2_000_000_000), "2000000000 Hz is not between"),
    "rate over the limit": (encoded(tone(), 384_000), "384000 Hz is not between"),
    "1000 channels": (encoded(np.zeros((10, 1000))), "1000 channels is over 8"),
    "65535 channels": (claiming(channels=65_535), "sound is broken|channels is over 8"),
    "no samples": (encoded(np.zeros(0)), "no samples"),
    "header alone": (encoded(tone())[:30], "sound is broken"),
    "NaN": (encoded(NAN, subtype="FLOAT"), "not finite"),
    "one NaN": (encoded(SOME_NAN, subtype="FLOAT"), "not finite"),
    "infinite": (encoded(INFINITE, subtype="FLOAT"), "not finite"),
    "flac cut short": (encoded(tone(9), format="FLAC")[:20_000], "sound is broken|cut short"),
    "wav cut at 31 %": (encoded(tone())[: int(len(encoded(tone())) * 0.31)], "it has 4944 of 16000 samples"),
    "wav cut by a frame": (encoded(np.zeros((500, 2)))[:-4], "cut short: it has 499 of 500 samples"),
    "float wav cut short": (encoded(tone(), subtype="FLOAT")[:-400], "cut short: it has 15900 of 16000 samples"),
    "ogg cut short": (encoded(tone(9), format="OGG")[:6_000], "sound is broken|cut short"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_sounds_are_refused_with_a_reason(case: str) -> None:
    data, reason = BAD[case]
    with pytest.raises(UnusableAudio, match=reason) as caught:
        decode_sound(data, 48_000, LIMITS)
    assert "0x" not in str(caught.value)


def hours_long_flac() -> bytes:
    """A second of FLAC whose header claims 2**36 - 1 samples."""
    data = bytearray(encoded(tone(), format="FLAC"))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    return bytes(data)


@pytest.mark.parametrize("data", [claiming(data_bytes=0xFFFFFF00), hours_long_flac()], ids=["wav", "flac"])
def test_claims_of_hours_cost_nothing(data: bytes) -> None:
    tracemalloc.start()
    with contextlib.suppress(UnusableAudio):
        assert len(decode_sound(data, 48_000, LIMITS)) <= 60 * 48_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


VALID = [encoded(tone(0.2), format=name) for name in ("WAV", "FLAC", "OGG", "MP3")]


@settings(max_examples=150)
@given(
    data=st.sampled_from(VALID),
    cut=st.floats(0.01, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=8),
)
def test_damaged_bytes_give_a_bounded_sound_or_a_verdict(
    data: bytes, cut: float, flips: list[tuple[float, int]]
) -> None:
    damaged = bytearray(data[: max(1, int(len(data) * cut))])
    for place, mask in flips:
        damaged[int(place * len(damaged))] ^= mask
    try:
        sound = decode_sound(bytes(damaged), 8_000, AudioLimits(seconds=2))
    except UnusableAudio:
        return
    assert 1 <= len(sound) <= 2 * 8_000 + 1
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(tone()))
    assert read_sound(path, LIMITS) == path.read_bytes() == read_sound(path.read_bytes(), LIMITS)
    for source, reason in (
        (tmp_path / "none.wav", "is missing: .*none.wav"),
        (tmp_path, "cannot be read|over the limit"),
        (b"", "sound file is empty"),
    ):
        with pytest.raises(UnusableAudio, match=reason):
            read_sound(source, LIMITS)
    with pytest.raises(UnusableAudio, match="bytes is over the limit of 10"):
        read_sound(path, AudioLimits(file_bytes=10))


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_recordings_of_every_form_rate_and_number_of_channels_sound_the_same(
    form: str, rate: int, channels: int
) -> None:
    """As sound effects are: a struck bell in some noise, silence before and after."""
    seconds = np.arange(rate) / rate
    bell = 0.5 * np.exp(-4 * seconds) * np.sin(2 * np.pi * 700 * seconds)
    wave = np.concatenate([np.zeros(rate // 4), bell, np.zeros(rate // 4)])
    wave += 0.001 * np.random.default_rng(rate).normal(size=len(wave))
    sound = decode_sound(encoded(np.tile(wave[:, None], channels), rate, format=form), 48_000, LIMITS)
    assert len(sound) == pytest.approx(1.5 * 48_000, abs=0.1 * 48_000)  # codecs pad their ends
    assert np.isfinite(sound).all()
    spectrum = np.abs(np.fft.rfft(sound))
    assert float(spectrum.argmax()) * 48_000 / len(sound) == pytest.approx(700, abs=3)
    assert np.abs(sound).max() == pytest.approx(0.46, abs=0.08)  # the bell has begun to fade at its first peak
    struck = int(np.argmax(np.abs(sound) > 0.2))
    assert struck == pytest.approx(0.25 * 48_000, abs=0.06 * 48_000)


def test_without_the_extra_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(MissingExtraError, match=r'soxr cannot be imported: pip install "\.\[audio\]"'):
        decode_sound(encoded(tone()), RATE, LIMITS)
