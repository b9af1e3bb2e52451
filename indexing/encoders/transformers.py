"""CLIP, Chinese CLIP, SigLIP and ALIGN through transformers, with exactly the vectors that transformers gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.encoders.base import TEXTS, EncoderInfo, golden_images
from indexing.encoders.inference.batching import by_length, checked_images, checked_texts, in_batches, pixels_in_batches
from indexing.encoders.inference.checkpoints import (
    REFUSED,
    checked_config,
    complete_model,
    load_checkpoint,
    pooled_tensor,
    tokens,
)
from indexing.encoders.inference.compute import Compute
from indexing.encoders.inference.features import Batches, Features, TwoTowers
from indexing.encoders.inference.hub import check_embeds
from indexing.encoders.inference.torch_device import torch_device
from indexing.encoders.inference.torch_models import (
    in_precision,
    normaliser,
    stable_config,
    state_fingerprint,
    vocabulary,
)
from indexing.media.files import Modality
from indexing.media.image_form import FILTERS, ImageForm, Pixels
from indexing.media.images import to_rgb

INTERPOLATIONS = {int(number): name for name, number in FILTERS.items()}
IMAGE_BATCH = 32


@dataclass(frozen=True)
class Family:
    """How a family of models takes its texts.

    Attributes:
        padding: ``"max_length"`` for those that were trained on texts padded to their full length and read the last
            place; ``"longest"`` for those that do not mind.
        tokens: Longest text in tokens that it was trained on, where its positions allow longer ones.
    """

    padding: str
    tokens: int | None = None


FAMILIES = {
    "clip": Family("longest"),
    "siglip": Family("max_length"),
    "siglip2": Family("max_length"),
    # Their texts go through a BERT of 512 positions, of which training used the first few.
    "chinese_clip": Family("longest", 52),
    "align": Family("longest", 64),
}


class TransformersEncoder(TwoTowers):
    """A model of transformers for texts and pictures behind the `Encoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model, frozen.
        tokenizer: Its tokenizer.
        image_processor: Its preprocessing of pictures.
        config: The model's configuration as its file has it: what its weights do not say.
        compute: Number format, device, and whether to compile.
    """

    def __init__(
        self,
        name: str,
        model: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        image_processor: Any,  # noqa: ANN401
        config: dict[str, Any],
        compute: Compute,
    ) -> None:
        self._model, self._tokenizer, self._image_processor = model, tokenizer, image_processor
        family = FAMILIES[model.config.model_type]
        positions = int(model.config.text_config.max_position_embeddings)
        self._padding, self._length = family.padding, min(positions, family.tokens or positions)
        self._batches = Batches()
        fingerprint = state_fingerprint(
            model,
            config=stable_config(config),
            preprocess=image_processor.to_json_string(),
            vocabulary=vocabulary(tokenizer),
            tokens=self._tokens(TEXTS)["input_ids"].tolist(),
            padding=self._padding,
            library="transformers",
        )
        settings = image_processor.to_dict()
        self.image_form = _form(settings)
        self._normalise = normaliser(settings["image_mean"], settings["image_std"])
        texts, images = self._tokens(TEXTS), self._processed(golden_images())
        self._texts, self._images = Features(_text_features), Features(_image_features)
        check_embeds(name, "pictures", lambda: self._images(self._model, **self._processed(golden_images()[:1])))
        self._model, precision = in_precision(
            self._model,
            compute.precision,
            lambda model: unit(np.concatenate([self._texts(model, **texts), self._images(model, **images)])),
            compute.device,
        )
        self._batches = Batches.of(self._model, IMAGE_BATCH, fixed=compute.compile)
        dim = self._texts(self._model, **texts).shape[1]
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint, precision)
        if compute.compile:
            self._compile(name)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        lengths = [len(text) for text in checked_texts(texts)] if self._padding == "longest" else [0] * len(texts)
        return by_length(
            lengths,
            lambda positions: self._texts(self._model, **self._tokens([texts[position] for position in positions])),
            self.info.dim,
            self._batches.texts,
        )

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(
            checked_images(images),
            lambda batch: self._images(self._model, **self._processed(batch)),
            self.info.dim,
            self._batches.images,
        )

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N pictures in the model's own form, (N, side, side, 3) uint8: (N, D) float32, unit length."""
        return pixels_in_batches(
            pixels,
            lambda batch: self._images(self._model, pixel_values=self._normalise(batch)),
            self.info.dim,
            self._batches.images,
        )

    def _processed(self, images: Sequence[Image.Image]) -> Any:  # noqa: ANN401
        return self._image_processor(images=[to_rgb(image) for image in images], return_tensors="pt")

    def _tokens(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        encoded = tokens(self._tokenizer, texts, self._padding, self._length)
        found = encoded["input_ids"].shape[1]
        if (length := self._batches.length(found, self._length)) > found:
            return tokens(self._tokenizer, texts, "max_length", length)
        return encoded


def _text_features(model: Any, **tokens: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    return pooled_tensor(model.get_text_features(**tokens))


def _image_features(model: Any, **pixels: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    return pooled_tensor(model.get_image_features(**pixels))


def _form(settings: Mapping[str, Any]) -> ImageForm | None:
    """Return the preprocessing as data, where it is one that `ImageForm` knows; it rounds pixels its own way."""
    size, crop = settings.get("size") or {}, settings.get("crop_size") or {}
    interpolation = INTERPOLATIONS.get(settings.get("resample", -1))
    plain = all(settings.get(step) for step in ("do_resize", "do_rescale", "do_normalize"))
    scaled = abs(255 * settings.get("rescale_factor", 0) - 1) < 1e-6 and not settings.get("rescale_offset")
    if interpolation is None or not plain or not scaled or settings.get("include_top"):  # which normalises twice
        return None
    if settings.get("do_center_crop") and size.get("shortest_edge") == crop.get("height") == crop.get("width"):
        return ImageForm(int(size["shortest_edge"]), "shortest", interpolation)
    if not settings.get("do_center_crop") and size.get("height") and size["height"] == size.get("width"):
        return ImageForm(int(size["height"]), "squash", interpolation)
    return None


def load(rest: str, compute: Compute) -> TransformersEncoder:
    """Load ``ORG/REPO`` or a local folder.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, or it is of no known family in safetensors.
        DeviceError: For a GPU that is not there.
    """
    torch_device(compute.device)  # before a model is fetched
    name = f"hf:{rest}"
    return load_checkpoint(name, rest, lambda offline: _create(name, rest, compute, offline=offline))


def _create(name: str, rest: str, compute: Compute, *, offline: bool) -> TransformersEncoder:
    config = checked_config(name, rest, FAMILIES, offline=offline)
    model = complete_model(name, rest, offline=offline)
    tokenizer = transformers.AutoTokenizer.from_pretrained(rest, local_files_only=offline, **REFUSED)
    image_processor = transformers.AutoImageProcessor.from_pretrained(rest, local_files_only=offline, **REFUSED)
    return TransformersEncoder(name, model, tokenizer, image_processor, config, compute)
