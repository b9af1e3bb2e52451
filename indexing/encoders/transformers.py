"""CLIP and SigLIP through transformers, with exactly the vectors that transformers gives."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from indexing.decoding.form import FILTERS, ImageForm, Pixels
from indexing.encoders.base import EncoderInfo, unit
from indexing.encoders.batches import by_length, in_batches, pixels_in_batches, well_formed
from indexing.encoders.golden import TEXTS, golden_images
from indexing.encoders.hub import load_from_hub, one_line
from indexing.encoders.pixels import normaliser
from indexing.encoders.precision import AUTO, EXACT, in_precision
from indexing.encoders.weights import lasting, state_fingerprint, vocabulary
from indexing.errors import EncoderError, examples
from indexing.pictures import to_rgb
from indexing.types import Modality, Vectors

INTERPOLATIONS = {int(number): name for name, number in FILTERS.items()}
IMAGE_BATCH = 32
FAMILIES = ("clip", "siglip", "siglip2")
# These scale the similarity in training; vectors do not depend on them, so a checkpoint may lack them.
NOT_IN_VECTORS = {"logit_scale", "logit_bias"}


class TransformersEncoder:
    """A CLIP or SigLIP model of transformers behind the `Encoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model.
        tokenizer: Its tokenizer.
        image_processor: Its preprocessing of pictures.
        config: The model's configuration as its file has it: what its weights do not say.
        precision: ``auto`` or a number format; see `in_precision`.
    """

    def __init__(
        self,
        name: str,
        model: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        image_processor: Any,  # noqa: ANN401
        config: dict[str, Any],
        precision: str = EXACT,
    ) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer, self._image_processor = tokenizer, image_processor
        # SigLIP was trained on texts padded to their full length, and reads the last place; CLIP does not mind.
        self._padding = "longest" if model.config.model_type == "clip" else "max_length"
        self._length = int(model.config.text_config.max_position_embeddings)
        fingerprint = state_fingerprint(
            model,
            config=lasting(config),
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
        self._model, precision = in_precision(
            self._model, precision, lambda model: unit(np.concatenate([_texts(model, texts), _images(model, images)]))
        )
        dim = _texts(self._model, texts).shape[1]
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint, precision)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        clean = [well_formed(text) for text in texts]
        lengths = [len(text) for text in clean] if self._padding == "longest" else [0] * len(clean)
        return by_length(
            lengths,
            lambda places: _texts(self._model, self._tokens([clean[place] for place in places])),
            self.info.dim,
        )

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(
            images, lambda batch: _images(self._model, self._processed(batch)), self.info.dim, IMAGE_BATCH
        )

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N pictures in the model's own form, (N, side, side, 3) uint8: (N, D) float32, unit length."""
        return pixels_in_batches(
            pixels,
            lambda batch: _images(self._model, {"pixel_values": self._normalise(batch)}),
            self.info.dim,
            IMAGE_BATCH,
        )

    def _processed(self, images: Sequence[Image.Image]) -> Any:  # noqa: ANN401
        return self._image_processor(images=[to_rgb(image) for image in images], return_tensors="pt")

    def _tokens(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        return self._tokenizer(
            [well_formed(text) for text in texts],
            padding=self._padding,
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )


@torch.inference_mode()
def _texts(model: Any, tokens: Any) -> Vectors:  # noqa: ANN401
    return _pooled(model.get_text_features(**tokens))


@torch.inference_mode()
def _images(model: Any, pixels: Mapping[str, torch.Tensor]) -> Vectors:  # noqa: ANN401
    dtype = next(model.vision_model.parameters()).dtype
    cast = {name: part.to(dtype) if part.is_floating_point() else part for name, part in pixels.items()}
    return _pooled(model.get_image_features(**cast))


def _form(settings: Mapping[str, Any]) -> ImageForm | None:
    """Give the preprocessing as data, where it is one that `ImageForm` knows; it rounds pixels its own way."""
    size, crop = settings.get("size") or {}, settings.get("crop_size") or {}
    interpolation = INTERPOLATIONS.get(settings.get("resample", -1))
    if interpolation is None or not settings.get("do_resize") or not settings.get("do_normalize"):
        return None
    if settings.get("do_center_crop") and size.get("shortest_edge") == crop.get("height") == crop.get("width"):
        return ImageForm(int(size["shortest_edge"]), "shortest", interpolation)
    if not settings.get("do_center_crop") and size.get("height") and size["height"] == size.get("width"):
        return ImageForm(int(size["height"]), "squash", interpolation)
    return None


def _pooled(features: Any) -> Vectors:  # noqa: ANN401
    """Give features as (B, D): a tensor in transformers 4, an output with ``pooler_output`` in 5."""
    tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    vectors: Vectors = tensor.float().cpu().numpy()
    return vectors


def load(rest: str, precision: str = AUTO) -> TransformersEncoder:
    """Load ``ORG/REPO`` or a local folder.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, or it is no CLIP or SigLIP in safetensors.
    """
    try:
        if Path(rest).is_dir():
            return _create(rest, precision, offline=True)
        return load_from_hub(rest, lambda offline: _create(rest, precision, offline=offline))
    except EncoderError:
        raise
    except Exception as error:  # transformers and safetensors raise OSError, ValueError, RuntimeError, their own, …
        raise EncoderError(f"transformers cannot load hf:{rest}: {one_line(error)}") from error


def _create(rest: str, precision: str, *, offline: bool) -> TransformersEncoder:
    where = {"local_files_only": offline}
    config, _ = transformers.PretrainedConfig.get_config_dict(rest, **where)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise EncoderError(f"hf:{rest} is a {family!r} model; supported are {', '.join(FAMILIES)}")
    model = _complete_model(rest, **where)
    tokenizer = transformers.AutoTokenizer.from_pretrained(rest, **where)
    image_processor = transformers.AutoImageProcessor.from_pretrained(rest, **where)
    return TransformersEncoder(f"hf:{rest}", model, tokenizer, image_processor, config, precision)


def _complete_model(rest: str, *, local_files_only: bool) -> Any:  # noqa: ANN401
    with _quiet():
        model, report = transformers.AutoModel.from_pretrained(
            rest,
            use_safetensors=True,
            dtype=torch.float32,
            local_files_only=local_files_only,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed; they are refused below
        )
    # transformers only warns of these and fills the gaps with random numbers, others at each load.
    misshapen = {key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]}
    if gaps := sorted((set(report["missing_keys"]) | misshapen) - NOT_IN_VECTORS):
        raise EncoderError(
            f"hf:{rest} has no fitting weights for {examples(gaps)}: its files are not complete or not of one model"
        )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what transformers prints while it loads: its report on missing weights becomes our error."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
