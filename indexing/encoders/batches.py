"""What encoders share: pictures as RGB, texts as valid text, and batches that come back in order."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

from indexing.encoders.base import unit
from indexing.errors import ShapeError, VectorError
from indexing.sounds import Sound
from indexing.types import Vectors

Content = TypeVar("Content")
BATCH_SIZE = 64


def to_rgb(image: Image.Image) -> Image.Image:
    """Give any picture as RGB, transparency shown on white.

    >>> to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode in ("RGBa", "La"):  # colours already multiplied by their opacity
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(layered, mask=layered.getchannel("A"))
        return white
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit greys are clipped by a plain conversion
        return Image.fromarray((np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def well_formed(text: str) -> str:
    r"""Give a text with a question mark for every half of a surrogate pair, which no tokenizer takes.

    >>> well_formed("caf\u00e9 \ud83d") == "caf\u00e9 ?"
    True
    """
    return text.encode("utf-8", "replace").decode()


def checked_sounds(sounds: Sequence[Sound]) -> list[Sound]:
    """Give sounds as float32.

    Raises:
        ShapeError: When one is not (S,) with S >= 1.
        VectorError: When one has samples that are not finite.
    """
    checked = [np.asarray(sound, np.float32) for sound in sounds]
    for place, sound in enumerate(checked):
        if sound.ndim != 1 or not sound.size:
            raise ShapeError(f"sound {place} has shape {sound.shape}, expected (S,): one channel, at least one sample")
        if not np.isfinite(sound).all():
            raise VectorError(f"sound {place} has samples that are not finite: read sounds with decode_sound")
    return checked


def in_batches(
    contents: Sequence[Content], encode: Callable[[Sequence[Content]], Vectors], dim: int, size: int = BATCH_SIZE
) -> Vectors:
    """Encode batch by batch: (N, D) float32 of unit length, (0, D) for no contents."""
    parts = [unit(encode(contents[start : start + size])) for start in range(0, len(contents), size)]
    return np.concatenate(parts) if parts else np.empty((0, dim), np.float32)
