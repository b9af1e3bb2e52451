"""Fixed texts, pictures and sounds whose vectors prove that an encoder is the one that built a bundle."""

import numpy as np
from PIL import Image

from indexing.arrays.types import Vectors
from indexing.encoders.base import Encoder, with_audio
from indexing.errors import EncoderMismatchError
from indexing.media.audio import Sound
from indexing.media.files import Modality

TEXTS = (
    "a red mug",
    "Two children fly a kite over the beach on a windy afternoon in autumn.",
    "собака, 猫, pájaro, ☂",
    "size 42, EUR 19.99",
)
SIDE = 96
SOUND_SECONDS = 2
AT_LEAST = 0.999


def golden_images() -> list[Image.Image]:
    """Draw four pictures: a gradient, stripes, a disc and noise. The same pixels on every machine."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    noise = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (SIDE, SIDE, 3))
    disc = (x - SIDE // 2) ** 2 + (y - SIDE // 2) ** 2 < (SIDE // 3) ** 2
    pixels = (
        np.stack([x * 255 // SIDE, y * 255 // SIDE, np.full_like(x, 128)], axis=2),
        np.where((x // 12 % 2 == 0)[:, :, None], [220, 40, 40], [250, 250, 240]),
        np.where(disc[:, :, None], [30, 80, 200], [255, 220, 90]),
        noise,
    )
    return [Image.fromarray(array.astype(np.uint8), "RGB") for array in pixels]


def golden_sounds(rate: int) -> list[Sound]:
    """Make two sounds of 2 s at a rate in hertz: a chirp from 100 to 4,000 Hz, and noise. The same on every machine."""
    seconds = np.arange(SOUND_SECONDS * rate) / rate
    chirp = 0.5 * np.sin(2 * np.pi * (100 + 3_900 * seconds / SOUND_SECONDS / 2) * seconds)
    noise = np.random.Generator(np.random.PCG64(7)).uniform(-0.5, 0.5, len(seconds))
    return [chirp.astype(np.float32), noise.astype(np.float32)]


def golden_vectors(encoder: Encoder) -> Vectors:
    """Embed the golden inputs of the modalities that an encoder has, sounds last: (2 to 10, D) float32.

    Vectors that come with the catalogue have no model to prove: (0, D).
    """
    parts = [np.empty((0, encoder.info.dim), np.float32)]
    if encoder.info.precomputed:
        return parts[0]
    if Modality.TEXT in encoder.info.modalities:
        parts.append(encoder.encode_texts(TEXTS))
    if Modality.IMAGE in encoder.info.modalities:
        parts.append(encoder.encode_images(golden_images()))
    if Modality.AUDIO in encoder.info.modalities:
        hearing = with_audio(encoder)
        parts.append(hearing.encode_audio(golden_sounds(hearing.audio_rate)))
    return np.concatenate(parts)


def check_golden(encoder: Encoder, stored: Vectors, at_least: float = AT_LEAST) -> None:
    """Check that an encoder still gives the stored vectors.

    Raises:
        EncoderMismatchError: When the cosine of any golden input falls below the limit.
    """
    now = golden_vectors(encoder)
    if now.shape != stored.shape:
        raise EncoderMismatchError(
            f"encoder {encoder.info.name!r} gives golden vectors of shape {now.shape}, the bundle has {stored.shape}"
        )
    if not len(now):
        return
    cosines = (now * stored).sum(axis=1) / (np.linalg.norm(now, axis=1) * np.linalg.norm(stored, axis=1))
    worst = int(np.argmin(np.nan_to_num(cosines, nan=-1.0)))
    if not cosines[worst] >= at_least:
        raise EncoderMismatchError(
            f"encoder {encoder.info.name!r} no longer gives the vectors that built this bundle: golden input {worst} "
            f"has cosine {cosines[worst]:.4f}, expected at least {at_least}; its preprocessing or precision has "
            "changed: restore it, or build the bundle again"
        )
