"""What queries are made of, opened: pictures, sounds, and always several."""

from pathlib import Path

import numpy as np
from PIL import Image

from indexing.errors import InputError
from indexing.pictures import PictureLimits, UnusablePicture, decode_picture, read_picture
from indexing.sounds import Sound, SoundLimits, UnusableSound, decode_sound, read_sound

Picture = Image.Image | bytes | Path | str
Recording = Sound | bytes | Path | str


def plural(values: object, name: str) -> None:
    """Refuse a single string where a sequence of them is meant: it would be read letter by letter.

    Raises:
        InputError: When it is one.
    """
    if isinstance(values, str | bytes):
        raise InputError(f"{name} is the single value {values!r:.60}; give a list, even of one: [{values!r:.60}]")


def open_sound(position: int, sound: Recording, rate: int) -> Sound:
    """Open the sound of a query; samples are taken as they are.

    Raises:
        InputError: When it cannot be read.
    """
    if isinstance(sound, np.ndarray):
        return sound
    limits = SoundLimits()
    try:
        return decode_sound(read_sound(Path(sound) if isinstance(sound, str) else sound, limits), rate, limits)
    except UnusableSound as reason:
        name = "" if isinstance(sound, bytes) else f" ({str(sound)!r})"
        raise InputError(f"query sound {position}{name}: {reason}") from reason


def open_picture(position: int, picture: Picture) -> Image.Image:
    """Open the picture of a query.

    Raises:
        InputError: When it cannot be read.
    """
    if isinstance(picture, Image.Image):
        return picture
    limits = PictureLimits()
    try:
        return decode_picture(read_picture(Path(picture) if isinstance(picture, str) else picture, limits), limits)
    except UnusablePicture as reason:
        name = "" if isinstance(picture, bytes) else f" ({str(picture)!r})"
        raise InputError(f"query picture {position}{name}: {reason}") from reason
