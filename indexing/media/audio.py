"""Reading sounds that anyone may have sent: bounded, and never fatal to their neighbours.

Needs the extra ``audio`` (soundfile and soxr).
"""

import io
import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.errors import import_extra
from indexing.media.files import FileSource, UnusableFile, read_file
from indexing.runtime.arguments import check_limits

Sound: TypeAlias = NDArray[np.float32]
"""(S,) float32, mono, -1 to 1, at a rate that the context gives."""

# libsndfile reads two dozen formats more, old ones that nobody sends and few people test.
FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")
# Layer III of MPEG 1, 2 and 2.5 (which has 8,000 to 12,000 Hz), with and without a checksum, begins by the last six.
_MP3 = tuple(bytes([0xFF, second]) for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2))
_MEDIA_TYPES = {
    b"RIFF": "audio/wav",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    **dict.fromkeys((b"ID3", *_MP3), "audio/mpeg"),
}
STARTS = tuple(_MEDIA_TYPES)
MIN_RATE = 1_000  # hertz; below it there is nothing to hear, and resampling would blow a file up
MIN_UNKNOWN_SIZE = 0x7FFF_0000  # bytes; what writes to a pipe claims as much, not knowing better
BLOCK_FRAMES = 65_536  # frames decoded at once, so that many channels never all lie in memory


@dataclass(frozen=True)
class AudioLimits:
    """What a single sound may cost.

    Attributes:
        seconds: What is heard of a longer sound: its beginning.
        file_bytes: Most bytes of its file.
        rate: Most samples a second, as its header claims.
        channels: Most channels, as its header claims.
    """

    seconds: float = 60
    file_bytes: int = 20_000_000
    rate: int = 192_000
    channels: int = 8

    def __post_init__(self) -> None:
        check_limits(self)


class UnusableAudio(UnusableFile):
    """A sound that cannot be used, with the reason."""


def sound_type(start: bytes) -> str | None:
    r"""Detect the media type of a sound by the first bytes of its file; None where it is none of `FORMATS`.

    >>> sound_type(b"\xff\xf2"), sound_type(b"RIFF....WAVE"), sound_type(b"RIFF....AVI ")
    ('audio/mpeg', 'audio/wav', None)
    """
    if start[:4] == b"RIFF" and start[8:12] != b"WAVE":
        return None
    return next((name for magic, name in _MEDIA_TYPES.items() if start.startswith(magic)), None)


def read_sound(source: FileSource, limits: AudioLimits) -> bytes:
    """Return the bytes of a sound's file.

    Raises:
        UnusableAudio: When the file is missing, unreadable, empty or too large.
    """
    return read_file(source, limits.file_bytes, "sound", UnusableAudio)


def decode_sound(data: bytes, rate: int, limits: AudioLimits) -> Sound:
    """Decode the beginning of a sound, channels averaged, after reading its claims from the header.

    Samples beyond -1…1, which only files of floats can have, are clipped as a sound card would. Silence is a sound.

    Args:
        data: Bytes of a WAV, FLAC, OGG (Vorbis, Opus) or MP3 file.
        rate: Samples a second to give, in hertz.
        limits: What it may cost; the first ``limits.seconds`` of a longer sound are decoded.

    Returns:
        (S,) float32, mono, at ``rate`` hertz, S >= 1.

    Raises:
        UnusableAudio: When it is of no known format, claims what no sound needs, is broken, cut short within the
            seconds that are decoded (an MP3 does not say how long it is) or has no
            samples, or has samples that are not finite.
        MissingExtraError: When soundfile or soxr is not installed.
    """
    soundfile, soxr = import_extra("soundfile", "audio"), import_extra("soxr", "audio")
    if not data.startswith(STARTS):
        raise UnusableAudio(f"sound is none of {', '.join(FORMATS)}")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check_header(file, limits)
            native, mono = int(file.samplerate), _mono(file, limits, _claimed_frames(data))
        # Again at the end: resampling rounds up, and may swing a little beyond what it was given.
        resampled = mono if native == rate else soxr.resample(mono, native, rate, quality="HQ")
    except UnusableAudio:
        raise
    except Exception as error:  # libsndfile, soxr and NumPy raise their own kinds on broken bytes
        raise UnusableAudio(f"sound is broken: {type(error).__name__}: {_reason(error)}") from error
    sound: Sound = np.clip(resampled, -1, 1).astype(np.float32)
    if not sound.size:
        raise UnusableAudio(f"sound of {mono.size} samples is too short for {rate} samples a second")
    return sound


def _check_header(file: Any, limits: AudioLimits) -> None:  # noqa: ANN401
    if file.format not in FORMATS:
        raise UnusableAudio(f"sound is {file.format}, none of {', '.join(FORMATS)}")
    if not MIN_RATE <= file.samplerate <= limits.rate:
        raise UnusableAudio(f"sound of {file.samplerate} Hz is not between {MIN_RATE} and {limits.rate} Hz")
    if not 1 <= file.channels <= limits.channels:
        raise UnusableAudio(f"sound of {file.channels} channels is over {limits.channels}")
    if file.frames <= 0:
        raise UnusableAudio("sound has no samples, or is cut short")


def _claimed_frames(data: bytes) -> int:
    """Return the number of frames that the header of a WAV claims, or 0; libsndfile counts those that are there."""
    offset, block = 12, 0
    while data[:4] == b"RIFF" and offset + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, offset)
        if name == b"data":
            return size // block if block and size < MIN_UNKNOWN_SIZE else 0
        if name == b"fmt " and size >= 16 and offset + 22 <= len(data):
            (block,) = struct.unpack_from("<H", data, offset + 20)
        offset += 8 + size + size % 2
    return 0


def _mono(file: Any, limits: AudioLimits, claimed: int) -> Sound:  # noqa: ANN401
    """Decode block by block: (S,) float32 at the file's own rate, for the seconds that the limits allow."""
    num_wanted = min(max(file.frames, claimed), int(limits.seconds * file.samplerate))
    parts: list[Sound] = []
    num_read = 0
    while num_read < num_wanted:
        block = file.read(min(BLOCK_FRAMES, num_wanted - num_read), dtype="float32", always_2d=True)
        if not len(block):
            break
        if not np.isfinite(block).all():
            raise UnusableAudio("sound has samples that are not finite numbers")
        parts.append(np.clip(block, -1, 1).mean(axis=1, dtype=np.float32))
        num_read += len(block)
    # The header of an MP3 only estimates how many there are.
    if not num_read or (num_read < num_wanted and file.format != "MP3"):
        raise UnusableAudio(f"sound is cut short: it has {num_read} of {num_wanted} samples")
    return np.concatenate(parts)


def _reason(error: Exception) -> str:
    """Return what libsndfile says, without the address of the object that it read."""
    return str(error).split(">: ")[-1]
