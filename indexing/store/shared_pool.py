"""Decoders that the whole process shares, for queries and pages: their files come one by one, from anyone too.

They are started when the first file comes, and end with the process.
"""

import atexit
import io
import os
import threading
from collections.abc import Sequence

from PIL import Image

from indexing.encoders.base import AudioEncoder, Encoder, PixelEncoder
from indexing.media.decode import Decoded, Task, Unusable
from indexing.media.files import FileSource, Kind
from indexing.media.images import ImageLimits, UnusableImage, read_picture
from indexing.media.pool import DecodePool

WORKERS = 2  # for each task; a second one starts when two threads ask at once
_pools: dict[tuple[int, str], DecodePool] = {}
_lock = threading.Lock()


def task_for(encoder: Encoder) -> Task:
    """Return the task whose pictures and sounds are what a build with this encoder would make of them."""
    form = encoder.image_form if isinstance(encoder, PixelEncoder) else None
    rate = encoder.audio_rate if isinstance(encoder, AudioEncoder) else Task.audio_rate
    return Task(form, rate)


def shared_pool(task: Task) -> DecodePool:
    """Return the pool for a task, the same each time; a process that was forked has its own."""
    key = os.getpid(), repr(task)
    with _lock:
        if key not in _pools:
            _pools[key] = DecodePool(task, WORKERS)
            atexit.register(_pools[key].__exit__, None, None, None)
        return _pools[key]


def decode_all(kind: Kind, files: Sequence[bytes], task: Task) -> list[Decoded | Unusable]:
    """Decode files elsewhere, within limits of time and memory; sizes are for who reads them to check."""
    pool = shared_pool(task)
    return [future.result() for future in [pool.submit(kind, data) for data in files]]


def thumbnail(source: FileSource, limits: ImageLimits, side: int) -> bytes | None:
    """Return a picture as a small JPEG whose longer side has at most so many pixels; None when it cannot be used."""
    try:
        data = read_picture(source, limits)
    except UnusableImage:
        return None
    (outcome,) = decode_all(Kind.IMAGE, [data], Task(pictures=limits, largest=side))
    if isinstance(outcome, Unusable):
        return None
    file = io.BytesIO()
    Image.fromarray(outcome.arrays[0]).save(file, "JPEG", quality=80)
    return file.getvalue()
