"""Decoding one file, image to pixels, audio to samples, video to frames, and the worker process that does so.

A request to a worker is a kind and a length (`REQUEST`), then the file; an answer is the length of a JSON header
(`HEADER`), the header, then the arrays that it describes. Plain bytes and JSON, so that nothing that a hostile file
does to this process can make the other one run code.
"""

import importlib
import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.media.audio import AudioLimits, decode_sound
from indexing.media.files import Kind, UnusableFile
from indexing.media.image_form import ImageForm
from indexing.media.images import ImageLimits, decode_picture, difference_hash, to_rgb
from indexing.media.video import VideoLimits, read_frames

# A picture is decoded at no less than this many times the side that the model sees.
SIDE_MARGIN = 2
# A model that prepares its pictures itself gets them no larger than this: it shrinks them anyway, and many wait.
MAX_SIDE = 1024
HUGE_PIXELS, STRIP_PIXELS = 8_000_000, 1_000_000


@dataclass(frozen=True)
class Task:
    """What decoding is for, the same for all files of a run.

    Attributes:
        form: What pictures become; None leaves them as they are, but for the largest.
        audio_rate: Samples a second that sounds become, in hertz.
        pictures: What a single picture may cost.
        sounds: What a single sound may cost.
        films: What a single film may cost.
        frames: How many pictures are taken from a film.
        largest: Longest side of pictures that have no form, in pixels.
        described: Also describe each picture, as `commonspace inspect` does: its size and format as the file has them.
    """

    form: ImageForm | None = None
    audio_rate: int = 48_000
    pictures: ImageLimits = field(default_factory=ImageLimits)
    sounds: AudioLimits = field(default_factory=AudioLimits)
    films: VideoLimits = field(default_factory=VideoLimits)
    frames: int = 8
    largest: int = MAX_SIDE
    described: bool = False

    def max_bytes(self, kind: Kind) -> int:
        """Return the size that a file of some kind may have."""
        sizes = {
            Kind.IMAGE: self.pictures.file_bytes,
            Kind.AUDIO: self.sounds.file_bytes,
            Kind.VIDEO: self.films.file_bytes,
        }
        return sizes[kind]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Task":
        """Read what `to_json` gave."""
        return cls(
            ImageForm(**data["form"]) if data["form"] else None,
            data["audio_rate"],
            ImageLimits(**data["pictures"]),
            AudioLimits(**data["sounds"]),
            VideoLimits(**data["films"]),
            data["frames"],
            data["largest"],
            data["described"],
        )


@dataclass(frozen=True, eq=False)
class Decoded:
    """What became of a file.

    Attributes:
        arrays: For a picture one (H, W, 3) uint8, for a film one for each frame, for a sound one (S,) float32.
        labels: For each array where in the file it is, for example ``"12.5 s"``; empty for a whole file.
        described: Of a picture that is to be described its ``width``, ``height``, ``format`` and ``look``: the hash of
            `difference_hash`, or None.
    """

    arrays: list[NDArray[Any]]
    labels: list[str]
    described: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unusable:
    """Why a file cannot be used."""

    reason: str


def decode(kind: Kind, data: bytes, task: Task) -> Decoded | Unusable:
    """Decode one file; whatever is wrong with it becomes a reason."""
    try:
        return _DECODERS[kind](data, task)
    except UnusableFile as problem:
        return Unusable(str(problem))
    except MemoryError:
        return Unusable(f"{kind} needs more memory than decoding may take")


def _picture(data: bytes, task: Task) -> Decoded:
    if task.described:
        image = decode_picture(data, task.pictures)
        description = {"width": image.width, "height": image.height, "format": image.format or "unknown"}
        return Decoded([], [], description | {"look": difference_hash(to_rgb(_shrink_huge(image, task)))})
    min_side = task.form.side * SIDE_MARGIN if task.form else task.largest
    return Decoded([_to_pixels(_shrink_huge(decode_picture(data, task.pictures, min_side=min_side), task), task)], [""])


