"""What an encoder is: frozen, batched, and able to prove that it is the one that built a bundle."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from indexing.arrays import Vectors
from indexing.errors import EncoderError, EncoderMismatchError, InputError
from indexing.media.audio import Sound
from indexing.media.files import Modality
from indexing.media.image_form import ImageForm, Pixels
from indexing.runtime.arguments import check_mapping, shown

PRECOMPUTED = "vectors:"
SEPARATE = f"{PRECOMPUTED}separate"


@dataclass(frozen=True)
class EncoderInfo:
    """What identifies an encoder.

    Attributes:
        name: What `load_encoder` was given, for example ``"pocket"`` or ``"open_clip:ViT-B-16-SigLIP2/webli"``.
        dim: Length D of its vectors.
        modalities: What it can embed.
        fingerprint: Hash over weights, preprocessing, tokenizer and pooling: another value means another space.
        precision: Number format of the arithmetic, for example ``"float32"``. Not part of the fingerprint: the
            same weights in another precision give the same space, which the golden vectors prove.
        weights: How much each modality counts in an item, in their order; all alike when empty.
    """

    name: str
    dim: int
    modalities: tuple[Modality, ...]
    fingerprint: str
    precision: str = "float32"
    weights: tuple[float, ...] = ()

    @property
    def precomputed(self) -> bool:
        """Whether the vectors come with the catalogue, so that there is no model to ask."""
        return self.name.startswith(PRECOMPUTED)

    @property
    def separate(self) -> bool:
        """Whether each modality has a space of its own, so that no two modalities can be compared."""
        return self.name.split(":")[:2] == SEPARATE.split(":")

    @property
    def modality_weights(self) -> dict[Modality, float]:
        """How much each modality counts in an item; 1 for those that are not named."""
        return dict(zip(self.modalities, self.weights, strict=bool(self.weights)))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, without weights where there are none."""
        weights = {"weights": list(self.weights)} if self.weights else {}
        fields_ = {name: value for name, value in asdict(self).items() if name != "weights"}
        return fields_ | {"modalities": [str(m) for m in self.modalities]} | weights

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EncoderInfo":
        """Read what `to_json` gave.

        Raises:
            InputError: When it is something else.
        """
        check_mapping(data, "data", "EncoderInfo.to_json gives them")
        try:
            modalities = tuple(Modality(m) for m in data["modalities"])
            return cls(**{**data, "modalities": modalities, "weights": tuple(data.get("weights", ()))})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"data is {shown(data)}; give what EncoderInfo.to_json gives ({error})") from error


@runtime_checkable
class Encoder(Protocol):
    """A frozen model that embeds texts and images (or one of them) into one space.

    One without a modality says so in its info, and raises `EncoderError` when asked for it all the same.
    Every method takes a sequence and returns (N, D) float32 of unit length, (0, D) for an empty sequence.
    A text is always embedded as text, whatever it looks like: no encoder opens paths or URLs.
    """

    @property
    def info(self) -> EncoderInfo:
        """Name, dimension, modalities and fingerprint."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts: (N, D) float32, unit length."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures, any size and mode: (N, D) float32, unit length."""
        ...


@runtime_checkable
class PixelEncoder(Encoder, Protocol):
    """An encoder whose pictures other processes can prepare, because their form is known as data.

    `encode_pixels(form.apply(picture))` gives exactly what `encode_images([picture])` gives.
    """

    @property
    def image_form(self) -> ImageForm | None:
        """What its pictures must look like; None where its preprocessing is more than a form can say."""
        ...

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N prepared pictures (N, side, side, 3) uint8: (N, D) float32, unit length."""
        ...


@runtime_checkable
class AudioEncoder(Encoder, Protocol):
    """An encoder that embeds sounds too."""

    @property
    def audio_rate(self) -> int:
        """Samples a second of the sounds that it takes, in hertz: what `decode_sound` is to give."""
        ...

    def encode_audio(self, sounds: Sequence[Sound]) -> Vectors:
        """Embed N sounds, each (S,) float32 mono at `audio_rate`, any S >= 1: (N, D) float32, unit length."""
        ...


@runtime_checkable
class KnowsTokens(Protocol):
    """An encoder whose tokenizer says what it does not know, such as words in another script."""

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Return the share of the texts' tokens that stand for whatever is unknown, from 0 to 1."""
        ...


