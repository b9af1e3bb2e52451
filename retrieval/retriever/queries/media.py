"""Pictures and sounds of queries, opened as a build would."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.encoders.base import AudioEncoder, Encoder
from indexing.errors import InputError
from indexing.media.audio import Sound, read_sound
from indexing.media.decode import Task, Unusable
from indexing.media.files import Kind, UnusableFile, with_name
from indexing.media.images import read_picture
from indexing.store.shared_pool import decode_all, task_for

Picture = Image.Image | bytes | Path | str
Recording = Sound | bytes | Path | str


def open_sounds(sounds: Sequence[Recording], encoder: AudioEncoder, task: Task | None = None) -> list[Sound]:
    """Open the sounds of queries as a build would, by another process with limits; samples are taken as they are.

    Args:
        sounds: Files by their bytes or paths, or samples.
        encoder: That embeds them.
        task: What sounds become, within which limits; those of a build when None.

    Raises:
        InputError: When one cannot be read, or is over a limit.
    """
    task = task_for(encoder) if task is None else task
    files = {
        place: _read("sound", place, sound, lambda source: read_sound(source, task.sounds))
        for place, sound in enumerate(sounds)
        if not isinstance(sound, np.ndarray)
    }
    arrays = _decoded(Kind.AUDIO, "sound", files, sounds, task)
    opened: dict[int, Any] = dict(enumerate(sounds)) | arrays
    return list(opened.values())


def open_pictures(images: Sequence[Picture], encoder: Encoder, task: Task | None = None) -> list[Image.Image]:
    """Open the pictures of queries as a build would, by another process with limits; PIL images are taken as they are.

    Args:
        images: Files by their bytes or paths, or PIL images.
        encoder: That embeds them.
        task: What pictures become, within which limits; those of a build when None.

    Raises:
        InputError: When one cannot be read, or is over a limit.
    """
    task = task_for(encoder) if task is None else task
    files = {
        place: _read("picture", place, image, lambda source: read_picture(source, task.pictures))
        for place, image in enumerate(images)
        if not isinstance(image, Image.Image)
    }
    arrays = _decoded(Kind.IMAGE, "picture", files, images, task)
    opened: dict[int, Any] = dict(enumerate(images)) | {at: Image.fromarray(array) for at, array in arrays.items()}
    return list(opened.values())


def _read(what: str, position: int, given: object, read: Callable[[bytes | Path], bytes]) -> bytes:
    try:
        return read(_located(what, position, given))
    except UnusableFile as reason:
        raise InputError(_told(what, position, given, str(reason))) from reason


def _decoded(
    kind: Kind, what: str, files: Mapping[int, bytes], given: Sequence[object], task: Task
) -> dict[int, NDArray[Any]]:
    arrays = {}
    for position, outcome in zip(files, decode_all(kind, list(files.values()), task), strict=True):
        if isinstance(outcome, Unusable):
            raise InputError(_told(what, position, given[position], outcome.reason))
        arrays[position] = outcome.arrays[0]
    return arrays


def _told(what: str, position: int, given: object, reason: str) -> str:
    name = "" if isinstance(given, bytes) or str(given) in reason else str(given)
    return f"query {what} {position}: {with_name(reason, name)}"


def _located(what: str, position: int, given: object) -> bytes | Path:
    """Give a file by its bytes or its path.

    Raises:
        InputError: When it is neither.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    if isinstance(given, str | Path):
        return Path(given)
    kind = type(given).__name__
    raise InputError(f"query {what} {position} is of type {kind}: give the bytes of a file or the path of one")
