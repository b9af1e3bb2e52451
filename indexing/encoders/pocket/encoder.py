"""The pocket encoder: a small dual encoder that ships with the package and needs no hub.

Two frozen pretrained towers, all-MiniLM-L6-v2 for texts and EfficientNet-Lite0 for pictures, and a bridge between them
that was learned on public-domain drawings and emoji. A vector has three blocks of 384 and one number. In the first
block a picture is what ImageNet's classes say it is, in words; in the second a linear map of its features; in the third
what it is among concepts of drawings, in words. The number takes from pictures that resemble every text: they would be
found by all queries. The model card in `pocket_weights/README.md` has data, licences, numbers and limits.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer

from indexing.arrays.types import Vectors
from indexing.encoders.base import EncoderInfo, hash_parts
from indexing.encoders.inference.batching import (
    by_length,
    checked_images,
    checked_texts,
    in_batches,
    pixels_in_batches,
    well_formed,
)
from indexing.encoders.pocket.malloc import keep_freed_memory
from indexing.encoders.pocket.towers import TEXT_DIM, ImageTower, TextTower
from indexing.media.files import Modality
from indexing.media.image_form import ImageForm, Pixels
from indexing.media.images import to_rgb

WEIGHTS = Path(str(files("indexing"))) / "encoders" / "pocket_weights"
SIDE = 224
FORM = ImageForm(SIDE, "longest", reducing_gap=2.0)
TEXT_BATCH, IMAGE_BATCH = 128, 4  # no activation of so few pictures is over `LARGEST_KEPT_BLOCK`
LONGEST_TEXT = 128  # tokens; the tower was trained on no longer ones
DIM = 3 * TEXT_DIM + 1
LEVEL = 0.3  # last component of every text; the pictures' last component is scaled accordingly


class PocketEncoder:
    """Texts and pictures in one space of 1,153 dimensions.

    Args:
        folder: Where weights, tokenizer and configuration are.

    >>> encoder = PocketEncoder()
    >>> mug, boat = encoder.encode_texts(["a mug", "a sailing boat"])
    >>> cup = encoder.encode_texts(["a cup"])[0]
    >>> bool(cup @ mug > cup @ boat)
    True
    """

    image_form = FORM

    def __init__(self, folder: Path = WEIGHTS) -> None:
        keep_freed_memory()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST_TEXT)
        self._tokenizer.no_padding()
        self._settings = json.loads((folder / "config.json").read_bytes())
        self._bridge = dequantise(load_file(folder / "bridge.safetensors"))
        self._usual = self._texts_content(self._bridge["usual_words"])
        with torch.device("meta"):
            self._text, self._image = TextTower(), ImageTower()
        self._text.load_state_dict(dequantise(load_file(folder / "text.safetensors")), assign=True)
        # Float32 throughout: in bfloat16 some pictures move by more than the golden inputs allow, so that a bundle
        # would be refused on the next machine. With norms folded and small batches float32 is fast enough.
        image = {name: part.float() for name, part in load_file(folder / "image.safetensors").items()}
        self._image.load_state_dict(image, assign=True)
        for tower in (self._text, self._image):
            tower.eval().requires_grad_(False)
        parts = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".json")]
        self.info = EncoderInfo(
            name="pocket",
            dim=DIM,
            modalities=(Modality.TEXT, Modality.IMAGE),
            fingerprint=hash_parts(parts, side=SIDE, longest_text=LONGEST_TEXT),
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to 128 tokens: (N, 1153) float32, unit length."""
        ids = [
            encoding.ids
            for encoding in self._tokenizer.encode_batch([well_formed(text) for text in checked_texts(texts)])
        ]
        return by_length(
            [len(one) for one in ids], lambda places: self._texts([ids[place] for place in places]), DIM, TEXT_BATCH
        )

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Give the share of the texts' tokens that the vocabulary does not have."""
        unknown = self._tokenizer.token_to_id("[UNK]")
        found = self._tokenizer.encode_batch([well_formed(text) for text in texts], add_special_tokens=False)
        ids = np.concatenate([np.empty(0, np.int64), *(np.array(one.ids, np.int64) for one in found)])
        return float((ids == unknown).mean()) if len(ids) else 0.0

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures of any size and mode: (N, 1153) float32, unit length."""
        return in_batches(
            checked_images(images),
            lambda batch: self._images(np.stack([square(image) for image in batch])),
            DIM,
            IMAGE_BATCH,
        )

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N pictures as `square` gives them, (N, 224, 224, 3) uint8: (N, 1153) float32, unit length."""
        return pixels_in_batches(pixels, self._images, DIM, IMAGE_BATCH)

    @torch.inference_mode()
    def _texts(self, ids: Sequence[Sequence[int]]) -> Vectors:
        content = self._texts_content(self._text(*padded(ids)))
        vectors: Vectors = F.pad(content, (0, 1), value=LEVEL).numpy()
        return vectors

    @torch.inference_mode()
    def _images(self, pixels: Pixels) -> Vectors:
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        content = self._images_content(*self._image(scaled.contiguous()))
        temperature = self._settings["hub_temperature"]
        hub = temperature * torch.logsumexp(content @ self._usual.T / temperature, dim=1, keepdim=True)
        lowered = self._settings["hub_share"] * (self._bridge["hub_mean"] - hub)
        vectors: Vectors = torch.cat([content, lowered / LEVEL], dim=1).numpy()
        return vectors

    def _texts_content(self, words: torch.Tensor) -> torch.Tensor:
        """Map (B, 384) text vectors to (B, 1152), unit length."""
        moved = words + words @ self._bridge["text_residual"] + self._bridge["text_bias"]
        return side_by_side(self._settings["first_block_weight"], words, moved, words)

    def _images_content(self, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Map (B, 2528) features and (B, 1000) logits to (B, 1152), unit length."""
        bridge, clip = self._bridge, self._settings["feature_clip"]
        classes = torch.softmax(logits / self._settings["temperature"], dim=1) @ bridge["class_words"]
        scaled = ((features - bridge["feature_mean"]) / bridge["feature_scale"]).clamp(-clip, clip)
        concepts = torch.softmax(scaled @ bridge["concept_map"].T + bridge["concept_bias"], dim=1)
        blocks = classes, scaled @ bridge["projection"], concepts @ bridge["concept_words"]
        return side_by_side(self._settings["first_block_weight"], *blocks)


def load(_: str = "", precision: str = "auto") -> PocketEncoder:  # noqa: ARG001 - it has but one
    """Load the pocket encoder."""
    return PocketEncoder()


def padded(ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Give token ids as (B, L) int64, filled up with zeros, and (B, L) bool saying which tokens are real."""
    length = max(map(len, ids))
    filled = torch.tensor([[*one, *[0] * (length - len(one))] for one in ids])
    return filled, torch.tensor([[place < len(one) for place in range(length)] for one in ids])


def side_by_side(first_weight: float, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """Put blocks of (B, 384), each of unit length and the first one weighed, into one unit vector a line."""
    blocks = [first_weight * F.normalize(first, dim=1), *(F.normalize(block, dim=1) for block in others)]
    return F.normalize(torch.cat(blocks, dim=1), dim=1)


def square(image: Image.Image) -> Pixels:
    """Fit a whole picture into 224 x 224 on white: (224, 224, 3) uint8."""
    return FORM.apply(to_rgb(image))


def dequantise(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give float32 weights of int8 matrices (R, C) and scales (R, G), one for each C / G weights (``NAME.scale``)."""
    weights = {name: part.float() for name, part in stored.items() if not name.endswith(".scale")}
    for name, part in weights.items():
        if stored[name].dtype == torch.int8:
            scale = stored[f"{name}.scale"].float()
            weights[name] = (part.view(*scale.shape, -1) * scale[:, :, None]).view(part.shape)
    return weights