@runtime_checkable
class HasBridge(Protocol):
    """An encoder with a learned part that its bundle must keep: a map between spaces, or one for each modality."""

    def bridge_report(self) -> dict[str, Any]:
        """Say what was learned, and how well."""
        ...

    def bridge_bytes(self) -> bytes:
        """Return what `load_encoder` takes as ``bridge``, to have the same encoder again."""
        ...


def hash_parts(files: Iterable[Path], **settings: object) -> str:
    """Fingerprint of an encoder: sha256 over the bytes of its files and its settings as sorted JSON."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in sorted(files):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def require(encoder: Encoder, modality: Modality) -> None:
    """Check that an encoder can embed a modality.

    Raises:
        EncoderError: When it cannot.
    """
    if modality not in encoder.info.modalities:
        modalities = ", ".join(encoder.info.modalities)
        raise EncoderError(
            f"encoder {encoder.info.name!r} cannot embed {modality}, only {modalities}; choose another encoder"
        )


def check_encoder(encoder: object) -> Encoder:
    """Return an encoder.

    Raises:
        InputError: When it is none.
    """
    if not isinstance(encoder, Encoder):
        raise InputError(f"encoder is {shown(encoder)}; give what load_encoder gives, or a name as 'pocket'")
    return encoder


def with_audio(encoder: Encoder) -> AudioEncoder:
    """Return an encoder as one that embeds sounds.

    Raises:
        EncoderError: When it cannot.
    """
    require(encoder, Modality.AUDIO)
    if not isinstance(encoder, AudioEncoder):
        raise EncoderError(f"encoder {encoder.info.name!r} claims audio but has no encode_audio and audio_rate")
    return encoder


TEXTS = (
    "a red mug",
    "Two children fly a kite over the beach on a windy afternoon in autumn.",
    "собака, 猫, pájaro, ☂",
    "size 42, EUR 19.99",
)
GOLDEN_SIDE = 96
SOUND_SECONDS = 2
MIN_COSINE = 0.999


def golden_images() -> list[Image.Image]:
    """Draw four pictures: a gradient, stripes, a disc and noise. The same pixels on every machine."""
    y, x = np.mgrid[0:GOLDEN_SIDE, 0:GOLDEN_SIDE]
    noise = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (GOLDEN_SIDE, GOLDEN_SIDE, 3))
    disc = (x - GOLDEN_SIDE // 2) ** 2 + (y - GOLDEN_SIDE // 2) ** 2 < (GOLDEN_SIDE // 3) ** 2
    pixels = (
        np.stack([x * 255 // GOLDEN_SIDE, y * 255 // GOLDEN_SIDE, np.full_like(x, 128)], axis=2),
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
        audio_encoder = with_audio(encoder)
        parts.append(audio_encoder.encode_audio(golden_sounds(audio_encoder.audio_rate)))
    return np.concatenate(parts)


def check_golden(encoder: Encoder, stored: Vectors, at_least: float = MIN_COSINE) -> None:
    """Check that an encoder still gives the stored vectors.

    Raises:
        EncoderMismatchError: When the cosine of any golden input falls below the limit.
    """
    vectors = golden_vectors(encoder)
    if vectors.shape != stored.shape:
        raise EncoderMismatchError(
            f"encoder {encoder.info.name!r} gives golden vectors of shape {vectors.shape}, the bundle has "
            f"{stored.shape}"
        )
    if not len(vectors):
        return
    cosines = (vectors * stored).sum(axis=1) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(stored, axis=1))
    worst = int(np.argmin(np.nan_to_num(cosines, nan=-1.0)))
    if not cosines[worst] >= at_least:
        raise EncoderMismatchError(
            f"encoder {encoder.info.name!r} no longer gives the vectors that built this bundle: golden input {worst} "
            f"has cosine {cosines[worst]:.4f}, expected at least {at_least}; its preprocessing or precision has "
            "changed: restore it, or build the bundle again"
        )
