"""Two encoders as one: texts and pictures by the first, sounds by the second, taken to the first one's space."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from indexing.arrays.types import Vectors
from indexing.encoders.alignment.bridge import Bridge
from indexing.encoders.base import AudioEncoder, Encoder, EncoderInfo, PixelEncoder, require, with_audio
from indexing.errors import EncoderError, InputError
from indexing.media.audio import Sound
from indexing.media.files import Modality
from indexing.media.image_form import ImageForm, Pixels
from indexing.sample import items_path

FITTING = 1  # counts changes to how bridges are fitted, which make another space of the same texts


class BridgedEncoder:
    """An encoder that hears through another one.

    Its texts and pictures have exactly the vectors of the main encoder. `Bridge.to_bytes` of its bridge is all that
    must be kept to have the same encoder again from the two.

    Args:
        main: Embeds texts and pictures; its space is the space.
        audio: Embeds sounds, in a space that ``bridge`` leaves.
        bridge: From the space of ``audio`` to that of ``main``.

    Raises:
        EncoderError: When ``audio`` cannot embed sounds, or the bridge is between other lengths.
    """

    def __init__(self, main: Encoder, audio: Encoder, bridge: Bridge) -> None:
        hearing: AudioEncoder = with_audio(audio)
        if bridge.matrix.shape != (audio.info.dim, main.info.dim):
            raise EncoderError(
                f"bridge maps {bridge.matrix.shape[0]} to {bridge.matrix.shape[1]} dimensions, but {audio.info.name!r} "
                f"has {audio.info.dim} and {main.info.name!r} has {main.info.dim}: fit it with bridge_audio"
            )
        self._main, self._audio, self.bridge = main, hearing, bridge
        self.audio_rate = hearing.audio_rate
        parts = [main.info.fingerprint, audio.info.fingerprint, bridge.origin, bridge.report.method]
        seen = tuple(modality for modality in main.info.modalities if modality != Modality.AUDIO)
        self.info = EncoderInfo(
            name=f"{main.info.name}+{audio.info.name}",
            dim=main.info.dim,
            modalities=(*seen, Modality.AUDIO),
            fingerprint=hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
            precision=main.info.precision,
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts with the main encoder: (N, D) float32, unit length."""
        return self._main.encode_texts(texts)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures with the main encoder: (N, D) float32, unit length."""
        return self._main.encode_images(images)

    def bridge_report(self) -> dict[str, Any]:
        """Give how the bridge was fitted, and its scores on held-out texts."""
        return self.bridge.report.to_json()

    def bridge_bytes(self) -> bytes:
        """Give the bridge as a file."""
        return self.bridge.to_bytes()

    @property
    def image_form(self) -> ImageForm | None:
        """What the main encoder's pictures must look like, where that is known."""
        return self._main.image_form if isinstance(self._main, PixelEncoder) else None

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N prepared pictures (N, side, side, 3) uint8 with the main encoder: (N, D) float32, unit length."""
        if not isinstance(self._main, PixelEncoder):
            return self.encode_images([Image.fromarray(one) for one in pixels])
        return self._main.encode_pixels(pixels)

    def encode_audio(self, sounds: Sequence[Sound]) -> Vectors:
        """Embed N sounds, each (S,) float32 mono at `audio_rate`: (N, D) float32, unit length."""
        return self.bridge.apply(self._audio.encode_audio(sounds))


def bridge_audio(main: Encoder, audio: Encoder, texts: Sequence[str], *, seed: int = 0) -> BridgedEncoder:
    """Let one encoder hear through another, by a bridge learned from texts that both embed.

    Args:
        main: Embeds texts, and what else it can; its space is the space.
        audio: Embeds texts and sounds in one space of its own.
        texts: What the bridge is fitted on, at least 20 and better thousands, each once; what they speak of is what
            the bridge knows. `default_bridge_texts` gives some.
        seed: Draws the texts that are held out for choosing and for the report, ``.bridge.report``.

    Raises:
        EncoderError: When either embeds no texts, or ``audio`` no sounds.
        InputError: When there are too few texts, or some twice.
    """
    with_audio(audio)
    for encoder in (main, audio):
        require(encoder, Modality.TEXT)
    if len(set(texts)) < len(texts):
        raise InputError(f"{len(texts) - len(set(texts))} of {len(texts)} texts are there twice: give each once")
    parts = [main.info.fingerprint, audio.info.fingerprint, list(texts), seed, FITTING]
    origin = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    vectors = audio.encode_texts(texts), main.encode_texts(texts)
    return BridgedEncoder(main, audio, Bridge.fit(*vectors, seed=seed, origin=origin))


def default_bridge_texts() -> list[str]:
    """Give the titles and keywords of the shipped sample, each once, sorted.

    >>> len(default_bridge_texts()) > 1500
    True
    """
    table = pq.read_table(items_path(), columns=["title", "keywords"])
    titles, keywords = table["title"].to_pylist(), table["keywords"].to_pylist()
    return sorted({*titles, *(word for words in keywords for word in words or ())})
