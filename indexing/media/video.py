"""Pictures out of films that anyone may have sent: a few frames, evenly spaced, at a bounded cost.

Needs the extra ``video`` (PyAV, which carries FFmpeg's libraries).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from PIL import Image

from indexing.errors import InputError, import_extra
from indexing.media.files import UnusableFile, size_of, unreadable
from indexing.runtime.arguments import check_limits

Frame: TypeAlias = tuple[float, Image.Image]
"""Seconds from the film's beginning, and an RGB picture."""

FORMATS = "mp4, mov, webm, mkv, avi, gif"
# Options of FFmpeg: a film is one file, whatever it says about others.
NO_OTHER_FILES = {"enable_drefs": "0", "use_absolute_path": "0", "protocol_whitelist": "none"}
MICROSECONDS = 1_000_000
# Sound may outlast the pictures a little; where all is missing that comes after, the file is not whole.
MISSING_SECONDS, MISSING_FRACTION = 0.5, 0.1


@dataclass(frozen=True)
class VideoLimits:
    """What a single film may cost.

    Attributes:
        seconds: Longest film, as its header claims.
        pixels: Most pixels of a frame, as its header claims: 4096 x 2304, since a decoder holds many of them.
        file_bytes: Most bytes of its file.
        decoded_pixels: Most pixels to decode for all frames together. A frame is found from the last complete one
            before it; where that is too far away, an earlier frame is taken.
    """

    seconds: float = 3_600
    pixels: int = 9_500_000
    file_bytes: int = 200_000_000
    decoded_pixels: int = 4_000_000_000

    def __post_init__(self) -> None:
        check_limits(self)


class UnusableVideo(UnusableFile):
    """A film that cannot be used, with the reason."""


def frames_of(data: bytes | Path, count: int = 8, limits: VideoLimits | None = None) -> list[Frame]:
    """Take frames from the middles of equal parts of a film.

    Args:
        data: Bytes or path of an MP4, MOV, WebM, Matroska, AVI or GIF file.
        count: Number of frames, at least 1; a film of fewer frames gives each once.
        limits: What the film may cost.

    Returns:
        Up to ``count`` pairs of the seconds at which a frame is first shown, and the frame, upright, as RGB.

    Raises:
        UnusableVideo: When it is of no known format, too long or too large, broken or cut short, or has no pictures.
        InputError: When ``count`` is below 1.
        MissingExtraError: When PyAV is not installed.
    """
    return list(read_frames(data, count, limits or VideoLimits()))


def read_frames(data: bytes | Path, count: int, limits: VideoLimits) -> Iterator[Frame]:
    """Take the frames of `frames_of` one by one."""
    if count < 1:
        raise InputError(f"a film is to give {count} frames: ask for at least 1")
    av = import_extra("av", "video")
    try:
        with _open_checked(data, limits) as file:
            options = {**NO_OTHER_FILES, "max_pixels": str(limits.pixels)}
            with av.open(file, format=_format(file), options=options, metadata_errors="replace") as film:
                yield from _frames(film, count, limits)
    except UnusableVideo:
        raise
    except Exception as error:  # FFmpeg's are of many kinds, and broken numbers break arithmetic
        raise UnusableVideo(f"film is broken: {getattr(error, 'strerror', None) or error}") from error


def _open_checked(data: bytes | Path, limits: VideoLimits) -> BinaryIO:
    try:
        size = size_of(data)
        if size > limits.file_bytes:
            raise UnusableVideo(f"film file of {size} bytes is over the limit of {limits.file_bytes}")
        if not size:
            raise UnusableVideo("film file is empty")
        return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
    except OSError as error:
        raise UnusableVideo(unreadable("film", error, data)) from error


def _format(file: BinaryIO) -> str:
    """Detect the format of a film by its first bytes: FFmpeg knows formats that name other files to open."""
    start = file.read(12)
    file.seek(0)
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if start.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if start.startswith(b"RIFF") and start.endswith(b"AVI "):
        return "avi"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    raise UnusableVideo(f"film is none of {FORMATS}")


def _frames(film: Any, count: int, limits: VideoLimits) -> Iterator[Frame]:  # noqa: ANN401
    if not film.streams.video:
        raise UnusableVideo("film has no pictures")
    stream = film.streams.video[0]
    stream.thread_count = 1  # each further thread holds frames of its own
    pixels = stream.codec_context.width * stream.codec_context.height
    if not 0 < pixels <= limits.pixels:
        raise UnusableVideo(f"film of {pixels} pixels a frame is not within 1 and {limits.pixels}")
    start, seconds = _extent(film, stream)
    if not 0 < seconds <= limits.seconds:
        raise UnusableVideo(f"film of {seconds:.1f} s is not within 0 and {limits.seconds} s")
    steps = max(1, limits.decoded_pixels // count // pixels)
    last_shown = -1.0
    for position in range(count):
        target = seconds * (position + 0.5) / count
        frame, is_last = _frame_at(film, stream, start + target, steps)
        shown_from = max(0.0, float(frame.time) - start)
        shown_until = shown_from + float((frame.duration or 0) * stream.time_base)
        if is_last and target - shown_until > max(MISSING_SECONDS, MISSING_FRACTION * seconds):
            raise UnusableVideo(f"film is cut short: it ends at {shown_until:.1f} of {seconds:.1f} s")
        if shown_from > last_shown:
            last_shown = shown_from
            yield shown_from, _upright(frame)


def _extent(film: Any, stream: Any) -> tuple[float, float]:  # noqa: ANN401
    """Return when the pictures begin and how many seconds they last."""
    start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    if stream.duration:
        return start, float(stream.duration * stream.time_base)
    if film.duration:
        return start, film.duration / MICROSECONDS
    # Not said, as in a film that was written to a pipe: read through it, without decoding.
    ends = [packet.pts + (packet.duration or 0) for packet in film.demux(stream) if packet.pts is not None]
    return start, float(max(ends, default=0) * stream.time_base) - start


def _frame_at(film: Any, stream: Any, target: float, steps: int) -> tuple[Any, bool]:  # noqa: ANN401
    """Return the frame shown at a moment, or an earlier one ``steps`` frames on; and whether the film ends with it."""
    film.seek(int(target / stream.time_base), stream=stream)
    last_frame = None
    for step, frame in enumerate(film.decode(stream)):
        if frame.time is None:
            continue
        if last_frame is not None and (frame.time > target or step >= steps):
            return last_frame, False
        last_frame = frame
    if last_frame is None:
        raise UnusableVideo(f"film is cut short: it has no frame at {target:.1f} s")
    return last_frame, True


def _upright(frame: Any) -> Image.Image:  # noqa: ANN401
    """Return a frame as it is meant to be seen: phones turn films in their headers."""
    image: Image.Image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if getattr(frame, "rotation", 0) else image