def _shrink_huge(image: Image.Image, task: Task) -> Image.Image:
    """Make a huge picture RGB and shrink it by a whole number, in strips, before anything makes a whole copy of it."""
    if image.width * image.height < HUGE_PIXELS:
        return image
    if task.form is None:
        factor = max(1, max(image.size) // (task.largest * SIDE_MARGIN))
    else:
        image = task.form.middle(image)
        factor = max(1, min(image.size) // (task.form.side * SIDE_MARGIN))
    if factor == 1 and image.mode == "RGB" and not image.has_transparency_data:
        return image
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    strip_height = factor * max(1, STRIP_PIXELS // (image.width * factor))
    for top in range(0, image.height, strip_height):
        strip = to_rgb(image.crop((0, top, image.width, min(image.height, top + strip_height))))
        small.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return small


def _to_pixels(image: Image.Image, task: Task) -> NDArray[np.uint8]:
    rgb = to_rgb(image)
    if task.form is not None:
        return task.form.apply(rgb)
    rgb.thumbnail((task.largest, task.largest), Image.Resampling.BICUBIC, reducing_gap=SIDE_MARGIN)
    return np.asarray(rgb, np.uint8)


def _sound(data: bytes, task: Task) -> Decoded:
    return Decoded([decode_sound(data, task.audio_rate, task.sounds)], [""])


def _film(data: bytes, task: Task) -> Decoded:
    arrays, labels = [], []
    for seconds, image in read_frames(data, task.frames, task.films):  # shaped one by one: whole they are many
        arrays.append(_to_pixels(image, task))
        labels.append(f"{seconds:.1f} s")
    return Decoded(arrays, labels)


_DECODERS = {Kind.IMAGE: _picture, Kind.AUDIO: _sound, Kind.VIDEO: _film}


REQUEST, HEADER = struct.Struct("<BQ"), struct.Struct("<Q")
KINDS = tuple(Kind)
READY = b"r"
# What decoding a kind needs beside Pillow.
MODULES = {Kind.IMAGE: (), Kind.AUDIO: ("soundfile", "soxr"), Kind.VIDEO: ("av",)}


def main() -> None:
    """Answer until the input ends; started with a task as JSON and a number of bytes of memory."""
    task, memory = Task.from_json(json.loads(sys.argv[1])), int(sys.argv[2])
    _limit_memory(memory)
    loaded: set[Kind] = set()
    requests = sys.stdin.buffer
    # A library that prints must not end up among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answers.write(READY)
    answers.flush()
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        number, length = REQUEST.unpack(head)
        if (kind := KINDS[number]) not in loaded:
            loaded.add(kind)
            with _unlimited():  # libraries take no memory from the files
                for module in MODULES[kind]:
                    importlib.import_module(module)
        answer(answers, decode(kind, requests.read(length), task))


def answer(stream: IO[bytes], outcome: Decoded | Unusable) -> None:
    """Write one answer."""
    header: dict[str, Any]
    arrays: list[NDArray[Any]] = []
    if isinstance(outcome, Unusable):
        header = {"reason": outcome.reason}
    else:
        arrays = [np.ascontiguousarray(array) for array in outcome.arrays]
        shapes = [[str(array.dtype), array.shape] for array in arrays]
        header = {"shapes": shapes, "labels": outcome.labels, "described": outcome.described}
    data = json.dumps(header).encode()
    stream.write(HEADER.pack(len(data)) + data)
    for array in arrays:
        stream.write(array.data.cast("B"))
    stream.flush()


def _address_space() -> int | None:
    """Return the address space that this process has; None where the system has no such limit, or does not tell."""
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # not Linux: limits of pixels and bytes hold there too
        return None


def _set_limit(num_bytes: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard), hard)
    )


def _limit_memory(more: int) -> None:
    """Let this process take so many bytes of address space more than it has now."""
    if (size := _address_space()) is not None:
        _set_limit(size + more)


@contextmanager
def _unlimited() -> Iterator[None]:
    """Let this process grow meanwhile, and raise the limit by as much as it did."""
    if (before := _address_space()) is None:
        yield
        return
    import resource

    limit, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        yield
    finally:
        _set_limit(limit + (_address_space() or before) - before)
