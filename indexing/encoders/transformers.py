"""CLIP, Chinese CLIP, SigLIP and ALIGN through transformers, with exactly the vectors that transformers gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from PIL import Image

from indexing.encoders.base import EncoderInfo
from indexing.encoders.batches import in_batches, to_rgb
from indexing.encoders.checkpoints import checked_config, complete_model, load_checkpoint, pooled, tokens
from indexing.encoders.golden import TEXTS
from indexing.encoders.weights import lasting, state_fingerprint, vocabulary
from indexing.types import Modality, Vectors


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


class TransformersEncoder:
    """A model of transformers for texts and pictures behind the `Encoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model, frozen.
        tokenizer: Its tokenizer.
        image_processor: Its preprocessing of pictures.
        config: The model's configuration as its file has it: what its weights do not say.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, image_processor: Any, config: dict[str, Any]) -> None:  # noqa: ANN401
        self._model, self._tokenizer, self._image_processor = model, tokenizer, image_processor
        family = FAMILIES[model.config.model_type]
        positions = int(model.config.text_config.max_position_embeddings)
        self._padding, self._length = family.padding, min(positions, family.tokens or positions)
        fingerprint = state_fingerprint(
            model,
            config=lasting(config),
            preprocess=image_processor.to_json_string(),
            vocabulary=vocabulary(tokenizer),
            tokens=self._tokens(TEXTS)["input_ids"].tolist(),
            padding=self._padding,
            library="transformers",
        )
        dim = self._texts(["a"]).shape[1]
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        return in_batches(texts, self._texts, self.info.dim)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(images, self._images, self.info.dim)

    def _tokens(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        return tokens(self._tokenizer, texts, self._padding, self._length)

    @torch.inference_mode()
    def _texts(self, texts: Sequence[str]) -> Vectors:
        return pooled(self._model.get_text_features(**self._tokens(texts)))

    @torch.inference_mode()
    def _images(self, images: Sequence[Image.Image]) -> Vectors:
        pixels = self._image_processor(images=[to_rgb(image) for image in images], return_tensors="pt")
        return pooled(self._model.get_image_features(**pixels))


def load(rest: str) -> TransformersEncoder:
    """Load ``ORG/REPO`` or a local folder.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, or it is of no known family in safetensors.
    """
    return load_checkpoint(f"hf:{rest}", rest, lambda offline: _create(rest, offline=offline))


def _create(rest: str, *, offline: bool) -> TransformersEncoder:
    name = f"hf:{rest}"
    config = checked_config(name, rest, FAMILIES, offline=offline)
    model = complete_model(name, rest, offline=offline)
    tokenizer = transformers.AutoTokenizer.from_pretrained(rest, local_files_only=offline)
    image_processor = transformers.AutoImageProcessor.from_pretrained(rest, local_files_only=offline)
    return TransformersEncoder(name, model, tokenizer, image_processor, config)
